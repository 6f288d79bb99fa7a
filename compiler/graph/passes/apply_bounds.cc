#include "compiler/graph/passes/apply_bounds.h"

#include <algorithm>
#include <limits>

#include "compiler/support/dim_sum.h"
#include "compiler/support/rounding.h"

namespace tern::graph {
namespace {

// Inclusive; the ends of int64 mean "not known". Arithmetic is in 128 bits and clamps.
struct Range {
  int64_t low = std::numeric_limits<int64_t>::min(), high = std::numeric_limits<int64_t>::max();
};
using Wide = __int128;

int64_t clamp(Wide v) {
  return static_cast<int64_t>(
      std::clamp<Wide>(v, std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()));
}
bool known_low(const Range& r) {
  return r.low != std::numeric_limits<int64_t>::min();
}
bool known_high(const Range& r) {
  return r.high != std::numeric_limits<int64_t>::max();
}

Range add(const Range& a, const Range& b) {
  Range out;
  if (known_low(a) && known_low(b)) out.low = clamp(Wide(a.low) + b.low);
  if (known_high(a) && known_high(b)) out.high = clamp(Wide(a.high) + b.high);
  return out;
}

Range multiply(const Range& a, const Range& b) {
  // Sizes and factors: the cases that matter are both not negative, or a negative constant.
  const auto negate = [](const Range& r) {
    Range out;
    if (known_high(r)) out.low = clamp(-Wide(r.high));
    if (known_low(r)) out.high = clamp(-Wide(r.low));
    return out;
  };
  const auto is_zero = [](const Range& r) { return r.low == 0 && r.high == 0; };
  if (is_zero(a) || is_zero(b)) return {0, 0};
  if (known_high(b) && b.high <= 0) return negate(multiply(a, negate(b)));
  if (known_high(a) && a.high <= 0) return negate(multiply(negate(a), b));
  Range out;
  if (known_low(a) && known_low(b) && a.low >= 0 && b.low >= 0) {
    out.low = clamp(Wide(a.low) * b.low);
    if (known_high(a) && known_high(b)) out.high = clamp(Wide(a.high) * b.high);
  } else if (b.low == b.high) {  // a may be negative, b is a positive constant
    if (known_low(a)) out.low = clamp(Wide(a.low) * b.low);
    if (known_high(a)) out.high = clamp(Wide(a.high) * b.low);
  } else if (a.low == a.high) {
    return multiply(b, a);
  }
  return out;
}

class Bounds {
 public:
  explicit Bounds(Graph& graph) : graph_(graph) {}

  bool run() {
    block(graph_.body);
    for (SymbolInfo& s : graph_.symbols)
      if (s.upper) s.upper = decide(*s.upper);
    return changed_;
  }

 private:
  Range range_of(const Dim& d) {
    Range out;
    switch (d.op()) {
      case Dim::Op::kConst:
        return {d.value(), d.value()};
      case Dim::Op::kSymbol: {
        // Only what inputs state is enforced.
        const SymbolInfo* s = graph_.find_symbol(d.symbol_name());
        if (s && s->origin == SymbolInfo::Origin::kInput) return {std::max<int64_t>(s->min, 0), s->max};
        return out;
      }
      case Dim::Op::kAdd:
      case Dim::Op::kMul: {
        out = range_of(d.args()[0]);
        for (size_t i = 1; i < d.args().size(); ++i)
          out = d.op() == Dim::Op::kAdd ? add(out, range_of(d.args()[i]))
                                        : multiply(out, range_of(d.args()[i]));
        return out;
      }
      case Dim::Op::kFloorDiv: {
        const Range a = range_of(d.args()[0]);
        const Dim& b = d.args()[1];
        if (!b.is_const() || b.value() <= 0) return out;
        if (known_low(a)) out.low = floor_div(a.low, b.value());
        if (known_high(a)) out.high = floor_div(a.high, b.value());
        return out;
      }
      case Dim::Op::kMod:
        if (d.args()[1].is_const() && d.args()[1].value() > 0) return {0, d.args()[1].value() - 1};
        return out;
      case Dim::Op::kMin:
      case Dim::Op::kMax: {
        const Range a = range_of(d.args()[0]), b = range_of(d.args()[1]);
        const bool is_min = d.op() == Dim::Op::kMin;
        return is_min ? Range{std::min(a.low, b.low), std::min(a.high, b.high)}
                      : Range{std::max(a.low, b.low), std::max(a.high, b.high)};
      }
      default:
        return out;
    }
  }

  Dim rebuild(const Dim& d) {
    std::vector<Dim> args;
    for (const Dim& a : d.args()) args.push_back(decide(a));
    if (d.op() == Dim::Op::kAdd) return sum(args);
    Dim out = args[0];
    for (size_t i = 1; i < args.size(); ++i) {
      const Dim next = args[i];
      switch (d.op()) {
        case Dim::Op::kMul:
          out = out * next;
          break;
        case Dim::Op::kFloorDiv:
          out = floordiv(out, next);
          break;
        case Dim::Op::kCeilDiv:
          out = ceildiv(out, next);
          break;
        case Dim::Op::kMod:
          out = mod(out, next);
          break;
        case Dim::Op::kMin:
          out = extremum(out, next, true);
          break;
        default:
          out = extremum(out, next, false);
          break;
      }
    }
    return out;
  }

  Dim extremum(const Dim& a, const Dim& b, bool is_min) {
    const Range difference = range_of(a - b);
    if (known_high(difference) && difference.high <= 0) return is_min ? a : b;
    if (known_low(difference) && difference.low >= 0) return is_min ? b : a;
    return is_min ? min(a, b) : max(a, b);
  }

  Dim decide(const Dim& d) {
    if (d.is_const() || d.op() == Dim::Op::kSymbol) return d;
    const auto found = decided_.find(d);
    if (found != decided_.end()) return found->second;
    const Dim out = rebuild(d);
    decided_.emplace(d, out);
    changed_ |= out != d;
    return out;
  }

  void type(Type& t) {
    for (Dim& d : t.shape) d = decide(d);
    if (!t.element) return;
    Type element = *t.element;
    type(element);
    t.element = std::make_shared<const Type>(std::move(element));
  }

  void block(Block& b) {
    for (Value* v : b.args) type(v->type);
    for (const auto& n : b.nodes) {
      for (Value* v : n->results) type(v->type);
      for (auto& [key, attr] : n->attrs)
        if (auto* dims = std::get_if<std::vector<Dim>>(&attr))
          for (Dim& d : *dims) d = decide(d);
      for (const auto& region : n->regions) block(*region);
    }
  }

  Graph& graph_;
  std::unordered_map<Dim, Dim> decided_;
  bool changed_ = false;
};

}  // namespace

bool apply_bounds(Graph& graph) {
  return Bounds(graph).run();
}

}  // namespace tern::graph
