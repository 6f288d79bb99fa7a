// Importing nodes: names, scopes, function calls, regions, and the report of what failed.
#include "compiler/onnx/importer.h"

#include <algorithm>
#include <new>
#include <stdexcept>
#include <utility>

#include "compiler/support/dim_overflow.h"

namespace tern::onnx {

namespace {

// Thrown for a node whose input comes from a node that failed: nothing more to report.
ImportFailure skipped() {
  return ImportFailure{Error{}};
}

// One level of function calls or subgraphs.
class Level {
 public:
  explicit Level(int& depth) : depth_(depth) {
    if (depth_ >= kMaxDepth) fail("Functions and subgraphs nest deeper than {}.", kMaxDepth);
    ++depth_;
  }
  ~Level() { --depth_; }
  Level(const Level&) = delete;
  Level& operator=(const Level&) = delete;

 private:
  int& depth_;
};

std::string node_text(const pb::NodeProto& node, int64_t version) {
  std::string op = node.domain().empty() ? node.op_type() : node.domain() + "." + node.op_type();
  std::string output = node.output_size() > 0 ? node.output(0) : "";
  if (!node.name().empty()) return fmt::format("node '{}' ({}, opset {})", node.name(), op, version);
  return fmt::format("the node of output '{}' ({}, opset {})", output, op, version);
}

}  // namespace

std::string domain_text(const std::string& domain) {
  return domain.empty() ? "ai.onnx" : domain;
}

bool is_left_out(const Scope& scope, const std::string& name) {
  for (const Scope* s = &scope; s; s = s->parent)
    if (s->left_out.count(name)) return true;
  return false;
}

Value* Importer::lookup(Scope& scope, const std::string& name) {
  for (Scope* s = &scope; s; s = s->parent) {
    auto found = s->values.find(name);
    if (found != s->values.end()) {
      if (!found->second) throw skipped();
      return found->second;
    }
    auto tensor = s->tensors.find(name);
    auto sparse = s->sparse_tensors.find(name);
    if (tensor == s->tensors.end() && sparse == s->sparse_tensors.end()) continue;
    TensorDataPtr data = tensor != s->tensors.end() ? unwrap(file_->tensor(*tensor->second))
                                                    : unwrap(file_->sparse_tensor(*sparse->second));
    auto source = s->emit->source();
    s->emit->set_source(nullptr);
    Value* value = s->emit->constant(std::move(data));
    s->emit->set_source(source);
    value->name = name;
    s->values[name] = value;
    return value;
  }
  return nullptr;
}

void Importer::bind(Scope& scope, const std::string& name, Value* value) {
  if (!scope.values.emplace(name, value).second || scope.tensors.count(name))
    fail("The value '{}' is defined twice.", name);
  if (value && value->name.empty()) value->name = name;
}

int64_t Importer::opset_of(const Scope& scope, const std::string& domain) const {
  auto found = scope.opsets->find(normal_domain(domain));
  if (found != scope.opsets->end()) return found->second;
  return domain.empty() ? 0 : 1;
}

const Importer::Function* Importer::find_function(const pb::NodeProto& node) const {
  if (functions_.empty()) return nullptr;
  std::string key = normal_domain(node.domain()) + ":" + node.op_type() + ":" + node_overload(node);
  auto found = functions_.find(key);
  return found == functions_.end() ? nullptr : &found->second;
}

void Importer::add_graph_names(Scope& scope, const pb::GraphProto& graph) {
  for (const auto& t : graph.initializer()) scope.tensors[t.name()] = &t;
  for (const auto& t : graph.sparse_initializer()) scope.sparse_tensors[t.values().name()] = &t;
  for (const auto& v : graph.value_info()) scope.declared[v.name()] = &v.type();
  for (const auto& v : graph.output()) scope.declared[v.name()] = &v.type();
}

void Importer::import_nodes(Scope& scope, const google::protobuf::RepeatedPtrField<pb::NodeProto>& nodes) {
  for (int i : sorted_nodes(nodes)) import_node(scope, nodes.Get(i));
}

namespace {

// What a sentence about a node says of its operands, as far as they are known: " on x f32[N,5], w f32[4,7]".
std::string operands_text(const Scope& scope, const pb::NodeProto& node) {
  constexpr size_t kMost = 6;
  std::vector<std::string> said;
  for (const std::string& name : node.input()) {
    const Value* value = nullptr;
    for (const Scope* s = &scope; s && !value; s = s->parent)
      if (const auto found = s->values.find(name); found != s->values.end()) value = found->second;
    if (!name.empty() && value) said.push_back(fmt::format("{} {}", name, value->type.text()));
  }
  if (said.size() > kMost) {
    said.resize(kMost);
    said.emplace_back("…");
  }
  return said.empty() ? "" : fmt::format(" on {}", fmt::join(said, ", "));
}

// Of a node whose constants or attributes ask for more than there is.
Error too_large() {
  return error(
      "The node needs more memory to be compiled than this machine has, or than the limit that is set for "
      "it.");
}

}  // namespace

void Importer::import_node(Scope& scope, const pb::NodeProto& node) {
  spend(1);
  int64_t version = opset_of(scope, node.domain());
  CheckContext context("importing " + node_text(node, version));
  auto source = scope.emit->source();
  std::string name = node.name().empty() && node.output_size() > 0 ? node.output(0) : node.name();
  if (!source || !scope.function_attributes)
    scope.emit->set_source(std::make_shared<graph::Source>(graph::Source{name, node.op_type()}));
  const auto failed = [&](Error error) {
    if (!error.message.empty())
      diagnostics_.add(
          std::move(error).note("While importing " + node_text(node, version) + operands_text(scope, node)));
    for (const std::string& output : node.output())
      if (!output.empty()) scope.values[output] = nullptr;
  };
  try {
    import_operator(scope, node);
  } catch (ImportFailure& failure) {
    failed(std::move(failure.error));
  } catch (DimOverflow& overflow) {
    failed(std::move(overflow.error));
  } catch (const std::bad_alloc&) {
    failed(too_large());
  } catch (const std::length_error&) {
    failed(too_large());
  }
  scope.emit->set_source(source);
  for (const std::string& output : node.output()) {
    const auto made = scope.values.find(output);
    if (made == scope.values.end() || !made->second || made->second->id <= newest_) continue;
    spend(made->second->id - std::exchange(newest_, made->second->id));
  }
}

void Importer::import_operator(Scope& scope, const pb::NodeProto& node) {
  if (const Function* function = find_function(node)) return call_function(scope, node, *function);
  int64_t version = opset_of(scope, node.domain());
  const OpRow* row = find_row(normal_domain(node.domain()), node.op_type(), version);
  if (!row) throw skipped();  // report_unsupported has told
  Op op(*this, scope, node, version);
  row->import(op);
  for (const std::string& name : op.unused_attributes())
    fail("Attribute '{}' is not one that tern knows for this operator.", name);
  if (const int i = op.unused_input(); i >= 0)
    fail("Input {} ('{}') is not one that tern knows for this operator.", i, node.input(i));
  for (int i = 0; i < node.output_size(); ++i) {
    if (op.wants(i) && !scope.values.count(node.output(i)))
      fail("Output {} ('{}') is not one that tern knows for this operator.", i, node.output(i));
  }
}

void Importer::call_function(Scope& scope, const pb::NodeProto& node, const Function& function) {
  const pb::FunctionProto& proto = *function.proto;
  Level level(depth_);
  if (node.input_size() > proto.input_size())
    fail("The function has {} inputs, the call gives {}.", proto.input_size(), node.input_size());
  if (node.output_size() > proto.output_size())
    fail("The function has {} outputs, the call takes {}.", proto.output_size(), node.output_size());
  Op call(*this, scope, node, 0);
  AttributeMap attributes;
  for (const auto& a : function.defaults) attributes[a.name()] = &a;
  for (const auto& a : node.attribute())
    if (const pb::AttributeProto* actual = call.attribute(a.name())) attributes[a.name()] = actual;
  Scope body;
  body.emit = scope.emit;
  body.opsets = &function.opsets;
  body.function_attributes = &attributes;
  for (int i = 0; i < proto.input_size(); ++i) {
    if (call.has(i))
      body.values[proto.input(i)] = call.input(i);
    else
      body.left_out.insert(proto.input(i));
  }
  size_t errors = diagnostics_.errors().size();
  import_nodes(body, proto.node());
  if (diagnostics_.errors().size() > errors) throw skipped();
  for (int i = 0; i < node.output_size(); ++i) {
    if (!call.wants(i)) continue;
    Value* value = lookup(body, proto.output(i));
    if (!value) fail("The function's output '{}' is not defined in its body.", proto.output(i));
    call.output(i, value);
  }
}

std::vector<Value*> Importer::graph_outputs(Scope& scope, const pb::GraphProto& graph) {
  std::vector<Value*> outputs;
  for (const auto& info : graph.output()) {
    Value* value = lookup(scope, info.name());
    if (!value) fail("The graph's output '{}' is not defined.", info.name());
    outputs.push_back(value);
  }
  return outputs;
}

std::vector<Value*> Importer::import_into(Scope& parent, Emit& emit, const pb::GraphProto& graph,
                                          const std::vector<Value*>& arguments) {
  Scope scope;
  scope.parent = &parent;
  scope.emit = &emit;
  scope.opsets = parent.opsets;
  scope.function_attributes = parent.function_attributes;
  if (graph.input_size() > static_cast<int>(arguments.size()))
    fail("The subgraph '{}' has {} inputs; its node gives {}.", graph.name(), graph.input_size(),
         arguments.size());
  Level level(depth_);
  add_graph_names(scope, graph);
  for (int i = 0; i < graph.input_size(); ++i)
    bind(scope, graph.input(i).name(), arguments[static_cast<size_t>(i)]);
  size_t errors = diagnostics_.errors().size();
  import_nodes(scope, graph.node());
  if (diagnostics_.errors().size() > errors) throw skipped();
  return graph_outputs(scope, graph);
}

Importer::Region Importer::import_region(Scope& parent, const pb::GraphProto& graph) {
  Region region;
  region.block = std::make_unique<Block>();
  region.emit = std::make_unique<Emit>(*parent.emit, *region.block);
  region.outputs = import_into(parent, *region.emit, graph, {});
  return region;
}

}  // namespace tern::onnx
