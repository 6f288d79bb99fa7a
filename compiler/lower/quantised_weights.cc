#include "compiler/lower/quantised_weights.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "compiler/lower/contraction_schedule.h"
#include "compiler/lower/loop_writer.h"
#include "compiler/lower/regions.h"
#include "compiler/lower/strided_constant.h"
#include "compiler/support/rounding.h"
#include "compiler/support/small_float.h"

namespace tern::lower {
namespace {

using graph::Node;
using graph::OpKind;
using graph::Value;
using kernel::Expr;
using kernel::int_const;
using kernel::ScalarOp;

// w = (q - zero) * scale; absent: 0 and 1. All of one shape; q is u8, the others f32.
struct Parts {
  int bits = 0;
  StridedConstant q;
  std::optional<StridedConstant> zero = {}, scale = {};
};

TensorDataPtr constant_of(const Value* v) {
  return v->def && v->def->kind == OpKind::kConstant ? v->def->attr<TensorDataPtr>("value") : nullptr;
}

// Elements of less than a byte have no places.
StridedConstant bytes_of(const TensorDataPtr& data) {
  const DType wide = is_signed_int(data->dtype()) ? DType::kI8 : DType::kU8;
  auto out = TensorData::make(wide, data->shape());
  for (int64_t i = 0; i < data->count(); ++i) out->set_int(i, data->int_at(i));
  return StridedConstant(std::move(out));
}

// The elements of what constants and views, casts and maps of them give.
std::optional<StridedConstant> known(const Value* v) {
  if (TensorDataPtr t = constant_of(v))
    return dtype_bits(t->dtype()) >= 8 ? std::optional(StridedConstant(t)) : bytes_of(t);
  const Node* n = v->def;
  if (!n || n->results.size() != 1 || !v->type.is_tensor() || !is_static(v->type.shape)) return std::nullopt;
  if (!is_view(*n) && n->kind != OpKind::kCast && n->kind != OpKind::kMap) return std::nullopt;
  std::vector<StridedConstant> operands;
  for (const Value* o : n->operands) {
    std::optional<StridedConstant> one = known(o);
    if (!one) return std::nullopt;
    operands.push_back(std::move(*one));
  }
  if (is_view(*n)) return operands[0].viewed(*n);
  if (operands.size() == 1) {
    TensorDataPtr mapped = evaluated(*n, {operands[0].data()});
    return mapped ? std::optional(operands[0].with_data(std::move(mapped))) : std::nullopt;
  }
  std::vector<TensorDataPtr> elements;
  for (const StridedConstant& o : operands) elements.push_back(o.dense());
  TensorDataPtr mapped = evaluated(*n, elements);
  return mapped ? std::optional(StridedConstant(std::move(mapped))) : std::nullopt;
}

StridedConstant as_f32(const StridedConstant& constant, double factor = 1) {
  const TensorDataPtr& data = constant.data();
  auto out = TensorData::make(DType::kF32, data->shape());
  auto* to = out->mutable_as<float>();
  for (int64_t i = 0; i < data->count(); ++i) {
    const double v = is_float(data->dtype()) ? data->float_at(i) : static_cast<double>(data->int_at(i));
    to[i] = static_cast<float>(v * factor);
  }
  return constant.with_data(std::move(out));
}

// Signed integers are stored with half of their range added, which their zero points gain too.
std::optional<Parts> integers(const TensorDataPtr& data) {
  const DType type = data->dtype();
  int bits = dtype_bits(type);
  if (!is_int(type) || (bits != 4 && bits != 8) || data->count() < 1) return std::nullopt;
  const int shift = is_signed_int(type) ? 1 << (bits - 1) : 0;
  auto q = TensorData::make(DType::kU8, data->shape());
  auto* to = q->mutable_as<uint8_t>();
  const uint8_t* from = data->bytes().data();
  // Adding half of the range changes the highest bit alone.
  for (int64_t i = 0; i < data->count(); ++i) {
    const int whole = bits == 8 ? from[i] : from[i / 2] >> (i % 2 * 4) & 15;
    to[i] = static_cast<uint8_t>(whole ^ shift);
  }
  if (bits == 8 && std::all_of(to, to + q->count(), [](uint8_t v) { return v < 16; })) bits = 4;
  Parts parts{bits, StridedConstant(std::move(q))};
  if (shift != 0) parts.zero = StridedConstant::splat(shift, data->shape());
  return parts;
}

std::optional<StridedConstant> sum(const std::optional<StridedConstant>& a, const StridedConstant& b) {
  if (!a) return b;
  if (b.is_splat() && !a->is_splat()) return sum(b, *a);
  const bool one = a->is_splat();
  const TensorDataPtr x = one ? a->data() : a->dense(), y = one ? b.data() : b.dense();
  auto out = TensorData::make(DType::kF32, y->shape());
  for (int64_t i = 0; i < y->count(); ++i)
    out->mutable_as<float>()[i] = x->as<float>()[one ? 0 : i] + y->as<float>()[i];
  return one ? b.with_data(std::move(out)) : StridedConstant(std::move(out));
}

std::optional<Parts> parts_of(const Value* v);

std::optional<Parts> parts_of_map(const Node& n) {
  const ScalarOp op = n.scalar_op();
  if (op != ScalarOp::kSub && op != ScalarOp::kAdd && op != ScalarOp::kMul) return std::nullopt;
  // What holds the integers is the larger expression: it is looked for first.
  for (int side = 0; side < (op == ScalarOp::kSub ? 1 : 2); ++side) {
    std::optional<Parts> p = parts_of(n.operand(side));
    if (!p || p->scale) continue;
    const std::optional<StridedConstant> other = known(n.operand(1 - side));
    if (!other || other->shape() != p->q.shape()) continue;
    if (op == ScalarOp::kMul) {
      p->scale = as_f32(*other);
    } else {
      p->zero = sum(p->zero, as_f32(*other, op == ScalarOp::kSub ? 1 : -1));
    }
    return p;
  }
  return std::nullopt;
}

std::optional<Parts> parts_of(const Value* v) {
  const Node* n = v->def;
  if (!n || !v->type.is_tensor() || !is_static(v->type.shape)) return std::nullopt;
  if (const TensorDataPtr data = constant_of(v)) return integers(data);
  if (is_view(*n)) {
    std::optional<Parts> p = parts_of(n->operand());
    if (!p) return std::nullopt;
    const std::optional<StridedConstant> q = p->q.viewed(*n);
    if (!q) return std::nullopt;
    p->q = *q;
    for (std::optional<StridedConstant>* part : {&p->zero, &p->scale}) {
      if (!*part) continue;
      *part = (*part)->viewed(*n);
      if (!*part) return std::nullopt;
    }
    return p;
  }
  if (n->kind == OpKind::kCast) {
    // Whole numbers of 8 bits, and differences of two: every type from bf16 and i16 on holds them.
    const DType to = v->type.dtype;
    if (!(is_float(to) || is_int(to)) || dtype_bits(to) < 16) return std::nullopt;
    std::optional<Parts> p = parts_of(n->operand());
    return p && !p->scale ? p : std::nullopt;
  }
  return n->kind == OpKind::kMap ? parts_of_map(*n) : std::nullopt;
}

// Quick: an integer constant of 4 or 8 bits behind views, casts and products.
bool may_be_quantised(const Value* v, int depth = 0) {
  const Node* n = v->def;
  if (!n || depth > 24) return false;
  if (const TensorDataPtr data = constant_of(v))
    return is_int(data->dtype()) && (dtype_bits(data->dtype()) == 4 || dtype_bits(data->dtype()) == 8);
  if (is_view(*n) || n->kind == OpKind::kCast) return may_be_quantised(n->operand(), depth + 1);
  if (n->kind != OpKind::kMap || n->operands.size() != 2) return false;
  return may_be_quantised(n->operand(0), depth + 1) || may_be_quantised(n->operand(1), depth + 1);
}

// Steps along k from each of which on a parameter may change: a common divisor of the places where one does.
int64_t block_of(const std::optional<StridedConstant>& t, int64_t divisor) {
  if (!t) return divisor;
  const std::vector<int64_t> rows = t->places(0), columns = t->places(1);
  const auto step = static_cast<size_t>(t->repeats(0));
  const auto* v = t->data()->as<float>();
  for (size_t kk = step; kk < rows.size(); kk += step) {
    if (divisor != 0 && static_cast<int64_t>(kk) % divisor == 0) continue;
    const auto changes = [&](int64_t n) { return v[rows[kk] + n] != v[rows[kk - 1] + n]; };
    if (std::any_of(columns.begin(), columns.end(), changes))
      divisor = std::gcd(divisor, static_cast<int64_t>(kk));
  }
  return divisor;
}

TensorDataPtr first_of_blocks(const std::optional<StridedConstant>& t, const QuantisedWeights& w,
                              float otherwise) {
  const int64_t n = w.n(), blocks = (w.k() + w.block - 1) / w.block;
  auto out = TensorData::make(DType::kF32, {blocks, n});
  auto* to = out->mutable_as<float>();
  std::fill_n(to, out->count(), otherwise);
  if (!t) return out;
  const std::vector<int64_t> rows = t->places(0), columns = t->places(1);
  for (int64_t b = 0; b < blocks; ++b) {
    const float* row = t->data()->as<float>() + rows[static_cast<size_t>(b * w.block)];
    for (int64_t i = 0; i < n; ++i) to[b * n + i] = row[columns[static_cast<size_t>(i)]];
  }
  return out;
}

std::optional<QuantisedWeights> recognised(const Value* rhs) {
  if (!may_be_quantised(rhs) || rhs->type.rank() < 2 || !is_static(rhs->type.shape)) return std::nullopt;
  const Shape& shape = rhs->type.shape;
  const int64_t k = shape[shape.size() - 2].value(), n = shape.back().value();
  if (k == 0 || n == 0 || product(shape).value() != k * n) return std::nullopt;
  std::optional<Parts> p = parts_of(rhs);
  if (!p || !p->scale) return std::nullopt;
  for (std::optional<StridedConstant>* part : {&p->zero, &p->scale}) {
    if (!*part) continue;
    *part = (*part)->reshaped({k, n});
    if (!*part) return std::nullopt;
  }
  QuantisedWeights w;
  w.bits = p->bits;
  w.q = p->q.dense()->reshaped({k, n});
  const int64_t divisor = block_of(p->zero, block_of(p->scale, 0));
  constexpr int64_t kLeast = 16;  // a word of 4 bits has 8 steps
  if (divisor % kLeast != 0) return std::nullopt;
  w.block = divisor == 0 ? (k + kLeast - 1) / kLeast * kLeast : divisor;
  w.scale = first_of_blocks(p->scale, w, 1);
  w.zero = first_of_blocks(p->zero, w, 0);
  return w;
}

using Wanted = std::function<bool(const Node& dot, const QuantisedWeights& weights)>;

void absorb(graph::Graph& graph, graph::Block& block, const Wanted& wanted) {
  for (size_t i = 0; i < block.nodes.size(); ++i) {
    Node& node = *block.nodes[i];
    for (const auto& region : node.regions) absorb(graph, *region, wanted);
    if (node.kind != OpKind::kDot || node.find("weight_bits") || !is_float(node.operand(0)->type.dtype) ||
        !node.operand(0)->type.shape.back().is_const())
      continue;
    std::optional<QuantisedWeights> w = recognised(node.operand(1));
    if (!w || (wanted && !wanted(node, *w))) continue;
    std::vector<int64_t> dims;
    for (const Dim& d : node.operand(1)->type.shape) dims.push_back(d.value());
    Value* const old = node.operand(1);
    graph::Builder b(graph, block, i++);
    Value* q = b.constant(w->q->reshaped(dims));
    q->name = old->name;
    node.operands[1] = q;
    node.set("weight_bits", int64_t{w->bits});
    node.set("weight_block", w->block);
    node.set("weight_scale", w->scale);
    node.set("weight_zero", w->zero);
  }
}

// [blocks, n] to panels of 16 columns and `blocks` blocks.
template <typename T>
TensorDataPtr parameter_panels(const QuantisedWeights& w, const TensorDataPtr& from, DType type,
                               int64_t blocks) {
  const int64_t panels = (w.n() + kPanelColumns - 1) / kPanelColumns;
  auto out = TensorData::make(type, {panels, blocks, kPanelColumns});
  for (int64_t b = 0; b < w.blocks(); ++b) {
    for (int64_t i = 0; i < w.n(); ++i)
      out->mutable_as<T>()[(i / kPanelColumns * blocks + b) * kPanelColumns + i % kPanelColumns] =
          static_cast<T>(from->as<float>()[b * w.n() + i]);
  }
  return out;
}

TensorDataPtr zero_panels(const QuantisedWeights& w, int64_t blocks) {
  if (uniform_zero(w)) return nullptr;
  return zero_type(w) == DType::kU8 ? parameter_panels<uint8_t>(w, w.zero, DType::kU8, blocks)
                                    : parameter_panels<float>(w, w.zero, DType::kF32, blocks);
}

}  // namespace

std::optional<QuantisedWeights> quantised_weights(const Node& node) {
  if (node.kind != OpKind::kDot || !node.find("weight_bits")) return std::nullopt;
  QuantisedWeights w;
  w.bits = static_cast<int>(node.int_attr("weight_bits"));
  w.block = node.int_attr("weight_block");
  w.scale = node.attr<TensorDataPtr>("weight_scale");
  w.zero = node.attr<TensorDataPtr>("weight_zero");
  w.q = constant_of(node.operand(1))
            ->reshaped({constant_of(node.operand(1))->count() / w.scale->shape()[1], w.scale->shape()[1]});
  return w;
}

void absorb_quantised_weights(graph::Graph& graph, const Wanted& wanted) {
  absorb(graph, graph.body, wanted);
}

TensorDataPtr pack_quantised_words(const QuantisedWeights& w) {
  const int64_t k = w.k(), n = w.n(), panels = (n + kPanelColumns - 1) / kPanelColumns, each = w.per_word(),
                words = (k + each - 1) / each;
  auto out = TensorData::make(DType::kU32, {panels, words, kPanelColumns});
  auto* to = out->mutable_as<uint32_t>();
  const auto* q = w.q->as<uint8_t>();
  for (int64_t kk = 0; kk < k; ++kk) {
    for (int64_t i = 0; i < n; ++i)
      to[(i / kPanelColumns * words + kk / each) * kPanelColumns + i % kPanelColumns] |=
          uint32_t{q[kk * n + i]} << (kk % each * w.bits);
  }
  return out;
}

TensorDataPtr pack_quantised_scales(const QuantisedWeights& w) {
  return parameter_panels<float>(w, w.scale, DType::kF32, w.blocks());
}

std::optional<double> uniform_zero(const QuantisedWeights& w) {
  const auto* z = w.zero->as<float>();
  for (int64_t i = 1; i < w.zero->count(); ++i) {
    if (z[i] != z[0]) return std::nullopt;
  }
  return z[0];
}

DType zero_type(const QuantisedWeights& w) {
  const auto* z = w.zero->as<float>();
  const bool bytes =
      std::all_of(z, z + w.zero->count(), [](float v) { return v >= 0 && v <= 255 && v == std::floor(v); });
  return bytes ? DType::kU8 : DType::kF32;
}

TensorDataPtr pack_quantised_zeros(const QuantisedWeights& w) {
  return zero_panels(w, w.blocks());
}

TensorDataPtr pack_fragment_words(const QuantisedWeights& w) {
  const int64_t k = w.k(), n = w.n(), panels = ceil_div(n, int64_t{kPanelColumns}), each = w.per_word(),
                words = round_up(k, kFragmentSteps) / each, unit = 4 * each;
  auto out = TensorData::make(DType::kU32, {panels, words, kPanelColumns});
  auto* to = out->mutable_as<uint32_t>();
  const auto* q = w.q->as<uint8_t>();
  for (int64_t kk = 0; kk < k; ++kk) {
    const int64_t step = kk % unit, pair = step / 8, thread = step % 8 / 2, second = step % 2;
    const int64_t word = kk / unit * 4 + thread, shift = w.bits * (pair + second * (each / 2));
    for (int64_t i = 0; i < n; ++i)
      to[(i / kPanelColumns * words + word) * kPanelColumns + i % kPanelColumns] |= uint32_t{q[kk * n + i]}
                                                                                    << shift;
  }
  return out;
}

int64_t fragment_blocks(const QuantisedWeights& w) {
  return ceil_div(round_up(w.k(), kFragmentSteps), w.block);
}

DType fragment_scale_type(const QuantisedWeights& w) {
  constexpr double kLeastNormal = 0x1p-14;
  const auto* scales = w.scale->as<float>();
  const bool halves = std::all_of(scales, scales + w.scale->count(), [](float scale) {
    const double stored = decode_f16(encode_f16(scale));
    return stored == scale || (std::isfinite(stored) && std::abs(stored) >= kLeastNormal);
  });
  return halves ? DType::kF16 : DType::kF32;
}

TensorDataPtr pack_fragment_scales(const QuantisedWeights& w) {
  TensorDataPtr panels = parameter_panels<float>(w, w.scale, DType::kF32, fragment_blocks(w));
  if (fragment_scale_type(w) == DType::kF32) return panels;
  auto half = TensorData::make(DType::kF16, panels->shape());
  for (int64_t i = 0; i < panels->count(); ++i) half->set_float(i, panels->float_at(i));
  return half;
}

TensorDataPtr pack_fragment_zeros(const QuantisedWeights& w) {
  return zero_panels(w, fragment_blocks(w));
}

Expr QuantisedPanels::word_index(const Expr& column, const Expr& word) const {
  const Expr panel = kernel::index_div(column, int_const(kPanelColumns)),
             inside = kernel::index_rem(column, int_const(kPanelColumns));
  const Expr row = kernel::add(kernel::mul(panel, int_const(steps)), word);
  return kernel::add(kernel::mul(row, int_const(kPanelColumns)), inside);
}

Expr QuantisedPanels::parameter_index(const Expr& column, const Expr& at_block) const {
  const Expr panel = kernel::index_div(column, int_const(kPanelColumns)),
             inside = kernel::index_rem(column, int_const(kPanelColumns));
  const Expr row = kernel::add(kernel::mul(panel, int_const(blocks)), at_block);
  return kernel::add(kernel::mul(row, int_const(kPanelColumns)), inside);
}

namespace {

constexpr int64_t kExponent = 0x4b000000;  // of 2^23, whose lowest bit is worth 1
constexpr double kBase = 8388608;

Expr splat(const Expr& e, int lanes) {
  return lanes == 1 ? e : kernel::broadcast(e, lanes);
}

}  // namespace

QuantisedPanels::Parameters QuantisedPanels::parameters(const Expr& n, const Expr& at_block, int lanes,
                                                        std::vector<kernel::Stmt>& out) const {
  const Expr at = parameter_index(n, at_block);
  Parameters p;
  p.scale = named("scale", kernel::load(scales, at, lanes), out);
  // Whole zero points are subtracted with the base, exactly; others after it.
  const bool whole = zeros ? zeros->type.dtype == DType::kU8 : zero == std::floor(zero);
  p.base = splat(kernel::float_const(kBase + (whole && !zeros ? zero : 0)), lanes);
  if (zeros) {
    const Expr z = named("zero", kernel::cast(kernel::load(zeros, at, lanes), DType::kF32), out);
    if (whole) p.base = named("base", kernel::add(p.base, z), out);
    if (!whole) p.rest = z;
  } else if (!whole) {
    p.rest = splat(kernel::float_const(zero), lanes);
  }
  return p;
}

Expr QuantisedPanels::step_of(const Expr& q, int i, const Parameters& p) const {
  const int lanes = q->type.lanes;
  const auto bits_of = [&](int64_t v) { return splat(int_const(v, DType::kU32), lanes); };
  Expr e = i == 0 ? q : kernel::op(ScalarOp::kShr, {q, bits_of(int64_t{i} * bits)});
  if ((i + 1) * bits < 32) e = kernel::op(ScalarOp::kAnd, {e, bits_of((int64_t{1} << bits) - 1)});
  e = kernel::bitcast(kernel::op(ScalarOp::kOr, {e, bits_of(kExponent)}), {DType::kF32, lanes});
  e = kernel::sub(e, p.base);
  return p.rest ? kernel::sub(e, p.rest) : e;
}

std::vector<Expr> QuantisedPanels::widen(const Expr& n, const Expr& word, int count, int lanes,
                                         std::vector<kernel::Stmt>& out) const {
  const Expr q = named("q", kernel::load(words, word_index(n, word), lanes), out);
  const Parameters p = parameters(n, kernel::index_div(word, int_const(block * bits / 32)), lanes, out);
  std::vector<Expr> values;
  for (int i = 0; i < count; ++i) values.push_back(named("w", kernel::mul(step_of(q, i, p), p.scale), out));
  return values;
}

Expr QuantisedPanels::steps_from(const Expr& k, const Expr& n, int count) const {
  const int each = 32 / bits;
  const Expr at = parameter_index(n, kernel::index_div(k, int_const(block)));
  const Expr scale = kernel::load(scales, at);
  const Expr least = zeros ? kernel::cast(kernel::load(zeros, at), DType::kF32) : kernel::float_const(zero);
  const Expr shift = kernel::mul(kernel::index_rem(k, int_const(each)), int_const(bits));
  const Expr word =
      kernel::op(ScalarOp::kShr, {kernel::load(words, word_index(n, kernel::index_div(k, int_const(each)))),
                                  kernel::cast(shift, DType::kU32)});
  std::vector<Expr> lines;
  for (int i = 0; i < count; ++i) {
    const Expr own = kernel::op(ScalarOp::kShr, {word, int_const(int64_t{i} * bits, DType::kU32)});
    const Expr q = kernel::op(ScalarOp::kAnd, {own, int_const((int64_t{1} << bits) - 1, DType::kU32)});
    lines.push_back(kernel::mul(kernel::sub(kernel::cast(q, DType::kF32), least), scale));
  }
  for (; lines.size() > 1; lines.resize(lines.size() / 2)) {
    for (size_t i = 0; i < lines.size() / 2; ++i) {
      const Expr &a = lines[2 * i], &b = lines[2 * i + 1];
      std::vector<int> lanes;
      for (int lane = 0; lane < 2 * a->type.lanes; ++lane) lanes.push_back(lane);
      lines[i] = kernel::shuffle(a, b, lanes);
    }
  }
  return lines.front();
}

}  // namespace tern::lower
