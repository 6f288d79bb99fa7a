// com.microsoft: attention as ONNX Runtime's optimiser fuses it (MultiHeadAttention, Attention, QAttention,
// DecoderMaskedMultiHeadAttention, PackedAttention, PackedMultiHeadAttention), taken apart again into the
// products, masks and softmax that lowering joins to one dispatch.
#include <cmath>
#include <limits>

#include "compiler/onnx/attention.h"
#include "compiler/onnx/common.h"
#include "compiler/onnx/families.h"
#include "compiler/onnx/quant.h"

namespace tern::onnx {

namespace {

int64_t head_count(Op& op) {
  const int64_t heads = op.i("num_heads", 0);
  if (heads < 1) fail("Attribute 'num_heads' ({}) must be positive.", heads);
  return heads;
}

// What the operators share once their operands lie as [B, heads, S, size].
struct Heads {
  Value *q = nullptr, *k = nullptr, *v = nullptr;
  Value* padding = nullptr;  // 0 where a key is hidden, or lengths of sequences; integers
  Value* bias = nullptr;     // added to the scores
  Dim past = 0;              // the position of the first query among the keys
  Value* filled = nullptr;   // the same (i64), where the keys are a cache with room to spare
  bool causal = false;
};

struct Attended {
  Value* result;  // [B, S, heads * size]
  Value* scores;  // before softmax, all masks applied
};

// Positions of the keys, [1, 1, 1, T].
Value* key_positions(Emit& b, const Dim& keys) {
  return b.reshape(b.iota({keys}, 0, DType::kI64), {Dim(1), Dim(1), Dim(1), keys});
}

// Which keys the padding shows, broadcast to [B, heads, S, T].
Value* shown_keys(Emit& b, Value* padding, const Shape& scores) {
  const Dim batch = scores[0], keys = scores[3];
  const Shape& have = padding->type.shape;
  if (have.size() == 1) {  // lengths, then perhaps where sequences begin
    Value* positions = key_positions(b, keys);
    const bool starts = have[0] == batch * Dim(2);
    if (have[0] == batch * Dim(3) + Dim(2))
      fail("A mask of lengths and sums of lengths ({}: three times the batch and two) is not supported.",
           padding->type.text());
    const auto part = [&](int64_t index) {
      Value* v = starts ? b.slice_axis(padding, 0, batch * Dim(index), batch) : padding;
      return b.reshape(b.cast(b.adapt(v, 0, batch), DType::kI64), {batch, Dim(1), Dim(1), Dim(1)});
    };
    Value* shown = b.compare(ScalarOp::kLt, positions, part(0));
    if (!starts) return shown;
    return b.map(ScalarOp::kAnd, {shown, b.compare(ScalarOp::kGe, positions, part(1))});
  }
  if (have.size() > 3)
    fail("A mask of four dimensions ({}) is not supported; ONNX Runtime's CPU kernel refuses it too.",
         padding->type.text());
  Value* mask = b.adapt(padding, static_cast<int64_t>(have.size()) - 1, keys);
  mask = b.unsqueeze(mask, have.size() == 2 ? std::vector<int64_t>{1, 2} : std::vector<int64_t>{1});
  return b.compare(ScalarOp::kGt, mask, b.integer(mask->type.dtype, 0));
}

Attended attend(Op& op, const Heads& h) {
  Emit& b = op.b;
  double scale = op.f("scale", 0), filter = op.f("mask_filter_value", -10000.0);
  if (scale == 0) scale = head_scale(dimension(h.q, 3));
  const DType type = h.q->type.dtype;
  Value* scores = b.mul(grouped_dot(b, h.q, b.transpose(h.k, {0, 1, 3, 2})), scale);
  if (h.bias) {
    if (h.bias->type.rank() != 4)
      fail("The bias of the scores ({}) does not have four dimensions.", h.bias->type.text());
    scores = b.add(scores, b.cast(h.bias, type));
  }
  if (h.padding) {
    Value* shown = shown_keys(b, h.padding, scores->type.shape);
    const double least = type == DType::kF16 ? std::max(filter, -65504.0) : filter;
    scores = b.add(scores, b.select(shown, b.scalar(type, 0), b.scalar(type, least)));
  }
  if (h.filled) {
    const Shape plane = dimensions(scores, -2);
    Value* last = h.causal ? b.iota(plane, 0, DType::kI64) : b.dim(plane[0] - Dim(1));
    Value* visible = b.compare(ScalarOp::kLe, b.iota(plane, 1, DType::kI64), b.add(last, h.filled));
    scores = b.select(visible, scores, b.like(scores, -std::numeric_limits<double>::infinity()));
  } else if (h.causal) {
    scores = causal_mask(b, scores, h.past);
  }
  Value* weights = b.cast(b.softmax(b.cast(scores, DType::kF32), {3}), type);
  return {join_heads(b, grouped_dot(b, weights, h.v)), scores};
}

// Part `index` of a tensor whose axis has `count` equal parts, that axis removed.
Value* packed_part(Emit& b, Value* v, int64_t axis, int64_t index) {
  return b.squeeze(b.slice_axis(v, axis, Dim(index), Dim(1)), {axis});
}

// [B, S, heads * size] plus its part of the bias, as [B, heads, S, size].
Value* biased_heads(Emit& b, Value* x, Value* bias, const Dim& first, int64_t heads) {
  if (x->type.rank() != 3) fail("An operand ({}) does not have three dimensions.", x->type.text());
  const Dim& width = dimension(x, 2);
  if (width.is_const() && width.value() % heads != 0)
    fail("Rows of {} elements are no whole number of elements for each of {} heads.", width.value(), heads);
  if (bias) {
    if (bias->type.rank() != 1) fail("The bias ({}) has more than one dimension.", bias->type.text());
    x = b.add(x, b.slice_axis(bias, 0, first, width));
  }
  return split_heads(b, x, heads);
}

// Puts a cache in front of keys and values: the present ones, which are the operators' outputs.
void continue_cache(Emit& b, Heads& h, Value* past_key, Value* past_value) {
  for (Value* past : {past_key, past_value})
    if (past->type.rank() != 4) fail("A cache ({}) does not have four dimensions.", past->type.text());
  h.past = dimension(past_key, 2);
  h.k = b.concat({past_key, h.k}, 2);
  h.v = b.concat({past_value, h.v}, 2);
}

Value* one_integer(Emit& b, Value* v) {
  return b.cast(b.reshape(v, {}), DType::kI64);
}

// Puts keys and values into caches with room to spare, behind the positions that count (`filled`).
void write_into_cache(Emit& b, Heads& h, Value* keys, Value* values) {
  const Dim count = dimension(h.k, 2), room = dimension(keys, 2);
  b.check(
      b.map(ScalarOp::kAnd, {b.compare(ScalarOp::kLe, b.add(h.filled, b.dim(count)), b.dim(room)),
                             b.compare(ScalarOp::kGe, h.filled, b.i64(0))}),
      "The cache has no room for the new keys and values: past_sequence_length and their number exceed its "
      "positions.");
  h.k = put_rows(b, keys, h.k, h.filled, 2);
  h.v = put_rows(b, values, h.v, h.filled, 2);
  // Masks end with the keys that count.
  for (Value** mask : {&h.padding, &h.bias}) {
    if (!*mask || (*mask)->type.rank() < 2 || last_dimension(*mask) == room) continue;
    Shape low((*mask)->type.shape.size(), Dim(0)), high = low;
    high.back() = room - last_dimension(*mask);
    b.require(ScalarOp::kGe, high.back(), Dim(0), "A mask has more keys than the cache has positions.");
    *mask = b.pad(*mask, low, high, b.integer((*mask)->type.dtype, 0));
  }
}

// Query, keys and values of MultiHeadAttention: separate, or packed in one or two operands.
Heads separate_heads(Op& op, int64_t heads, Value* bias) {
  Emit& b = op.b;
  Heads h;
  Value* query = op.tensor(0);
  if (query->type.rank() == 5) {  // [B, S, heads, 3, size]
    if (op.has(1) || op.has(2))
      fail("A packed query ({}) has keys and values beside it.", query->type.text());
    Value** parts[] = {&h.q, &h.k, &h.v};
    const Shape& s = query->type.shape;
    const Dim width = s[2] * s[4];
    for (int64_t i = 0; i < 3; ++i)
      *parts[i] = biased_heads(b, b.reshape(packed_part(b, query, 3, i), {s[0], s[1], width}), bias,
                               width * Dim(i), heads);
    return h;
  }
  h.q = biased_heads(b, query, bias, Dim(0), heads);
  const Dim width = dimension(query, 2);
  if (!op.has(1))
    fail("The keys (input 1) are missing, and the query ({}) is not packed.", query->type.text());
  Value* key = op.tensor(1);
  if (key->type.rank() == 5) {  // [B, L, heads, 2, size]
    const Shape& s = key->type.shape;
    for (int64_t i = 0; i < 2; ++i) {
      Value* rows = b.reshape(packed_part(b, key, 3, i), {s[0], s[1], s[2] * s[4]});
      (i == 0 ? h.k : h.v) = biased_heads(b, rows, bias, width * Dim(i + 1), heads);
    }
    return h;
  }
  Value* value = op.tensor(2);
  if (key->type.rank() == 4) {  // a cache of another sequence's keys and values
    h.k = key;
    h.v = value;
    return h;
  }
  h.k = biased_heads(b, key, bias, width, heads);
  h.v = biased_heads(b, value, bias, width * Dim(2), heads);
  return h;
}

// The cache of inputs `at`, at + 1; `shared`: it has room to spare, and input at + 2 says how much of it
// counts.
void take_cache(Op& op, Heads& h, int at, bool shared) {
  Emit& b = op.b;
  if (!op.has(at)) return;
  for (int i : {at, at + 1}) {
    if (op.tensor(i)->type.rank() != 4)
      fail("The cache {} ({}) has not four dimensions.", i, op.tensor(i)->type.text());
  }
  if (!shared) return continue_cache(b, h, op.tensor(at), op.tensor(at + 1));
  h.filled = one_integer(b, op.tensor(at + 2));
  write_into_cache(b, h, op.tensor(at), op.tensor(at + 1));
}

void finish(Op& op, const Heads& h) {
  const Attended a = attend(op, h);
  op.output(0, a.result);
  op.output(1, h.k);
  op.output(2, h.v);
  op.output(3, a.scores);
}

void import_multi_head_attention(Op& op) {
  const int64_t heads = head_count(op);
  if (op.has(9)) fail("Input 9 (cache_indirection, which beam search needs) is not supported.");
  Heads h = separate_heads(op, heads, op.has(3) ? op.tensor(3) : nullptr);
  h.causal = op.i("unidirectional", 0) != 0;
  h.padding = op.optional_input(4);
  h.bias = op.optional_input(5);
  take_cache(op, h, 6, op.has(8));
  finish(op, h);
}

void import_decoder_attention(Op& op) {
  const int64_t heads = head_count(op);
  if (op.has(8) || op.has(9))
    fail("Inputs 8 and 9 (beam_width and cache_indirection, which beam search needs) are not supported.");
  op.ignore({"output_qk"});
  Heads h;
  Value* bias = op.has(10) ? op.tensor(10) : nullptr;
  if (op.has(1)) {
    h = separate_heads(op, heads, bias);
  } else {  // [B, 1, 2 * hidden + v_hidden], all three of one size
    Emit& b = op.b;
    Value* query = op.tensor(0);
    if (query->type.rank() != 3) fail("The query ({}) does not have three dimensions.", query->type.text());
    const Dim width = divide_products({dimension(query, 2)}, {Dim(3)});
    Value** parts[] = {&h.q, &h.k, &h.v};
    for (int64_t i = 0; i < 3; ++i)
      *parts[i] = biased_heads(b, b.slice_axis(query, 2, width * Dim(i), width), bias, width * Dim(i), heads);
  }
  h.padding = op.optional_input(3);
  h.bias = op.optional_input(4);
  const bool shared = op.i("past_present_share_buffer", 0) != 0;
  if (shared && op.has(5) && !op.has(7)) fail("Input 7 (past_sequence_length) is missing.");
  take_cache(op, h, 5, shared);
  finish(op, h);
}

// The widths of Q, K and V within the columns of the joined weights.
Shape projected_widths(Op& op, const Value* x, const Value* weights, int64_t heads) {
  if (x->type.rank() != 3 || weights->type.rank() != 2)
    fail("The operand ({}) and its weights ({}) do not have three and two dimensions.", x->type.text(),
         weights->type.text());
  const Dim& columns = dimension(weights, 1);
  Shape widths;
  for (const int64_t w : op.ints("qkv_hidden_sizes")) widths.emplace_back(w);
  if (widths.empty()) widths.assign(3, divide_products({columns}, {Dim(3)}));
  if (widths.size() != 3 || widths[0] != widths[1] || widths[0] + widths[1] + widths[2] != columns)
    fail("Weights of {} columns do not hold Q, K and V of the sizes that 'qkv_hidden_sizes' says.",
         columns.text());
  for (const Dim& w : widths)
    if (!w.is_const() || w.value() % heads != 0)
      fail("A size of Q, K or V ({}) is no multiple of the number of heads ({}).", w.text(), heads);
  return widths;
}

// Queries and keys [B, heads, S, size] turned by their positions, as GPT-NeoX has them: wave lengths from 1
// to 10000, the halves of a row's first `width` elements are the two coordinates.
void rotate_by_positions(Op& op, Heads& h) {
  Emit& b = op.b;
  const Dim& size = dimension(h.q, 3);
  const int64_t width = op.i("rotary_embedding_dim", 0) > 0 ? op.i("rotary_embedding_dim", 0)
                        : size.is_const()                   ? size.value()
                                                            : 0;
  if (width < 2 || width % 2 != 0 || !size.is_const() || width > size.value())
    fail("Attribute 'rotary_embedding_dim' ({}) is no even part of the size of a head ({}).", width,
         size.text());
  std::vector<double> speeds;
  for (int64_t i = 0; i < width; i += 2)
    speeds.push_back(std::pow(10000.0, -static_cast<double>(i) / static_cast<double>(width)));
  const Dim rows = dimension(h.q, 2);
  Value* at = b.add(b.iota({rows}, 0, DType::kI64), h.filled ? h.filled : b.dim(h.past));
  Value* angles = b.mul(b.unsqueeze(b.cast(at, DType::kF32), {1}), b.floats(DType::kF32, speeds));
  angles = b.reshape(angles, {Dim(1), rows, Dim(1), Dim(width / 2)});
  const DType type = h.q->type.dtype;
  Value *cosine = b.cast(b.unary(ScalarOp::kCos, angles), type),
        *sine = b.cast(b.unary(ScalarOp::kSin, angles), type);
  for (Value** x : {&h.q, &h.k}) {
    const std::vector<int64_t> swap = {0, 2, 1, 3};
    *x = b.transpose(rotate(b, b.transpose(*x, swap), cosine, sine, Dim(width), false), swap);
  }
}

// What Attention and QAttention do with their projections, [B, heads, S, size] each; `past` and `present`
// hold keys and values in one tensor. `filled`: how much of a cache with room to spare counts.
void attend_projected(Op& op, Heads& h, Value* past, Value* filled) {
  Emit& b = op.b;
  h.causal = op.i("unidirectional", 0) != 0;
  const bool shared = op.i("past_present_share_buffer", 0) != 0;
  if (shared && (!past || !filled))
    fail("Attribute 'past_present_share_buffer' needs the cache and past_sequence_length.");
  if (past && past->type.rank() != 5)
    fail("The cache ({}) does not have five dimensions.", past->type.text());
  if (past && !shared) h.past = dimension(past, 3);
  if (shared) h.filled = one_integer(b, filled);
  if (op.i("do_rotary", 0) != 0) rotate_by_positions(op, h);
  if (past) {
    Value *keys = packed_part(b, past, 0, 0), *values = packed_part(b, past, 0, 1);
    if (shared) {
      write_into_cache(b, h, keys, values);
    } else {
      continue_cache(b, h, keys, values);
    }
  }
  op.output(0, attend(op, h).result);
  if (op.wants(1)) op.output(1, b.concat({b.unsqueeze(h.k, {0}), b.unsqueeze(h.v, {0})}, 0));
}

// Queries, keys and values [B, heads, S, size] of rows x [B, S, in] and joined weights.
Heads projected_heads(Op& op, Value* x, Value* weights, Value* bias, int64_t heads) {
  Emit& b = op.b;
  const Shape widths = projected_widths(op, x, weights, heads);
  Heads h;
  Value** parts[] = {&h.q, &h.k, &h.v};
  Dim first(0);
  for (size_t i = 0; i < 3; ++i) {  // weights are constants, as a rule: three products as before fusion
    Value* y = matmul(b, x, b.slice_axis(weights, 1, first, widths[i]));
    *parts[i] = biased_heads(b, y, bias, first, heads);
    first = first + widths[i];
  }
  return h;
}

void import_contrib_attention(Op& op) {
  const int64_t heads = head_count(op);
  op.ignore({"rotary_embedding_dim"});
  Heads h = projected_heads(op, op.tensor(0), op.tensor(1), op.has(2) ? op.tensor(2) : nullptr, heads);
  h.padding = op.optional_input(3);
  h.bias = op.optional_input(5);
  attend_projected(op, h, op.has(4) ? op.tensor(4) : nullptr, op.optional_input(6));
}

void import_quantised_attention(Op& op) {
  Emit& b = op.b;
  const int64_t heads = head_count(op);
  Value *x = op.tensor(0), *weights = op.tensor(1);
  const Shape widths = projected_widths(op, x, weights, heads);
  Heads h;
  Value** parts[] = {&h.q, &h.k, &h.v};
  Dim first(0);
  for (size_t i = 0; i < 3; ++i) {
    const auto columns = [&](Value* v) {
      return v && v->type.rank() == 1 && !dimension(v, 0).is_const(1) ? b.slice_axis(v, 0, first, widths[i])
                                                                      : v;
    };
    Value* sums = integer_matmul(b, x, b.slice_axis(weights, 1, first, widths[i]), op.optional_input(6),
                                 columns(op.optional_input(7)));
    Value* scale = b.mul(b.reshape(op.tensor(3), {}), row_parameter(b, columns(op.tensor(4)), false));
    *parts[i] = biased_heads(b, b.mul(b.cast(sums, scale->type.dtype), scale), op.tensor(2), first, heads);
    first = first + widths[i];
  }
  h.padding = op.optional_input(5);
  attend_projected(op, h, op.has(8) ? op.tensor(8) : nullptr, nullptr);
}

// Sequences of several lengths whose rows lie one behind the other, without padding. Each of `h` is
// [1, heads, rows, size]; inputs `offsets` (where in padded sequences [B, S] each row stands, then where the
// padding does) and `offsets` + 1 (the rows before each sequence, [B + 1]). Attention is that of padded
// sequences, of whose results the rows that count are the output.
void attend_packed(Op& op, Heads& h, int offsets) {
  Emit& b = op.b;
  Value *at = op.tensor(offsets), *before = op.tensor(offsets + 1);
  if (at->type.rank() != 2 || before->type.rank() != 1)
    fail("token_offset ({}) and cumulative_sequence_length ({}) do not have two dimensions and one.",
         at->type.text(), before->type.text());
  const Dim batch = dimension(at, 0), length = dimension(at, 1), rows = dimension(h.q, 2);
  b.require(ScalarOp::kLe, rows, batch * length, "There are more rows than padded sequences have.");
  before = b.cast(b.adapt(before, 0, batch + Dim(1)), DType::kI64);
  Value* first = b.slice_axis(before, 0, Dim(0), batch);
  h.padding = b.sub(b.slice_axis(before, 0, Dim(1), batch), first);
  Value* row = b.add(b.reshape(first, {batch, Dim(1)}), b.iota({length}, 0, DType::kI64));
  row = b.max(b.min(row, b.dim(rows - Dim(1))), b.i64(0));
  for (Value** x : {&h.q, &h.k, &h.v}) *x = b.transpose(b.squeeze(b.gather(*x, row, 2), {0}), {1, 0, 2, 3});
  Value* y = attend(op, h).result;
  y = b.reshape(y, {batch * length, dimension(y, 2)});
  op.output(0, b.gather(y, b.slice_axis(b.reshape(at, {batch * length}), 0, Dim(0), rows), 0));
}

void import_packed_attention(Op& op) {
  const int64_t heads = head_count(op);
  Value* x = op.tensor(0);
  if (x->type.rank() != 2) fail("The operand ({}) does not have two dimensions.", x->type.text());
  Heads h = projected_heads(op, op.b.unsqueeze(x, {0}), op.tensor(1), op.tensor(2), heads);
  h.bias = op.optional_input(5);
  attend_packed(op, h, 3);
}

void import_packed_multi_head_attention(Op& op) {
  Emit& b = op.b;
  const int64_t heads = head_count(op);
  Value* bias = op.has(3) ? op.tensor(3) : nullptr;
  Heads h;
  Value** parts[] = {&h.q, &h.k, &h.v};
  Value* query = op.tensor(0);
  Dim first(0);
  for (int i = 0; i < 3; ++i) {
    Value* x = op.has(1) ? op.tensor(i) : query;
    if (op.has(1) ? x->type.rank() != 2 : x->type.rank() != 4)  // [rows, heads, 3, size]
      fail("Operand {} ({}) does not have {} dimensions.", i, x->type.text(), op.has(1) ? 2 : 4);
    if (!op.has(1)) {
      x = packed_part(b, x, 2, i);
      x = b.reshape(x, {dimension(x, 0), dimension(x, 1) * dimension(x, 2)});
    }
    *parts[i] = biased_heads(b, b.unsqueeze(x, {0}), bias, first, heads);
    first = first + dimension(x, 1);
  }
  h.bias = op.optional_input(6);
  attend_packed(op, h, 4);
}

// Rows [B, S, H] without those behind each sequence's end; which they were, then which are left out; and the
// rows before each sequence.
void import_remove_padding(Op& op) {
  Emit& b = op.b;
  Value *x = op.tensor(0), *count = op.tensor(1);
  if (x->type.rank() != 3 || count->type.rank() != 1)
    fail("The operand ({}) and the lengths ({}) do not have three dimensions and one.", x->type.text(),
         count->type.text());
  const Shape& s = x->type.shape;
  count = b.adapt(count, 0, s[0]);
  const DType type = count->type.dtype;
  const auto along = [&](const Dim& n) { return b.iota({n}, 0, type); };
  Value* counts = b.compare(ScalarOp::kLt, along(s[1]), b.reshape(count, {s[0], Dim(1)}));
  counts = b.reshape(counts, {s[0] * s[1]});
  Value* kept = true_positions(b, counts);
  Value* others = true_positions(b, b.unary(ScalarOp::kNot, counts));
  op.output(0, b.gather(b.reshape(x, {s[0] * s[1], s[2]}), kept, 0));
  Value* all = b.adapt(b.concat({kept, others}, 0), 0, s[0] * s[1]);
  op.output(1, b.cast(b.reshape(all, {s[0], s[1]}), type));
  const Dim ends = s[0] + Dim(1);
  Value* before = b.compare(ScalarOp::kLt, along(s[0]), b.reshape(along(ends), {ends, Dim(1)}));
  op.output(2, b.reduce(ScalarOp::kAdd, b.mul(b.cast(before, type), count), {1}));
  op.output(3, b.reduce(ScalarOp::kMax, count, {0}, true));
}

void import_restore_padding(Op& op) {
  Emit& b = op.b;
  Value *x = op.tensor(0), *at = op.tensor(1);
  if (x->type.rank() != 2 || at->type.rank() != 2)
    fail("The rows ({}) and their places ({}) do not have two dimensions.", x->type.text(), at->type.text());
  const Dim batch = dimension(at, 0), length = dimension(at, 1), rows = dimension(x, 0),
            width = dimension(x, 1);
  b.require(ScalarOp::kLe, rows, batch * length, "There are more rows than padded sequences have.");
  Value* place = b.slice_axis(b.reshape(b.cast(at, DType::kI64), {batch * length}), 0, Dim(0), rows);
  Value* y = b.emit(OpKind::kScatterElements,
                    {b.full({batch * length, width}, b.like(x, 0)),
                     b.broadcast(b.reshape(place, {rows, Dim(1)}), {rows, width}), x},
                    {{"axis", int64_t{0}}, {"reduction", std::string("none")}});
  op.output(0, b.reshape(y, {batch, length, width}));
}

constexpr OpRow kRows[] = {
    {kMicrosoft, "MultiHeadAttention", 1, kLatest, import_multi_head_attention},
    {kMicrosoft, "DecoderMaskedMultiHeadAttention", 1, kLatest, import_decoder_attention},
    {kMicrosoft, "Attention", 1, kLatest, import_contrib_attention},
    {kMicrosoft, "QAttention", 1, kLatest, import_quantised_attention},
    {kMicrosoft, "PackedAttention", 1, kLatest, import_packed_attention},
    {kMicrosoft, "PackedMultiHeadAttention", 1, kLatest, import_packed_multi_head_attention},
    {kMicrosoft, "RemovePadding", 1, kLatest, import_remove_padding},
    {kMicrosoft, "RestorePadding", 1, kLatest, import_restore_padding},
};

}  // namespace

std::span<const OpRow> contrib_attention_rows() {
  return kRows;
}

}  // namespace tern::onnx
