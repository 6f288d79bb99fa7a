#include "compiler/graph/passes/tabulate.h"

#include <algorithm>
#include <unordered_set>

#include "compiler/graph/passes/constants.h"
#include "compiler/graph/passes/rewrite.h"

namespace tern::graph {
namespace {

constexpr int kLeastCost = 24;
constexpr size_t kMaxNodes = 128;

int cost_of(const Node& n) {
  if (n.kind == OpKind::kLookup) return kLeastCost;  // another table behind it costs nothing
  if (n.kind != OpKind::kMap) return 1;
  if (scalar::info(n.scalar_op()).expensive) return 12;
  return n.scalar_op() == scalar::ScalarOp::kDiv ? 4 : 1;
}

bool is_elementwise(const Node& n) {
  return n.kind == OpKind::kMap || n.kind == OpKind::kCast || n.kind == OpKind::kBitcast ||
         n.kind == OpKind::kLookup;
}

// The nodes between 8-bit values (`sources`) and a result.
struct Chain {
  std::vector<const Node*> nodes;  // operands first
  std::vector<Value*> sources;
  bool has(const Node* n) const { return std::find(nodes.begin(), nodes.end(), n) != nodes.end(); }
};

class Tabulator {
 public:
  explicit Tabulator(Graph& graph) : uses_(compute_uses(graph)) {}

  std::optional<std::vector<Value*>> rewrite(Node& n, Builder& b) {
    if (!is_elementwise(n) || n.result()->type.dtype != DType::kU8) return std::nullopt;
    const std::optional<Chain> chain = longest(n);
    if (!chain) return std::nullopt;
    if (chain->nodes.size() == 1 && n.kind == OpKind::kLookup) return std::nullopt;  // done before
    TensorDataPtr table = table_of(*chain);
    if (!table) return std::nullopt;
    Value* v = b.lookup(chain->sources[0], std::move(table));
    uses_[v] = uses_[n.result()];
    return replace_with(v);
  }

 private:
  // The chain that ends with n, over as many 8-bit values as it can take in.
  std::optional<Chain> longest(Node& n) const {
    Chain chain;
    if (!add(n, chain)) return std::nullopt;
    std::optional<Chain> best;
    for (bool grown = true; grown;) {
      if (chain.sources.size() == 1 && cost(chain) >= kLeastCost) best = chain;
      grown = false;
      for (size_t i = 0; i < chain.sources.size() && !grown; ++i) {
        Chain more = chain;
        Value* source = more.sources[i];
        more.sources.erase(more.sources.begin() + static_cast<ptrdiff_t>(i));
        grown = source->def && read_inside(source, chain) && add(*source->def, more);
        if (grown) chain = std::move(more);
      }
    }
    return best;
  }

  static int cost(const Chain& chain) {
    int total = 0;
    for (const Node* n : chain.nodes) total += cost_of(*n);
    return total;
  }

  bool read_inside(const Value* v, const Chain& chain) const {
    const auto it = uses_.find(v);
    return it != uses_.end() && std::all_of(it->second.begin(), it->second.end(),
                                            [&](const Use& use) { return use.node && chain.has(use.node); });
  }

  // n and what it is computed from; false where that is more than 8-bit values and numbers.
  bool add(const Node& n, Chain& chain) const {
    if (chain.has(&n)) return true;
    if (!is_elementwise(n) || chain.nodes.size() >= kMaxNodes) return false;
    for (Value* v : n.operands) {
      if (splat_of(v)) continue;
      if (v->type.dtype == DType::kU8) {
        if (std::find(chain.sources.begin(), chain.sources.end(), v) == chain.sources.end() &&
            !(v->def && chain.has(v->def)))
          chain.sources.push_back(v);
        continue;
      }
      if (!v->def || !add(*v->def, chain)) return false;
    }
    chain.nodes.push_back(&n);
    return true;
  }

  // Null where the evaluator refuses.
  static TensorDataPtr table_of(const Chain& chain) {
    auto all = TensorData::make(DType::kU8, {256});
    for (int64_t i = 0; i < 256; ++i) all->set_int(i, i);
    std::unordered_map<const Value*, TensorDataPtr> known{{chain.sources[0], all}};
    TensorDataPtr last;
    std::vector<const Node*> nodes = chain.nodes, late;
    // A source that was taken in stands behind its readers: rounds until all operands are known.
    while (!nodes.empty()) {
      late.clear();
      for (const Node* n : nodes) {
        std::vector<EvalValue> operands;
        for (const Value* v : n->operands) {
          const auto it = known.find(v);
          if (it != known.end())
            operands.push_back({it->second, nullptr});
          else if (const auto splat = splat_of(v))
            operands.push_back({spread(*splat), nullptr});
        }
        if (operands.size() < n->operands.size()) {
          late.push_back(n);
          continue;
        }
        auto out = evaluate_node(*n, operands, [](const std::string&) { return std::nullopt; });
        if (!out.ok() || !(*out)[0].tensor) return nullptr;
        known[n->result()] = (*out)[0].tensor;
      }
      if (late.size() == nodes.size()) return nullptr;
      nodes = late;
    }
    // The result is what no node of the chain reads.
    for (const Node* n : chain.nodes) {
      const bool read = std::any_of(chain.nodes.begin(), chain.nodes.end(), [&](const Node* other) {
        return std::find(other->operands.begin(), other->operands.end(), n->result()) !=
               other->operands.end();
      });
      if (!read) last = known.at(n->result());
    }
    return last;
  }

  static TensorDataPtr spread(const scalar::ScalarValue& v) {
    auto out = TensorData::make(v.dtype, {256});
    for (int64_t i = 0; i < 256; ++i) {
      if (is_float(v.dtype))
        out->set_float(i, v.f);
      else
        out->set_int(i, v.i);
    }
    return out;
  }

  UseMap uses_;
};

}  // namespace

bool tabulate(Graph& graph) {
  Tabulator tabulator(graph);
  return Rewriter(graph, [&](Node& n, Builder& b) { return tabulator.rewrite(n, b); }).run();
}

}  // namespace tern::graph
