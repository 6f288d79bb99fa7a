// com.microsoft: operators of exported language models: weights in blocks of integers, rotary positions,
// attention over grouped heads with a cache.
#include <cmath>
#include <limits>
#include <utility>

#include "compiler/onnx/attention.h"
#include "compiler/onnx/common.h"
#include "compiler/onnx/families.h"

namespace tern::onnx {

namespace {

int64_t whole(const Dim& d, const char* what) {
  if (!d.is_const()) fail("The {} ({}) must be known while compiling.", what, d.text());
  return d.value();
}

// Bytes of any shape as [rows, n] integers of `bits` (4: two a byte, the lower half first), the first `count`
// of each row.
Value* unpacked(Emit& b, Value* bytes, int64_t rows, int64_t bits, int64_t count, const char* what) {
  const int64_t all = whole(product(bytes->type.shape), what);
  if (rows < 1 || all % rows != 0) fail("The {} ({}) do not have {} rows.", what, bytes->type.text(), rows);
  const int64_t width = all / rows, have = width * 8 / bits;
  if (bytes->type.dtype != DType::kU8 || have < count)
    fail("The {} ({}) hold fewer than {} integers of {} bits in a row.", what, bytes->type.text(), count,
         bits);
  Value* v;
  if (const TensorDataPtr data = b.constant_data(bytes); data && bits == 4) {
    v = b.constant(TensorData::borrow(DType::kU4, {rows, have}, data->bytes(), data));
  } else if (bits == 4) {
    Value* low = b.map(ScalarOp::kAnd, {bytes, b.integer(DType::kU8, 15)});
    Value* high = b.map(ScalarOp::kShr, {bytes, b.integer(DType::kU8, 4)});
    const auto pair = static_cast<int64_t>(bytes->type.rank());
    v = b.reshape(b.concat({b.unsqueeze(low, {pair}), b.unsqueeze(high, {pair})}, pair),
                  {Dim(rows), Dim(have)});
  } else {
    v = b.reshape(bytes, {Dim(rows), Dim(have)});
  }
  return have == count ? v : b.slice_axis(v, 1, Dim(0), Dim(count));
}

// y = x * w^T + bias with w [N, K] in blocks along K of integers, (q - zero) * scale.
void import_matmul_nbits(Op& op) {
  Emit& b = op.b;
  Value* x = op.tensor(0);
  const int64_t k = op.i("K", 0), n = op.i("N", 0), block = op.i("block_size", 0), bits = op.i("bits", 4);
  op.ignore({"accuracy_level", "weight_prepacked"});
  if (bits != 4 && bits != 8) fail("Attribute 'bits' ({}) must be 4 or 8.", bits);
  if (k < 1 || n < 1 || block < 16 || (block & (block - 1)) != 0)
    fail("Attributes K ({}) and N ({}) must be positive, 'block_size' ({}) a power of two from 16 on.", k, n,
         block);
  if (op.has(4)) fail("Input 4 (g_idx, an order of the rows) is not supported.");
  const int64_t blocks = (k + block - 1) / block;
  const DType type = x->type.dtype;
  Value* q = unpacked(b, op.tensor(1), n, bits, blocks * block, "weights");
  q = b.reshape(q, {Dim(n), Dim(blocks), Dim(block)});
  Value* scale = b.reshape(b.cast(op.tensor(2), type), {Dim(n), Dim(blocks), Dim(1)});
  Value* zero = b.scalar(type, static_cast<double>(int64_t{1} << (bits - 1)));
  if (Value* points = op.optional_input(3)) {
    if (points->type.dtype == DType::kU8) points = unpacked(b, points, n, bits, blocks, "zero points");
    zero = b.reshape(b.cast(points, type), {Dim(n), Dim(blocks), Dim(1)});
  }
  Value* w = b.mul(b.sub(b.cast(q, type), zero), scale);
  w = b.reshape(w, {Dim(n), Dim(blocks * block)});
  if (blocks * block != k) w = b.slice_axis(w, 1, Dim(0), Dim(k));
  Value* y = matmul(b, x, b.transpose(w, {1, 0}));
  op.output(0, op.has(5) ? b.add(y, op.tensor(5)) : y);
}

// Rows of a table of such weights.
void import_gather_block_quantized(Op& op) {
  Emit& b = op.b;
  Value *data = op.tensor(0), *indices = op.tensor(1), *scales = op.tensor(2);
  const int64_t rank = data->type.rank(), block = op.i("block_size", 128), bits = op.i("bits", 4);
  const int64_t gather_axis = op.axis(op.i("gather_axis", 0), rank),
                axis = op.axis(op.i("quantize_axis", 1), rank);
  if (rank != 2 || gather_axis != 0 || axis != 1)
    fail(
        "Rows of two dimensions ({}), gathered along axis 0 (not {}) and in blocks along axis 1 (not {}), "
        "are "
        "supported.",
        data->type.text(), gather_axis, axis);
  if (bits != 4 && bits != 8) fail("Attribute 'bits' ({}) must be 4 or 8.", bits);
  const bool bytes = data->type.dtype == DType::kU8;
  const int64_t blocks = whole(scales->type.shape[1], "scales");
  const int64_t width = whole(data->type.shape[1], "rows") * (bytes ? 8 / bits : 1);
  if (block < 1 || (width + block - 1) / block != blocks)
    fail("Rows of {} in blocks of {} do not have {} scales.", width, block, blocks);
  const auto rows = [&](Value* v, int64_t count, const char* what) {
    return b.gather(
        v->type.dtype == DType::kU8 ? unpacked(b, v, whole(v->type.shape[0], what), bits, count, what) : v,
        indices, 0);
  };
  const DType type = scales->type.dtype;
  Value *q = b.cast(rows(data, width, "rows"), type), *scale = b.gather(scales, indices, 0);
  // [..., blocks] to [..., width]
  const auto spread = [&](Value* v) {
    const auto last = static_cast<int64_t>(v->type.rank());
    Shape wide = v->type.shape, joined = v->type.shape;
    wide.push_back(Dim(block));
    joined.back() = Dim(blocks * block);
    Value* all = b.reshape(b.broadcast(b.unsqueeze(v, {last}), wide), joined);
    return blocks * block == width ? all : b.slice_axis(all, last - 1, Dim(0), Dim(width));
  };
  if (Value* points = op.optional_input(3)) {
    q = b.sub(q, spread(b.cast(rows(points, blocks, "zero points"), type)));
  } else if (bytes) {
    q = b.sub(q, static_cast<double>(int64_t{1} << (bits - 1)));
  }
  op.output(0, b.mul(q, spread(scale)));
}

// Caches [positions, R/2] at positions [B, S] (or [S]) as [B, S, 1, R/2].
Value* at_positions(Emit& b, Value* cache, Value* positions) {
  if (cache->type.rank() != 2) fail("A cache ({}) does not have two dimensions.", cache->type.text());
  if (positions->type.rank() == 1) positions = b.unsqueeze(positions, {0});
  return b.unsqueeze(b.gather(cache, positions, 0), {2});
}

void import_rotary(Op& op) {
  Emit& b = op.b;
  Value *x = op.tensor(0), *cosine = op.tensor(2), *sine = op.tensor(3);
  const int64_t heads = op.i("num_heads", 0), width = op.i("rotary_embedding_dim", 0);
  if (op.i("is_packed_batching", 0) != 0) fail("Attribute 'is_packed_batching' is not supported.");
  op.ignore({"scale"});
  const Shape original = x->type.shape;
  const bool packed = x->type.rank() == 3;
  if (packed) {
    const Dim size = heads > 0 ? floordiv(original[2], Dim(heads)) : cosine->type.shape.back() * Dim(2);
    x = b.reshape(x, {original[0], original[1], divide_products({original[2]}, {size}), size});
  } else if (x->type.rank() == 4) {
    x = b.transpose(x, {0, 2, 1, 3});
  } else {
    fail("The operand ({}) has neither three nor four dimensions.", x->type.text());
  }
  Value* positions = b.cast(op.tensor(1), DType::kI64);
  if (positions->type.rank() == 1)  // where the sequence begins
    positions = b.add(b.iota({x->type.shape[1]}, 0, DType::kI64), positions);
  Value* y = rotate(b, x, at_positions(b, cosine, positions), at_positions(b, sine, positions),
                    width > 0 ? Dim(width) : x->type.shape[3], op.i("interleaved", 0) != 0);
  op.output(0, packed ? b.reshape(y, original) : b.transpose(y, {0, 2, 1, 3}));
}

// All sequences of the batch have `total` positions, as the mask below takes for granted.
void check_lengths(Op& op, const Dim& total) {
  Emit& b = op.b;
  Value* lengths = b.cast(op.tensor(5), DType::kI64);
  std::vector<int64_t> axes;
  for (int64_t a = 0; a < lengths->type.rank(); ++a) axes.push_back(a);
  Value* last = b.dim(total - Dim(1));
  for (const ScalarOp fold : {ScalarOp::kMin, ScalarOp::kMax})
    b.check(
        b.compare(ScalarOp::kEq, b.reduce(fold, lengths, axes), last),
        "Sequences of different lengths in one batch, or a cache with room to spare, are not supported: each "
        "element of seqlens_k must be the number of all positions less one.");
}

// Scores with -inf where the query at past + i does not see a key: those behind it, and those `window` or
// more before.
Value* windowed(Emit& b, Value* scores, const Dim& past, int64_t window) {
  Value* seen = causal_mask(b, scores, past);
  if (window <= 0) return seen;
  const Shape plane(scores->type.shape.end() - 2, scores->type.shape.end());
  Value* first = b.sub(b.add(b.iota(plane, 0, DType::kI64), b.dim(past)), b.i64(window));
  Value* near = b.compare(ScalarOp::kGt, b.iota(plane, 1, DType::kI64), first);
  return b.select(near, seen, b.like(seen, -std::numeric_limits<double>::infinity()));
}

// What the softmax of one more score, the sink, leaves of the others.
Value* softmax_beside(Emit& b, Value* scores, Value* sink) {
  Value* most = b.max(b.reduce(ScalarOp::kMax, scores, {3}, true), sink);
  Value* powers = b.unary(ScalarOp::kExp, b.sub(scores, most));
  Value* sum = b.add(b.reduce(ScalarOp::kAdd, powers, {3}, true), b.unary(ScalarOp::kExp, b.sub(sink, most)));
  return b.div(powers, sum);
}

Value* attention_weights(Op& op, Value* scores) {
  Emit& b = op.b;
  const bool smooth = op.i("smooth_softmax", 0) > 0;
  Value* wide = b.cast(scores, DType::kF32);
  if (op.has(11)) {
    Value* sinks = b.cast(op.tensor(11), DType::kF32);
    wide = softmax_beside(b, wide, b.reshape(sinks, {Dim(1), wide->type.shape[1], Dim(1), Dim(1)}));
  } else {
    wide = smooth ? softmax_beside(b, wide, b.scalar(DType::kF32, 0)) : b.softmax(wide, {3});
  }
  return b.cast(wide, scores->type.dtype);
}

// Rows of each head over the root of their mean square, by weights; x [B, S, heads, D].
Value* normal_heads(Op& op, Value* x, int weights, const char* epsilon) {
  if (!op.has(weights)) return x;
  const double common = op.f("qk_norm_epsilon", 1e-6);
  return op.b.mul(normalise(op.b, x, {3}, op.f(epsilon, common), false).value, op.tensor(weights));
}

void refuse_caches(Op& op) {
  op.has(6);  // the number of all positions, which the operands' shapes say
  constexpr std::pair<int, const char*> kRefused[] = {
      {12, "k_scale"}, {13, "v_scale"}, {16, "query_seqlens"}};
  for (const auto& [i, name] : kRefused)
    if (op.has(i)) fail("Input {} ({}) is not supported.", i, name);
  for (const char* name : {"k_quant_type", "v_quant_type"})
    if (const std::string how = op.s(name, "NONE"); how != "NONE")
      fail("Attribute '{}' ('{}') is not supported: caches are floats.", name, how);
  if (op.i("sliding_window_cache", 0) != 0) fail("Attribute 'sliding_window_cache' is not supported.");
  op.ignore({"kv_cache_bit_width", "qk_norm_epsilon", "q_norm_epsilon", "k_norm_epsilon"});
}

void import_group_query_attention(Op& op) {
  Emit& b = op.b;
  refuse_caches(op);
  const int64_t heads = op.i("num_heads", 0), kv_heads = op.i("kv_num_heads", 0);
  if (heads < 1 || kv_heads < 1 || heads % kv_heads != 0)
    fail("'num_heads' ({}) is no multiple of 'kv_num_heads' ({}).", heads, kv_heads);
  Value* query = op.tensor(0);
  if (query->type.rank() != 3) fail("The query ({}) does not have three dimensions.", query->type.text());
  const Dim sequence = query->type.shape[1];
  // [B, S, heads, D]
  const auto split = [&](Value* v, int64_t count, const Dim& size) {
    return b.reshape(v, {v->type.shape[0], v->type.shape[1], Dim(count), size});
  };
  Value *q, *k, *v;
  if (op.has(1)) {
    const Dim size = floordiv(query->type.shape[2], Dim(heads));
    q = split(query, heads, size);
    k = split(op.tensor(1), kv_heads, size);
    v = split(op.tensor(2), kv_heads, size);
  } else {  // one after the other
    const int64_t all = heads + 2 * kv_heads;
    Value* joined = split(query, all, floordiv(query->type.shape[2], Dim(all)));
    q = b.slice_axis(joined, 2, Dim(0), Dim(heads));
    k = b.slice_axis(joined, 2, Dim(heads), Dim(kv_heads));
    v = b.slice_axis(joined, 2, Dim(heads + kv_heads), Dim(kv_heads));
  }
  q = normal_heads(op, q, 14, "q_norm_epsilon");
  k = normal_heads(op, k, 15, "k_norm_epsilon");
  const Dim past = op.has(3) ? op.tensor(3)->type.shape.at(2) : Dim(0);
  if (op.i("do_rotary", 0) != 0) {
    Value* positions = op.has(9) ? b.cast(op.tensor(9), DType::kI64)
                                 : b.add(b.iota({sequence}, 0, DType::kI64), b.dim(past));
    Value *cosine = at_positions(b, op.tensor(7), positions),
          *sine = at_positions(b, op.tensor(8), positions);
    const bool interleaved = op.i("rotary_interleaved", 0) != 0;
    const Dim width = cosine->type.shape.back() * Dim(2);
    q = rotate(b, q, cosine, sine, width, interleaved);
    k = rotate(b, k, cosine, sine, width, interleaved);
  }
  op.ignore({"rotary_interleaved"});
  const auto by_head = [&](Value* x) { return b.transpose(x, {0, 2, 1, 3}); };
  q = by_head(q);
  k = by_head(k);
  v = by_head(v);
  if (op.has(3)) k = b.concat({op.tensor(3), k}, 2);
  if (op.has(4)) v = b.concat({op.tensor(4), v}, 2);
  check_lengths(op, k->type.shape[2]);
  double scale = op.f("scale", 0);
  if (scale == 0) scale = 1 / std::sqrt(static_cast<double>(whole(q->type.shape[3], "size of a head")));
  Value* scores = scaled_scores(b, q, k, scale);
  if (const double cap = op.f("softcap", 0); cap > 0)
    scores = b.mul(b.unary(ScalarOp::kTanh, b.div(scores, cap)), cap);
  if (op.has(10)) scores = b.add(scores, b.cast(op.tensor(10), scores->type.dtype));
  const int64_t window = op.i("local_window_size", -1);
  if (op.i("causal", 1) != 0) {
    scores = windowed(b, scores, past, window);
  } else if (window > 0) {
    fail("Attribute 'local_window_size' ({}) is not supported without 'causal'.", window);
  }
  op.output(0, join_heads(b, grouped_dot(b, attention_weights(op, scores), v)));
  op.output(1, k);
  op.output(2, v);
}

constexpr OpRow kRows[] = {
    {kMicrosoft, "MatMulNBits", 1, kLatest, import_matmul_nbits},
    {kMicrosoft, "GatherBlockQuantized", 1, kLatest, import_gather_block_quantized},
    {kMicrosoft, "RotaryEmbedding", 1, kLatest, import_rotary},
    {kMicrosoft, "GroupQueryAttention", 1, kLatest, import_group_query_attention},
};

}  // namespace

std::span<const OpRow> language_rows() {
  return kRows;
}

}  // namespace tern::onnx
