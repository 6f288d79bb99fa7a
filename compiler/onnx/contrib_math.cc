// com.microsoft: small operators around transformers and signals that exporters write, each a composition.
#include <algorithm>
#include <cmath>
#include <limits>

#include "compiler/onnx/attention.h"
#include "compiler/onnx/common.h"
#include "compiler/onnx/families.h"

namespace tern::onnx {

namespace {

// -- gates and normalisations

Value* silu(Emit& b, Value* x) {
  return b.mul(x, sigmoid(b, x));
}

void import_scaled_silu(Op& op) {
  Emit& b = op.b;
  Value* x = op.tensor(0);
  Value* scale = op.has(1) ? b.cast(b.reshape(op.tensor(1), {}), x->type.dtype) : b.like(x, op.f("alpha", 1));
  op.ignore({"alpha"});
  op.output(0, silu(b, b.mul(x, scale)));
}

// gate * sigmoid(alpha * gate) * (up + beta), in f32; both may lie in one operand, one behind the other.
void import_swiglu(Op& op) {
  Emit& b = op.b;
  Value* x = op.tensor(0);
  const DType type = x->type.dtype;
  Value *gate = b.cast(x, DType::kF32), *up = nullptr;
  if (op.has(1)) {
    up = b.cast(op.tensor(1), DType::kF32);
  } else {
    const int64_t last = x->type.rank() - 1;
    const Dim half = floordiv(last_dimension(x), Dim(2));
    up = b.slice_axis(gate, last, half, half);
    gate = b.slice_axis(gate, last, Dim(0), half);
  }
  if (const double limit = op.f("limit", 0); limit > 0) {
    gate = b.min(gate, b.like(gate, limit));
    up = b.max(b.min(up, b.like(up, limit)), b.like(up, -limit));
  }
  Value* open = b.mul(gate, sigmoid(b, b.mul(gate, op.f("activation_alpha", 1))));
  if (op.i("round_activation", 0) != 0) open = b.cast(b.cast(open, type), DType::kF32);
  if (const double beta = op.f("activation_beta", 0); beta != 0) up = b.add(up, beta);
  op.output(0, b.cast(b.mul(open, up), type));
}

void import_gated_add(Op& op) {
  Emit& b = op.b;
  if (op.has(3)) fail("Input 3 (gate_weight) is not supported.");
  op.output(0, b.add(op.tensor(0), b.mul(op.tensor(1), op.tensor(2))));
}

// x [.., groups * C] as [.., groups, C].
Value* in_groups(Emit& b, Value* x, const Dim& width) {
  const Dim all = last_dimension(x);
  Shape shape = x->type.shape;
  shape.back() = divide_products({all}, {width});
  shape.push_back(width);
  return b.reshape(x, shape);
}

void import_gated_rms_norm(Op& op) {
  Emit& b = op.b;
  Value *x = op.tensor(0), *scale = b.cast(op.tensor(1), DType::kF32);
  const std::string activation = op.s("activation", "silu");
  if (activation != "silu" && activation != "swish" && activation != "sigmoid")
    fail("Attribute 'activation' ('{}') must be silu, swish or sigmoid.", activation);
  if (scale->type.rank() != 1) fail("The scale ({}) has more than one dimension.", scale->type.text());
  Value* groups = in_groups(b, b.cast(x, DType::kF32), dimension(scale, 0));
  Value* y =
      b.mul(normalise(b, groups, {groups->type.rank() - 1}, op.f("epsilon", 1e-5), false).value, scale);
  Value* gate = b.cast(op.tensor(2), DType::kF32);
  gate = activation == "sigmoid" ? sigmoid(b, gate) : silu(b, gate);
  op.output(0, b.cast(b.mul(b.reshape(y, x->type.shape), gate), x->type.dtype));
}

// Without training an addition.
void import_bias_dropout(Op& op) {
  Emit& b = op.b;
  if (op.has(4)) {
    const auto training = b.known_ints(op.tensor(4));
    if (!training || training->empty() || (*training)[0] != 0) fail("Dropout in training is not supported.");
  }
  op.has(3);  // the ratio
  op.ignore({"seed"});
  Value* sum = b.add(op.tensor(0), op.tensor(1));
  if (op.has(2)) sum = b.add(sum, op.tensor(2));
  op.output(0, sum);
  if (op.wants(1)) op.output(1, b.full(sum->type.shape, b.integer(DType::kBool, 1)));
}

// -- positions

// T5's buckets of distances between queries and keys, [1, heads, S, T]; the table lies heads first.
void import_relative_position_bias(Op& op) {
  Emit& b = op.b;
  Value* table = op.tensor(0);
  const bool both = op.i("is_bidirectional", 0) != 0;
  const int64_t farthest = op.i("max_distance", 128);
  if (table->type.rank() != 2 || !dimension(table, 0).is_const())
    fail("The table ({}) does not have two dimensions with a known number of buckets.", table->type.text());
  const int64_t buckets = both ? dimension(table, 0).value() / 2 : dimension(table, 0).value(),
                exact = buckets / 2;
  if (exact < 1 || farthest <= exact)
    fail("Attribute 'max_distance' ({}) must be greater than the number of exact distances ({}).", farthest,
         exact);
  const auto length = [&](int i) { return b.dims(b.reshape(op.tensor(i), {Dim(1)}))[0]; };
  const Shape plane = {length(1), length(2)};
  Value* distance =
      b.sub(b.iota(plane, 0, DType::kI64), b.iota(plane, 1, DType::kI64));  // to what lies before
  Value* far = both ? b.unary(ScalarOp::kAbs, distance) : b.max(distance, b.i64(0));
  Value* wide = b.cast(b.max(far, b.i64(1)), DType::kF32);
  Value* logs = b.div(b.unary(ScalarOp::kLog, b.div(wide, static_cast<double>(exact))),
                      std::log(static_cast<double>(farthest) / static_cast<double>(exact)));
  Value* beyond = b.add(b.cast(b.mul(logs, static_cast<double>(buckets - exact)), DType::kI64), b.i64(exact));
  beyond = b.min(beyond, b.i64(buckets - 1));
  Value* bucket = b.select(b.compare(ScalarOp::kLt, far, b.i64(exact)), far, beyond);
  if (both) {
    Value* behind = b.compare(ScalarOp::kLt, distance, b.i64(0));
    bucket = b.add(bucket, b.select(behind, b.i64(buckets), b.i64(0)));
  }
  op.output(0, b.unsqueeze(b.transpose(b.gather(table, bucket, 0), {2, 0, 1}), {0}));
}

// Which of the three streams of positions (time, height, width) turns each column.
std::vector<int64_t> streams_of(Op& op, int64_t width) {
  const std::vector<int64_t> section = op.ints("mrope_section");
  const int64_t layout = op.i("mrope_layout", 0);
  if (section.size() != 3 || section[0] + section[1] + section[2] != width)
    fail("Attribute 'mrope_section' does not divide the {} columns of the caches in three.", width);
  std::vector<int64_t> streams(static_cast<size_t>(width), 0);
  if (layout == 0) {
    std::fill(streams.begin() + section[0], streams.end(), 1);
    std::fill(streams.begin() + section[0] + section[1], streams.end(), 2);
    return streams;
  }
  if (layout != 1) fail("Attribute 'mrope_layout' ({}) must be 0 or 1.", layout);
  for (const int64_t s : {1, 2})
    for (int64_t i = s; i < std::min(section[static_cast<size_t>(s)] * 3, width); i += 3)
      streams[static_cast<size_t>(i)] = s;
  return streams;
}

// Rotary positions in time, height and width (Qwen-VL).
void import_mrotary(Op& op) {
  Emit& b = op.b;
  Value *x = op.tensor(0), *positions = b.cast(op.tensor(1), DType::kI64);
  const int64_t heads = op.i("num_heads", 0), width = op.i("rotary_embedding_dim", 0);
  if (op.i("is_packed_batching", 0) != 0) fail("Attribute 'is_packed_batching' is not supported.");
  if (const double scale = op.f("scale", 1); scale != 1) fail("Attribute 'scale' ({}) must be 1.", scale);
  const Shape original = x->type.shape;
  if (positions->type.rank() != 3)
    fail("The positions ({}) do not have three dimensions.", positions->type.text());
  for (const int i : {2, 3})
    if (op.tensor(i)->type.rank() != 2 || !dimension(op.tensor(i), 1).is_const())
      fail("A cache ({}) does not have two dimensions, the second one known.", op.tensor(i)->type.text());
  const int64_t half = dimension(op.tensor(2), 1).value();
  const bool packed = x->type.rank() == 3;
  if (packed) {
    const Dim size = heads > 0 ? floordiv(original[2], Dim(heads)) : Dim(2 * half);
    x = b.reshape(x, {original[0], original[1], divide_products({original[2]}, {size}), size});
  } else if (x->type.rank() == 4) {
    x = b.transpose(x, {0, 2, 1, 3});
  } else {
    fail("The operand ({}) has neither three nor four dimensions.", x->type.text());
  }
  const std::vector<int64_t> streams = streams_of(op, half);
  const auto joined = [&](Value* cache) {
    Value* all = b.gather(cache, b.adapt(positions, 0, Dim(3)), 0);  // [3, B, S, half]
    Value* out = nullptr;
    for (int64_t s = 0; s < 3; ++s) {
      Value* of_stream = b.squeeze(b.slice_axis(all, 0, Dim(s), Dim(1)), {0});
      if (!out) {
        out = of_stream;
        continue;
      }
      auto mask = TensorData::make(DType::kBool, {half});
      for (int64_t i = 0; i < half; ++i) mask->set_int(i, streams[static_cast<size_t>(i)] == s);
      out = b.select(b.constant(std::move(mask)), of_stream, out);
    }
    return b.unsqueeze(out, {2});
  };
  Value* y = rotate(b, x, joined(op.tensor(2)), joined(op.tensor(3)), width > 0 ? Dim(width) : Dim(2 * half),
                    op.i("interleaved", 0) != 0);
  op.output(0, packed ? b.reshape(y, original) : b.transpose(y, {0, 2, 1, 3}));
}

// -- complex numbers and Fourier transforms: pairs along the last axis

struct Complex {
  Value *real, *imaginary;
};

Complex halves(Emit& b, Value* x) {
  const int64_t last = x->type.rank() - 1;
  if (last < 0 || !last_dimension(x).is_const(2))
    fail("The operand ({}) does not end with pairs of real and imaginary parts.", x->type.text());
  const auto part = [&](int64_t i) { return b.slice_axis(x, last, Dim(i), Dim(1)); };
  return {part(0), part(1)};
}

template <bool kConjugate>
void import_complex_mul(Op& op) {
  Emit& b = op.b;
  const Complex x = halves(b, op.tensor(0)), y = halves(b, op.tensor(1));
  Value *rr = b.mul(x.real, y.real), *ii = b.mul(x.imaginary, y.imaginary), *ri = b.mul(x.real, y.imaginary),
        *ir = b.mul(x.imaginary, y.real);
  Value* real = kConjugate ? b.add(rr, ii) : b.sub(rr, ii);
  Value* imaginary = kConjugate ? b.sub(ir, ri) : b.add(ri, ir);
  op.output(0, b.concat({real, imaginary}, real->type.rank() - 1));
}

// -- small things

void import_is_all_finite(Op& op) {
  Emit& b = op.b;
  const bool nan_only = op.i("isnan_only", 0) != 0, inf_only = op.i("isinf_only", 0) != 0;
  if (nan_only && inf_only) fail("Attributes 'isnan_only' and 'isinf_only' exclude each other.");
  Value* fine = nullptr;
  for (int i = 0; i < op.input_count(); ++i) {
    Value* x = op.tensor(i);
    Value *nan = b.unary(ScalarOp::kIsNan, x), *inf = b.unary(ScalarOp::kIsInf, x);
    Value* bad = nan_only ? nan : inf_only ? inf : b.map(ScalarOp::kOr, {nan, inf});
    std::vector<int64_t> axes;
    for (int64_t a = 0; a < x->type.rank(); ++a) axes.push_back(a);
    Value* good = b.reduce(ScalarOp::kAnd, b.unary(ScalarOp::kNot, bad), axes);
    fine = fine ? b.map(ScalarOp::kAnd, {fine, good}) : good;
  }
  if (!fine) fail("There is nothing to look at.");
  op.output(0, fine);
}

void import_torch_embedding(Op& op) {
  op.has(2);  // padding_idx and scale_grad_by_freq are training's
  op.has(3);
  op.output(0, op.b.gather(op.tensor(0), op.tensor(1), 0));
}

// Slices of `size` along an axis, `step` apart, as a new last axis.
void import_unfold(Op& op) {
  Emit& b = op.b;
  Value* x = op.tensor(0);
  const int64_t rank = x->type.rank(), axis = op.axis(op.i("dim", -1), rank), size = op.i("size", 0),
                step = op.i("step", 1);
  if (size < 1 || step < 1) fail("Attributes 'size' ({}) and 'step' ({}) must be positive.", size, step);
  const Dim extent = dimension(x, axis);
  b.require(ScalarOp::kGe, extent, Dim(size), "The axis is shorter than a slice of it.");
  const Dim count = floordiv(extent - Dim(size), Dim(step)) + Dim(1);
  Value* from = b.mul(b.unsqueeze(b.iota({count}, 0, DType::kI64), {1}), b.i64(step));
  Value* at = b.add(from, b.unsqueeze(b.iota({Dim(size)}, 0, DType::kI64), {0}));
  Value* y = b.gather(x, at, axis);  // .., count, size, ..
  op.output(0, b.transpose(y, axis_to_end(rank + 1, axis + 1)));
}

// The cheapest way through costs [M, N] from one corner to the other, as pairs [2, T] of row and column. Sums
// are made by antidiagonals: those of one are a list by rows, each made of the two before it.
void import_time_warping(Op& op) {
  Emit& b = op.b;
  Value* costs = b.cast(op.tensor(0), DType::kF32);
  if (costs->type.rank() == 3) {
    costs = b.squeeze(b.adapt(costs, 0, Dim(1)), {0});
  } else if (costs->type.rank() != 2) {
    fail("The costs ({}) have neither two nor three dimensions.", costs->type.text());
  }
  const Dim rows = dimension(costs, 0), columns = dimension(costs, 1);
  for (const Dim& d : {rows, columns})
    b.require(ScalarOp::kGe, d, Dim(1), "There is no way through costs without rows or without columns.");
  const Dim steps = rows + columns - Dim(1), length = rows + Dim(1);
  Value* flat = b.reshape(costs, {rows * columns});
  Value* row = b.iota({length}, 0, DType::kI64);
  Value* far = b.full({length}, b.scalar(DType::kF32, std::numeric_limits<double>::infinity()));
  Value* corner = b.select(b.compare(ScalarOp::kEq, row, 0.0), b.like(far, 0), far);
  auto summed = build_loop(
      op, b.dim(steps), b.integer(DType::kBool, 1), {corner, far},
      [&](Importer::Region& region, Value* number, Value*, const std::vector<Value*>& inside) {
        Emit& l = *region.emit;
        auto above = [&](Value* v) {  // of the row before
          return l.concat({l.slice_axis(far, 0, Dim(0), Dim(1)), l.slice_axis(v, 0, Dim(0), rows)}, 0);
        };
        Value *both = above(inside[0]), *down = above(inside[1]), *right = inside[1];
        Value* column = l.sub(l.add(number, 2.0), row);
        auto less = [&](Value* a, Value* c) { return l.compare(ScalarOp::kLt, a, c); };
        auto and_of = [&](Value* a, Value* c) { return l.map(ScalarOp::kAnd, {a, c}); };
        Value* is_both = and_of(less(both, down), less(both, right));
        Value* is_down = and_of(less(down, both), less(down, right));
        Value* way = l.select(is_both, l.i64(0), l.select(is_down, l.i64(1), l.i64(2)));
        Value* least = l.select(is_both, both, l.select(is_down, down, right));
        auto within = [&](Value* v, const Dim& size) {
          return and_of(l.compare(ScalarOp::kGe, v, 1.0), l.compare(ScalarOp::kLe, v, l.dim(size)));
        };
        auto place = [&](Value* v, const Dim& size) {
          return l.max(l.min(l.sub(v, 1.0), l.dim(size - Dim(1))), l.i64(0));
        };
        Value* at = l.add(l.mul(place(row, rows), l.dim(columns)), place(column, columns));
        Value* sum = l.select(and_of(within(row, rows), within(column, columns)),
                              l.add(least, l.gather(flat, at, 0)), far);
        return LoopResult{l.integer(DType::kBool, 1), {inside[1], sum}, {way}};
      });
  Value* ways = b.reshape(summed.back(), {steps * length});
  auto walked =
      build_loop(op, b.dim(steps), b.integer(DType::kBool, 1), {b.dim(rows), b.dim(columns)},
                 [&](Importer::Region& region, Value*, Value*, const std::vector<Value*>& inside) {
                   Emit& l = *region.emit;
                   Value* diagonal = l.max(l.sub(l.add(inside[0], inside[1]), 2.0), l.i64(0));
                   Value* way = l.gather(ways, l.add(l.mul(diagonal, l.dim(length)), inside[0]), 0);
                   auto next = [&](int64_t i, double stays) {
                     Value* v = inside[static_cast<size_t>(i)];
                     return l.select(l.compare(ScalarOp::kEq, way, stays), v, l.sub(v, 1.0));
                   };
                   Value *r = next(0, 2), *c = next(1, 1);
                   Value* more = l.map(ScalarOp::kAnd,
                                       {l.compare(ScalarOp::kGt, r, 0.0), l.compare(ScalarOp::kGt, c, 0.0)});
                   Value* here = l.concat({l.unsqueeze(inside[0], {0}), l.unsqueeze(inside[1], {0})}, 0);
                   return LoopResult{more, {r, c}, {l.sub(here, 1.0)}};
                 });
  Value* path = walked.back();  // [T, 2], from the end
  const Dim found = dimension(path, 0);
  path = b.slice_axis(path, 0, found - Dim(1), found, -1);
  op.output(0, b.cast(b.transpose(path, {1, 0}), DType::kI32));
}

Value* centred(Op& op, int i, int zero) {
  Value* x = op.b.cast(op.tensor(i), DType::kI32);
  return op.has(zero) ? op.b.sub(x, op.b.cast(op.tensor(zero), DType::kI32)) : x;
}

void import_mul_integer(Op& op) {
  op.output(0, op.b.mul(centred(op, 0, 1), centred(op, 2, 3)));
}

void import_matmul_integer16(Op& op) {
  Emit& b = op.b;
  op.output(0, matmul(b, b.cast(op.tensor(0), DType::kI32), b.cast(op.tensor(1), DType::kI32)));
}

void import_reduce_sum_integer(Op& op) {
  Emit& b = op.b;
  Value* x = op.tensor(0);
  const std::vector<int64_t> axes = op.axes(op.ints("axes"), x->type.rank());
  const DType to = is_signed_int(x->type.dtype) ? DType::kI32 : DType::kU32;
  op.output(0, b.reduce(ScalarOp::kAdd, b.cast(x, to), axes, op.i("keepdims", 1) != 0));
}

// Gauss-Jordan with the largest pivot of each column, one step a row.
void import_inverse(Op& op) {
  Emit& b = op.b;
  Value* x = op.tensor(0);
  const DType type = x->type.dtype;
  const int64_t rank = x->type.rank();
  constexpr int64_t kMost = 64;
  const Shape& shape = x->type.shape;
  if (rank < 2 || shape.back() != shape[shape.size() - 2] || !shape.back().is_const() ||
      shape.back().value() > kMost)
    fail("Inverses are supported of square matrices of at most {} rows; the operand is {}.", kMost,
         x->type.text());
  const int64_t n = shape.back().value();
  x = b.wide(x);
  const Shape plane = {Dim(n), Dim(n)};
  Value* unit = b.cast(b.compare(ScalarOp::kEq, b.iota(plane, 0, DType::kI64), b.iota(plane, 1, DType::kI64)),
                       x->type.dtype);
  Value* both = b.concat({x, b.broadcast(unit, shape)}, rank - 1);  // [.., n, 2n]
  Value* number = row_numbers(b, rank, n);
  for (int64_t i = 0; i < n; ++i) {
    const Pivot step = take_pivot(b, both, number, i);
    Value* pivot = b.div(step.row, column_of(b, step.row, i));
    Value* rest = b.sub(step.matrices, b.mul(column_of(b, step.matrices, i), pivot));
    both = b.select(b.compare(ScalarOp::kEq, number, b.i64(i)), pivot, rest);
  }
  op.output(0, b.cast(b.slice_axis(both, rank - 1, Dim(n), Dim(n)), type));
}

// WavLM's positions, weighted by gates that the queries open: [B, heads, S, S].
void import_gated_position_bias(Op& op) {
  Emit& b = op.b;
  const int64_t heads = op.i("num_heads", 0);
  if (op.has(6)) fail("Input 6 (token_offset, batches without padding) is not supported.");
  Value *x = op.tensor(0), *weight = op.tensor(3);
  if (heads < 1 || x->type.rank() != 3 || weight->type.rank() != 2)
    fail("Queries ({}) of {} heads with weights ({}) are not supported.", x->type.text(), heads,
         weight->type.text());
  Value* q = split_heads(b, b.add(x, op.tensor(1)), heads);
  Value* gates = b.add(matmul(b, q, weight), op.tensor(4));  // [B, heads, S, D]
  const Shape s = gates->type.shape;
  const Dim half = floordiv(s[3], Dim(2));
  gates = sigmoid(b, b.reduce(ScalarOp::kAdd, b.reshape(gates, {s[0], s[1], s[2], Dim(2), half}), {4}));
  const auto gate = [&](int64_t i) { return b.slice_axis(gates, 3, Dim(i), Dim(1)); };
  Value* scale = b.add(b.mul(gate(0), b.sub(b.mul(gate(1), op.tensor(5)), 1.0)), 2.0);
  op.output(0, b.mul(scale, op.tensor(2)));
}

// Queries and keys turned by the angles of `emb`, their halves turned already.
void import_gemma_rotary(Op& op) {
  Emit& b = op.b;
  Value* angles = op.tensor(0);
  for (int i = 0; i < 2; ++i) {
    Value *x = op.tensor(1 + 2 * i), *turned = op.tensor(2 + 2 * i);
    const auto part = [&](ScalarOp f) { return b.unsqueeze(b.cast(b.unary(f, angles), x->type.dtype), {1}); };
    op.output(i, b.add(b.mul(x, part(ScalarOp::kCos)), b.mul(turned, part(ScalarOp::kSin))));
  }
}

// Scores of words that would repeat an n-gram of the text become -inf.
void import_ngram_repeat(Op& op) {
  Emit& b = op.b;
  Value *ids = op.tensor(0), *scores = op.tensor(1);
  const int64_t n = op.i("ngram_size", 0);
  if (n < 1 || ids->type.rank() != 2 || scores->type.rank() != 2)
    fail(
        "'ngram_size' ({}), words ({}) or scores ({}) are not supported: it must be positive, they matrices.",
        n, ids->type.text(), scores->type.text());
  const Dim length = dimension(ids, 1), count = b.max_dim(length - Dim(n - 1), Dim(0));
  Value* same = b.full({dimension(ids, 0), count}, b.integer(DType::kBool, 1));
  for (int64_t i = 0; i + 1 < n; ++i) {
    // A text that is shorter than an n-gram repeats none, whichever word is read here.
    Value* at = b.min(b.dim(count + Dim(i)), b.max(b.dim(length - Dim(1)), b.i64(0)));
    Value* last = b.gather(ids, b.reshape(at, {Dim(1)}), 1);
    same =
        b.map(ScalarOp::kAnd,
              {same, b.compare(ScalarOp::kEq, b.slice_axis(ids, 1, b.min_dim(Dim(i), length), count), last)});
  }
  Value* words = b.cast(b.slice_axis(ids, 1, b.min_dim(Dim(n - 1), length), count), DType::kI64);
  const double infinity = std::numeric_limits<double>::infinity();
  Value* bounds = b.select(same, b.like(scores, -infinity), b.like(scores, infinity));
  op.output(0, b.emit(OpKind::kScatterElements, {scores, words, bounds},
                      {{"axis", int64_t{1}}, {"reduction", std::string("min")}}));
}

constexpr OpRow kRows[] = {
    {kMicrosoft, "GatedRelativePositionBias", 1, kLatest, import_gated_position_bias},
    {kMicrosoft, "GemmaRotaryEmbedding", 1, kLatest, import_gemma_rotary},
    {kMicrosoft, "NGramRepeatBlock", 1, kLatest, import_ngram_repeat},
    {kMicrosoft, "ScaledSiLU", 1, kLatest, import_scaled_silu},
    {kMicrosoft, "SwiGLU", 1, kLatest, import_swiglu},
    {kMicrosoft, "GatedAdd", 1, kLatest, import_gated_add},
    {kMicrosoft, "GatedRMSNorm", 1, kLatest, import_gated_rms_norm},
    {kMicrosoft, "BiasDropout", 1, kLatest, import_bias_dropout},
    {kMicrosoft, "RelativePositionBias", 1, kLatest, import_relative_position_bias},
    {kMicrosoft, "MRotaryEmbedding", 1, kLatest, import_mrotary},
    {kMicrosoft, "ComplexMul", 1, kLatest, import_complex_mul<false>},
    {kMicrosoft, "ComplexMulConj", 1, kLatest, import_complex_mul<true>},
    {kMicrosoft, "IsAllFinite", 1, kLatest, import_is_all_finite},
    {kMicrosoft, "TorchEmbedding", 1, kLatest, import_torch_embedding},
    {kMicrosoft, "UnfoldTensor", 1, kLatest, import_unfold},
    {kMicrosoft, "DynamicTimeWarping", 1, kLatest, import_time_warping},
    {kMicrosoft, "MulInteger", 1, kLatest, import_mul_integer},
    {kMicrosoft, "MatMulInteger16", 1, kLatest, import_matmul_integer16},
    {kMicrosoft, "ReduceSumInteger", 1, kLatest, import_reduce_sum_integer},
    {kMicrosoft, "Inverse", 1, kLatest, import_inverse},
};

}  // namespace

std::span<const OpRow> contrib_math_rows() {
  return kRows;
}

}  // namespace tern::onnx
