// vectorize: turns the iterations of a loop into lanes of vectors.
//
// The loop's variable becomes a ramp. A load or store whose index is affine in it becomes consecutive (factor
// 1), a scalar and a broadcast (factor 0), else a gather or scatter; i64 lets stay scalar bases while they
// are affine. A condition on the variable becomes a mask: select keeps its arms' loads to its lanes, an `if`
// limits its stores, assignments and `fail`. Serial loops inside keep their (uniform) bounds and their
// variables become vectors; local buffers defined inside become private to each lane. A variable from outside
// that is only updated as `a = op(a, x)` (op associative) or `a = fma(x, y, a)` is a reduction: it gets a
// vector accumulator, folded lane-wise (pairwise) after the loop. See vectorize_test.cc.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "compiler/kernel/ir.h"

namespace tern::kernel {

// Replaces every kVector loop; its constant extent is the number of lanes (a power of two).
void vectorize(Kernel& kernel);
std::vector<Stmt> vectorize(const std::vector<Stmt>& body);

// A loop of any extent as a serial loop over full vectors and a tail limited by counts and masks (or, where
// the rest is a constant power of two, a narrower vector). `interleave` > 1 gives reductions that many
// independent accumulators, to hide latency. The statements replace the loop.
std::vector<Stmt> vectorize_loop(const Stmt& loop, int lanes, int interleave = 1);
// Empty, or why the loop cannot be vectorized.
std::string why_not_vectorizable(const Stmt& loop);

// The vector whose lane l is `e` with var + l in place of var and each variable of `widened` replaced by lane
// l of its vector: epilogues. With `count`, lanes from count on touch no memory and are undefined.
Expr vectorize(const Expr& e, const Var& var, int lanes,
               const std::unordered_map<const VarNode*, Expr>& widened = {}, Expr count = nullptr);

// What the identity of a reduction is: 0 for add, 1 for mul, the type's lowest for max, …
scalar::ScalarValue reduction_identity(ScalarOp op, DType dtype);

}  // namespace tern::kernel
