#include "compiler/onnx/knowledge.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "compiler/support/dim_sum.h"
#include "compiler/support/rounding.h"

namespace tern::onnx {

using graph::Node;
using graph::OpKind;
using scalar::ScalarOp;

namespace {

constexpr int64_t kMaxElements = 256;

std::optional<int64_t> checked_add(std::optional<int64_t> a, std::optional<int64_t> b) {
  int64_t sum;
  if (!a || !b || __builtin_add_overflow(*a, *b, &sum)) return std::nullopt;
  return sum;
}

Interval multiply(const Interval& a, const Interval& b) {
  if (a.low && a.high && b.low && b.high) {
    int64_t products[4];
    bool overflow = false;
    int n = 0;
    for (int64_t x : {*a.low, *a.high})
      for (int64_t y : {*b.low, *b.high}) overflow |= __builtin_mul_overflow(x, y, &products[n++]);
    if (!overflow) {
      auto [low, high] = std::minmax_element(products, products + 4);
      return {*low, *high};
    }
  }
  int64_t product;
  if (a.low && b.low && *a.low >= 0 && *b.low >= 0 && !__builtin_mul_overflow(*a.low, *b.low, &product))
    return {product, std::nullopt};
  // A constant factor below zero turns a one-sided interval around.
  const Interval& constant = a.low && a.high ? a : b;
  const Interval& other = a.low && a.high ? b : a;
  if (constant.low && constant.high && *constant.low == *constant.high && *constant.low < 0 && other.low &&
      !__builtin_mul_overflow(*constant.low, *other.low, &product))
    return {std::nullopt, product};
  return {};
}

Element unknown() {
  return {};
}

Element quotient(Dim number, int64_t divisor) {
  if (divisor < 0) {
    number = Dim(0) - number;
    divisor = -divisor;
  }
  if (number.is_const() && divisor > 1) {
    int64_t common = std::gcd(number.value(), divisor);
    return {Dim(number.value() / common), divisor / common, nullptr, 0};
  }
  if (divisor > 1 && mod(number, Dim(divisor)).is_const(0))
    return Element::of(floordiv(number, Dim(divisor)));
  return {number, divisor, nullptr, 0};
}

// A double that is a small dyadic fraction, exactly.
Element from_double(double value) {
  double scaled = value;
  int64_t divisor = 1;
  while (divisor < (1 << 20) && scaled != std::floor(scaled)) {
    scaled *= 2;
    divisor *= 2;
  }
  if (!(std::fabs(scaled) < 1e12) || scaled != std::floor(scaled)) return unknown();
  return quotient(Dim(static_cast<int64_t>(scaled)), divisor);
}

bool small(int64_t v) {
  return v > -(int64_t{1} << 31) && v < (int64_t{1} << 31);
}

// Whether every constant in the expression is small, and the expression itself: `budget` nodes at most.
bool modest(const Dim& dim, int& budget) {
  if (--budget < 0) return false;
  if (dim.is_const()) return small(dim.value());
  if (dim.op() == Dim::Op::kSymbol) return true;
  for (const Dim& a : dim.args())
    if (!modest(a, budget)) return false;
  return true;
}

bool modest(const Dim& dim) {
  int budget = 200;
  return modest(dim, budget);
}

// Arithmetic on what is not safe is left to run time: constants could leave int64, expressions grow without
// end.
bool safe(const Element& e) {
  return e.divisor < (1 << 24) && modest(e.number);
}

}  // namespace

Interval interval(const graph::Graph& graph, const Dim& dim) {
  switch (dim.op()) {
    case Dim::Op::kConst:
      return {dim.value(), dim.value()};
    case Dim::Op::kSymbol:
      for (const graph::SymbolInfo& s : graph.symbols) {
        if (s.name != dim.symbol_name()) continue;
        return {s.min == INT64_MIN ? std::nullopt : std::optional<int64_t>(s.min),
                s.max == INT64_MAX ? std::nullopt : std::optional<int64_t>(s.max)};
      }
      return {};
    case Dim::Op::kAdd: {
      Interval sum{0, 0};
      for (const Dim& a : dim.args()) {
        Interval term = interval(graph, a);
        sum = {checked_add(sum.low, term.low), checked_add(sum.high, term.high)};
      }
      return sum;
    }
    case Dim::Op::kMul: {
      Interval product{1, 1};
      for (const Dim& a : dim.args()) product = multiply(product, interval(graph, a));
      return product;
    }
    case Dim::Op::kFloorDiv:
    case Dim::Op::kCeilDiv: {
      Interval a = interval(graph, dim.args()[0]), b = interval(graph, dim.args()[1]);
      if (!b.low || !b.high || *b.low != *b.high || *b.low <= 0) {
        if (a.low && b.low && *a.low >= 0 && *b.low > 0) return {0, a.high};
        return {};
      }
      int64_t up = dim.op() == Dim::Op::kCeilDiv ? *b.low - 1 : 0;
      Interval out;
      if (auto low = checked_add(a.low, up)) out.low = floor_div(*low, *b.low);
      if (auto high = checked_add(a.high, up)) out.high = floor_div(*high, *b.low);
      return out;
    }
    case Dim::Op::kMod: {
      Interval b = interval(graph, dim.args()[1]);
      if (b.low && *b.low > 0) return {0, b.high ? std::optional<int64_t>(*b.high - 1) : std::nullopt};
      return {};
    }
    case Dim::Op::kMin:
    case Dim::Op::kMax: {
      bool is_min = dim.op() == Dim::Op::kMin;
      Interval a = interval(graph, dim.args()[0]), b = interval(graph, dim.args()[1]);
      Interval out;
      // min: both lower bounds are needed, one upper bound is enough; max the other way round.
      auto both = [&](std::optional<int64_t> x, std::optional<int64_t> y) -> std::optional<int64_t> {
        if (!x || !y) return std::nullopt;
        return is_min ? std::min(*x, *y) : std::max(*x, *y);
      };
      auto either = [&](std::optional<int64_t> x, std::optional<int64_t> y) -> std::optional<int64_t> {
        if (x && y) return is_min ? std::min(*x, *y) : std::max(*x, *y);
        return x ? x : y;
      };
      out.low = is_min ? both(a.low, b.low) : either(a.low, b.low);
      out.high = is_min ? either(a.high, b.high) : both(a.high, b.high);
      return out;
    }
  }
  return {};
}

std::optional<bool> decide(const graph::Graph& graph, ScalarOp op, const Dim& a, const Dim& b) {
  if (!modest(a) || !modest(b)) return std::nullopt;
  Interval difference = interval(graph, a - b);
  bool below = difference.high && *difference.high < 0;
  bool above = difference.low && *difference.low > 0;
  bool at_most = difference.high && *difference.high <= 0;
  bool at_least = difference.low && *difference.low >= 0;
  auto pick = [](bool yes, bool no) -> std::optional<bool> {
    if (yes) return true;
    if (no) return false;
    return std::nullopt;
  };
  switch (op) {
    case ScalarOp::kEq:
      return pick(at_most && at_least, below || above);
    case ScalarOp::kNe:
      return pick(below || above, at_most && at_least);
    case ScalarOp::kLt:
      return pick(below, at_least);
    case ScalarOp::kLe:
      return pick(at_most, above);
    case ScalarOp::kGt:
      return pick(above, at_most);
    case ScalarOp::kGe:
      return pick(at_least, below);
    default:
      return std::nullopt;
  }
}

std::optional<bool> smaller(const graph::Graph& graph, const Dim& a, const Dim& b) {
  if (decide(graph, ScalarOp::kLe, a, b).value_or(false)) return true;
  if (decide(graph, ScalarOp::kGe, a, b).value_or(false)) return false;
  return std::nullopt;
}

const Contents* Knowledge::find(Value* value) {
  auto found = contents_.find(value);
  if (found != contents_.end()) return &found->second;
  const graph::Type& type = value->type;
  if (!type.is_tensor() || !is_static(type.shape)) return nullptr;
  // Sizes are i64, sometimes i32; arithmetic of narrower and unsigned types wraps and is not followed.
  bool integer = type.dtype == DType::kI64 || type.dtype == DType::kI32 || type.dtype == DType::kBool;
  if (!integer && !is_float(type.dtype)) return nullptr;
  int64_t count = 1;
  for (const Dim& d : type.shape) {
    if (d.value() > kMaxElements) return nullptr;
    count *= d.value();
    if (count > kMaxElements) return nullptr;
  }
  Contents contents(static_cast<size_t>(count));
  bool constant = value->def && value->def->kind == OpKind::kConstant;
  if (!constant && !integer) return nullptr;
  for (int64_t i = 0; i < count; ++i) {
    Element& e = contents[static_cast<size_t>(i)];
    if (!constant) {
      e = {Dim(), 0, value, i};
      continue;
    }
    const TensorDataPtr& data = value->def->attr<TensorDataPtr>("value");
    e = integer ? Element::of(Dim(data->int_at(i))) : from_double(data->float_at(i));
  }
  return &(contents_[value] = std::move(contents));
}

Dim Knowledge::dim_of(const Element& element, bool size) {
  if (element.is_dim()) return element.number;
  if (element.known()) return floordiv(element.number, Dim(element.divisor));
  TERN_CHECK(element.source, "the element has no source");
  auto key = std::make_pair(static_cast<const Value*>(element.source), element.index);
  auto found = symbols_.find(key);
  if (found != symbols_.end()) return found->second;
  graph::SymbolInfo info;
  info.origin = graph::SymbolInfo::Origin::kElement;
  info.value = element.source;
  info.element = element.index;
  const auto trips = trips_.find(element.source);
  if (trips == trips_.end()) {
    if (!size) info.min = INT64_MIN;
  } else if (trips->second && trips->second->is_const()) {
    info.max = std::max<int64_t>(trips->second->value() - 1, 0);
  }
  Dim symbol = Dim::symbol(graph_->new_symbol("u", info).name);
  symbols_.emplace(key, symbol);
  return symbol;
}

Dim Knowledge::place_of(const Element& element) {
  if (!element.counter) return dim_of(element, false);
  return dim_of({Dim(), 0, element.counter, 0}, true) * Dim(element.factor) + element.number;
}

void Knowledge::count_iterations(Value* number, const std::optional<Dim>& trips) {
  trips_[number] = trips;
  Element e{Dim(), 0, number, 0};
  e.counter = number;
  contents_[number] = {e};
}

Dim Knowledge::at_most(const Dim& dim) const {
  // The trips of the loop whose iterations the symbol counts.
  const auto trips = [&](const std::string& name) -> std::optional<Dim> {
    const graph::SymbolInfo* info = graph_->find_symbol(name);
    const auto found = info ? trips_.find(info->value) : trips_.end();
    return found == trips_.end() ? std::nullopt : found->second;
  };
  const auto last = [&](const Dim& term) -> std::optional<Dim> {
    if (term.op() == Dim::Op::kSymbol) {
      const auto most = trips(term.symbol_name());
      return most ? *most - Dim(1) : term;
    }
    if (term.op() == Dim::Op::kMul && term.args().size() == 2 && term.args()[0].op() == Dim::Op::kSymbol &&
        term.args()[1].is_const() && term.args()[1].value() > 0) {
      const auto most = trips(term.args()[0].symbol_name());
      return most ? (*most - Dim(1)) * term.args()[1] : term;
    }
    std::vector<std::string> names;
    term.collect_symbols(names);
    if (std::any_of(names.begin(), names.end(), [&](const std::string& n) { return trips(n).has_value(); }))
      return std::nullopt;
    return term;
  };
  if (dim.op() != Dim::Op::kAdd) return last(dim).value_or(dim);
  Shape terms;
  for (const Dim& term : dim.args()) {
    const auto most = last(term);
    if (!most) return dim;
    terms.push_back(*most);
  }
  return sum(terms);
}

void Knowledge::roll_back(size_t symbols) {
  for (size_t i = symbols; i < graph_->symbols.size(); ++i) {
    const graph::SymbolInfo& info = graph_->symbols[i];
    if (info.value) symbols_.erase({info.value, info.element});
  }
  graph_->symbols.resize(symbols);
}

namespace {

Element combine_unary(const graph::Graph& graph, ScalarOp op, const Element& a) {
  auto non_negative = [&] {
    Interval range = interval(graph, a.number);
    return range.low && *range.low >= 0;
  };
  switch (op) {
    case ScalarOp::kNeg:
      return quotient(Dim(0) - a.number, a.divisor);
    case ScalarOp::kAbs:
      return non_negative() ? a : unknown();
    case ScalarOp::kFloor:
      return Element::of(floordiv(a.number, Dim(a.divisor)));
    case ScalarOp::kCeil:
      return Element::of(ceildiv(a.number, Dim(a.divisor)));
    case ScalarOp::kTrunc:
      return a.is_dim() ? a : non_negative() ? Element::of(floordiv(a.number, Dim(a.divisor))) : unknown();
    case ScalarOp::kRoundEven:
      return a.is_dim() ? a : unknown();
    default:
      return unknown();
  }
}

Element combine_divide(const graph::Graph& graph, const Element& a, const Element& b, bool integer) {
  if (!integer) {
    if (a.number == b.number && a.divisor == b.divisor) {
      auto nonzero = decide(graph, ScalarOp::kNe, a.number, Dim(0));
      return nonzero.value_or(false) ? Element::of(Dim(1)) : unknown();
    }
    if (!b.number.is_const() || b.number.value() == 0) return unknown();
    if (!small(a.divisor * b.number.value())) return unknown();
    return quotient(a.number * Dim(b.divisor), a.divisor * b.number.value());
  }
  if (a.number.is_const() && b.number.is_const())
    return Element::of(Dim(b.number.value() == 0 ? 0 : a.number.value() / b.number.value()));
  Interval top = interval(graph, a.number), bottom = interval(graph, b.number);
  if (!top.low || *top.low < 0 || !bottom.low || *bottom.low < 1) return unknown();
  return Element::of(floordiv(a.number, b.number));
}

Element combine_binary(const graph::Graph& graph, ScalarOp op, const Element& a, const Element& b,
                       bool integer) {
  bool dims = a.is_dim() && b.is_dim();
  switch (op) {
    case ScalarOp::kAdd:
      return quotient(a.number * Dim(b.divisor) + b.number * Dim(a.divisor), a.divisor * b.divisor);
    case ScalarOp::kSub:
      return quotient(a.number * Dim(b.divisor) - b.number * Dim(a.divisor), a.divisor * b.divisor);
    case ScalarOp::kMul:
      return quotient(a.number * b.number, a.divisor * b.divisor);
    case ScalarOp::kDiv:
      return combine_divide(graph, a, b, integer);
    case ScalarOp::kMin:
    case ScalarOp::kMax: {
      if (!dims) return unknown();
      bool is_min = op == ScalarOp::kMin;
      if (auto first = smaller(graph, a.number, b.number)) return *first == is_min ? a : b;
      return Element::of(is_min ? min(a.number, b.number) : max(a.number, b.number));
    }
    case ScalarOp::kFloorMod:
    case ScalarOp::kRem: {
      Interval bottom = interval(graph, b.number), top = interval(graph, a.number);
      if (!dims || !bottom.low || *bottom.low < 1) return unknown();
      if (op == ScalarOp::kRem && (!top.low || *top.low < 0)) return unknown();
      return Element::of(mod(a.number, b.number));
    }
    case ScalarOp::kEq:
    case ScalarOp::kNe:
    case ScalarOp::kLt:
    case ScalarOp::kLe:
    case ScalarOp::kGt:
    case ScalarOp::kGe: {
      auto holds = decide(graph, op, a.number * Dim(b.divisor), b.number * Dim(a.divisor));
      return holds ? Element::of(Dim(*holds ? 1 : 0)) : unknown();
    }
    case ScalarOp::kAnd:
    case ScalarOp::kOr:
    case ScalarOp::kXor: {
      if (!a.number.is_const() || !b.number.is_const()) return unknown();
      int64_t x = a.number.value(), y = b.number.value();
      return Element::of(Dim(op == ScalarOp::kAnd ? (x & y) : op == ScalarOp::kOr ? (x | y) : (x ^ y)));
    }
    default:
      return unknown();
  }
}

// Arithmetic on a place that a loop's iterations count, of which only that is known.
Element combine_counted(ScalarOp op, const Element& a, const Element& b) {
  const bool first = a.counter != nullptr;
  const Element& other = first ? b : a;
  Element out = first ? a : b;
  if (!out.counter || !other.is_dim() || !safe(other)) return unknown();
  out.source = nullptr;
  switch (op) {
    case ScalarOp::kAdd:
      out.number = out.number + other.number;
      break;
    case ScalarOp::kSub:
      out.number = first ? out.number - other.number : other.number - out.number;
      if (!first) out.factor = -out.factor;
      break;
    case ScalarOp::kMul:
      if (!other.number.is_const()) return unknown();
      out.number = out.number * other.number;
      out.factor *= other.number.value();
      break;
    default:
      return unknown();
  }
  return safe(out) && small(out.factor) ? out : unknown();
}

}  // namespace

Element Knowledge::combine(const Node& node, const std::vector<const Contents*>& operands, size_t i,
                           DType type) {
  ScalarOp op = node.scalar_op();
  if (op == ScalarOp::kSelect) {
    const Element& condition = (*operands[0])[i];
    if (!condition.is_dim() || !condition.number.is_const()) return unknown();
    return (*operands[condition.number.value() != 0 ? 1 : 2])[i];
  }
  for (const Contents* c : operands) {
    if ((*c)[i].known() && safe((*c)[i])) continue;
    const bool place = operands.size() == 2 && (type == DType::kI64 || type == DType::kI32);
    return place ? combine_counted(op, (*operands[0])[i], (*operands[1])[i]) : unknown();
  }
  const Element& a = (*operands[0])[i];
  if (type != DType::kBool && type != DType::kI64 && type != DType::kI32 && !is_float(type)) return unknown();
  if (op == ScalarOp::kNot && type == DType::kBool && a.number.is_const())
    return Element::of(Dim(a.number.value() == 0 ? 1 : 0));
  if (operands.size() == 1) return combine_unary(*graph_, op, a);
  if (operands.size() > 2) return unknown();
  return combine_binary(*graph_, op, a, (*operands[1])[i], !is_float(node.operand(0)->type.dtype));
}

namespace {

Element combine_cast(const graph::Graph& graph, const Element& e, DType from, DType to) {
  if (is_float(to)) return e.known() && safe(e) ? e : unknown();
  if (to == DType::kBool) {
    if (!e.known()) return unknown();
    auto nonzero = decide(graph, ScalarOp::kNe, e.number, Dim(0));
    return nonzero ? Element::of(Dim(*nonzero ? 1 : 0)) : unknown();
  }
  if (to != DType::kI64 && to != DType::kI32) return unknown();
  if (to == DType::kI32 && e.known() && !safe(e)) return unknown();
  if (!e.known()) return is_int(from) ? e : unknown();
  if (e.is_dim()) return e;
  return combine_unary(graph, ScalarOp::kTrunc, e);
}

Element fold(const graph::Graph& graph, ScalarOp op, const Element& a, const Element& b) {
  if (!a.is_dim() || !b.is_dim() || !safe(a) || !safe(b)) return unknown();
  return combine_binary(graph, op, a, b, true);
}

std::optional<Contents> propagate_reduce(const graph::Graph& graph, const Node& node, const Contents& from) {
  const Value* operand = node.operand(0);
  if (node.ints("axes").size() != operand->type.shape.size() || is_float(operand->type.dtype))
    return std::nullopt;
  if (from.empty()) return std::nullopt;
  Element total = from[0];
  for (size_t i = 1; i < from.size(); ++i) total = fold(graph, node.scalar_op(), total, from[i]);
  return Contents{total};
}

// Calls f(flat result index, index along each axis).
template <typename F>
void for_each_index(const std::vector<int64_t>& shape, F f) {
  int64_t count = 1;
  for (int64_t d : shape) count *= d;
  std::vector<int64_t> index(shape.size(), 0);
  for (int64_t flat = 0; flat < count; ++flat) {
    f(static_cast<size_t>(flat), index);
    for (size_t axis = shape.size(); axis-- > 0;) {
      if (++index[axis] < shape[axis]) break;
      index[axis] = 0;
    }
  }
}

}  // namespace

std::optional<Contents> Knowledge::propagate_movement(const Node& node,
                                                      const std::vector<const Contents*>& operands,
                                                      const std::vector<int64_t>& shape) {
  const Contents& from = *operands[0];
  std::vector<int64_t> in = static_dims(node.operand(0)->type.shape);
  size_t count = 1;
  for (int64_t d : shape) count *= static_cast<size_t>(d);
  Contents out(count);
  auto at = [&](const std::vector<int64_t>& index) -> const Element& {
    int64_t flat = 0;
    for (size_t a = 0; a < in.size(); ++a) flat = flat * in[a] + index[a];
    return from[static_cast<size_t>(flat)];
  };
  switch (node.kind) {
    case OpKind::kReshape:
      return from;
    case OpKind::kBroadcast:
      for_each_index(shape, [&](size_t flat, const std::vector<int64_t>& index) {
        std::vector<int64_t> source(in.size());
        for (size_t a = 0; a < in.size(); ++a)
          source[a] = in[a] == 1 ? 0 : index[a + shape.size() - in.size()];
        out[flat] = at(source);
      });
      return out;
    case OpKind::kTranspose:
      for_each_index(shape, [&](size_t flat, const std::vector<int64_t>& index) {
        std::vector<int64_t> source(in.size());
        for (size_t a = 0; a < in.size(); ++a) source[static_cast<size_t>(node.ints("perm")[a])] = index[a];
        out[flat] = at(source);
      });
      return out;
    case OpKind::kSlice: {
      if (!is_static(node.dims("starts"))) return std::nullopt;
      std::vector<int64_t> starts = static_dims(node.dims("starts"));
      for_each_index(shape, [&](size_t flat, const std::vector<int64_t>& index) {
        std::vector<int64_t> source(in.size());
        for (size_t a = 0; a < in.size(); ++a) source[a] = starts[a] + index[a] * node.ints("steps")[a];
        out[flat] = at(source);
      });
      return out;
    }
    default:
      return std::nullopt;
  }
}

namespace {

std::optional<Contents> propagate_concat(const Node& node, const std::vector<const Contents*>& operands) {
  if (node.operand(0)->type.rank() != 1) return std::nullopt;
  Contents out;
  for (const Contents* c : operands) out.insert(out.end(), c->begin(), c->end());
  return out;
}

std::optional<Contents> propagate_gather(const Node& node, const std::vector<const Contents*>& operands) {
  if (node.operand(0)->type.rank() != 1) return std::nullopt;
  Contents out;
  auto extent = static_cast<int64_t>(operands[0]->size());
  for (const Element& index : *operands[1]) {
    if (!index.is_dim() || !index.number.is_const()) return std::nullopt;
    int64_t i = index.number.value();
    if (i < 0) i += extent;
    if (i < 0 || i >= extent) return std::nullopt;
    out.push_back((*operands[0])[static_cast<size_t>(i)]);
  }
  return out;
}

}  // namespace

std::optional<Contents> Knowledge::propagate(const Node& node, const graph::Type& result) {
  if (!result.is_tensor() || !is_static(result.shape)) return std::nullopt;
  std::vector<int64_t> shape = static_dims(result.shape);
  int64_t count = 1;
  for (int64_t d : shape) {
    if (d > kMaxElements) return std::nullopt;
    count *= d;
    if (count > kMaxElements) return std::nullopt;
  }
  if (node.kind == OpKind::kIota) {
    Contents out(static_cast<size_t>(count));
    for_each_index(shape, [&](size_t flat, const std::vector<int64_t>& index) {
      out[flat] = Element::of(Dim(index[static_cast<size_t>(node.int_attr("axis"))]));
    });
    return out;
  }
  std::vector<const Contents*> operands;
  for (Value* v : node.operands) {
    if (!find(v)) return std::nullopt;
  }
  for (Value* v : node.operands) operands.push_back(find(v));
  if (operands.empty()) return std::nullopt;
  switch (node.kind) {
    case OpKind::kMap: {
      Contents out(static_cast<size_t>(count));
      for (size_t i = 0; i < out.size(); ++i) out[i] = combine(node, operands, i, result.dtype);
      return out;
    }
    case OpKind::kCast: {
      Contents out(*operands[0]);
      for (Element& e : out) e = combine_cast(*graph_, e, node.operand(0)->type.dtype, result.dtype);
      return out;
    }
    case OpKind::kReduce:
      return propagate_reduce(*graph_, node, *operands[0]);
    case OpKind::kConcat:
      return propagate_concat(node, operands);
    case OpKind::kGather:
      return propagate_gather(node, operands);
    default:
      return propagate_movement(node, operands, shape);
  }
}

}  // namespace tern::onnx
