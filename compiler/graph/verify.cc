#include <unordered_set>

#include "compiler/graph/ir.h"

namespace tern::graph {
namespace {

class Verifier {
 public:
  explicit Verifier(const Graph& graph) : graph_(graph) {}

  std::string run() {
    if (graph_.input_names.size() > graph_.body.args.size() ||
        graph_.output_names.size() > graph_.body.results.size())
      report("the graph has more input or output names than inputs or outputs");
    std::unordered_set<std::string> names;
    for (const SymbolInfo& s : graph_.symbols)
      if (!names.insert(s.name).second) report(fmt::format("the symbol {} is declared twice", s.name));
    block(graph_.body, nullptr);
    for (const SymbolInfo& s : graph_.symbols) symbol(s);
    return out_;
  }

 private:
  void report(const std::string& text) { out_ += (out_.empty() ? "" : "\n") + text; }

  static std::string describe(const Node& n) {
    std::string out = std::string(info(n.kind).name);
    if (n.kind == OpKind::kMap && n.find("op")) out += " " + std::string(scalar::info(n.scalar_op()).name);
    if (!n.results.empty()) {
      const Value* r = n.result();
      out += fmt::format(" (value {}{})", r->id, r->name.empty() ? "" : " '" + r->name + "'");
    }
    if (n.source) out += fmt::format(" from {} '{}'", n.source->op, n.source->node);
    return out;
  }

  void dims(const Type& type, const std::string& where) {
    if (!type.is_tensor()) return dims(*type.element, where);
    std::vector<std::string> symbols;
    for (const Dim& d : type.shape) d.collect_symbols(symbols);
    for (const std::string& s : symbols)
      if (!const_cast<Graph&>(graph_).find_symbol(s))
        report(
            fmt::format("{}: the type {} uses the symbol {}, which is not declared", where, type.text(), s));
  }

  void block(const Block& b, const Node* parent) {
    if (b.parent != parent) report("a region's parent link is wrong");
    std::vector<const Value*> defined_here;
    const auto define = [&](const Value* v) {
      if (!visible_.insert(v).second) report(fmt::format("value {} is defined twice", v->id));
      defined_here.push_back(v);
    };
    for (size_t i = 0; i < b.args.size(); ++i) {
      const Value* v = b.args[i];
      if (v->def || v->block != &b || v->index != static_cast<int>(i))
        report(fmt::format("argument {} (value {}) has wrong links", i, v->id));
      dims(v->type, fmt::format("argument {}", i));
      define(v);
    }
    for (const auto& n : b.nodes) {
      node(*n);
      for (const Value* v : n->results) define(v);
    }
    for (const Value* v : b.results)
      if (!visible_.count(v))
        report(fmt::format("a block yields value {}, which is not defined there", v->id));
    // Values of this block stay known to the symbols that read them; they are not visible outside of it.
    for (const Value* v : defined_here) {
      ever_defined_.insert(v);
      if (parent) visible_.erase(v);
    }
  }

  void node(const Node& n) {
    const std::string where = describe(n);
    for (size_t i = 0; i < n.operands.size(); ++i) {
      if (!visible_.count(n.operands[i])) {
        report(
            fmt::format("{}: operand {} (value {}) is not defined before it", where, i, n.operands[i]->id));
        return;
      }
    }
    for (const auto& region : n.regions) block(*region, &n);
    for (size_t i = 0; i < n.results.size(); ++i) {
      const Value* v = n.results[i];
      if (v->def != &n || v->index != static_cast<int>(i)) report(where + ": a result has wrong links");
      dims(v->type, where);
    }
    if (!attributes(n, where)) return;
    Result<std::vector<Type>> types = infer(const_cast<Graph&>(graph_), n);
    if (!types.ok()) return report(where + ": " + types.error().message);
    if (types->size() != n.results.size())
      return report(
          fmt::format("{}: has {} results and must have {}", where, n.results.size(), types->size()));
    for (size_t i = 0; i < types->size(); ++i) {
      if ((*types)[i] != n.results[i]->type)
        report(fmt::format("{}: result {} has the type {} and must have {}", where, i,
                           n.results[i]->type.text(), (*types)[i].text()));
    }
  }

  // Every attribute that ops.def requires is there; no unknown one is.
  bool attributes(const Node& n, const std::string& where) {
    std::string_view rest = info(n.kind).attributes;
    std::unordered_set<std::string_view> known;
    bool ok = true;
    while (!rest.empty()) {
      const size_t end = rest.find(' ');
      const std::string_view item = rest.substr(0, end);
      const std::string_view key = item.substr(0, item.find(':'));
      known.insert(key);
      if (item.back() != '?' && !n.find(key)) {
        report(fmt::format("{}: the attribute '{}' is missing", where, key));
        ok = false;
      }
      rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
    }
    for (const auto& [key, value] : n.attrs) {
      if (!known.count(key)) {
        report(fmt::format("{}: the attribute '{}' is not known", where, key));
        ok = false;
      }
    }
    return ok;
  }

  void symbol(const SymbolInfo& s) {
    if (s.origin == SymbolInfo::Origin::kInput) {
      const bool fits = s.input >= 0 && s.input < static_cast<int>(graph_.body.args.size()) && s.axis >= 0 &&
                        s.axis < graph_.body.args[static_cast<size_t>(s.input)]->type.rank();
      if (!fits)
        report(fmt::format("the symbol {} names input {} axis {}, which does not exist", s.name, s.input,
                           s.axis));
    }
    if (s.origin == SymbolInfo::Origin::kElement && s.value && !ever_defined_.count(s.value))
      report(fmt::format("the symbol {} reads value {}, which is not defined", s.name, s.value->id));
  }

  const Graph& graph_;
  std::unordered_set<const Value*> visible_, ever_defined_;
  std::string out_;
};

}  // namespace

std::string verify(const Graph& graph) {
  return Verifier(graph).run();
}

}  // namespace tern::graph
