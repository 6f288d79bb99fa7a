// Scalar accessors of a contraction's region (contraction_body.h) turned into vector ones: what its kernels
// load and store.
#pragma once

#include <functional>
#include <vector>

#include "compiler/lower/contraction_body.h"
#include "compiler/lower/contraction_kernel.h"

namespace tern::lower {

bool is_contraction_float(DType d);
bool is_contraction_integer(DType d);  // of products of one type, on CPUs
// Sums in i32 of u8 (operand 0) with i8 (operand 1).
bool is_byte_contraction(const graph::Node& root);
// What a widening of a stored element widens.
kernel::Expr load_behind(const kernel::Expr& e);

class ContractionAccess {
 public:
  using Expr = kernel::Expr;
  using Var = kernel::Var;
  using Index = std::vector<Expr>;
  using Stmts = std::vector<kernel::Stmt>;

  explicit ContractionAccess(const ContractionRequest& request, StepKind step = StepKind::kFloats);

  // The type in which kernels read an operand.
  DType type(int operand) const;
  Expr scalar(int operand, const Index& index) const;
  // The same for `lanes` values of `lane` from 0 on.
  Expr vector(int operand, const Index& index, const Var& lane, int lanes, const Expr& count = nullptr) const;

  // `lanes` sums' beginnings where `index_at` of a place along them has the same element in every row; null
  // otherwise, or when there is none. Whoever takes it has to call it.
  using Begin = std::function<Expr(const Expr& n, int lanes, const Expr& count)>;
  Begin begin(const std::function<Index(const Expr& row, const Expr& n)>& index_at) const;

  // The load behind an operand's element when neighbours along `lane` are neighbours in memory; null
  // otherwise, or when the memory is not of the type in which kernels read the operand (`any_float`: or of
  // another float type).
  Expr contiguous(int operand, const Index& index, const Var& lane, bool any_float = false) const;

  Stmts finish(const std::function<Index(const Expr&)>& index_at, const Expr& n, const Expr& value, int lanes,
               const Expr& count) const;

 private:
  // `lanes` elements of e along `lane` from 0 on.
  static Expr along(const Expr& e, const Var& lane, int lanes, const Expr& count);

  const ContractionRequest& r_;
  const StepKind step_;
};

}  // namespace tern::lower
