#include "compiler/graph/suggest_sizes.h"

#include <algorithm>

namespace tern::graph {
namespace {

// What the sizes have to satisfy.
struct Conditions {
  std::vector<Dim> sizes;                  // not negative; zero counts as half a violation
  std::vector<std::pair<Dim, Dim>> equal;  // elements that a check compares
  std::vector<Dim> holds;                  // of checks: not 0
};

// The dimensions whose values a small integer value holds; empty when it holds something else.
std::vector<Dim> held_dims(const Value* v) {
  if (!v->def) return {};
  if (v->def->kind == OpKind::kFromDims) return v->def->dims("dims");
  if (v->def->kind != OpKind::kConstant || !is_int(v->type.dtype)) return {};
  const TensorData& data = *v->def->attr<TensorDataPtr>("value");
  std::vector<Dim> out;
  for (int64_t i = 0; i < std::min<int64_t>(data.count(), 16); ++i) out.push_back(Dim(data.int_at(i)));
  return out;
}

void add_check(const Node& check, Conditions& out) {
  if (check.operands.empty()) return out.holds.push_back(check.dims("holds")[0]);
  const Node* compare = check.operand()->def;
  if (!compare || compare->kind != OpKind::kMap || compare->scalar_op() != scalar::ScalarOp::kEq) return;
  const std::vector<Dim> left = held_dims(compare->operand(0)), right = held_dims(compare->operand(1));
  for (size_t i = 0; i < std::min(left.size(), right.size()); ++i) out.equal.emplace_back(left[i], right[i]);
}

Conditions collect(const Graph& graph) {
  Conditions out;
  walk(graph.body, [&](Node& node) {
    if (node.kind == OpKind::kCheck) add_check(node, out);
    for (const Value* v : node.results) {
      if (!v->type.is_tensor()) continue;
      for (const Dim& d : v->type.shape) {
        if (!d.is_const() && d.op() != Dim::Op::kSymbol) out.sizes.push_back(d);
      }
    }
  });
  std::sort(out.sizes.begin(), out.sizes.end(),
            [](const Dim& a, const Dim& b) { return a.text() < b.text(); });
  out.sizes.erase(std::unique(out.sizes.begin(), out.sizes.end()), out.sizes.end());
  return out;
}

double violations(const Graph& graph, const Conditions& conditions) {
  const auto value = [&](const std::string& name) -> std::optional<int64_t> {
    for (const SymbolInfo& s : graph.symbols) {
      if (s.name == name && s.hint > 0) return s.hint;
    }
    return std::nullopt;  // data-dependent: not judged
  };
  double bad = 0;
  for (const Dim& d : conditions.sizes) {
    const std::optional<int64_t> v = d.evaluate(value);
    if (v && *v <= 0) bad += *v < 0 ? 1 : 0.5;
  }
  for (const Dim& d : conditions.holds) {
    const std::optional<int64_t> v = d.evaluate(value);
    if (v && *v == 0) bad += 1;
  }
  for (const auto& [a, b] : conditions.equal) {
    const std::optional<int64_t> x = a.evaluate(value), y = b.evaluate(value);
    if (x && y && *x != *y) bad += 1;
  }
  return bad;
}

}  // namespace

int64_t likely_size(const Graph& graph, const SymbolInfo& s) {
  int64_t size = kLikelySize;
  if (s.origin == SymbolInfo::Origin::kInput) {
    const int rank = graph.body.args[static_cast<size_t>(s.input)]->type.rank();
    if (s.axis == 0 && rank >= 2) {
      size = 1;
    } else if (rank == 4 && s.axis >= 2) {
      size = 256;
    }
  }
  return std::clamp<int64_t>(size, std::max<int64_t>(s.min, 1), std::max<int64_t>(s.max, 1));
}

void suggest_sizes(Graph& graph) {
  std::vector<SymbolInfo*> open;
  for (SymbolInfo& s : graph.symbols) {
    if (s.origin != SymbolInfo::Origin::kInput || s.hint > 0) continue;
    s.hint = likely_size(graph, s);
    open.push_back(&s);
  }
  if (open.empty()) return;
  // Batches keep their 1 if another dimension can give way.
  std::sort(open.begin(), open.end(), [](const SymbolInfo* a, const SymbolInfo* b) {
    return a->hint != b->hint ? a->hint > b->hint : a < b;  // in the graph's order among equals
  });
  const Conditions conditions = collect(graph);
  double best = violations(graph, conditions);
  // One symbol after the other, until nothing gets better. Usual sizes; larger ones only where smaller ones
  // do not do.
  const int64_t usual[] = {1,   2,   8,   16,  32,  48,   64,   96,   128,  160,  192,   224,  256,
                           320, 384, 512, 576, 640, 1024, 1280, 1536, 2048, 4096, 16000, 32000};
  for (int round = 0; round < 3 && best > 0; ++round) {
    const double before = best;
    for (SymbolInfo* s : open) {
      int64_t chosen = s->hint;
      for (const int64_t candidate : usual) {
        if (best == 0 || candidate < s->min || candidate > s->max) continue;
        s->hint = candidate;
        const double now = violations(graph, conditions);
        if (now >= best) continue;
        best = now;
        chosen = candidate;
      }
      s->hint = chosen;
    }
    if (best == before) break;
  }
}

}  // namespace tern::graph
