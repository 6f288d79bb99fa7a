// com.microsoft: operators of exported language models: weights in blocks of integers, rotary positions.
#include <algorithm>
#include <numeric>
#include <optional>

#include "compiler/onnx/attention.h"
#include "compiler/onnx/common.h"
#include "compiler/onnx/families.h"
#include "compiler/onnx/quant.h"

namespace tern::onnx {

namespace {

int64_t whole(const Dim& d, const char* what) {
  if (!d.is_const()) fail("The {} ({}) must be known while compiling.", what, d.text());
  return d.value();
}

// Integers of 2 to 8 bits in rows of bytes, the lowest bits first, as a constant of 4 or 8 bits.
TensorDataPtr unpacked_constant(const TensorData& bytes, int64_t rows, int64_t bits, int64_t count) {
  auto out = TensorData::make(bits <= 4 ? DType::kU4 : DType::kU8, {rows, count});
  const int width = bits <= 4 ? 4 : 8;
  const int64_t stride = bytes.count() / rows;
  uint8_t* to = out->mutable_bytes().data();
  for (int64_t r = 0; r < rows; ++r) {
    const uint8_t* from = bytes.bytes().data() + r * stride;
    for (int64_t i = 0; i < count; ++i) {
      const int64_t bit = i * bits, at = bit / 8;
      const unsigned next = bit % 8 + bits > 8 ? from[at + 1] : 0u;
      const unsigned pair = from[at] | next << 8;
      store_element_bits(to, width, r * count + i, (pair >> (bit % 8)) & ((1u << bits) - 1));
    }
  }
  return out;
}

}  // namespace

Value* unpacked(Emit& b, Value* bytes, int64_t rows, int64_t bits, int64_t count, const char* what) {
  const int64_t all = whole(product(bytes->type.shape), what);
  if (rows < 1 || all % rows != 0) fail("The {} ({}) do not have {} rows.", what, bytes->type.text(), rows);
  const int64_t width = all / rows, have = width * 8 / bits;
  if (bytes->type.dtype != DType::kU8 || have < count)
    fail("The {} ({}) hold fewer than {} integers of {} bits in a row.", what, bytes->type.text(), count,
         bits);
  if (const TensorDataPtr data = b.constant_data(bytes); data && bits != 8) {
    if (bits == 4 && have == count)
      return b.constant(TensorData::borrow(DType::kU4, {rows, have}, data->bytes(), data));
    return b.constant(unpacked_constant(*data, rows, bits, count));
  }
  if (8 % bits != 0)
    fail(
        "The {} are integers of {} bits that are computed at run time; tern needs to know them when it "
        "compiles.",
        what, bits);
  Value* v = b.reshape(bytes, {Dim(rows), Dim(width), Dim(1)});
  if (bits != 8) {
    std::vector<Value*> parts;
    for (int64_t shift = 0; shift < 8; shift += bits)
      parts.push_back(b.map(ScalarOp::kAnd, {b.map(ScalarOp::kShr, {v, b.integer(DType::kU8, shift)}),
                                             b.integer(DType::kU8, (int64_t{1} << bits) - 1)}));
    v = b.concat(parts, 2);
  }
  v = b.reshape(v, {Dim(rows), Dim(have)});
  return have == count ? v : b.slice_axis(v, 1, Dim(0), Dim(count));
}

namespace {

// The order of the columns that puts those of a block side by side, if each block has as many as it should.
std::optional<std::vector<int64_t>> block_order(const TensorData& block_of, int64_t block) {
  std::vector<int64_t> order(static_cast<size_t>(block_of.count()));
  std::iota(order.begin(), order.end(), int64_t{0});
  std::sort(order.begin(), order.end(), [&](int64_t x, int64_t y) {
    const int64_t of_x = block_of.int_at(x), of_y = block_of.int_at(y);
    return of_x != of_y ? of_x < of_y : x < y;
  });
  for (size_t i = 0; i < order.size(); ++i)
    if (block_of.int_at(order[i]) != static_cast<int64_t>(i) / block) return std::nullopt;
  return order;
}

TensorDataPtr with_columns(const TensorData& matrix, const std::vector<int64_t>& columns) {
  const int64_t rows = matrix.shape()[0], width = matrix.shape()[1],
                count = static_cast<int64_t>(columns.size());
  auto out = TensorData::make(matrix.dtype(), {rows, count});
  uint8_t* to = out->mutable_bytes().data();
  const int bits = dtype_bits(matrix.dtype());
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < count; ++i)
      store_element_bits(
          to, bits, r * count + i,
          load_element_bits(matrix.bytes().data(), bits, r * width + columns[static_cast<size_t>(i)]));
  return out;
}

struct BlockWeights {
  int64_t k, n, block, blocks, bits;
};

// Input 4, g_idx: the block of each column. Where that says no more than a permutation, weights and operand
// are permuted, and the blocks are blocks again; else every column takes its scale and zero point.
struct Ordered {
  Value *x, *q, *scale, *zero;  // zero: a scalar, or as the scales
};

Ordered in_order(Op& op, const BlockWeights& w, Ordered o, bool may_be_given) {
  Emit& b = op.b;
  const bool given = may_be_given && op.has(4);
  const auto spread = [&](Value* v) { return b.reshape(v, {Dim(w.n), Dim(w.blocks), Dim(1)}); };
  const bool one_zero = o.zero->type.rank() == 0;
  const TensorDataPtr known = given ? b.constant_data(op.tensor(4)) : nullptr;
  const auto order = known && known->count() == w.k ? block_order(*known, w.block) : std::nullopt;
  if (!given || order) {
    if (order && !std::is_sorted(order->begin(), order->end())) {
      o.x = b.gather(o.x, b.i64s(*order), static_cast<int64_t>(o.x->type.rank()) - 1);
      std::vector<int64_t> columns = *order;
      for (int64_t i = w.k; i < w.blocks * w.block; ++i) columns.push_back(i);
      const TensorDataPtr data = b.constant_data(o.q);
      o.q = data ? b.constant(with_columns(*data, columns)) : b.gather(o.q, b.i64s(columns), 1);
    }
    o.q = b.reshape(o.q, {Dim(w.n), Dim(w.blocks), Dim(w.block)});
    return {o.x, o.q, spread(o.scale), one_zero ? o.zero : spread(o.zero)};
  }
  Value* block_of = b.adapt(b.cast(op.tensor(4), DType::kI64), 0, Dim(w.k));
  if (w.blocks * w.block != w.k) o.q = b.slice_axis(o.q, 1, Dim(0), Dim(w.k));
  const auto at = [&](Value* v) { return b.gather(b.reshape(v, {Dim(w.n), Dim(w.blocks)}), block_of, 1); };
  return {o.x, o.q, at(o.scale), one_zero ? o.zero : at(o.zero)};
}

BlockWeights weights_of(Op& op, int64_t rows) {
  op.ignore({"accuracy_level"});
  BlockWeights w{op.i("K", 0), rows, op.i("block_size", 0), 0, op.i("bits", 4)};
  if (w.bits < 2 || w.bits > 8) fail("Attribute 'bits' ({}) must be from 2 to 8.", w.bits);
  if (w.k < 1 || w.n < 1 || w.block < 16 || (w.block & (w.block - 1)) != 0)
    fail("Attributes K ({}) and N ({}) must be positive, 'block_size' ({}) a power of two from 16 on.", w.k,
         w.n, w.block);
  w.blocks = (w.k + w.block - 1) / w.block;
  return w;
}

// x * w^T with w [N, K] in blocks along K of integers, (q - zero) * scale; zero points left out: the middle
// of the integers. `order`: the operator's inputs name each column's block.
Value* block_product(Op& op, const BlockWeights& w, Value* x, int weights_at, Value* points, bool order) {
  Emit& b = op.b;
  const DType type = x->type.dtype;
  Value* q = unpacked(b, op.tensor(weights_at), w.n, w.bits, w.blocks * w.block, "weights");
  Value* zero = b.scalar(type, static_cast<double>(int64_t{1} << (w.bits - 1)));
  if (points) {
    if (points->type.dtype == DType::kU8) points = unpacked(b, points, w.n, w.bits, w.blocks, "zero points");
    zero = b.cast(points, type);
  }
  const Ordered o = in_order(op, w, {x, q, b.cast(op.tensor(weights_at + 1), type), zero}, order);
  Value* weights = b.mul(b.sub(b.cast(o.q, type), o.zero), o.scale);
  if (weights->type.rank() == 3) weights = b.reshape(weights, {Dim(w.n), Dim(w.blocks * w.block)});
  if (dimension(weights, 1) != Dim(w.k)) weights = b.slice_axis(weights, 1, Dim(0), Dim(w.k));
  return matmul(b, o.x, b.transpose(weights, {1, 0}));
}

void import_matmul_nbits(Op& op) {
  Value* x = op.tensor(0);
  const BlockWeights w = weights_of(op, op.i("N", 0));
  if (const int64_t prepacked = op.i("weight_prepacked", 0); prepacked != 0)
    fail(
        "Attribute 'weight_prepacked' ({}) is not supported: the weights lie as one GPU's kernel wants them; "
        "export the model without it.",
        prepacked);
  Value* y = block_product(op, w, x, 1, op.optional_input(3), true);
  op.output(0, op.has(5) ? op.b.add(y, op.tensor(5)) : y);
}

// What the operators below multiply: the operand, perhaps plus `skip`, perhaps normalised; `sum_at`: the
// output that has the sum.
Value* normalised_operand(Op& op, int sum_at, double least) {
  Emit& b = op.b;
  Value* x = op.tensor(0);
  if (op.has(1)) x = b.add(x, op.tensor(1));
  if (op.wants(sum_at)) op.output(sum_at, x);
  const double epsilon = op.f("epsilon", least);
  if (!op.has(2)) return x;
  return b.mul(normalise(b, x, {x->type.rank() - 1}, epsilon, false).value,
               b.cast(op.tensor(2), x->type.dtype));
}

// A product of inputs `at` (weights), at + 1 (scales) and at + 2 (bias).
Value* block_projection(Op& op, Value* x, int64_t rows, int at) {
  Value* y = block_product(op, weights_of(op, rows), x, at, nullptr, false);
  return op.has(at + 2) ? op.b.add(y, op.tensor(at + 2)) : y;
}

void import_matmul_nbits_qkv(Op& op) {
  Value* x = normalised_operand(op, 3, 1e-6);
  const int64_t queries = op.i("Nq", 0), others = op.i("Nkv", 0);
  for (int i = 0; i < 3; ++i) op.output(i, block_projection(op, x, i == 0 ? queries : others, 3 + 3 * i));
}

void import_matmul_nbits_mlp(Op& op) {
  Emit& b = op.b;
  Value* x = normalised_operand(op, 1, 1e-5);
  const int64_t rows = op.i("N", 0);
  Value *gate = block_projection(op, x, rows, 3), *up = block_projection(op, x, rows, 6);
  const std::string activation = op.s("activation", "silu");
  if (activation != "silu") fail("Attribute 'activation' ('{}') must be silu.", activation);
  op.output(0, b.mul(b.mul(gate, sigmoid(b, gate)), up));
}

// y = x * w^T with w [N, K], whose elements are numbered row by row: one of 16 numbers each, times the
// greatest absolute value of its block.
void import_matmul_bnb4(Op& op) {
  Emit& b = op.b;
  Value* x = op.tensor(0);
  const int64_t k = op.i("K", 0), n = op.i("N", 0), block = op.i("block_size", 0),
                kind = op.i("quant_type", 0);
  op.ignore({"training_mode"});
  if (k < 1 || n < 1 || block < 16 || (block & (block - 1)) != 0)
    fail("Attributes K ({}) and N ({}) must be positive, 'block_size' ({}) a power of two from 16 on.", k, n,
         block);
  if (kind != 0 && kind != 1) fail("Attribute 'quant_type' ({}) must be 0 (FP4) or 1 (NF4).", kind);
  // bitsandbytes: FP4 has a sign, two bits of exponent and one of mantissa, over 12; NF4 has quantiles of a
  // normal distribution.
  static const std::vector<double> kFp4 = {
      0,    0.00520833333,  0.66666667,  1,  0.33333333,  0.5,  0.16666667,  0.25,
      -0.0, -0.00520833333, -0.66666667, -1, -0.33333333, -0.5, -0.16666667, -0.25};
  static const std::vector<double> kNf4 = {-1.0,
                                           -0.6961928009986877,
                                           -0.5250730514526367,
                                           -0.39491748809814453,
                                           -0.28444138169288635,
                                           -0.18477343022823334,
                                           -0.09105003625154495,
                                           0.0,
                                           0.07958029955625534,
                                           0.16093020141124725,
                                           0.24611230194568634,
                                           0.33791524171829224,
                                           0.44070982933044434,
                                           0.5626170039176941,
                                           0.7229568362236023,
                                           1.0};
  const DType type = x->type.dtype;
  const int64_t all = n * k, blocks = (all + block - 1) / block;
  Value* bytes = b.reshape(op.tensor(1), {product(op.tensor(1)->type.shape)});
  Value* pair = b.unsqueeze(bytes, {1});  // the upper half of a byte first
  Value* codes = b.concat({b.map(ScalarOp::kShr, {pair, b.integer(DType::kU8, 4)}),
                           b.map(ScalarOp::kAnd, {pair, b.integer(DType::kU8, 15)})},
                          1);
  codes = b.reshape(codes, {product(codes->type.shape)});
  if (whole(dimension(codes, 0), "weights") < all)
    fail("The weights ({}) have fewer than {} elements.", op.tensor(1)->type.text(), all);
  if (!dimension(codes, 0).is_const(all)) codes = b.slice_axis(codes, 0, Dim(0), Dim(all));
  Value* values = b.gather(b.floats(type, kind == 0 ? kFp4 : kNf4), b.cast(codes, DType::kI32), 0);
  Value* most = b.cast(fitted(b, op.tensor(2), "the scales", {Dim(blocks)}), type);
  Value* scale =
      b.reshape(b.broadcast(b.unsqueeze(most, {1}), {Dim(blocks), Dim(block)}), {Dim(blocks * block)});
  if (blocks * block != all) scale = b.slice_axis(scale, 0, Dim(0), Dim(all));
  Value* weights = b.reshape(b.mul(values, scale), {Dim(n), Dim(k)});
  op.output(0, matmul(b, x, op.i("transB", 1) != 0 ? b.transpose(weights, {1, 0}) : weights));
}

struct QuantisedTable {
  int64_t gather_axis, axis, block, blocks, width;
  bool packed;  // bytes that hold integers of `bits`
  int64_t bits;
};

QuantisedTable table_of(Op& op) {
  const Value *data = op.tensor(0), *scales = op.tensor(2);
  const int64_t rank = data->type.rank();
  QuantisedTable t{op.axis(op.i("gather_axis", 0), rank),
                   op.axis(op.i("quantize_axis", 1), rank),
                   op.i("block_size", 128),
                   0,
                   0,
                   data->type.dtype == DType::kU8,
                   op.i("bits", 4)};
  if (rank < 1 || scales->type.rank() != rank)
    fail("The table ({}) and its scales ({}) do not have as many dimensions.", data->type.text(),
         scales->type.text());
  if (const Value* points = op.optional_input(3); points && points->type.rank() != rank)
    fail("The zero points ({}) and the scales ({}) do not have as many dimensions.", points->type.text(),
         scales->type.text());
  if (t.packed && (t.gather_axis != 0 || t.gather_axis == t.axis))
    fail("Bytes are gathered along axis 0 (not {}) and have blocks along another one (not {}).",
         t.gather_axis, t.axis);
  if (t.packed && t.bits != 2 && t.bits != 4 && t.bits != 8)
    fail("Attribute 'bits' ({}) must be 2, 4 or 8.", t.bits);
  const auto a = static_cast<size_t>(t.axis);
  t.width = whole(dimension(data, a), "table");
  if (t.packed && t.axis == rank - 1) t.width *= 8 / t.bits;
  if (t.block == 0) t.block = t.width;
  t.blocks = whole(dimension(scales, a), "scales");
  if (t.block < 1 || (t.width + t.block - 1) / t.block != t.blocks)
    fail("{} elements in blocks of {} do not have {} scales.", t.width, t.block, t.blocks);
  return t;
}

// Rows of a table of such weights, or of small floats with scales.
void import_gather_block_quantized(Op& op) {
  Emit& b = op.b;
  Value *data = op.tensor(0), *scales = op.tensor(2);
  const QuantisedTable t = table_of(op);
  Value* indices = b.cast(op.tensor(1), DType::kI64);
  const auto last = static_cast<int64_t>(data->type.rank()) - 1;
  const auto integers = [&](Value* v, int64_t width, const char* what) {
    if (!t.packed) return v;
    const Dim stored = last_dimension(v);
    Shape shape = v->type.shape;
    int64_t rows = 1;
    for (size_t i = 0; i + 1 < shape.size(); ++i) rows *= whole(shape[i], what);
    const int64_t count = t.axis == last ? width : whole(stored, what) * 8 / t.bits;
    shape.back() = Dim(count);
    return b.reshape(unpacked(b, v, rows, t.bits, count, what), shape);
  };
  // Along the axis of the blocks as long as the table is, at the gathered places.
  const int64_t grown = static_cast<int64_t>(indices->type.rank()) - 1;
  const int64_t axis = t.axis > t.gather_axis ? t.axis + grown : t.axis;
  const auto parameter = [&](Value* v) {
    if (t.axis == t.gather_axis) {
      Value* wrapped =
          b.select(b.compare(ScalarOp::kLt, indices, b.i64(0)), b.add(indices, b.i64(t.width)), indices);
      return b.gather(v, b.div(wrapped, b.i64(t.block)), t.axis);
    }
    Value* at =
        dimension(v, t.gather_axis).is_const(1) ? b.map(ScalarOp::kMul, {indices, b.i64(0)}) : indices;
    v = b.gather(v, at, t.gather_axis);
    Shape wide = v->type.shape, joined = v->type.shape;
    wide.insert(wide.begin() + axis + 1, Dim(t.block));
    joined[static_cast<size_t>(axis)] = Dim(t.blocks * t.block);
    v = b.reshape(b.broadcast(b.unsqueeze(v, {axis + 1}), wide), joined);
    return t.blocks * t.block == t.width ? v : b.slice_axis(v, axis, Dim(0), Dim(t.width));
  };
  const DType type = scales->type.dtype;
  Value* q = b.cast(b.gather(integers(data, t.width, "rows"), indices, t.gather_axis), type);
  if (Value* points = op.optional_input(3)) {
    q = b.sub(q, parameter(b.cast(integers(points, t.blocks, "zero points"), type)));
  } else if (t.packed) {
    q = b.sub(q, static_cast<double>(int64_t{1} << (t.bits - 1)));
  }
  op.output(0, b.mul(q, parameter(scales)));
}

void import_rotary(Op& op) {
  Emit& b = op.b;
  Value *x = op.tensor(0), *cosine = op.tensor(2), *sine = op.tensor(3);
  const int64_t heads = op.i("num_heads", 0), width = op.i("rotary_embedding_dim", 0);
  if (op.i("is_packed_batching", 0) != 0) fail("Attribute 'is_packed_batching' is not supported.");
  op.ignore({"scale"});
  check_position_cache(cosine);
  const Shape original = x->type.shape;
  const bool packed = x->type.rank() == 3;
  if (packed) {
    const Dim size = heads > 0 ? floordiv(original[2], Dim(heads)) : dimension(cosine, 1) * Dim(2);
    x = b.reshape(x, {original[0], original[1], divide_products({original[2]}, {size}), size});
  } else if (x->type.rank() == 4) {
    x = b.transpose(x, {0, 2, 1, 3});
  } else {
    fail("The operand ({}) has neither three nor four dimensions.", x->type.text());
  }
  Value* positions = b.cast(op.tensor(1), DType::kI64);
  if (positions->type.rank() == 1)  // where the sequence begins
    positions = b.add(b.iota({dimension(x, 1)}, 0, DType::kI64), positions);
  Value* y = rotate(b, x, at_positions(b, cosine, positions), at_positions(b, sine, positions),
                    width > 0 ? Dim(width) : dimension(x, 3), op.i("interleaved", 0) != 0);
  op.output(0, packed ? b.reshape(y, original) : b.transpose(y, {0, 2, 1, 3}));
}

constexpr OpRow kRows[] = {
    {kMicrosoft, "MatMulNBits", 1, kLatest, import_matmul_nbits},
    {kMicrosoft, "MatMulNBitsQkv", 1, kLatest, import_matmul_nbits_qkv},
    {kMicrosoft, "MatMulNBitsMlp", 1, kLatest, import_matmul_nbits_mlp},
    {kMicrosoft, "MatMulBnb4", 1, kLatest, import_matmul_bnb4},
    {kMicrosoft, "GatherBlockQuantized", 1, kLatest, import_gather_block_quantized},
    {kMicrosoft, "RotaryEmbedding", 1, kLatest, import_rotary},
};

}  // namespace

std::span<const OpRow> language_rows() {
  return kRows;
}

}  // namespace tern::onnx
