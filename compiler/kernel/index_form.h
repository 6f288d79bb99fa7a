// Index expressions as polynomials: what simplify knows about scalar i64 arithmetic.
//
// A Poly is a sum of integer coefficients times products of atoms (variables and expressions that are no sum
// or product), so equal indices look equal, and division and remainder split into the part that divides and a
// rest whose range is known. Arithmetic wraps like the machine's; range facts are only used where no bound
// overflows.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/ir.h"

namespace tern::kernel {

struct Range {
  int64_t low = INT64_MIN, high = INT64_MAX;  // the ends mean unknown
  bool within(int64_t a, int64_t b) const { return low >= a && high <= b; }
};

using Monomial = std::vector<int>;  // atom ids, ascending
struct Poly {
  std::map<Monomial, int64_t> terms;  // the empty monomial is the constant
};

class IndexForms {
 public:
  // Loop and grid variables: begin .. begin + extent - 1; parameters: a range.
  void define_loop_var(const Var& var, const Expr& begin, const Expr& extent);
  void define_range(const Var& var, Range range);
  // A let of a scalar i64 without loads: uses of the variable are seen as its value, and the value, where it
  // occurs, is written as the variable. Returns an opaque mark for undefine_lets.
  void define_let(const Var& var, const Expr& value);
  size_t mark() const { return scope_.size(); }
  void leave(size_t mark);  // forgets the lets defined since

  // The simplest known form of a scalar i64 or of a comparison, min, max of such; null: no change.
  Expr simplify(const Expr& e);
  Range range(const Expr& e);

 private:
  int atom(const Expr& e);
  std::optional<Poly> poly(const Expr& e, bool through_lets = true);
  Expr rebuild(const Poly& p);
  Range range(const Poly& p);
  Range atom_range(int id);
  // A lower bound of p, also through the symbolic extents of loop variables.
  int64_t lower_bound(const Poly& p);
  Expr divide(const Expr& e);
  std::optional<std::pair<Poly, Poly>> split(const Poly& numerator, const Poly& divisor);
  bool in_divisor(const Poly& rest, const Poly& divisor);
  Expr simplify_compare(const Expr& e);
  void cancel_div_rem(Poly& p);

  struct Fact {
    Range range;
    Expr extent;  // of a loop variable that begins at 0
  };
  std::vector<Expr> atoms_;
  std::unordered_map<Expr, int, ExprHash, ExprEqual> atom_ids_;
  std::unordered_map<const VarNode*, Fact> facts_;
  std::unordered_map<const VarNode*, Expr> lets_;
  std::unordered_map<Expr, Var, ExprHash, ExprEqual> available_;
  std::vector<std::pair<const VarNode*, Expr>> scope_;
};

}  // namespace tern::kernel
