// com.microsoft.GroupQueryAttention: attention over grouped heads with a cache of keys and values, as
// exporters of language models write it; and SparseAttention, the same with keys hidden in blocks.
//
// The cache may end with the keys that count, or have room to spare (a buffer of the greatest length that
// past and present share); sequences of a batch may have different lengths, their rows then begin at
// different positions. All of that is one form: new rows are put at their positions into the cache,
// lengthened where it has too little room, and attention reads as many positions as the longest sequence has.
// A cache of a window alone (sliding_window_cache) is lengthened by the new rows, too; what is kept of it is
// read out behind the step.
#include <algorithm>
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
  Value* first;       // the place of a sequence's first query among its keys, likewise; null: 0
  Value* position;    // its position in the text: the same, unless the cache is a window
  bool padded;        // some of the new rows, the last ones, may be padding
  bool fits = false;  // the cache has room for them
};

// Which inputs say the same of both operators.
struct Places {
  int total, cosine, positions, counts;  // -1: there is none
};
constexpr Places kGrouped = {6, 7, 9, 16}, kSparse = {7, 9, -1, -1};

bool given(const Op& op, int i) {
  return i >= 0 && op.has(i);
}

Value* each_sequence(Op& op, int i, const Dim& batch) {
  Emit& b = op.b;
  Value* v = b.reshape(op.tensor(i), {product(op.tensor(i)->type.shape)});
  return b.reshape(b.cast(b.adapt(v, 0, batch), DType::kI64), {batch, Dim(1), Dim(1), Dim(1), Dim(1)});
}

// The number of keys, which never exceeds `most`; memory is planned for that if it is read at run time.
Dim total_keys(Op& op, const Places& at, const Dim& most) {
  Emit& b = op.b;
  const Dim total = b.dims(b.reshape(op.tensor(at.total), {Dim(1)}))[0];
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

// `lengths`: keys of each sequence, the new ones among them.
Rows find_rows(Op& op, const Places& at, const Dim& batch, const Dim& queries, const Dim& past,
               Value* lengths) {
  Emit& b = op.b;
  const bool counted = given(op, at.counts);
  Rows rows{batch, queries, queries, 0, lengths, nullptr, nullptr, counted};
  if (past.is_const(0)) {
    if (counted) fail("Input {} (query_seqlens) needs a cache.", at.counts);
    b.require(ScalarOp::kEq, total_keys(op, at, queries), queries,
              "Without a cache total_sequence_length must be the number of new keys.");
    return rows;
  }
  rows.fits = keeps_length(op, past);
  rows.total = total_keys(op, at, rows.fits ? past : past + queries);
  rows.reach = b.max_dim(rows.total - queries, Dim(0));
  if (counted) rows.reach = rows.total;  // less than that by padding that is not known
  Value* count = counted ? each_sequence(op, at.counts, batch) : b.dim(queries);
  rows.position = rows.first = b.max(b.sub(rows.lengths, count), b.i64(0));
  return rows;
}

// How many positions of a text of `length` a window's cache holds, the last ones: when it is full, all but
// the window make room.
Value* resident(Emit& b, Value* length, const Dim& room, int64_t window) {
  Value *step = b.dim(room - Dim(window - 1)), *beyond = b.max(b.sub(length, b.dim(room)), b.i64(0));
  Value* times = b.div(b.sub(b.add(beyond, step), b.i64(1)), step);
  return b.sub(length, b.mul(times, step));
}

// The same where the cache is `room` positions for the last ones of a text.
Rows find_window_rows(Op& op, const Dim& batch, const Dim& queries, const Dim& room, Value* lengths,
                      int64_t window) {
  Emit& b = op.b;
  if (window < 1) fail("Attribute 'sliding_window_cache' needs 'local_window_size'.");
  if (op.has(10)) fail("Input 10 (attention_bias) is not supported beside 'sliding_window_cache'.");
  b.require(ScalarOp::kGe, room, Dim(window), "The cache has fewer positions than the window.");
  op.tensor(kGrouped.total);  // the greatest of the lengths, which says nothing more
  const bool counted = given(op, kGrouped.counts);
  Value* count = counted ? each_sequence(op, kGrouped.counts, batch) : b.min(b.dim(queries), lengths);
  Rows rows{batch, queries, room + queries, room, nullptr, nullptr, b.sub(lengths, count), counted};
  rows.first = resident(b, rows.position, room, window);
  rows.lengths = b.add(rows.first, count);
  return rows;
}

// Rows [B, heads, T, D] at places [B, n].
Value* rows_at(Emit& b, Value* rows, Value* places) {
  const Shape& s = rows->type.shape;
  places = b.broadcast(b.unsqueeze(places, {1, 3}), {s[0], s[1], dimension(places, 1), Dim(1)});
  return b.emit(OpKind::kGatherNd, {rows, places}, {{"batch_dims", int64_t{2}}});
}

// What a window's cache holds behind the step: `grown` has the new rows behind the old ones.
Value* kept_window(Emit& b, const Rows& rows, Value* grown, const Dim& room, Value* lengths, int64_t window) {
  Value* begin = b.reshape(b.sub(rows.lengths, resident(b, lengths, room, window)), {rows.batch, Dim(1)});
  Value* row = b.min(b.add(b.iota({room}, 0, DType::kI64), begin), b.dim(dimension(grown, 2) - Dim(1)));
  return rows_at(b, grown, row);
}

// How a cache keeps its elements: as floats, or as multiples of a scale, in a byte each or in half of one
// (the first of two is the lower half, 8 is zero).
struct Storage {
  Value* scale = nullptr;  // f32, broadcasts to [B, heads, T, D]; null: floats
  bool halves = false;
};

Storage storage_of(Op& op, const char* attribute, int cache, int scale, int64_t heads) {
  Emit& b = op.b;
  const std::string how = op.s(attribute, "NONE");
  if (how == "NONE") {
    if (op.has(scale))
      fail("Input {} scales a cache that is not quantised ('{}' is 'NONE').", scale, attribute);
    return {};
  }
  if (how != "PER_TENSOR" && how != "PER_CHANNEL")
    fail("Attribute '{}' ('{}') is not known.", attribute, how);
  const int64_t bits = op.i("kv_cache_bit_width", 8);
  const DType type = bits == 4 ? DType::kU8 : DType::kI8;
  if (bits != 4 && bits != 8) fail("Caches of {} bits are not supported, only of 4 and 8.", bits);
  if (op.has(cache) && op.tensor(cache)->type.dtype != type)
    fail("The cache {} ({}) does not consist of integers of {} bits ({}).", cache,
         op.tensor(cache)->type.text(), bits, dtype_name(type));
  Value* v = b.cast(op.tensor(scale), DType::kF32);
  const Dim count = product(v->type.shape);
  if (how == "PER_TENSOR") return {b.reshape(b.adapt(b.reshape(v, {count}), 0, Dim(1)), {}), bits == 4};
  return {b.reshape(v, {Dim(1), Dim(heads), Dim(1), floordiv(count, Dim(heads))}), bits == 4};
}

// New rows [B, heads, S, D] as the cache keeps them.
Value* stored(Emit& b, const Storage& how, Value* rows) {
  if (!how.scale) return rows;
  const double most = how.halves ? 7 : 127;
  Value* steps = b.unary(ScalarOp::kRoundEven, b.div(b.cast(rows, DType::kF32), how.scale));
  steps = b.max(b.min(steps, b.like(steps, most)), b.like(steps, -most - 1));
  if (!how.halves) return b.cast(steps, DType::kI8);
  const Shape& s = rows->type.shape;
  if (!s[3].is_const() || s[3].value() % 2 != 0)
    fail("Rows of {} elements are no whole number of bytes of two.", s[3].text());
  const Dim bytes(s[3].value() / 2);
  Value* codes = b.reshape(b.cast(b.add(steps, 8), DType::kU8), {s[0], s[1], s[2], bytes, Dim(2)});
  const auto half = [&](int64_t i) { return b.squeeze(b.slice_axis(codes, 4, Dim(i), Dim(1)), {4}); };
  return b.map(ScalarOp::kOr, {half(0), b.map(ScalarOp::kShl, {half(1), b.integer(DType::kU8, 4)})});
}

// Rows of a cache as floats.
Value* restored(Emit& b, const Storage& how, Value* rows, DType type) {
  if (!how.scale) return rows;
  if (how.halves) {
    const Shape& s = rows->type.shape;
    Value* shift = b.mul(b.iota({Dim(2)}, 0, DType::kU8), b.integer(DType::kU8, 4));
    Value* codes = b.map(ScalarOp::kAnd,
                         {b.map(ScalarOp::kShr, {b.unsqueeze(rows, {4}), shift}), b.integer(DType::kU8, 15)});
    codes = b.reshape(codes, {s[0], s[1], s[2], s[3] * Dim(2)});
    rows = b.sub(b.cast(codes, DType::kI32), b.integer(DType::kI32, 8));
  }
  return b.cast(b.mul(b.cast(rows, DType::kF32), how.scale), type);
}

// Positions of queries or keys, [1, 1, 1, S, 1] or [1, 1, 1, 1, T].
Value* positions(Emit& b, const Dim& count, bool of_keys) {
  Shape shape(5, Dim(1));
  shape[of_keys ? 4 : 3] = count;
  return b.reshape(b.iota({count}, 0, DType::kI64), shape);
}

Value* heads_first(Emit& b, Value* rows) {
  return b.transpose(rows, {0, 2, 1, 3});
}

// The cache with the new rows [B, heads, S, D] at their positions.
Value* continued(Emit& b, const Rows& rows, Value* past, Value* fresh) {
  if (!rows.first) return fresh;
  if (past->type.rank() != 4) fail("A cache ({}) does not have four dimensions.", past->type.text());
  const Shape& s = fresh->type.shape;
  past = b.adapt(past, {s[0], s[1], dimension(past, 2), s[3]});
  const Dim room = dimension(past, 2), length = rows.fits ? room : b.max_dim(rows.total, room);
  Shape low(4, Dim(0)), high = low;
  high[2] = length - room;
  if (!high[2].is_const(0)) past = b.pad(past, low, high, b.like(past, 0));
  if (!rows.padded) return put_rows(b, past, fresh, b.reshape(rows.first, {rows.batch}), 2);
  // There may be no room for padding. Which new row is at a position, [B, length].
  Value* row = b.sub(b.iota({length}, 0, DType::kI64), b.reshape(rows.first, {rows.batch, Dim(1)}));
  Value* last = b.dim(rows.queries - Dim(1));
  Value* is_new =
      b.map(ScalarOp::kAnd, {b.compare(ScalarOp::kGe, row, b.i64(0)), b.compare(ScalarOp::kLe, row, last)});
  Value* moved = rows_at(b, fresh, b.max(b.min(row, last), b.i64(0)));
  return b.select(b.unsqueeze(is_new, {1, 3}), moved, past);
}

// The rows of a cache that attention looks at.
Value* read_keys(Emit& b, const Rows& rows, Value* cache) {
  return dimension(cache, 2) == rows.total ? cache : b.slice_axis(cache, 2, Dim(0), rows.total);
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

struct Operands {
  Value *q, *k, *v;  // [B, S, heads, D]
};

Operands split_operands(Op& op, int64_t heads, int64_t kv_heads) {
  Emit& b = op.b;
  Value* query = op.tensor(0);
  if (query->type.rank() != 3) fail("The query ({}) does not have three dimensions.", query->type.text());
  const auto split = [&](Value* v, int64_t count, const Dim& size) {
    return b.reshape(v, {dimension(v, 0), dimension(v, 1), Dim(count), size});
  };
  if (op.has(1)) {
    const Dim size = floordiv(dimension(query, 2), Dim(heads));
    return {split(query, heads, size), split(op.tensor(1), kv_heads, size),
            split(op.tensor(2), kv_heads, size)};
  }
  const int64_t all = heads + 2 * kv_heads;  // one after the other
  Value* joined = split(query, all, floordiv(dimension(query, 2), Dim(all)));
  const auto part = [&](int64_t from, int64_t count) {
    return b.slice_axis(joined, 2, Dim(from), Dim(count));
  };
  return {part(0, heads), part(heads, kv_heads), part(heads + kv_heads, kv_heads)};
}

void rotate_operands(Op& op, const Places& places, const Rows& rows, Operands& x) {
  Emit& b = op.b;
  const bool interleaved = op.i("rotary_interleaved", 0) != 0;
  if (op.i("do_rotary", 0) == 0) return;
  Value *cosine = op.tensor(places.cosine), *sine = op.tensor(places.cosine + 1);
  check_position_cache(cosine);
  Value* at = b.iota({rows.queries}, 0, DType::kI64);
  if (given(op, places.positions)) {
    at = b.cast(op.tensor(places.positions), DType::kI64);
  } else if (rows.first) {
    at = b.add(at, b.reshape(rows.position, {rows.batch, Dim(1)}));
    // Padding may lie behind the last position.
    if (rows.padded) at = b.min(at, b.dim(dimension(cosine, 0) - Dim(1)));
  }
  cosine = at_positions(b, cosine, at);
  sine = at_positions(b, sine, at);
  const Dim width = last_dimension(cosine) * Dim(2);
  x.q = rotate(b, x.q, cosine, sine, width, interleaved);
  x.k = rotate(b, x.k, cosine, sine, width, interleaved);
}

struct GroupedHeads {
  int64_t all, of_keys;
  Dim group() const { return all / of_keys; }  // that share keys
};

GroupedHeads heads_of(Op& op) {
  const GroupedHeads heads{op.i("num_heads", 0), op.i("kv_num_heads", 0)};
  if (heads.all < 1 || heads.of_keys < 1 || heads.all % heads.of_keys != 0)
    fail("'num_heads' ({}) is no multiple of 'kv_num_heads' ({}).", heads.all, heads.of_keys);
  return heads;
}

// The length of the caches.
Dim cache_length(Op& op) {
  if (op.has(3) != op.has(4)) fail("Of the caches of keys and values (inputs 3 and 4) one is missing.");
  for (int i : {3, 4}) {
    if (op.has(i) && op.tensor(i)->type.rank() != 4)
      fail("The cache {} ({}) has not four dimensions.", i, op.tensor(i)->type.text());
  }
  return op.has(3) ? dimension(op.tensor(3), 2) : Dim(0);
}

// Scaled products of queries and keys, [B, heads of keys, queries that share them, S, T].
Value* grouped_scores(Op& op, const GroupedHeads& heads, const Rows& rows, Value* queries, Value* keys) {
  Emit& b = op.b;
  const Dim& size = dimension(queries, 3);
  const double usual = head_scale(size);
  double scale = op.f("scale", 0);
  if (scale == 0) scale = usual;
  // Queries that share a head of keys lie side by side from here to the result: views between the products
  // and the softmax would keep them apart.
  Value* q =
      b.transpose(b.reshape(queries, {rows.batch, rows.queries, Dim(heads.of_keys), heads.group(), size}),
                  {0, 2, 3, 1, 4});
  // The queries alone are scaled: keys are read where they lie.
  return b.dot(b.mul(q, scale), b.unsqueeze(b.transpose(keys, {0, 1, 3, 2}), {2}));
}

// Weights times values, [B, S, heads * D].
Value* weighted_values(Emit& b, Value* weights, Value* values) {
  Value* y = b.dot(weights, b.unsqueeze(values, {2}));
  const Shape& s = y->type.shape;
  return b.reshape(b.transpose(y, {0, 3, 1, 2, 4}), {s[0], s[3], s[1] * s[2] * s[4]});
}

// Scores or their softmax, [B, heads, S, T]; those that are hidden are 0.
void output_scores(Op& op, Value* scores, Value* weights) {
  Emit& b = op.b;
  const int64_t which = op.i("qk_output", 0);
  if (!op.wants(3)) return;
  if (which != 1 && which != 2) fail("Output 3 (output_qk) needs 'qk_output' to be 1 or 2, not {}.", which);
  Value* v = weights;
  if (which == 1) v = b.select(b.compare(ScalarOp::kEq, scores, kHidden), b.like(scores, 0), scores);
  const Shape& s = v->type.shape;
  op.output(3, b.reshape(v, {s[0], s[1] * s[2], s[3], s[4]}));
}

void import_group_query_attention(Op& op) {
  Emit& b = op.b;
  op.ignore({"kv_cache_bit_width", "qk_norm_epsilon", "q_norm_epsilon", "k_norm_epsilon"});
  const GroupedHeads heads = heads_of(op);
  const Storage of_keys = storage_of(op, "k_quant_type", 3, 12, heads.of_keys);
  const Storage of_values = storage_of(op, "v_quant_type", 4, 13, heads.of_keys);
  Operands x = split_operands(op, heads.all, heads.of_keys);
  x.q = normal_heads(op, x.q, 14, "q_norm_epsilon");
  x.k = normal_heads(op, x.k, 15, "k_norm_epsilon");
  const Dim past = cache_length(op), batch = dimension(x.q, 0), queries = dimension(x.q, 1);
  const int64_t window = op.i("local_window_size", -1);
  const bool causal = op.i("causal", 1) != 0, sliding = op.i("sliding_window_cache", 0) != 0;
  if (window > 0 && !causal)
    fail("Attribute 'local_window_size' ({}) is not supported without 'causal'.", window);
  Value* lengths = b.add(each_sequence(op, 5, batch), b.i64(1));
  const Rows rows = sliding ? find_window_rows(op, batch, queries, past, lengths, window)
                            : find_rows(op, kGrouped, batch, queries, past, lengths);
  rotate_operands(op, kGrouped, rows, x);
  const DType type = x.q->type.dtype;
  Value* k = continued(b, rows, op.optional_input(3), stored(b, of_keys, heads_first(b, x.k)));
  Value* v = continued(b, rows, op.optional_input(4), stored(b, of_values, heads_first(b, x.v)));
  Value* scores = grouped_scores(op, heads, rows, x.q, restored(b, of_keys, read_keys(b, rows, k), type));
  if (const double cap = op.f("softcap", 0); cap > 0)
    scores = b.mul(b.unary(ScalarOp::kTanh, b.div(scores, cap)), cap);
  if (op.has(10)) scores = b.add(scores, scores_bias(op, scores));
  scores = masked(b, rows, scores, causal, window);
  Value* weights = attention_weights(op, scores);
  op.output(0, weighted_values(b, weights, restored(b, of_values, read_keys(b, rows, v), type)));
  op.output(1, sliding ? kept_window(b, rows, k, past, lengths, window) : k);
  op.output(2, sliding ? kept_window(b, rows, v, past, lengths, window) : v);
  output_scores(op, scores, weights);
}

// Which blocks of keys a block of queries sees, [layouts, blocks, blocks], of the rows' ends and the columns.
Value* block_layouts(Op& op) {
  const TensorDataPtr ends = op.constant_tensor(5, "block_row_indices"),
                      columns = op.constant_tensor(6, "block_col_indices");
  if (ends->shape().size() != 2 || columns->shape().size() != 2 || ends->shape()[0] != columns->shape()[0] ||
      ends->shape()[1] < 2)
    fail("The rows and columns of the blocks do not have two dimensions with as many layouts.");
  const int64_t layouts = ends->shape()[0], blocks = ends->shape()[1] - 1, most = columns->shape()[1];
  auto seen = TensorData::make(DType::kBool, {layouts, blocks, blocks});
  std::fill_n(seen->mutable_bytes().data(), seen->count(), uint8_t{0});
  for (int64_t l = 0; l < layouts; ++l) {
    for (int64_t row = 0; row < blocks; ++row) {
      const int64_t from = ends->int_at(l * (blocks + 1) + row),
                    to = ends->int_at(l * (blocks + 1) + row + 1);
      if (from < 0 || to > most) fail("Row {} of the blocks ends outside of their columns ({}).", row, most);
      for (int64_t i = from; i < to; ++i) {
        const int64_t column = columns->int_at(l * most + i);
        if (column < 0 || column >= blocks)
          fail("A column of the blocks ({}) lies outside of [0, {}).", column, blocks);
        seen->set_int((l * blocks + row) * blocks + column, 1);
      }
    }
  }
  return op.b.constant(TensorDataPtr(seen));
}

// Heads take the layouts in turn. Keys in blocks that a query's block does not see are hidden.
Value* hide_blocks(Op& op, const GroupedHeads& heads, const Rows& rows, Value* scores) {
  Emit& b = op.b;
  const int64_t size = op.i("sparse_block_size", 0);
  if (size < 1) fail("Attribute 'sparse_block_size' ({}) must be positive.", size);
  Value* layouts = block_layouts(op);
  const int64_t count = dimension(layouts, 0).value();
  b.require(ScalarOp::kLe, rows.total, Dim(dimension(layouts, 1).value() * size),
            "There are more keys than the blocks have.");
  std::vector<int64_t> layout_of;
  for (int64_t h = 0; h < heads.all; ++h) layout_of.push_back(h % count);
  Value* query = b.iota({rows.queries}, 0, DType::kI64);
  if (rows.first) query = b.add(query, b.reshape(rows.first, {rows.batch, Dim(1)}));
  query = b.broadcast(query, {rows.batch, rows.queries});
  // Padding may lie behind the last block.
  Value* last = b.i64(dimension(layouts, 1).value() - 1);
  Value* seen = b.gather(b.gather(layouts, b.i64s(layout_of), 0), b.min(b.div(query, b.i64(size)), last), 1);
  seen = b.gather(seen, b.div(b.iota({rows.total}, 0, DType::kI64), b.i64(size)), 3);  // [heads, B, S, T]
  seen = b.reshape(b.transpose(seen, {1, 0, 2, 3}),
                   {rows.batch, Dim(heads.of_keys), heads.group(), rows.queries, rows.total});
  return b.select(seen, scores, b.like(scores, kHidden));
}

void import_sparse_attention(Op& op) {
  Emit& b = op.b;
  const GroupedHeads heads = heads_of(op);
  Operands x = split_operands(op, heads.all, heads.of_keys);
  const Dim past = cache_length(op), batch = dimension(x.q, 0);
  const Rows rows = find_rows(op, kSparse, batch, dimension(x.q, 1), past, each_sequence(op, 8, batch));
  rotate_operands(op, kSparse, rows, x);
  Value* k = continued(b, rows, op.optional_input(3), heads_first(b, x.k));
  Value* v = continued(b, rows, op.optional_input(4), heads_first(b, x.v));
  Value* scores = hide_blocks(op, heads, rows, grouped_scores(op, heads, rows, x.q, read_keys(b, rows, k)));
  scores = masked(b, rows, scores, true, -1);
  op.output(0, weighted_values(b, b.softmax(scores, {4}), read_keys(b, rows, v)));
  op.output(1, k);
  op.output(2, v);
}

constexpr OpRow kRows[] = {
    {kMicrosoft, "GroupQueryAttention", 1, kLatest, import_group_query_attention},
    {kMicrosoft, "SparseAttention", 1, kLatest, import_sparse_attention},
};

}  // namespace

std::span<const OpRow> grouped_attention_rows() {
  return kRows;
}

}  // namespace tern::onnx
