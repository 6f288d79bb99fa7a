// Emit: the Builder as importers use it. It has the Builder's words, and
// - checks: what a model can get wrong is an ImportFailure with the core op's sentence, never a TERN_CHECK;
// - evaluates shape arithmetic: a node whose result is known is not made (knowledge.h), small constants are
// folded;
// - makes symbolic dimensions meet: where an operator needs two unequal expressions to be equal
// (2*ceildiv(H,2) and H), it
//   emits a `check` that they are and goes on.
//
// Errors inside compiler/onnx: an importer composes dozens of steps, each of which may refuse because of the
// model. The one exception type ImportFailure carries the Error from there to the node's entry (importer.cc),
// which is the only catch; nothing throws across import_model (docs/decisions.md).
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "compiler/graph/ir.h"
#include "compiler/onnx/dimensions.h"
#include "compiler/onnx/knowledge.h"

namespace tern::onnx {

using graph::Attr;
using graph::Block;
using graph::OpKind;
using graph::Type;
using graph::Value;
using scalar::ScalarOp;

struct ImportFailure {
  Error error;
};
template <typename... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw ImportFailure{error(format, std::forward<Args>(args)...)};
}
template <typename T>
T unwrap(Result<T> result) {
  if (!result.ok()) throw ImportFailure{result.take_error()};
  return std::move(result).value();
}

// A model's dimensions may multiply to anything; sizes that would overflow later fail here.
void check_size(const Type& type);

class Emit {
 public:
  Emit(graph::Graph& graph, Knowledge& knowledge, Block& block)
      : knowledge_(&knowledge), builder_(graph, block) {}
  // For a region inside of `outer`'s block: what has been checked there holds here.
  Emit(const Emit& outer, Block& block)
      : knowledge_(outer.knowledge_),
        builder_(const_cast<Emit&>(outer).graph(), block),
        facts_(outer.facts_) {
    set_source(outer.source_);
  }

  graph::Graph& graph() { return builder_.graph(); }
  Block& block() { return builder_.block(); }
  Knowledge& knowledge() { return *knowledge_; }
  void set_source(std::shared_ptr<const graph::Source> source) {
    source_ = source;
    builder_.set_source(std::move(source));
  }
  const std::shared_ptr<const graph::Source>& source() const { return source_; }

  // A node with one result.
  Value* emit(OpKind kind, std::vector<Value*> operands,
              std::vector<std::pair<std::string, Attr>> attrs = {});
  // A node with several results or regions, or whose type brings fresh symbols.
  graph::Node* emit_node(OpKind kind, std::vector<Value*> operands,
                         std::vector<std::pair<std::string, Attr>> attrs,
                         std::vector<std::unique_ptr<Block>> regions = {});

  Value* constant(TensorDataPtr data) { return builder_.constant(std::move(data)); }
  Value* scalar(DType dtype, double value) {
    check_number(dtype);
    return builder_.scalar_constant(dtype, value);
  }
  Value* integer(DType dtype, int64_t value) {
    check_number(dtype);
    return builder_.int_constant(dtype, value);
  }
  Value* i64(int64_t value) { return integer(DType::kI64, value); }
  Value* i64s(const std::vector<int64_t>& values) { return builder_.i64s(values); }
  Value* floats(DType dtype, const std::vector<double>& values, std::vector<int64_t> shape = {});
  Value* strings(std::vector<std::string> values) {
    const auto count = static_cast<int64_t>(values.size());
    return constant(TensorData::strings({count}, std::move(values)));
  }
  Value* from_dims(Shape dims, Shape shape, DType dtype = DType::kI64);
  Value* dim(Dim d, DType dtype = DType::kI64) { return from_dims({d}, {}, dtype); }
  Value* shape_of(Value* v) { return from_dims(v->type.shape, {Dim(v->type.rank())}); }
  Value* iota(Shape shape, int axis, DType dtype);
  Value* like(Value* v, double value) { return scalar(v->type.dtype, value); }
  // A tensor of one repeated value.
  Value* full(Shape shape, Value* scalar_value) { return broadcast(scalar_value, std::move(shape)); }

  // Elementwise with numpy broadcasting.
  Value* map(ScalarOp op, std::vector<Value*> operands);
  Value* add(Value* a, Value* b) { return map(ScalarOp::kAdd, {a, b}); }
  Value* sub(Value* a, Value* b) { return map(ScalarOp::kSub, {a, b}); }
  Value* mul(Value* a, Value* b) { return map(ScalarOp::kMul, {a, b}); }
  Value* div(Value* a, Value* b) { return map(ScalarOp::kDiv, {a, b}); }
  Value* min(Value* a, Value* b) { return map(ScalarOp::kMin, {a, b}); }
  Value* max(Value* a, Value* b) { return map(ScalarOp::kMax, {a, b}); }
  Value* select(Value* c, Value* a, Value* b) { return map(ScalarOp::kSelect, {c, a, b}); }
  Value* unary(ScalarOp op, Value* v) { return map(op, {v}); }
  Value* add(Value* a, double b) { return add(a, like(a, b)); }
  Value* sub(Value* a, double b) { return sub(a, like(a, b)); }
  Value* mul(Value* a, double b) { return mul(a, like(a, b)); }
  Value* div(Value* a, double b) { return div(a, like(a, b)); }
  Value* compare(ScalarOp op, Value* a, Value* b) { return map(op, {a, b}); }
  Value* compare(ScalarOp op, Value* a, double b) { return map(op, {a, like(a, b)}); }

  Value* cast(Value* v, DType to, bool saturate = true);
  Value* bitcast(Value* v, DType to);
  Value* reshape(Value* v, Shape shape);
  Value* broadcast(Value* v, Shape shape);
  Value* transpose(Value* v, std::vector<int64_t> perm);
  Value* slice(Value* v, Shape starts, Shape sizes, std::vector<int64_t> steps);
  Value* slice_axis(Value* v, int64_t axis, Dim start, Dim size, int64_t step = 1);
  Value* pad(Value* v, Shape low, Shape high, Value* fill, std::string mode = "constant");
  Value* concat(std::vector<Value*> values, int64_t axis);
  Value* gather(Value* v, Value* indices, int64_t axis);
  Value* reduce(ScalarOp op, Value* v, std::vector<int64_t> axes, bool keep_dims = false);
  Value* dot(Value* a, Value* b, DType accumulate = DType::kNone);
  Value* unsqueeze(Value* v, const std::vector<int64_t>& axes);  // axes as in the result, ascending
  Value* squeeze(Value* v, const std::vector<int64_t>& axes);
  // v, or f32 of it where it is of a narrow float type, which sums, squares and counts may be beyond.
  Value* wide(Value* v);
  // Both by way of f32 for narrow floats.
  Value* mean(Value* v, const std::vector<int64_t>& axes, bool keep_dims);
  Value* softmax(Value* v, const std::vector<int64_t>& axes);
  void check(Value* condition, std::string message);
  // Fails when the sizes never compare so; a check at run time when that is not known.
  void require(ScalarOp op, const Dim& a, const Dim& b, std::string message);

  // The common shape under numpy's rule; unequal symbolic dimensions are assumed equal (see adapt).
  Shape common_shape(const std::vector<Value*>& values);
  // v with dimension `axis` stated as `dim`: the same value when the expressions are equal; otherwise checked
  // at run time. Fails when both are constants that differ.
  Value* adapt(Value* v, int64_t axis, Dim dim);
  Value* adapt(Value* v, const Shape& shape);
  // The dimension as the checks made so far allow to state it: dimensions that must be equal become the same
  // expression.
  Dim canonical(const Dim& dim) const;
  // The size that checks of this block leave for a symbol, if it is one number.
  std::optional<int64_t> only_size(const std::string& symbol) const;
  // v broadcast to the shape, dimensions adapted.
  Value* expand_to(Value* v, const Shape& shape);

  // Contents, as far as they are known while importing.
  TensorDataPtr constant_data(Value* v);                     // null: not a constant
  std::optional<Shape> known_dims(Value* v);                 // every element, as Dims
  std::optional<std::vector<int64_t>> known_ints(Value* v);  // every element, as constants
  // The elements of an integer tensor of static shape: symbols that are read at run time where nothing is
  // known. Sizes are never negative; other numbers may be.
  Shape dims(Value* v, bool sizes = true);
  // The value that a reshape by this shape resolved to (null: none yet); the text says of what operands, and
  // how. It goes with this Emit, as its block may.
  Value*& resolved(Value* shape, const std::string& how) { return resolved_[{shape, how}]; }
  // min and max, simplified by the symbols' bounds.
  Dim min_dim(const Dim& a, const Dim& b);
  Dim max_dim(const Dim& a, const Dim& b);

 private:
  static void check_number(DType dtype) {
    if (dtype == DType::kString) fail("The operator does not accept strings.");
  }
  Value* materialise(const graph::Node& probe, const Type& type, std::optional<Contents>& contents);
  Knowledge* knowledge_;
  graph::Builder builder_;
  std::shared_ptr<const graph::Source> source_;
  // What checks have established: an atom (a symbol, or a floordiv, min, …) equals an expression.
  std::map<std::string, Dim> facts_;
  std::map<std::pair<const Value*, std::string>, Value*> resolved_;
  void learn(const Dim& a, const Dim& b);
};

}  // namespace tern::onnx
