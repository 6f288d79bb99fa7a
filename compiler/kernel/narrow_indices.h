// narrow_indices: which i64 scalars of a GPU kernel may be computed in 32 bits, where 64-bit division is slow
// and GLSL may have no 64-bit integers at all. Rests on the contract of GPU kernels (ir.h): parameters,
// extents and element counts fit 31 bits, so all index arithmetic does (values made of constants, parameters,
// grid, thread and loop variables with + - * min max select, index division and bitwise and, or, xor, as far
// as they are used as indices, bounds, counts and in comparisons). Values that are data (stored, or converted
// to floats) keep 64 bits unless they are one of those variables. See narrow_indices_test.cc.
#pragma once

#include <unordered_set>

#include "compiler/kernel/ir.h"

namespace tern::kernel {

class NarrowIndices {
 public:
  explicit NarrowIndices(const Kernel& kernel);
  // The variable is declared with 32 bits.
  bool narrow(const VarNode* var) const { return narrow_.contains(var); }
  // A scalar i64 in the place of an index: computed with 32 bits.
  bool narrow(const Expr& e) const { return computable(e, narrow_, false); }
  // A vector of such, made of ramps and broadcasts: what a comparison of lanes compares.
  bool narrow_lanes(const Expr& e) const;
  // A scalar in the place of data.
  bool fits(const Expr& e) const { return computable(e, fitting_, true); }

 private:
  using Vars = std::unordered_set<const VarNode*>;
  static bool computable(const Expr& e, const Vars& vars, bool exactly);
  static void settle(const Kernel& kernel, Vars& vars, bool exactly);
  void widen_data(const Kernel& kernel);

  Vars narrow_, fitting_;
};

}  // namespace tern::kernel
