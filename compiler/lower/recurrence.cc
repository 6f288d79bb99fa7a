#include "compiler/lower/recurrence.h"

#include <algorithm>

#include "compiler/lower/regions.h"
#include "compiler/lower/value_range.h"

namespace tern::lower {
namespace {

using graph::Node;
using graph::OpKind;
using graph::Value;
using scalar::ScalarOp;

bool is_state_type(DType t) {
  return t == DType::kF32 || t == DType::kF16 || t == DType::kBF16;
}

std::optional<int64_t> constant_scalar(const Value* v) {
  const TensorDataPtr data = LoweringContext::constant_data(v);
  if (!data || data->count() != 1) return std::nullopt;
  return data->int_at(0);
}

class Finder {
 public:
  Finder(const Node& loop, const std::string& iteration_symbol, const Dim& steps)
      : loop_(loop),
        body_(*loop.regions[0]),
        carried_(loop.operands.size() - 2),
        iteration_(Dim::symbol(iteration_symbol)) {
    out_.loop = &loop;
    out_.steps = steps;
  }

  std::optional<Recurrence> run() {
    if (!find_varying() || !find_rows() || !find_stages() || !find_results()) return std::nullopt;
    for (const RecurrentProduct& p : out_.products)
      if (p.offsets.empty()) return std::nullopt;
    return std::move(out_);
  }

 private:
  bool varies(const Value* v) const { return out_.varying.contains(v); }
  bool passes_on(size_t i) const { return body_.results[i + 1] == body_.args[i + 2]; }

  bool find_varying() {
    for (size_t i = 0; i < carried_; ++i) {
      const Value* arg = body_.args[i + 2];
      if (passes_on(i)) continue;
      if (arg->type != body_.results[i + 1]->type || arg->type != loop_.operands[i + 2]->type ||
          arg->type != loop_.results[i]->type || !is_state_type(arg->type.dtype))
        return false;
      out_.varying.insert(arg);
      arguments_[arg] = static_cast<int>(i);
    }
    for (const auto& owned : body_.nodes) {
      const Node& n = *owned;
      if (n.results.size() != 1 || !n.regions.empty() || !n.result()->type.is_tensor()) return false;
      const auto among = [&](const auto& is) {
        return std::any_of(n.operands.begin(), n.operands.end(), is);
      };
      if (among([&](const Value* v) { return v == body_.args[0] || v == body_.args[1]; })) return false;
      const bool goes = among([&](const Value* v) { return varies(v); });
      if (goes ? !add_varying(n) : !add_input_node(n)) return false;
    }
    return out_.iteration != nullptr;
  }

  bool add_varying(const Node& n) {
    const Value* v = n.result();
    out_.varying.insert(v);
    switch (n.kind) {
      case OpKind::kMap:
      case OpKind::kCast:
        return true;
      case OpKind::kReshape:
      case OpKind::kBroadcast:
        return v->type.rank() > 0 && n.operand()->type.rank() > 0 &&
               v->type.shape.back() == n.operand()->type.shape.back();
      case OpKind::kSlice:
        return slice_start(n).has_value();
      case OpKind::kDot: {
        const Value* w = n.operand(1);
        return n.operands.size() == 2 && is_matrix(*w) && LoweringContext::constant_data(w) &&
               is_state_type(v->type.dtype) && n.operand()->type.dtype == w->type.dtype;
      }
      default:
        return false;
    }
  }

  static bool is_matrix(const Value& w) {
    const Shape& s = w.type.shape;
    return std::all_of(s.begin(), s.end() - 2, [](const Dim& d) { return d.is_const(1); });
  }

  // The first unit of a slice along the last axis alone.
  static std::optional<int64_t> slice_start(const Node& n) {
    const Value* v = n.operand();
    const auto& starts = n.dims("starts");
    for (size_t d = 0; d < starts.size(); ++d) {
      if (n.ints("steps")[d] != 1) return std::nullopt;
      const bool last = d + 1 == starts.size();
      if (!last && (!starts[d].is_const(0) || v->type.shape[d] != n.result()->type.shape[d]))
        return std::nullopt;
    }
    return starts.empty() ? std::nullopt : starts.back().maybe_value();
  }

  bool add_input_node(const Node& n) {
    if (n.kind == OpKind::kFromDims) {
      const auto& dims = n.dims("dims");
      if (dims.size() == 1 && dims[0] == iteration_) {
        out_.iteration = n.result();
        changing_.insert(n.result());
      }
      return true;
    }
    if (n.kind == OpKind::kConstant) return true;
    if (!is_view(n) && !is_inlinable(n)) return false;
    if (std::any_of(n.operands.begin(), n.operands.end(),
                    [&](const Value* v) { return changing_.contains(v); }))
      changing_.insert(n.result());
    if (n.kind == OpKind::kGather) return add_gather(n);
    // A check that fails in one thread would leave the others waiting.
    return n.kind != OpKind::kGatherElements && n.kind != OpKind::kGatherNd;
  }

  // Of one place inside the axis, which the kernel need not check.
  bool add_gather(const Node& n) {
    const Dim& extent = n.operand()->type.shape[static_cast<size_t>(n.int_attr("axis"))];
    if (n.operand(1)->type.rank() == 0) {
      if (const auto place = place_of(n.operand(1))) {
        const bool forwards = place->factor == 1 && place->start.is_const(0) && extent == out_.steps;
        const bool backwards = place->factor == -1 && place->start == extent - 1 && extent == out_.steps;
        if (forwards || backwards) {
          out_.places[&n] = *place;
          return true;
        }
      }
    }
    const auto range = integer_range(n.operand(1));
    return extent.is_const() && range && range->low >= 0 && range->high < extent.value();
  }

  std::optional<Recurrence::Place> place_of(const Value* v) const {
    if (v == out_.iteration) return Recurrence::Place{1, 0};
    if (const auto data = LoweringContext::constant_data(v);
        data && data->count() == 1 && !is_float(v->type.dtype))
      return Recurrence::Place{0, data->int_at(0)};
    if (!v->def) return std::nullopt;
    const Node& n = *v->def;
    if (n.kind == OpKind::kFromDims && n.dims("dims").size() == 1)
      return Recurrence::Place{0, n.dims("dims")[0]};
    if (n.kind == OpKind::kReshape || n.kind == OpKind::kCast) {
      if (is_float(v->type.dtype) || is_float(n.operand()->type.dtype)) return std::nullopt;
      return place_of(n.operand());
    }
    if (n.kind != OpKind::kMap || n.operands.size() != 2) return std::nullopt;
    const auto a = place_of(n.operand(0)), b = place_of(n.operand(1));
    if (!a || !b) return std::nullopt;
    if (n.scalar_op() == ScalarOp::kAdd) return Recurrence::Place{a->factor + b->factor, a->start + b->start};
    if (n.scalar_op() == ScalarOp::kSub) return Recurrence::Place{a->factor - b->factor, a->start - b->start};
    return std::nullopt;
  }

  // Every value that varies is of these rows, with ones anywhere before the last axis.
  bool find_rows() {
    for (const auto& [arg, index] : arguments_) {
      if (arg->type.rank() == 0 || !arg->type.shape.back().is_const()) return false;
      if (out_.width != 0 && arg->type.shape.back().value() != out_.width) return false;
      out_.width = arg->type.shape.back().value();
    }
    if (out_.width < 2) return false;
    out_.rows = 1;
    for (const Value* v : out_.varying) {
      const Shape& s = v->type.shape;
      if (s.empty() || !s.back().is_const()) return false;
      int real = 0;
      for (size_t d = 0; d + 1 < s.size(); ++d) {
        if (s[d].is_const(1)) continue;
        if (++real > 1 || (!out_.rows.is_const(1) && out_.rows != s[d])) return false;
        out_.rows = s[d];
      }
    }
    // One row is not all rows.
    return std::all_of(out_.varying.begin(), out_.varying.end(), [&](const Value* v) {
      return product(v->type.shape) == out_.rows * v->type.shape.back();
    });
  }

  bool is_of_units(const Value* v) const { return v->type.shape.back().is_const(out_.width); }

  // Behind reshapes and the like, which change neither rows nor units.
  const Value* seen_through(const Value* v) const {
    while (v->def && varies(v) && (v->def->kind == OpKind::kReshape || v->def->kind == OpKind::kBroadcast))
      v = v->def->operand();
    return v;
  }

  bool find_stages() {
    for (const auto& owned : body_.nodes) {
      const Node& n = *owned;
      const Value* v = n.result();
      if (!varies(v)) continue;
      int stage = 0;
      for (const Value* o : n.operands)
        if (const auto at = stages_.find(o); at != stages_.end()) stage = std::max(stage, at->second);
      if (n.kind == OpKind::kDot) {
        const Value* x = seen_through(n.operand());
        if (!is_of_units(x)) return false;
        RecurrentProduct p;
        p.node = &n;
        p.weights = n.operand(1);
        const Shape& shape = p.weights->type.shape;
        p.depth = shape[shape.size() - 2].maybe_value().value_or(0);
        p.columns = shape.back().maybe_value().value_or(0);
        if (p.depth != out_.width || p.columns < out_.width) return false;
        p.stage = stage;
        p.rows = exchanged(x, stage);
        products_[v] = out_.products.size();
        out_.products.push_back(std::move(p));
        out_.stages = std::max(out_.stages, ++stage);
      }
      stages_[v] = stage;
    }
    return !out_.products.empty();
  }

  size_t exchanged(const Value* x, int stage) {
    for (size_t i = 0; i < out_.exchanged.size(); ++i)
      if (out_.exchanged[i].value == x) return i;
    const auto arg = arguments_.find(x);
    out_.exchanged.push_back({x, arg == arguments_.end() ? -1 : arg->second, stage});
    return out_.exchanged.size() - 1;
  }

  bool find_results() {
    for (const ExchangedRows& x : out_.exchanged)
      if (!need(x.value, 0)) return false;
    for (size_t i = 0; i < carried_; ++i)
      if (!passes_on(i) && !need_result(body_.results[i + 1])) return false;
    for (size_t r = 1 + carried_; r < body_.results.size(); ++r)
      if (!need_result(body_.results[r])) return false;
    for (const auto& owned : body_.nodes) {
      const Value* v = owned->result();
      if (needed_.contains({v, 0}) && is_of_units(v) && !products_.contains(v))
        out_.computed.push_back({v, stages_.at(v)});
    }
    return true;
  }

  bool need_result(const Value* v) { return varies(v) && is_of_units(v) && need(v, 0); }

  // The element `offset` units behind each unit's own.
  bool need(const Value* v, int64_t offset) {
    if (!varies(v)) {
      const auto same = [&](const StepInput& i) { return i.value == v && i.offset == offset; };
      if (!LoweringContext::splat(v) && std::none_of(out_.inputs.begin(), out_.inputs.end(), same))
        out_.inputs.push_back({v, offset, changing_.contains(v)});
      return true;
    }
    if (offset + out_.width > v->type.shape.back().value()) return false;
    if (!needed_.insert({v, offset}).second) return true;
    if (arguments_.contains(v)) return offset == 0;
    const Node& n = *v->def;
    if (n.kind == OpKind::kDot) {
      std::vector<int64_t>& offsets = out_.products[products_.at(v)].offsets;
      offsets.insert(std::lower_bound(offsets.begin(), offsets.end(), offset), offset);
      return true;
    }
    if (n.kind == OpKind::kSlice) return need(n.operand(), offset + *slice_start(n));
    return std::all_of(n.operands.begin(), n.operands.end(), [&](const Value* o) { return need(o, offset); });
  }

  const Node& loop_;
  const graph::Block& body_;
  const size_t carried_;
  const Dim iteration_;
  Recurrence out_;
  std::unordered_map<const Value*, int> arguments_, stages_;
  std::unordered_map<const Value*, size_t> products_;
  std::unordered_set<const Value*> changing_;
  std::set<std::pair<const Value*, int64_t>> needed_;
};

}  // namespace

bool runs_to_its_end(const Node& loop) {
  const graph::Block& body = *loop.regions[0];
  const Value* next = body.results[0];
  return constant_scalar(loop.operand(1)) == 1 && (constant_scalar(next) == 1 || next == body.args[1]);
}

std::optional<Dim> known_trips(const Node& loop) {
  const Value* trip = loop.operand(0);
  if (const auto n = constant_scalar(trip)) return *n < 0 ? Dim(INT64_MAX) : Dim(*n);
  if (trip->def && trip->def->kind == OpKind::kFromDims) return trip->def->dims("dims")[0];
  return std::nullopt;
}

std::optional<Recurrence> find_recurrence(const Node& loop, const std::string& iteration_symbol,
                                          const Dim& steps) {
  return Finder(loop, iteration_symbol, steps).run();
}

}  // namespace tern::lower
