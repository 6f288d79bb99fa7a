// com.microsoft.GroupQueryAttention: attention over grouped heads with a cache of keys and values, as
// exporters of language models write it.
//
// The cache may end with the keys that count, or have room to spare (a buffer of the greatest length that
// past and present share); sequences of a batch may have different lengths, their rows then begin at
// different positions. All of that is one form: new rows are put at their positions into the cache,
// lengthened where it has too little room, and attention reads as many positions as the longest sequence has.
#include <cmath>
#include <limits>
#include <utility>

#include "compiler/onnx/attention.h"
#include "compiler/onnx/common.h"
#include "compiler/onnx/families.h"

namespace tern::onnx {

namespace {

constexpr double kHidden = -std::numeric_limits<double>::infinity();

// Where the rows of a batch lie among its keys.
struct Rows {
  Dim batch, queries;
  Dim total;          // keys of the longest sequence
  Dim reach;          // a query s sees no key behind s + reach
  Value* lengths;     // keys of each sequence, the new ones among them; i64 [B, 1, 1, 1, 1]
  Value* first;       // the position of a sequence's first query, likewise; null: 0
  bool padded;        // some of the new rows, the last ones, may be padding
  bool fits = false;  // the cache has room for them
};

Value* each_sequence(Op& op, int i, const Dim& batch) {
  Emit& b = op.b;
  Value* v = b.reshape(op.tensor(i), {product(op.tensor(i)->type.shape)});
  return b.reshape(b.cast(b.adapt(v, 0, batch), DType::kI64), {batch, Dim(1), Dim(1), Dim(1), Dim(1)});
}

// The number of keys, which never exceeds `most`; memory is planned for that if it is read at run time.
Dim total_keys(Op& op, const Dim& most) {
  Emit& b = op.b;
  const Dim total = b.dims(b.reshape(op.tensor(6), {Dim(1)}))[0];
  if (total.op() == Dim::Op::kSymbol)
    if (graph::SymbolInfo* info = b.graph().find_symbol(total.symbol_name());
        info->origin == graph::SymbolInfo::Origin::kElement && !info->upper)
      info->upper = most;
  b.require(
      ScalarOp::kLe, total, most,
      "The cache has no room for the new keys and values: total_sequence_length is greater than its length "
      "and, where it grows, their number together.");
  return total;
}

// Whether the model says that the cache is as long behind the step as before.
bool keeps_length(const Op& op, const Dim& past) {
  const pb::TypeProto* type = op.declared(1);
  if (!type || !type->tensor_type().has_shape() || type->tensor_type().shape().dim_size() != 4) return false;
  const auto& length = type->tensor_type().shape().dim(2);
  if (past.is_const()) return length.has_dim_value() && length.dim_value() == past.value();
  return past.op() == Dim::Op::kSymbol && length.has_dim_param() && length.dim_param() == past.symbol_name();
}

Rows find_rows(Op& op, const Dim& batch, const Dim& queries, const Dim& past) {
  Emit& b = op.b;
  Rows rows{batch, queries, queries, 0, b.add(each_sequence(op, 5, batch), b.i64(1)), nullptr, op.has(16)};
  if (past.is_const(0)) {
    if (op.has(16)) fail("Input 16 (query_seqlens) needs a cache.");
    b.require(ScalarOp::kEq, total_keys(op, queries), queries,
              "Without a cache total_sequence_length must be the number of new keys.");
    return rows;
  }
  rows.fits = keeps_length(op, past);
  rows.total = total_keys(op, rows.fits ? past : past + queries);
  rows.reach = b.max_dim(rows.total - queries, Dim(0));
  if (op.has(16)) rows.reach = rows.total;  // less than that by padding that is not known
  Value* count = op.has(16) ? each_sequence(op, 16, batch) : b.dim(queries);
  rows.first = b.max(b.sub(rows.lengths, count), b.i64(0));
  return rows;
}

// Positions of queries or keys, [1, 1, 1, S, 1] or [1, 1, 1, 1, T].
Value* positions(Emit& b, const Dim& count, bool of_keys) {
  Shape shape(5, Dim(1));
  shape[of_keys ? 4 : 3] = count;
  return b.reshape(b.iota({count}, 0, DType::kI64), shape);
}

// The cache with the new rows [B, S, heads, D] at their positions.
Value* continued(Emit& b, const Rows& rows, Value* past, Value* fresh) {
  if (!rows.first) return b.transpose(fresh, {0, 2, 1, 3});
  if (past->type.rank() != 4) fail("A cache ({}) does not have four dimensions.", past->type.text());
  const Shape& s = fresh->type.shape;
  past = b.adapt(past, {s[0], s[2], past->type.shape[2], s[3]});
  const Dim room = past->type.shape[2], length = rows.fits ? room : b.max_dim(rows.total, room);
  std::vector<Dim> low(4, Dim(0)), high = low;
  high[2] = length - room;
  if (!high[2].is_const(0)) past = b.pad(past, low, high, b.like(past, 0));
  Value* rows_of_heads = b.transpose(fresh, {0, 2, 1, 3});
  if (!rows.padded) return put_rows(b, past, rows_of_heads, b.reshape(rows.first, {rows.batch}), 2);
  // There may be no room for padding. Which new row is at a position, [B, length].
  Value* row = b.sub(b.iota({length}, 0, DType::kI64), b.reshape(rows.first, {rows.batch, Dim(1)}));
  Value* last = b.dim(rows.queries - Dim(1));
  Value* is_new =
      b.map(ScalarOp::kAnd, {b.compare(ScalarOp::kGe, row, b.i64(0)), b.compare(ScalarOp::kLe, row, last)});
  Value* nearest = b.unsqueeze(b.max(b.min(row, last), b.i64(0)), {1, 3});
  Value* moved =
      b.emit(OpKind::kGatherNd, {rows_of_heads, b.broadcast(nearest, {s[0], s[2], length, Dim(1)})},
             {{"batch_dims", int64_t{2}}});
  return b.select(b.unsqueeze(is_new, {1, 3}), moved, past);
}

// The rows of a cache that attention looks at.
Value* read_keys(Emit& b, const Rows& rows, Value* cache) {
  return cache->type.shape[2] == rows.total ? cache : b.slice_axis(cache, 2, Dim(0), rows.total);
}

// Scores [B, heads of keys, queries that share them, S, T] with -inf where a query does not see a key: those
// behind it and those `window` or more before, or, where it sees all (`causal` is false), those that its
// sequence does not have.
Value* masked(Emit& b, const Rows& rows, Value* scores, bool causal, int64_t window) {
  Value* key = positions(b, rows.total, true);
  Value* hidden = b.like(scores, kHidden);
  if (!causal) return b.select(b.compare(ScalarOp::kLt, key, rows.lengths), scores, hidden);
  Value* query = positions(b, rows.queries, false);
  if (rows.first) query = b.add(query, rows.first);
  if (rows.first) scores = b.select(b.compare(ScalarOp::kLe, key, query), scores, hidden);
  if (window > 0)
    scores = b.select(b.compare(ScalarOp::kGt, key, b.sub(query, b.i64(window))), scores, hidden);
  return causal_mask(b, scores, rows.reach);  // what lowering knows how to skip
}

// What the softmax of one more score, the sink, leaves of the others.
Value* softmax_beside(Emit& b, Value* scores, Value* sink) {
  Value* most = b.max(b.reduce(ScalarOp::kMax, scores, {4}, true), sink);
  Value* powers = b.unary(ScalarOp::kExp, b.sub(scores, most));
  Value* sum = b.add(b.reduce(ScalarOp::kAdd, powers, {4}, true), b.unary(ScalarOp::kExp, b.sub(sink, most)));
  return b.div(powers, sum);
}

Value* attention_weights(Op& op, Value* scores) {
  Emit& b = op.b;
  const bool smooth = op.i("smooth_softmax", 0) > 0;
  Value* wide = b.cast(scores, DType::kF32);
  if (op.has(11)) {
    Value* sinks = b.cast(op.tensor(11), DType::kF32);
    const Shape& s = wide->type.shape;
    wide = softmax_beside(b, wide, b.reshape(sinks, {Dim(1), s[1], s[2], Dim(1), Dim(1)}));
  } else {
    wide = smooth ? softmax_beside(b, wide, b.scalar(DType::kF32, 0)) : b.softmax(wide, {4});
  }
  return b.cast(wide, scores->type.dtype);
}

// A bias [B or 1, heads or 1, S, T] as the scores lie.
Value* scores_bias(Op& op, const Value* scores) {
  Emit& b = op.b;
  const Shape& s = scores->type.shape;
  Value* bias = op.tensor(10);
  if (bias->type.rank() != 4)
    fail("The bias of the scores ({}) does not have four dimensions.", bias->type.text());
  bias = b.cast(b.adapt(bias, 3, s[4]), scores->type.dtype);
  const Shape& have = bias->type.shape;
  if (have[1].is_const(1)) return b.unsqueeze(bias, {1});
  return b.reshape(b.adapt(bias, 1, s[1] * s[2]), {have[0], s[1], s[2], have[2], have[3]});
}

// Rows of each head over the root of their mean square, by weights; x [B, S, heads, D].
Value* normal_heads(Op& op, Value* x, int weights, const char* epsilon) {
  if (!op.has(weights)) return x;
  const double common = op.f("qk_norm_epsilon", 1e-6);
  return op.b.mul(normalise(op.b, x, {3}, op.f(epsilon, common), false).value, op.tensor(weights));
}

void refuse_caches(Op& op) {
  for (const auto& [i, name] : {std::pair{12, "k_scale"}, std::pair{13, "v_scale"}})
    if (op.has(i)) fail("Input {} ({}) is not supported: caches are floats.", i, name);
  for (const char* name : {"k_quant_type", "v_quant_type"})
    if (const std::string how = op.s(name, "NONE"); how != "NONE")
      fail("Attribute '{}' ('{}') is not supported: caches are floats.", name, how);
  if (op.i("sliding_window_cache", 0) != 0) fail("Attribute 'sliding_window_cache' is not supported.");
  if (op.wants(3) || op.i("qk_output", 0) != 0) fail("Output 3 (output_qk, the scores) is not supported.");
  op.ignore({"kv_cache_bit_width", "qk_norm_epsilon", "q_norm_epsilon", "k_norm_epsilon"});
}

struct Operands {
  Value *q, *k, *v;  // [B, S, heads, D]
};

Operands split_operands(Op& op, int64_t heads, int64_t kv_heads) {
  Emit& b = op.b;
  Value* query = op.tensor(0);
  if (query->type.rank() != 3) fail("The query ({}) does not have three dimensions.", query->type.text());
  const auto split = [&](Value* v, int64_t count, const Dim& size) {
    return b.reshape(v, {v->type.shape[0], v->type.shape[1], Dim(count), size});
  };
  if (op.has(1)) {
    const Dim size = floordiv(query->type.shape[2], Dim(heads));
    return {split(query, heads, size), split(op.tensor(1), kv_heads, size),
            split(op.tensor(2), kv_heads, size)};
  }
  const int64_t all = heads + 2 * kv_heads;  // one after the other
  Value* joined = split(query, all, floordiv(query->type.shape[2], Dim(all)));
  const auto part = [&](int64_t from, int64_t count) {
    return b.slice_axis(joined, 2, Dim(from), Dim(count));
  };
  return {part(0, heads), part(heads, kv_heads), part(heads + kv_heads, kv_heads)};
}

void rotate_operands(Op& op, const Rows& rows, Operands& x) {
  Emit& b = op.b;
  const bool interleaved = op.i("rotary_interleaved", 0) != 0;
  if (op.i("do_rotary", 0) == 0) return;
  Value *cosine = op.tensor(7), *sine = op.tensor(8);
  check_position_cache(cosine);
  Value* at = b.iota({rows.queries}, 0, DType::kI64);
  if (op.has(9)) {
    at = b.cast(op.tensor(9), DType::kI64);
  } else if (rows.first) {
    at = b.add(at, b.reshape(rows.first, {rows.batch, Dim(1)}));
    // Padding may lie behind the last position.
    if (op.has(16)) at = b.min(at, b.dim(cosine->type.shape[0] - Dim(1)));
  }
  cosine = at_positions(b, cosine, at);
  sine = at_positions(b, sine, at);
  const Dim width = cosine->type.shape.back() * Dim(2);
  x.q = rotate(b, x.q, cosine, sine, width, interleaved);
  x.k = rotate(b, x.k, cosine, sine, width, interleaved);
}

void import_group_query_attention(Op& op) {
  Emit& b = op.b;
  refuse_caches(op);
  const int64_t heads = op.i("num_heads", 0), kv_heads = op.i("kv_num_heads", 0);
  if (heads < 1 || kv_heads < 1 || heads % kv_heads != 0)
    fail("'num_heads' ({}) is no multiple of 'kv_num_heads' ({}).", heads, kv_heads);
  Operands x = split_operands(op, heads, kv_heads);
  x.q = normal_heads(op, x.q, 14, "q_norm_epsilon");
  x.k = normal_heads(op, x.k, 15, "k_norm_epsilon");
  if (op.has(3) != op.has(4)) fail("Of the caches of keys and values (inputs 3 and 4) one is missing.");
  for (int i : {3, 4}) {
    if (op.has(i) && op.tensor(i)->type.rank() != 4)
      fail("The cache {} ({}) has not four dimensions.", i, op.tensor(i)->type.text());
  }
  const Dim past = op.has(3) ? op.tensor(3)->type.shape[2] : Dim(0);
  const Rows rows = find_rows(op, x.q->type.shape[0], x.q->type.shape[1], past);
  rotate_operands(op, rows, x);
  Value* k = continued(b, rows, op.optional_input(3), x.k);
  Value* v = continued(b, rows, op.optional_input(4), x.v);
  const Dim& size = x.q->type.shape[3];
  if (!size.is_const()) fail("The size of a head ({}) must be known while compiling.", size.text());
  double scale = op.f("scale", 0);
  if (scale == 0) scale = 1 / std::sqrt(static_cast<double>(size.value()));
  // Queries that share a head of keys lie side by side from here to the result: views between the products
  // and the softmax would keep them apart.
  const Dim group(heads / kv_heads), batch = rows.batch;
  Value* q = b.transpose(b.reshape(x.q, {batch, rows.queries, Dim(kv_heads), group, size}), {0, 2, 3, 1, 4});
  // The queries alone are scaled: keys are read where they lie.
  Value* keys = b.transpose(read_keys(b, rows, k), {0, 1, 3, 2});
  Value* scores = b.dot(b.mul(q, scale), b.unsqueeze(keys, {2}));
  if (const double cap = op.f("softcap", 0); cap > 0)
    scores = b.mul(b.unary(ScalarOp::kTanh, b.div(scores, cap)), cap);
  if (op.has(10)) scores = b.add(scores, scores_bias(op, scores));
  const int64_t window = op.i("local_window_size", -1);
  const bool causal = op.i("causal", 1) != 0;
  if (window > 0 && !causal)
    fail("Attribute 'local_window_size' ({}) is not supported without 'causal'.", window);
  scores = masked(b, rows, scores, causal, window);
  Value* y = b.dot(attention_weights(op, scores), b.unsqueeze(read_keys(b, rows, v), {2}));
  op.output(0, b.reshape(b.transpose(y, {0, 3, 1, 2, 4}), {batch, rows.queries, Dim(heads) * size}));
  op.output(1, k);
  op.output(2, v);
}

constexpr OpRow kRows[] = {
    {kMicrosoft, "GroupQueryAttention", 1, kLatest, import_group_query_attention},
};

}  // namespace

std::span<const OpRow> grouped_attention_rows() {
  return kRows;
}

}  // namespace tern::onnx
