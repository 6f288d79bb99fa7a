#include "compiler/graph/passes/settle_loops.h"

#include <algorithm>

#include "compiler/graph/passes/constants.h"
#include "compiler/graph/passes/rewrite.h"

namespace tern::graph {
namespace {

constexpr int64_t kMostIterations = 16384;  // for which a condition is looked at
constexpr size_t kMostNodes = 32;           // that it is computed by

bool is_integer_scalar(const Type& type) {
  return type.is_tensor() && type.rank() == 0 && (type.dtype == DType::kI32 || type.dtype == DType::kI64);
}

class Settler {
 public:
  explicit Settler(Graph& graph) : graph_(graph) {}

  bool run() {
    bool any = false;
    walk(graph_.body, [&](Node& n) { any |= n.kind == OpKind::kLoop; });
    if (!any) return false;
    uses_ = compute_uses(graph_);
    block(graph_.body);
    if (!replacements_.empty()) {
      std::unordered_map<const Value*, Value*> resolved;
      for (const auto& [from, to] : replacements_) resolved[from] = current(to);
      replace_uses(graph_, resolved);
    }
    if (!sizes_.empty()) substitute_symbols(graph_, sizes_);
    return changed_;
  }

 private:
  Value* current(Value* v) const {
    for (auto it = replacements_.find(v); it != replacements_.end(); it = replacements_.find(v))
      v = it->second;
    return v;
  }

  void block(Block& b) {
    for (size_t i = 0; i < b.nodes.size(); ++i) {
      for (const auto& region : b.nodes[i]->regions) block(*region);
      if (b.nodes[i]->kind == OpKind::kLoop) i = loop(*b.nodes[i], Builder(graph_, b, i));
    }
  }

  // Gives the position of the loop, before which the builder may have put something.
  size_t loop(Node& n, Builder before) {
    Block& body = *n.regions[0];
    for (size_t i = n.operands.size() - 2; i-- > 0;) {
      if (Value* instead = outer_value(n, i)) {
        replacements_[n.results[i]] = instead;
        replacements_[body.args[i + 2]] = instead;
        drop(n, i);
      } else if (Value* counted = of_iteration(n, i)) {
        replacements_[body.args[i + 2]] = counted;
        drop(n, i);
      }
    }
    const auto first = splat_of(current(n.operands[1]));
    const auto trip = splat_of(current(n.operands[0]));
    if (!first || !first->i || !trip || trip->i < 1) return before.position();
    const auto stays = splat_of(current(body.results[0]));
    int64_t trips = trip->i;
    if (!(stays && stays->i) && body.results[0] != body.args[1]) {
      const auto ends = end_of(body, trips);
      if (!ends) return before.position();
      trips = *ends;
      if (trips != trip->i) n.operands[0] = before.int_constant(DType::kI64, trips);
      body.results[0] = body.args[1];
      changed_ = true;
    }
    for (size_t i = n.operands.size() - 2; i < n.results.size(); ++i) {
      const Dim& count = n.results[i]->type.shape[0];
      if (count.op() == Dim::Op::kSymbol) {
        sizes_[count.symbol_name()] = Dim(trips);
        changed_ = true;
      }
    }
    return before.position();
  }

  // What a carried value is before, in and behind the loop, if the body passes it on.
  static Value* outer_value(const Node& n, size_t i) {
    const Block& body = *n.regions[0];
    Value* from = n.operands[i + 2];
    const Value* arg = body.args[i + 2];
    const bool same =
        body.results[i + 1] == arg && from->type == arg->type && n.results[i]->type == arg->type;
    return same ? from : nullptr;
  }

  // A carried number that starts at a constant and grows by one, if nobody reads it behind the loop.
  Value* of_iteration(const Node& n, size_t i) {
    Block& body = *n.regions[0];
    const Value* arg = body.args[i + 2];
    const auto start = splat_of(current(n.operands[i + 2]));
    const Node* next = def_of(body.results[i + 1], OpKind::kMap);
    if (!start || !next || !is_integer_scalar(arg->type) || next->scalar_op() != scalar::ScalarOp::kAdd ||
        uses_.contains(n.results[i]) || is_size(arg) || is_size(n.results[i]))
      return nullptr;
    const size_t other = next->operands[0] == arg ? 1 : 0;
    const auto step = splat_of(current(next->operands[other]));
    if (next->operands[1 - other] != arg || !step) return nullptr;
    Builder in(graph_, body, 0);
    const DType dtype = arg->type.dtype;
    Value* v = in.cast(body.args[0], dtype);
    if (step->i != 1) v = in.mul(v, in.int_constant(dtype, step->i));
    return start->i == 0 ? v : in.add(v, in.int_constant(dtype, start->i));
  }

  bool is_size(const Value* v) const {
    return std::any_of(graph_.symbols.begin(), graph_.symbols.end(),
                       [&](const SymbolInfo& s) { return s.value == v; });
  }

  void drop(Node& n, size_t i) {
    Block& body = *n.regions[0];
    const auto at = static_cast<std::ptrdiff_t>(i);
    n.results[i]->def = nullptr;
    n.results.erase(n.results.begin() + at);
    n.operands.erase(n.operands.begin() + at + 2);
    body.results.erase(body.results.begin() + at + 1);
    body.args.erase(body.args.begin() + at + 2);
    for (size_t k = 0; k < n.results.size(); ++k) n.results[k]->index = static_cast<int>(k);
    for (size_t k = 0; k < body.args.size(); ++k) body.args[k]->index = static_cast<int>(k);
    changed_ = true;
  }

  // The nodes that compute the condition from the iteration's number and constants, in their order; nothing
  // if anything else is read.
  std::optional<std::vector<const Node*>> condition_nodes(const Block& body) const {
    std::vector<const Value*> open{current(body.results[0])};
    std::unordered_map<const Node*, bool> wanted;
    while (!open.empty()) {
      const Value* v = open.back();
      open.pop_back();
      if (v == body.args[0] || v == body.args[1] || splat_of(v)) continue;
      const Node* n = v->def;
      if (!n || wanted.contains(n)) {
        if (!n) return std::nullopt;
        continue;
      }
      const bool simple = info(n->kind).pure && n->regions.empty() && n->results.size() == 1 &&
                          v->type.is_tensor() && v->type.rank() == 0 && v->type.dtype != DType::kString;
      if (!simple || wanted.size() == kMostNodes) return std::nullopt;
      wanted[n] = true;
      for (Value* operand : n->operands) open.push_back(current(operand));
    }
    std::vector<const Node*> out;
    for (const auto& n : body.nodes) {
      if (wanted.contains(n.get())) out.push_back(n.get());
    }
    return out.size() == wanted.size() ? std::optional(out) : std::nullopt;
  }

  // After how many iterations a loop of at most `trips` ends, whose first one takes place.
  std::optional<int64_t> end_of(const Block& body, int64_t trips) const {
    const auto nodes = condition_nodes(body);
    if (!nodes) return std::nullopt;
    Value* condition = current(body.results[0]);
    std::unordered_map<const Value*, TensorDataPtr> known;
    const auto value = [&](Value* v) -> TensorDataPtr {
      v = current(v);
      const auto it = known.find(v);
      return it != known.end() ? it->second : evaluate_constant(v, INT64_MAX);
    };
    const auto number = [](DType dtype, int64_t n) {
      auto data = TensorData::make(dtype, {});
      data->set_int(0, n);
      return data;
    };
    known[body.args[1]] = number(DType::kBool, 1);
    for (int64_t i = 0; i + 1 < trips; ++i) {
      if (i == kMostIterations) return std::nullopt;
      known[body.args[0]] = number(DType::kI64, i);
      for (const Node* n : *nodes) {
        std::vector<EvalValue> operands;
        for (Value* v : n->operands) {
          operands.push_back({value(v), nullptr});
          if (!operands.back().tensor) return std::nullopt;
        }
        auto result = evaluate_node(*n, operands, [](const std::string&) { return std::nullopt; });
        if (!result.ok()) return std::nullopt;
        known[n->result()] = (*result)[0].tensor;
      }
      const TensorDataPtr goes_on = value(condition);
      if (!goes_on) return std::nullopt;
      if (goes_on->int_at(0) == 0) return i + 1;
    }
    return trips;
  }

  Graph& graph_;
  UseMap uses_;
  std::unordered_map<const Value*, Value*> replacements_;
  Substitutions sizes_;
  bool changed_ = false;
};

}  // namespace

bool settle_loops(Graph& graph) {
  return Settler(graph).run();
}

}  // namespace tern::graph
