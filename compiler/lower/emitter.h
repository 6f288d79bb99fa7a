// ElementEmitter: one element of a region's value as a scalar kernel expression. Nodes of the region are
// inlined recursively (index arithmetic for data movement, scalar ops for the rest), region inputs become
// loads at their places. Loops and vectors are the caller's: nests vectorise the finished scalar loops
// (kernel/vectorize.h), contractions widen epilogue expressions over the accumulator.
//
// Loads that must not happen (padding, the other operands of a concatenation) stand in the arm of a select,
// which reads only what it chooses. Indices that come from data are checked: take_checks() gives statements
// that end the kernel, to be placed before the expressions' use.
#pragma once

#include <functional>
#include <map>
#include <unordered_map>
#include <vector>

#include "compiler/lower/context.h"

namespace tern::lower {

using Index = std::vector<kernel::Expr>;  // logical coordinates, scalar i64

class ElementEmitter {
 public:
  explicit ElementEmitter(DispatchBuilder& dispatch) : dispatch_(dispatch) {}

  DispatchBuilder& dispatch() { return dispatch_; }

  // The element of any value that is an input of the region, bound, or computed by a member node that can be
  // inlined.
  kernel::Expr element(const graph::Value* value, const Index& index);
  // From now on `value`'s element is this expression, at whatever index: an accumulator, a row's sum.
  void bind(const graph::Value* value, kernel::Expr expression);
  // `value`'s element at index i is f(i): row scratch.
  void bind(const graph::Value* value, std::function<kernel::Expr(const Index&)> f);
  void unbind(const graph::Value* value);

  // Element index into the value's buffer; the value has a place.
  kernel::Expr address(const graph::Value* value, const Index& index);
  // As the value's own type, whatever it is stored as (precision.h); store() rounds to what it is stored as.
  kernel::Expr load(const graph::Value* value, const Index& index);
  // The element as it lies in memory, of type context().stored_type(value).
  kernel::Expr load_stored(const graph::Value* value, const Index& index);
  kernel::Stmt store(const graph::Value* value, const Index& index, kernel::Expr element);

  // Of a place of several planes the kernel stores this one; null: it stores whole sums, and zeros elsewhere.
  void set_plane(kernel::Expr plane) { plane_ = std::move(plane); }
  const kernel::Expr& plane() const { return plane_; }

  // Checks of data-dependent indices that the elements since the last call need.
  std::vector<kernel::Stmt> take_checks();

 private:
  // One term of an address: coordinate (of one dimension or several neighbours) times stride.
  struct AddressPart {
    kernel::Expr index;
    Dim stride, extent;
    std::vector<kernel::Expr> quotients;  // ways to write what index, a remainder, leaves of its dividend
  };
  bool join(AddressPart& inner, const kernel::Expr& outer, const Dim& stride, const Dim& extent);
  kernel::Expr compute(const graph::Node& node, const graph::Value* value, const Index& index);
  // On CPUs (activations.cc) 1 + exp(x), 1 + erf(x) and 1 + tanh(x) are one operation, so is the distribution
  // that GELU multiplies by, and x * (1 / (1 + exp(y))) is a quotient. Null where the node is none of them.
  kernel::Expr activation(const graph::Node& node, const Index& index);
  kernel::Expr gelu(const graph::Node& node, const Index& index);
  const graph::Value* normal_argument(const graph::Value* value) const;
  // The node of this scalar op that computes `value` here, for one reader alone; null: none.
  const graph::Node* only_for_reader(const graph::Value* value, scalar::ScalarOp op) const;
  kernel::Expr pad(const graph::Node& node, const Index& index);
  kernel::Expr concat(const graph::Node& node, const Index& index);
  kernel::Expr gather(const graph::Node& node, const Index& index);
  kernel::Expr gather_elements(const graph::Node& node, const Index& index);
  kernel::Expr gather_nd(const graph::Node& node, const Index& index);
  kernel::Expr from_dims(const graph::Node& node, const Index& index);
  Index reshape_index(const Shape& from, const Shape& to, const Index& index);
  // An element of `indices` wrapped (negative: from the end) and checked against [0, extent), where it may be
  // outside.
  kernel::Expr checked_index(const graph::Value* indices, kernel::Expr index, const Dim& extent);
  // Evaluates `body` where `condition` is known to hold.
  kernel::Expr guarded(const kernel::Expr& condition, const std::function<kernel::Expr()>& body);

  DispatchBuilder& dispatch_;
  std::unordered_map<const graph::Value*, std::function<kernel::Expr(const Index&)>> bound_;
  struct Memo {
    std::vector<kernel::Expr> index;
    kernel::Expr result;
  };
  std::unordered_map<const graph::Value*, std::vector<Memo>> memo_;
  kernel::Expr guard_, plane_;
  std::vector<kernel::Stmt> checks_;
};

// The end of a contraction or another vectorised loop: stores all outputs of the region for `lanes` elements
// of its root result. `index_at(n)` gives the coordinates in the root's result for column n; lane l is column
// n + l; `value` holds the finished sums (lanes wide, or scalar when lanes is 1); `count` (may be null)
// limits the lanes.
// `fuse`: an f32 product that is added to something becomes a fused multiply-add. `of` (null: the root's
// result): the value that the sums are.
std::vector<kernel::Stmt> store_epilogue(ElementEmitter& emitter,
                                         const std::function<Index(const kernel::Expr& n)>& index_at,
                                         const kernel::Expr& n, const kernel::Expr& value, int lanes,
                                         const kernel::Expr& count, bool fuse = false,
                                         const graph::Value* of = nullptr);

}  // namespace tern::lower
