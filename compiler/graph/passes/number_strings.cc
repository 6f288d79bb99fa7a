#include "compiler/graph/passes/number_strings.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace tern::graph {

namespace {

bool holds_strings(const Type& type) {
  return type.is_tensor() ? type.dtype == DType::kString : type.element && holds_strings(*type.element);
}

// Whether a node that reads or makes strings does no more than move or compare them.
bool keeps_strings(const Node& node) {
  switch (node.kind) {
    case OpKind::kConstant:
    case OpKind::kReshape:
    case OpKind::kBroadcast:
    case OpKind::kTranspose:
    case OpKind::kSlice:
    case OpKind::kConcat:
    case OpKind::kGather:
    case OpKind::kGatherElements:
    case OpKind::kGatherNd:
    case OpKind::kIf:
    case OpKind::kLoop:
      return true;
    case OpKind::kCast:
      return holds_strings(node.operand()->type) && holds_strings(node.result()->type);
    case OpKind::kMap: {
      const scalar::ScalarOp op = node.scalar_op();
      return op == scalar::ScalarOp::kEq || op == scalar::ScalarOp::kNe || op == scalar::ScalarOp::kSelect;
    }
    default:
      return false;
  }
}

bool touches_strings(const Node& node) {
  const auto is = [](const Value* v) { return holds_strings(v->type); };
  return std::any_of(node.operands.begin(), node.operands.end(), is) ||
         std::any_of(node.results.begin(), node.results.end(), is);
}

class Numbering {
 public:
  explicit Numbering(Graph& graph) : graph_(graph) {}

  bool run() {
    bool any = std::any_of(graph_.body.args.begin(), graph_.body.args.end(),
                           [](const Value* v) { return holds_strings(v->type); });
    bool possible = true;
    walk(graph_.body, [&](Node& node) {
      if (!touches_strings(node)) return;
      any = true;
      possible &= keeps_strings(node);
    });
    if (!any || !possible) return false;
    retype(graph_.body);
    walk(graph_.body, [&](Node& node) {
      for (const auto& region : node.regions) retype(*region);
      for (Value* v : node.results) retype(v);
      if (node.kind == OpKind::kConstant) replace(node);
      if (node.kind == OpKind::kCast && node.attr<DType>("to") == DType::kString) node.set("to", DType::kI64);
    });
    return true;
  }

  // The strings, each at its number.
  const std::vector<std::string>& names() const { return names_; }

 private:
  static void retype(Value* v) {
    if (v->type.is_tensor() && v->type.dtype == DType::kString) v->type.dtype = DType::kI64;
  }
  static void retype(Block& block) {
    for (Value* v : block.args) retype(v);
  }
  void replace(Node& node) {
    const TensorDataPtr data = node.attr<TensorDataPtr>("value");
    if (data->dtype() != DType::kString) return;
    auto numbers = TensorData::make(DType::kI64, data->shape());
    for (int64_t i = 0; i < data->count(); ++i)
      numbers->set_int(i, number_of(data->string_values()[static_cast<size_t>(i)]));
    node.set("value", TensorDataPtr(numbers));
  }
  int64_t number_of(const std::string& text) {
    const auto [at, added] = numbers_.emplace(text, static_cast<int64_t>(names_.size()));
    if (added) names_.push_back(text);
    return at->second;
  }

  Graph& graph_;
  std::map<std::string, int64_t> numbers_;
  std::vector<std::string> names_;
};

}  // namespace

bool number_strings(Graph& graph) {
  return Numbering(graph).run();
}

std::vector<std::string> name_strings(Graph& graph) {
  std::vector<std::string> ports;
  for (size_t i = 0; i < graph.body.args.size(); ++i)
    if (holds_strings(graph.body.args[i]->type)) ports.push_back("Input '" + graph.input_names[i] + "'");
  for (size_t i = 0; i < graph.body.results.size(); ++i)
    if (holds_strings(graph.body.results[i]->type)) ports.push_back("Output '" + graph.output_names[i] + "'");
  Numbering numbering(graph);
  if (!numbering.run()) return {};
  std::string table;
  for (size_t i = 0; i < numbering.names().size(); ++i)
    table += fmt::format("{}{} '{}'", i ? ", " : "", i, numbering.names()[i]);
  for (std::string& port : ports)
    port += table.empty() ? " holds strings, which the program has as numbers (i64), each one of its own."
                          : fmt::format(
                                " holds strings, which the program has as numbers (i64): {}; each "
                                "other string is a number of its own, as -1.",
                                table);
  return ports;
}

}  // namespace tern::graph
