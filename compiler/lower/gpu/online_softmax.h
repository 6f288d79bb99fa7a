// Softmax over blocks of keys, as all attention kernels of GPUs compute it: a running maximum that is taken
// over only when it has grown by much, exponentials as powers of two.
#pragma once

#include <vector>

#include "compiler/lower/gpu/attention_kernel.h"
#include "compiler/lower/loop_writer.h"

namespace tern::lower::gpu {

inline kernel::Expr exp2(const kernel::Expr& x) {
  return kernel::intrinsic(kernel::Intrinsic::kExp2Approx, {x}, x->type);
}

// Where a score is its product times a positive constant, maxima are of products, and the constant is part of
// the exponent's multiplication (linear). Else the factor is 1 and maxima are of scores in units of log2.
struct ScoreScale {
  double factor = 1;  // from what maxima are of to log2
  bool linear = false;
};
// `m`: any query.
ScoreScale score_scale(const AttentionOperands& operands, const kernel::Expr& m);

// Where a score is its product times a positive constant plus what depends on its key alone (a mask of keys).
struct KeyedScore {
  double factor = 0;  // 0: it is not that
  std::function<kernel::Expr(const kernel::Expr& n)> bias;
};
KeyedScore keyed_score(const AttentionOperands& operands);

// What a row's maximum becomes after a block whose largest score is `seen`.
class OnlineMaximum {
 public:
  OnlineMaximum(LoopWriter& w, const ScoreScale& scale, const kernel::Expr& old, const kernel::Expr& seen);
  // Of a weight, in log2.
  kernel::Expr exponent(const kernel::Expr& score) const;

  const kernel::Expr& base() const { return base_; }  // what exponents are relative to, in log2

  kernel::Expr top, shrink;  // shrink: what sums and outputs so far are to be multiplied by

 private:
  const ScoreScale& scale_;
  kernel::Expr base_;
};

// Four chains side by side.
kernel::Expr folded(const std::vector<kernel::Expr>& values,
                    kernel::Expr (*fold)(kernel::Expr, kernel::Expr));
// Four scalars as a vector.
kernel::Expr quad(LoopWriter& w, const kernel::Expr& a, const kernel::Expr& b, const kernel::Expr& c,
                  const kernel::Expr& d);
// A score in units of log2. A mask's finite low value, such as the least float, stays finite: a row that it
// hides as a whole has the mean of its values, where one hidden by -inf has none.
kernel::Expr score_in_log2(const kernel::Expr& score);
// 1 / sum; 0 where there are no keys.
kernel::Expr reciprocal_of_sum(const AttentionShape& shape, const kernel::Expr& keys,
                               const kernel::Expr& sum);

}  // namespace tern::lower::gpu
