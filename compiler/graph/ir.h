// Graph IR (.tg): SSA over tensors. What ONNX (or another front end) means, in some forty structural ops and
// the scalar table.
//
// Semantics
// - A Value is immutable, defined once: by a node's result or a block's argument. Nodes of a block stand in
// an order in which every
//   operand is defined before its use; nodes in a region may use values of enclosing blocks.
// - A tensor type is an element type and dimensions in ONNX order. Dimensions are Dims: static or expressions
// of the graph's symbols. A
//   symbol gets its value from an input's axis, from an element of a value (data-dependent sizes), or is
//   bound by control flow (see SymbolInfo). No layout, no stride, no alias exists here: every op yields a new
//   tensor.
// - Arithmetic is scalar/ops.def's. Reductions of floats may be evaluated in any order; integers wrap.
// - Pure nodes may be duplicated, merged, removed. `if`, `loop` and `check` keep their order among each
// other.
// - Each value keeps the name of the source's value, each node its source node, for messages and reports.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "compiler/scalar/scalar.h"
#include "compiler/support/dim.h"
#include "compiler/support/dtype.h"
#include "compiler/support/tensor_data.h"

namespace tern::graph {

enum class OpKind : uint8_t {
#define TERN_GRAPH_OP(name, text, min, max, regions, flags, attributes, meaning) k##name,
#include "compiler/graph/ops.def"
#undef TERN_GRAPH_OP
  kCount
};

struct OpInfo {
  std::string_view name;
  int min_operands, max_operands, regions;
  bool pure, view, effect;
  std::string_view attributes;
};
const OpInfo& info(OpKind kind);
OpKind op_from_name(std::string_view name);  // kCount when unknown

// A tensor, or a sequence/optional of `element`.
struct Type {
  enum class Kind : uint8_t { kTensor, kSequence, kOptional };
  Kind kind = Kind::kTensor;
  DType dtype = DType::kNone;
  Shape shape;
  std::shared_ptr<const Type> element;  // sequence, optional

  static Type tensor(DType dtype, Shape shape) { return {Kind::kTensor, dtype, std::move(shape), nullptr}; }
  static Type sequence(Type element);
  static Type optional(Type element);
  bool is_tensor() const { return kind == Kind::kTensor; }
  int rank() const { return static_cast<int>(shape.size()); }
  bool operator==(const Type& other) const;
  std::string text() const;  // "f32[2,3,2*N+1]", "f32[]", "seq<f32[N]>", "opt<f32[N]>"
};

using Attr =
    std::variant<int64_t, std::vector<int64_t>, double, std::vector<double>, std::string,
                 std::vector<std::string>, DType, std::vector<Dim>, TensorDataPtr, scalar::ScalarOp, bool>;

class Node;
struct Block;

struct Value {
  int id = 0;  // unique in its Graph; stable
  Type type;
  std::string name;        // the source's name, may be empty
  Node* def = nullptr;     // null: a block argument
  Block* block = nullptr;  // the argument's block, or null
  int index = 0;           // result or argument number
};

// Where a node came from: the ONNX node. Several core nodes share one.
struct Source {
  std::string node;  // ONNX node name, or "" when it has none
  std::string op;    // ONNX op type
};

struct Block {
  std::vector<Value*> args;
  std::vector<std::unique_ptr<Node>> nodes;
  std::vector<Value*> results;
  Node* parent = nullptr;  // null: the graph's body
};

class Node {
 public:
  OpKind kind;
  std::vector<Value*> operands;
  std::vector<Value*> results;
  std::vector<std::pair<std::string, Attr>> attrs;
  std::vector<std::unique_ptr<Block>> regions;
  std::shared_ptr<const Source> source;

  Value* result(int i = 0) const { return results[static_cast<size_t>(i)]; }
  Value* operand(int i = 0) const { return operands[static_cast<size_t>(i)]; }
  const Attr* find(std::string_view name) const;
  template <typename T>
  const T& attr(std::string_view name) const {
    const Attr* a = find(name);
    TERN_CHECK(a && std::holds_alternative<T>(*a), "op {} has no attribute {} of this type", info(kind).name,
               name);
    return std::get<T>(*a);
  }
  int64_t int_attr(std::string_view n) const { return attr<int64_t>(n); }
  bool bool_attr(std::string_view n) const { return attr<bool>(n); }
  const std::vector<int64_t>& ints(std::string_view n) const { return attr<std::vector<int64_t>>(n); }
  const std::vector<Dim>& dims(std::string_view n) const { return attr<std::vector<Dim>>(n); }
  const std::string& str(std::string_view n) const { return attr<std::string>(n); }
  scalar::ScalarOp scalar_op() const { return attr<scalar::ScalarOp>("op"); }
  void set(std::string_view name, Attr value);
};

struct SymbolInfo {
  enum class Origin : uint8_t {
    kInput,    // dimension `axis` of graph input `input`
    kElement,  // element `element` (flat) of integer tensor `value`, read when it has been computed
    kControl,  // bound by control flow when the value whose dimension it is has been made: an if's result
               // (the taken branch's expression), a loop's carried value (its present size, before the first
               // and after each iteration) or iteration count, an element read from a sequence
  };
  std::string name;
  Origin origin = Origin::kInput;
  int input = 0, axis = 0;
  Value* value = nullptr;
  int64_t element = 0;
  int64_t min = 0, max = INT64_MAX;  // inclusive bounds that the model or importer states
  int64_t hint = 0;                  // a likely value for schedules; 0: none
  // kElement and kControl: an expression of earlier symbols that is never exceeded, when one is known; sizes
  // memory.
  std::optional<Dim> upper;
};

class Graph {
 public:
  std::string name;
  Block body;  // args are the inputs, results the outputs
  std::vector<std::string> input_names, output_names;
  std::vector<SymbolInfo> symbols;

  Value* new_value(Type type, std::string name = {});
  int value_count() const { return next_id_; }
  SymbolInfo* find_symbol(std::string_view symbol);
  // A name that no symbol has yet, from `stem` ("u" gives u0, u1, …), registered with the info's other
  // fields.
  SymbolInfo& new_symbol(std::string_view stem, SymbolInfo info);

 private:
  std::deque<Value> values_;
  int next_id_ = 0;
};

// Appends nodes to a block with inferred result types. The one way to make nodes, for importers and passes.
// Every method checks its operands; misuse by an importer that a model can cause must be prevented by the
// importer, which knows the ONNX words for it; what remains is a TERN_CHECK.
class Builder {
 public:
  Builder(Graph& graph, Block& block) : graph_(&graph), block_(&block), position_(block.nodes.size()) {}
  // Inserts before node number `position` of the block, and moves on.
  Builder(Graph& graph, Block& block, size_t position)
      : graph_(&graph), block_(&block), position_(position) {}

  Graph& graph() { return *graph_; }
  Block& block() { return *block_; }
  size_t position() const { return position_; }
  void set_source(std::shared_ptr<const Source> source) { source_ = std::move(source); }

  Node* node(OpKind kind, std::vector<Value*> operands, std::vector<std::pair<std::string, Attr>> attrs,
             std::vector<std::unique_ptr<Block>> regions = {});
  // A node that was made elsewhere, as it is: for passes that move or copy nodes.
  Node* append(std::unique_ptr<Node> node);

  Value* constant(TensorDataPtr data);
  Value* scalar_constant(DType dtype, double value);  // rank 0
  Value* int_constant(DType dtype, int64_t value);    // rank 0
  Value* i64s(const std::vector<int64_t>& values);    // rank 1
  Value* from_dims(std::vector<Dim> dims, Shape shape, DType dtype = DType::kI64);
  Value* iota(Shape shape, int axis, DType dtype);
  // Elementwise with numpy broadcasting: inserts the broadcasts. Types must agree as the row's rule says.
  Value* map(scalar::ScalarOp op, std::vector<Value*> operands);
  Value* add(Value* a, Value* b) { return map(scalar::ScalarOp::kAdd, {a, b}); }
  Value* sub(Value* a, Value* b) { return map(scalar::ScalarOp::kSub, {a, b}); }
  Value* mul(Value* a, Value* b) { return map(scalar::ScalarOp::kMul, {a, b}); }
  Value* div(Value* a, Value* b) { return map(scalar::ScalarOp::kDiv, {a, b}); }
  Value* select(Value* c, Value* a, Value* b) { return map(scalar::ScalarOp::kSelect, {c, a, b}); }
  // A constant of v's element type, rank 0: `b.add(v, b.like(v, 1.0))`.
  Value* like(Value* v, double value) { return scalar_constant(v->type.dtype, value); }
  Value* cast(Value* v, DType to, bool saturate = true);  // v itself when the type is already that
  Value* bitcast(Value* v, DType to);
  Value* lookup(Value* v, TensorDataPtr table);  // u8; table: u8[256]
  Value* reshape(Value* v, Shape shape);
  Value* broadcast(Value* v, Shape shape);
  Value* transpose(Value* v, std::vector<int64_t> perm);
  Value* slice(Value* v, std::vector<Dim> starts, std::vector<Dim> sizes, std::vector<int64_t> steps);
  Value* slice_axis(Value* v, int axis, Dim start, Dim size, int64_t step = 1);
  Value* pad(Value* v, std::vector<Dim> low, std::vector<Dim> high, Value* fill,
             std::string mode = "constant");
  Value* concat(std::vector<Value*> values, int axis);
  Value* gather(Value* v, Value* indices, int axis);
  Value* reduce(scalar::ScalarOp op, Value* v, std::vector<int64_t> axes,
                bool keep_dims = false);  // keep_dims adds the reshape
  Value* dot(Value* a, Value* b);
  Value* unsqueeze(Value* v, std::vector<int64_t> axes);  // a reshape; axes as in the result
  Value* squeeze(Value* v, std::vector<int64_t> axes);    // a reshape

 private:
  Graph* graph_;
  Block* block_;
  size_t position_;
  std::shared_ptr<const Source> source_;
};

// Result types of a node from its operands, attributes and regions (infer.cc). An Error says what does not
// fit, in core-op words. Data-dependent dimensions get fresh symbols; a node that has results already keeps
// theirs, so that inferring again gives the same types.
Result<std::vector<Type>> infer(Graph& graph, const Node& node);

// Whether `b` is what `a` broadcasts to under numpy's rule, and the common shape of two shapes. Symbolic dims
// are compared as expressions; a symbolic dim against an unequal one (neither 1) is an error that names both.
Result<Shape> broadcast_shapes(const Shape& a, const Shape& b);

// Users of every value, over all nested blocks. A block's result counts as a use with node == nullptr.
struct Use {
  Node* node;  // null: a result of `block`
  Block* block;
  int operand;
};
using UseMap = std::unordered_map<const Value*, std::vector<Use>>;
UseMap compute_uses(const Graph& graph);
// Replaces every use of `from` in all blocks by `to`. Linear in the graph: passes that replace much collect a
// map and call this once.
void replace_uses(Graph& graph, const std::unordered_map<const Value*, Value*>& replacements);
// Calls f for each node, operands' definitions first, regions' nodes after their parent was announced.
void walk(const Block& block, const std::function<void(Node&)>& f);

// Text form. parse_graph(print_graph(g)) prints the same again. Constants above `inline_limit` elements print
// as a hash and cannot be parsed back.
std::string print_graph(const Graph& graph, int64_t inline_limit = 64);
Result<std::unique_ptr<Graph>> parse_graph(std::string_view text);
// One constant as the text form writes it: "f32[2] {1, 2}"; parse_tensors reads several, separated by ';'.
std::string print_tensor(const TensorData& tensor, int64_t inline_limit = 64);
Result<std::vector<TensorDataPtr>> parse_tensors(std::string_view text);

// Structure, types (re-inferred and compared), order of definitions, symbols known. All violations, one a
// line; empty when well-formed.
std::string verify(const Graph& graph);

// Slow and obvious: the meaning of every op. Inputs in order; symbols come from input shapes. Sequences and
// optionals are supported.
struct EvalValue {
  TensorDataPtr tensor;                          // tensor, or null
  std::shared_ptr<std::vector<EvalValue>> list;  // sequence; optional: 0 or 1 elements
};
Result<std::vector<EvalValue>> evaluate(const Graph& graph, const std::vector<EvalValue>& inputs);
// One node on constant operands (no regions): the constant folder's entry.
Result<std::vector<EvalValue>> evaluate_node(
    const Node& node, const std::vector<EvalValue>& operands,
    const std::function<std::optional<int64_t>(const std::string&)>& symbols);

}  // namespace tern::graph
