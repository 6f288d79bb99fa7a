#include "compiler/lower/gpu/thread_fold.h"

#include <algorithm>

namespace tern::lower::gpu {
namespace {

using kernel::Expr;
using kernel::int_const;
using kernel::ScalarOp;
using kernel::Stmt;
using kernel::var_expr;

// Types that shuffles take.
bool shuffles(DType dtype) {
  switch (dtype) {
    case DType::kF32:
    case DType::kF64:
    case DType::kI32:
    case DType::kU32:
    case DType::kI64:
    case DType::kU64:
      return true;
    default:
      return false;
  }
}

class Folder {
 public:
  Folder(const kernel::Var& acc, ScalarOp op, const FoldLayout& layout, std::vector<Stmt>& out)
      : acc_(acc), op_(op), l_(layout), out_(out) {}

  Expr run() {
    if (l_.lanes == 1) return var_expr(acc_);
    if (!l_.uses_subgroup() || !shuffles(acc_->type.dtype)) return tree();
    shuffle(std::min(l_.lanes, l_.subgroup));
    if (l_.lanes > l_.subgroup) across_subgroups();
    return var_expr(acc_);
  }

 private:
  void update(const Expr& other) {
    out_.push_back(kernel::assign(acc_, kernel::op(op_, {var_expr(acc_), other})));
  }

  void shuffle(int lanes) {
    for (int mask = lanes / 2; mask >= 1; mask /= 2) {
      const kernel::Var other = kernel::make_var("other", acc_->type);
      out_.push_back(kernel::let(other, kernel::intrinsic(kernel::Intrinsic::kSubgroupShuffleXor,
                                                          {var_expr(acc_), int_const(mask)}, acc_->type)));
      update(var_expr(other));
    }
  }

  kernel::Buffer workgroup(int64_t elements) {
    const kernel::Buffer b = kernel::make_buffer("parts", acc_->type, kernel::Scope::kWorkgroup,
                                                 kernel::Access::kReadWrite, elements);
    out_.push_back(kernel::alloc(b));
    return b;
  }

  // One part a subgroup; then every thread folds the parts of its row.
  void across_subgroups() {
    const int parts = l_.lanes / l_.subgroup;
    const kernel::Buffer b = workgroup(int64_t{parts} * l_.rows);
    const Expr first = kernel::mul(l_.row, int_const(parts));
    const Expr leads =
        kernel::compare(ScalarOp::kEq, kernel::index_rem(l_.lane, int_const(l_.subgroup)), int_const(0));
    const Expr slot = kernel::add(first, kernel::index_div(l_.lane, int_const(l_.subgroup)));
    out_.push_back(kernel::if_then(leads, {kernel::store(b, slot, var_expr(acc_))}));
    out_.push_back(kernel::barrier());
    out_.push_back(kernel::assign(acc_, kernel::load(b, first)));
    const kernel::Var p = kernel::make_var("p");
    const Expr next = kernel::load(b, kernel::add(first, var_expr(p)));
    out_.push_back(kernel::loop(p, int_const(1), int_const(parts - 1), kernel::LoopKind::kUnroll,
                                {kernel::assign(acc_, kernel::op(op_, {var_expr(acc_), next}))}));
  }

  // Parts of `left` that become one between two barriers: a divisor, all of them where there is no small one.
  static int folded_at_once(int left) {
    for (int n = 8; n > 1; --n) {
      if (left % n == 0) return n;
    }
    return left;
  }

  Expr tree() {
    const kernel::Buffer b = workgroup(int64_t{l_.lanes} * l_.rows);
    const auto slot = [&](const Expr& lane) {
      return l_.run < 2 ? kernel::add(kernel::mul(lane, int_const(l_.rows)), l_.row)
                        : kernel::add(kernel::mul(l_.row, int_const(l_.lanes)), lane);
    };
    out_.push_back(kernel::store(b, slot(l_.lane), var_expr(acc_)));
    for (int left = l_.lanes; left > 1;) {
      const int next = left / folded_at_once(left);
      out_.push_back(kernel::barrier());
      Expr all = kernel::load(b, slot(l_.lane));
      for (int part = next; part < left; part += next)
        all = kernel::op(op_, {all, kernel::load(b, slot(kernel::add(l_.lane, int_const(part))))});
      out_.push_back(kernel::if_then(kernel::compare(ScalarOp::kLt, l_.lane, int_const(next)),
                                     {kernel::store(b, slot(l_.lane), all)}));
      left = next;
    }
    out_.push_back(kernel::barrier());
    out_.push_back(kernel::assign(acc_, kernel::load(b, slot(int_const(0)))));
    return var_expr(acc_);
  }

  const kernel::Var& acc_;
  const ScalarOp op_;
  const FoldLayout& l_;
  std::vector<Stmt>& out_;
};

}  // namespace

Expr fold_threads(const kernel::Var& acc, ScalarOp op, const FoldLayout& layout, std::vector<Stmt>& out) {
  return Folder(acc, op, layout, out).run();
}

}  // namespace tern::lower::gpu
