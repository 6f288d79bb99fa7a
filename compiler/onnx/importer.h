// The importer's inside: Op (one ONNX node, as an operator's import function sees it), Scope (names of one
// graph), Importer (walks graphs, inlines functions, collects errors), and the table of operators.
//
// An import function reads op.input(i) and attributes, composes core ops through op.b, and sets op.output(i,
// value). It may throw ImportFailure (emit.h); import_node reports it with the node's name, and goes on with
// the next node.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "compiler/onnx/emit.h"
#include "compiler/onnx/import.h"
#include "compiler/onnx/model_file.h"

namespace tern::onnx {

class Importer;
// Whether the dimension is computed from an element of a value, not from the inputs' shapes alone.
bool depends_on_data(graph::Graph& graph, const Dim& dim);

class Op;

// One operator over a range of its domain's opset versions.
struct OpRow {
  const char* domain;
  const char* op;
  int since, until;  // inclusive
  void (*import)(Op&);
};
inline constexpr int kLatest = 9999;
const OpRow* find_row(const std::string& domain, const std::string& op, int64_t version);
// Why an operator has no row for its version and what to do, where that is known; else empty.
std::string unsupported_reason(const std::string& domain, const std::string& op);

using AttributeMap = std::map<std::string, const pb::AttributeProto*>;
using OpsetMap = std::map<std::string, int64_t>;

// Names of one graph or function body. Lookups go outwards through `parent`.
struct Scope {
  Scope* parent = nullptr;
  Emit* emit = nullptr;
  const OpsetMap* opsets = nullptr;
  const AttributeMap* function_attributes = nullptr;  // null outside of functions
  std::unordered_map<std::string, Value*> values;     // null: its node failed, users are skipped
  std::unordered_map<std::string, const pb::TensorProto*> tensors;
  std::unordered_map<std::string, const pb::SparseTensorProto*> sparse_tensors;
  std::unordered_map<std::string, const pb::TypeProto*> declared;
  std::set<std::string> left_out;  // a function's inputs that the call does not give
};
bool is_left_out(const Scope& scope, const std::string& name);

class Op {
 public:
  Op(Importer& importer, Scope& scope, const pb::NodeProto& node, int64_t version);

  Emit& b;
  const int64_t version;  // the opset version of the node's domain
  const pb::NodeProto& node;
  Importer& importer;
  Scope& scope;

  int input_count() const { return node.input_size(); }
  bool has(int i) const {
    asked_.insert(i);
    return i < node.input_size() && is_given(i);
  }
  Value* input(int i);  // fails when absent
  Value* optional_input(int i) { return has(i) ? input(i) : nullptr; }
  Value* tensor(int i);  // an input that must be a tensor
  int output_count() const { return node.output_size(); }
  bool wants(int i) const { return i < node.output_size() && !node.output(i).empty(); }
  void output(int i, Value* value);
  // The type that the model states for output i (value_info or graph output), if it does.
  const pb::TypeProto* declared(int i) const;
  // Its dimensions when they are all constants.
  std::optional<std::vector<int64_t>> declared_dims(int i) const;

  // Attributes: the value, or the default when absent.
  bool has_attr(const std::string& name) { return attribute(name) != nullptr; }
  int64_t i(const std::string& name, int64_t otherwise);
  double f(const std::string& name, double otherwise);
  std::string s(const std::string& name, const std::string& otherwise);
  std::vector<int64_t> ints(const std::string& name, std::vector<int64_t> otherwise = {});
  std::vector<double> floats(const std::string& name, std::vector<double> otherwise = {});
  std::vector<std::string> strings(const std::string& name);
  TensorDataPtr tensor_attr(const std::string& name);  // null when absent
  const pb::GraphProto* graph_attr(const std::string& name);
  std::optional<DType> dtype_attr(const std::string& name);
  const pb::AttributeProto* attribute(const std::string& name);
  // Attributes that change nothing here.
  void ignore(std::initializer_list<const char*> names);
  std::vector<std::string> unused_attributes() const;
  // An input that is given and was never asked for, or -1: what it says would be lost.
  int unused_input() const;
  // The other importer has asked for what this one need not.
  void take_asked(const Op& other) { asked_.insert(other.asked_.begin(), other.asked_.end()); }

  // The axis, made non-negative and checked against [0, rank).
  int64_t axis(int64_t value, int64_t rank) const;
  int64_t axis_attr(int64_t otherwise, int64_t rank) { return axis(i("axis", otherwise), rank); }
  std::vector<int64_t> axes(std::vector<int64_t> values, int64_t rank) const;  // sorted, distinct
  // The elements of `v`, which are the leading dimensions of output i. What is not known is the model's
  // stated dimension, checked at run time, or else a symbol.
  Shape sizes(Value* v, int i);
  // A constant input's elements; fails when they are not known while importing.
  std::vector<int64_t> constant_ints(int i, const char* what);
  TensorDataPtr constant_tensor(int i, const char* what);
  double constant_number(int i, const char* what);
  // An integer input's one element, where it is known while importing; fails when there is none, or several.
  std::optional<int64_t> known_number(int i, const char* what);

 private:
  bool is_given(int i) const { return !node.input(i).empty() && !is_left_out(scope, node.input(i)); }
  AttributeMap attributes_;
  std::set<std::string> used_;
  mutable std::set<int> asked_;
};

// Thrown when a value is put into a loop's carried sequence that began empty: its element type is now known,
// and the loop is built again with it (build_loop).
struct SequenceTyped {
  Value* sequence;
  Type element;
};

// One or many elements of a sequence: a value, or a run whose elements lie along axis 0, the last one first
// if it is `backwards`, or elements of unknown sizes one behind the other along the axis `joined`.
struct SequencePart {
  Value* value;
  bool is_run = false, backwards = false;
  int64_t joined = -1;
};

class Importer {
 public:
  Importer(std::shared_ptr<ModelFile> file, const ImportOptions& options, Diagnostics& diagnostics);
  std::unique_ptr<graph::Graph> run();

  ModelFile& file() { return *file_; }
  graph::Graph& graph() { return *graph_; }
  Knowledge& knowledge() { return knowledge_; }
  Diagnostics& diagnostics() { return diagnostics_; }
  // Arguments of loop bodies that stand for sequences without a known element type.
  std::set<const Value*>& untyped_sequences() { return untyped_sequences_; }
  // Sequences that a loop appended to, as tensors: what needs no sequence reads these, and the loop's own
  // sequence is dead then (graph/passes/eliminate_dead.h).
  std::map<const Value*, std::vector<SequencePart>>& sequence_parts() { return sequence_parts_; }

  // The value of a name as seen from a scope; null when nothing has that name. Throws for values of failed
  // nodes.
  Value* lookup(Scope& scope, const std::string& name);
  void bind(Scope& scope, const std::string& name, Value* value);
  // A block under construction for a region.
  struct Region {
    std::unique_ptr<Block> block;
    std::unique_ptr<Emit> emit;
    std::vector<Value*> outputs;
  };
  // A subgraph without inputs in a fresh block, whose results are left to the caller.
  Region import_region(Scope& parent, const pb::GraphProto& graph);
  // A subgraph's nodes into a block, its inputs bound to `arguments` in order. Gives the values of its
  // outputs.
  std::vector<Value*> import_into(Scope& parent, Emit& emit, const pb::GraphProto& graph,
                                  const std::vector<Value*>& arguments);
  // A type as the model states it. `make_dim` gives the Dim of a dimension without value.
  Type type_from_proto(const pb::TypeProto& proto,
                       const std::function<Dim(int axis, const std::string& param)>& make_dim);

 private:
  struct Function {
    const pb::FunctionProto* proto;
    OpsetMap opsets;
    std::vector<pb::AttributeProto> defaults;
  };
  bool check_model();
  void report_unsupported();
  void add_inputs(Scope& scope);
  void settle_symbols(const Emit& emit);
  Type input_type(const pb::ValueInfoProto& info, int index);
  void add_input(Scope& scope, const pb::ValueInfoProto& info);
  void fix_input(Scope& scope, const pb::ValueInfoProto& info, const std::vector<std::string>& words);
  Dim input_dim(const std::string& input, int index, int axis, const std::string& param);
  void add_graph_names(Scope& scope, const pb::GraphProto& graph);
  void import_nodes(Scope& scope, const google::protobuf::RepeatedPtrField<pb::NodeProto>& nodes);
  void import_node(Scope& scope, const pb::NodeProto& node);
  void spend(int64_t count) {
    if ((left_ -= count) < 0) throw TooMuchMade{};
  }
  void import_operator(Scope& scope, const pb::NodeProto& node);
  void call_function(Scope& scope, const pb::NodeProto& node, const Function& function);
  const Function* find_function(const pb::NodeProto& node) const;
  int64_t opset_of(const Scope& scope, const std::string& domain) const;
  std::vector<Value*> graph_outputs(Scope& scope, const pb::GraphProto& graph);

  std::shared_ptr<ModelFile> file_;
  const ImportOptions& options_;
  Diagnostics& diagnostics_;
  std::unique_ptr<graph::Graph> graph_;
  Knowledge knowledge_;
  OpsetMap opsets_;
  std::map<std::string, Function> functions_;
  std::map<std::string, std::string> param_symbols_;  // dim_param → symbol name
  std::set<std::string> dim_names_;                   // what --dim may name
  std::map<std::string, int64_t> param_values_;       // dim_param → fixed value
  std::set<const Value*> untyped_sequences_;
  std::map<const Value*, std::vector<SequencePart>> sequence_parts_;
  int depth_ = 0;
  struct TooMuchMade {};
  int64_t left_ = 0;    // imports of nodes and values that there may still be
  int64_t newest_ = 0;  // the latest value's number, as far as a node's output tells
};

// The order in which nodes can be imported: the given order when it is sorted, else a stable topological one.
// Fails with a cycle's node. `known`: whether a name is defined outside.
std::vector<int> sorted_nodes(const google::protobuf::RepeatedPtrField<pb::NodeProto>& nodes);
// How often each operator is used, in the graph, its subgraphs and the model's functions.
std::vector<OpUse> survey(const pb::ModelProto& model);
// Nodes of the graph, its subgraphs and the model's functions, each once.
int64_t node_count(const pb::ModelProto& model);
std::string domain_text(const std::string& domain);
inline std::string normal_domain(const std::string& domain) {
  return domain == "ai.onnx" ? "" : domain;
}

}  // namespace tern::onnx
