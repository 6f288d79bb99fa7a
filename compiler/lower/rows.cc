#include "compiler/lower/rows.h"

#include <algorithm>
#include <set>
#include <unordered_set>

#include "compiler/lower/arithmetic_cost.h"

namespace tern::lower {
namespace {

using graph::Node;
using graph::OpKind;
using graph::Value;

constexpr int kWorthStoring = 5;  // cost of recomputing an element against a load from scratch

int own_cost(const Node& node) {
  switch (node.kind) {
    case OpKind::kMap:
      return rough_operations_of(node);
    case OpKind::kCast:
    case OpKind::kLookup:
      return 1;
    case OpKind::kGather:
    case OpKind::kGatherElements:
    case OpKind::kGatherNd:
    case OpKind::kConcat:
    case OpKind::kPad:
      return 4;
    default:
      return 0;
  }
}

class Planner {
 public:
  explicit Planner(const Region& region) : region_(region) {}

  RowPlan run() {
    find_rows();
    find_moved();
    // The loops: one a reduction, and the last for the full outputs.
    for (size_t s = 0; s < plan_.reductions.size(); ++s) need(plan_.reductions[s]->operand(), s, true);
    for (const Value* v : region_.outputs) {
      if (!plan_.is_row_value(v)) need(v, plan_.reductions.size(), true);
    }
    choose_stored();
    find_inputs();
    plan_.again = plan_.inputs;
    plan_.again.insert(plan_.again.end(), plan_.stored.begin(), plan_.stored.end());
    return std::move(plan_);
  }

 private:
  void find_rows() {
    for (const Node* n : region_.nodes) {
      if (n->kind == OpKind::kReduce) {
        plan_.row_level_[n->result()] = plan_.reductions.size();
        plan_.reductions.push_back(n);
        plan_.results.push_back(n->result());
        continue;
      }
      const bool pointwise = n->kind == OpKind::kMap || n->kind == OpKind::kCast ||
                             n->kind == OpKind::kLookup || n->kind == OpKind::kReshape;
      if (!pointwise) continue;
      bool row = false;
      size_t after = 0;
      for (const Value* v : n->operands) {
        if (auto it = plan_.row_level_.find(v); it != plan_.row_level_.end()) {
          row = true;
          after = std::max(after, it->second);
        }
      }
      if (!row) continue;
      plan_.row_level_[n->result()] = after;
      if (n->kind == OpKind::kReshape) continue;
      plan_.row_values.push_back(n->result());
      plan_.ready_after[n->result()] = after;
    }
  }

  // Values that some view reads, or what such values are computed from: an element of the space reads another
  // element of theirs, even if they have the space's shape.
  void find_moved() {
    for (const Node* n : region_.nodes) {
      const bool pointwise = n->kind == OpKind::kMap || n->kind == OpKind::kCast ||
                             n->kind == OpKind::kLookup || n->kind == OpKind::kReduce;
      if (pointwise) continue;
      for (const Value* v : n->operands) move(v);
    }
  }
  void move(const Value* v) {
    if (plan_.is_row_value(v) || !moved_.insert(v).second || !v->def || !region_.contains(v->def)) return;
    for (const Value* o : v->def->operands) move(o);
  }

  // Marks the full-size member values that stage `stage` reads, and those that it reads directly.
  void need(const Value* v, size_t stage, bool root) {
    if (plan_.is_row_value(v) || !v->def || !region_.contains(v->def)) return;
    Needs& n = needs_[v];
    if (root) n.root = true;
    if (!n.stages.empty() && n.stages.back() == stage) return;
    n.stages.push_back(stage);
    for (const Value* o : v->def->operands) need(o, stage, false);
  }

  int cost(const Value* v) {
    if (plan_.is_row_value(v) || !v->def || !region_.contains(v->def)) return 0;
    if (std::find(plan_.stored.begin(), plan_.stored.end(), v) != plan_.stored.end()) return 0;
    if (auto it = costs_.find(v); it != costs_.end()) return it->second;
    int total = own_cost(*v->def);
    for (const Value* o : v->def->operands) total += cost(o);
    return costs_[v] = std::min(total, 1000);
  }

  void choose_stored() {
    const Shape& full = row_space(region_).shape;
    for (const Node* n : region_.nodes) {
      const Value* v = n->result();
      auto it = needs_.find(v);
      if (it == needs_.end() || it->second.stages.size() < 2 || v->type.shape != full || moved_.contains(v))
        continue;
      // The topmost of a chain with the same readers: a user with the same stages will be stored instead.
      bool inner = !it->second.root;
      if (inner) {
        bool all_users_same = true;
        for (const Node* u : region_.nodes) {
          if (std::find(u->operands.begin(), u->operands.end(), v) == u->operands.end()) continue;
          auto other = needs_.find(u->result());
          const bool same = other != needs_.end() && other->second.stages == it->second.stages &&
                            u->result()->type.shape == full;
          all_users_same &= same;
        }
        inner = all_users_same;
      }
      if (inner || cost(v) < kWorthStoring) continue;
      plan_.stored.push_back(v);
      plan_.first_stage[v] = it->second.stages.front();
      costs_.clear();
    }
  }

  // Only what is read element by element: a gather's data may have the shape by chance.
  void find_inputs() {
    const Shape& full = row_space(region_).shape;
    std::vector<const Value*> order;
    std::unordered_map<const Value*, std::set<size_t>> stages;
    for (const Node* n : region_.nodes) {
      const auto reduction = std::find(plan_.reductions.begin(), plan_.reductions.end(), n);
      for (const Value* v : n->operands) {
        if ((v->def && region_.contains(v->def)) || v->type.shape != full || !is_float(v->type.dtype))
          continue;
        if (reduction != plan_.reductions.end()) {
          stages[v].insert(static_cast<size_t>(reduction - plan_.reductions.begin()));
        } else {
          if (const auto it = needs_.find(n->result()); it != needs_.end())
            stages[v].insert(it->second.stages.begin(), it->second.stages.end());
        }
        if (std::find(order.begin(), order.end(), v) == order.end()) order.push_back(v);
      }
    }
    for (const Value* v : order) {
      if (stages[v].size() < 2 || moved_.contains(v)) continue;
      plan_.inputs.push_back(v);
      plan_.first_stage[v] = *stages[v].begin();
    }
  }

  struct Needs {
    std::vector<size_t> stages;
    bool root = false;
  };
  const Region& region_;
  RowPlan plan_;
  std::unordered_map<const Value*, Needs> needs_;
  std::unordered_set<const Value*> moved_;
  std::unordered_map<const Value*, int> costs_;
};

}  // namespace

RowSpace row_space(const Region& region) {
  RowSpace out{region.root->operand()->type.shape, {}};
  out.reduced.assign(out.shape.size(), false);
  for (const int64_t a : region.root->ints("axes")) out.reduced[static_cast<size_t>(a)] = true;
  return out;
}

namespace {

// Matches the dimensions other than 1 in order; nullopt-like: returns false when they do not fit.
// Position by position (kept reductions).
bool match_positions(const RowSpace& space, const Shape& shape, std::vector<int>& out) {
  if (shape.size() != space.shape.size()) return false;
  out.assign(shape.size(), -1);
  for (size_t d = 0; d < shape.size(); ++d) {
    if (space.reduced[d] ? !shape[d].is_const(1) : shape[d] != space.shape[d]) return false;
    if (!shape[d].is_const(1)) out[d] = static_cast<int>(d);
  }
  return true;
}

// The kept dimensions in order, with ones anywhere.
bool match_order(const RowSpace& space, const Shape& shape, std::vector<int>& out) {
  out.assign(shape.size(), -1);
  size_t next = 0;
  const auto skip = [&] {
    while (next < space.shape.size() && (space.reduced[next] || space.shape[next].is_const(1))) ++next;
  };
  for (size_t d = 0; d < shape.size(); ++d) {
    if (shape[d].is_const(1)) continue;
    skip();
    if (next >= space.shape.size() || space.shape[next] != shape[d]) return false;
    out[d] = static_cast<int>(next++);
  }
  skip();
  return next == space.shape.size();
}

bool match_rows(const RowSpace& space, const Shape& shape, std::vector<int>& out) {
  return match_positions(space, shape, out) || match_order(space, shape, out);
}

}  // namespace

std::vector<int> row_dims(const RowSpace& space, const Shape& shape) {
  std::vector<int> out;
  TERN_CHECK(match_rows(space, shape, out), "shape {} is no row of {}", shape_text(shape),
             shape_text(space.shape));
  return out;
}

bool is_row_shape(const RowSpace& space, const Shape& shape) {
  std::vector<int> out;
  return match_rows(space, shape, out);
}

namespace {

const Node* map_of(const Value* value, scalar::ScalarOp op) {
  const Node* n = value->def;
  return n && n->kind == OpKind::kMap && n->scalar_op() == op ? n : nullptr;
}

const Node* reduction_behind(const Value* value, scalar::ScalarOp op) {
  while (value->def && (value->def->kind == OpKind::kBroadcast || value->def->kind == OpKind::kReshape))
    value = value->def->operand();
  const Node* n = value->def;
  return n && n->kind == OpKind::kReduce && n->scalar_op() == op ? n : nullptr;
}

}  // namespace

std::optional<Softmax> exponentials_of(const Node& sum) {
  if (sum.kind != OpKind::kReduce || sum.scalar_op() != scalar::ScalarOp::kAdd) return std::nullopt;
  Softmax s{.sum = &sum};
  s.exponential = map_of(sum.operand(), scalar::ScalarOp::kExp);
  if (!s.exponential) return std::nullopt;
  s.difference = map_of(s.exponential->operand(), scalar::ScalarOp::kSub);
  if (!s.difference) return std::nullopt;
  s.maximum = reduction_behind(s.difference->operand(1), scalar::ScalarOp::kMax);
  const bool same = s.maximum && s.maximum->operand() == s.difference->operand(0) &&
                    s.maximum->ints("axes") == s.sum->ints("axes");
  return same ? std::optional(s) : std::nullopt;
}

std::optional<Softmax> softmax_of(const Node& quotient) {
  if (!map_of(quotient.result(), scalar::ScalarOp::kDiv)) return std::nullopt;
  const Node* sum = reduction_behind(quotient.operand(1), scalar::ScalarOp::kAdd);
  std::optional<Softmax> s = sum ? exponentials_of(*sum) : std::nullopt;
  if (!s || s->exponential != quotient.operand(0)->def) return std::nullopt;
  s->quotient = &quotient;
  return s;
}

RowPlan plan_rows(const Region& region) {
  return Planner(region).run();
}

}  // namespace tern::lower
