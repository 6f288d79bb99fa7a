// Compositions that several families use.
#pragma once

#include <functional>

#include "compiler/onnx/importer.h"

namespace tern::onnx {

// Farther than any axis is long: positions beyond are clamped to it.
constexpr int64_t kFar = int64_t{1} << 40;

Value* sigmoid(Emit& b, Value* x);
Value* hard_sigmoid(Emit& b, Value* x, double alpha, double beta);
Value* softplus(Emit& b, Value* x);
Value* softsign(Emit& b, Value* x);
Value* leaky_relu(Emit& b, Value* x, double alpha);
Value* elu(Emit& b, Value* x, double alpha);
Value* thresholded_relu(Emit& b, Value* x, double alpha);
Value* gelu(Emit& b, Value* x);
Value* gelu_tanh(Emit& b, Value* x);
Value* log_softmax(Emit& b, Value* x, const std::vector<int64_t>& axes);
// 1 / sqrt(mean of squares or variance + epsilon) times x (minus its mean), over `axes`; statistics in f32 at
// least.
struct Normalised {
  Value *value, *mean, *inverse_deviation;  // the last two keep the reduced axes as 1
};
Normalised normalise(Emit& b, Value* x, const std::vector<int64_t>& axes, double epsilon, bool centre);

// numpy's matmul of any ranks.
Value* matmul(Emit& b, Value* x, Value* y, DType accumulate = DType::kNone);
// Gemm of inputs 0 to 2.
Value* gemm(Op& op);
// v with this shape, which the operator needs it to have: what cannot be told now is checked at run time.
// `what`: how a refusal calls v.
Value* fitted(Emit& b, Value* v, const char* what, const Shape& shape);
// x viewed as [product(shape[:axis]), product(shape[axis:])].
Value* flatten(Emit& b, Value* x, int64_t axis);

// The numbers of n rows, as a column that broadcasts to matrices of this rank; column i of matrices.
Value* row_numbers(Emit& b, int64_t rank, int64_t n);
Value* column_of(Emit& b, Value* matrices, int64_t i);
// A step of elimination over matrices [.., n, columns]: of the rows from i on, that with the largest element
// in column i.
struct Pivot {
  Value* matrices;  // row i stands where that row was; row i itself is left as it was
  Value* row;       // [.., 1, columns]
  Value* position;  // i64 [.., 1, 1]
};
Pivot take_pivot(Emit& b, Value* matrices, Value* numbers, int64_t i);

// Positions (i64 [n]) at which a list of truth values is true.
Value* true_positions(Emit& b, Value* condition);

// The exact quotient product(a) / product(b), factors cancelled; a floordiv of what remains.
Dim divide_products(const Shape& a, const Shape& b);

// Transpositions of `rank` axes that bring one to the front or to the end, `back`: what undoes that.
std::vector<int64_t> axis_to_front(int64_t rank, int64_t axis);
std::vector<int64_t> axis_to_end(int64_t rank, int64_t axis, bool back = false);

// A small integer tensor's elements as a rank-1 i64 tensor, and one of them as a scalar.
Value* as_i64(Emit& b, Value* v);
Value* element(Emit& b, Value* v, int64_t index);

// One of several ways to build, chosen at run time: the case whose key equals `selector` (i64, rank 1), or
// the last one.
struct SwitchCase {
  std::vector<int64_t> key;
  std::function<std::vector<Value*>(Emit&)> build;
};
std::vector<Value*> switch_over(Emit& b, Value* selector, const std::vector<SwitchCase>& cases,
                                size_t from = 0);

// An `if` node whose branches are built by the functions; the branches' dims that differ become fresh
// symbols.
std::vector<Value*> make_if(Emit& b, Value* condition,
                            const std::function<std::vector<Value*>(Emit&)>& then_branch,
                            const std::function<std::vector<Value*>(Emit&)>& else_branch);

// The same for regions that are built already (control.cc).
std::vector<Value*> finish_if(Emit& b, Value* condition, std::vector<std::unique_ptr<Block>> regions);

// An empty sequence whose elements will have this type.
Value* empty_sequence(Emit& b, const Type& element);

// A `loop` node: the body gets a fresh block's Emit, the iteration number, the condition and the carried
// values.
struct LoopResult {
  Value* condition;
  std::vector<Value*> carried, scans;
};
using LoopBody = std::function<LoopResult(Importer::Region&, Value* number, Value* condition,
                                          const std::vector<Value*>& carried)>;
std::vector<Value*> build_loop(Op& op, Value* trip, Value* condition, std::vector<Value*> carried,
                               const LoopBody& body);

}  // namespace tern::onnx
