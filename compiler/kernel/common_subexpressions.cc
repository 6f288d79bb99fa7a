#include "compiler/kernel/common_subexpressions.h"

#include <algorithm>

#include "compiler/kernel/expr_util.h"

namespace tern::kernel {

namespace {

// Of an index that is written out wherever it is used.
constexpr int kMostNodes = 512;

bool worth_a_name(const Expr& e, int nodes) {
  switch (e->kind) {
    case ExprKind::kConst:
    case ExprKind::kVar:
    case ExprKind::kRamp:
    case ExprKind::kBroadcast:
      return false;
    case ExprKind::kCast: {
      // A scalar's widening says what values are possible, and costs nothing.
      const Expr& from = e->args[0];
      const bool plain =
          from->kind == ExprKind::kLoad || from->kind == ExprKind::kVar || from->kind == ExprKind::kCast;
      return !(e->type.lanes == 1 && is_int(from->type.dtype) && dtype_bits(from->type.dtype) <= 32 && plain);
    }
    case ExprKind::kOp:
      // Clang sees sums and products of indices well enough by itself.
      if (e->type == VType{DType::kI64, 1} && nodes <= kMostNodes) {
        return e->op != ScalarOp::kAdd && e->op != ScalarOp::kSub && e->op != ScalarOp::kMul;
      }
      return true;
    default:
      return true;
  }
}

class Extractor {
 public:
  explicit Extractor(std::vector<Stmt>& lets) : lets_(lets) {}
  void count(const Expr& e, bool conditional);
  bool any() const { return repeated_; }
  Expr extract(const Expr& e);

 private:
  struct Uses {
    int count = 0;
    bool unconditional = false;
    bool has_load = false;
  };
  // Of the expression as a tree, up to kMostNodes + 1: those that share their parts may have any number.
  int nodes(const Expr& e);
  bool worth_a_name(const Expr& e) { return kernel::worth_a_name(e, nodes(e)); }

  std::vector<Stmt>& lets_;
  std::unordered_map<const ExprNode*, int> nodes_;
  std::unordered_map<Expr, Uses, ExprHash, ExprEqual> uses_;
  std::unordered_map<Expr, Var, ExprHash, ExprEqual> named_;
  std::unordered_map<const ExprNode*, Expr> done_;
  bool repeated_ = false;
};

int Extractor::nodes(const Expr& e) {
  if (e->args.empty()) return 1;
  if (auto it = nodes_.find(e.get()); it != nodes_.end()) return it->second;
  int sum = 1;
  for (const Expr& a : e->args) sum = std::min(sum + nodes(a), kMostNodes + 1);
  return nodes_[e.get()] = sum;
}

void Extractor::count(const Expr& e, bool conditional) {
  if (e->args.empty()) return;
  bool named = worth_a_name(e);
  if (named) {
    Uses& uses = uses_[e];
    ++uses.count;
    bool first_unconditional = !conditional && !uses.unconditional;
    uses.unconditional |= !conditional;
    if (uses.count > 1) {
      repeated_ = true;
      if (!first_unconditional) return;
    } else {
      uses.has_load = contains_load(e);
    }
  }
  if (e->kind == ExprKind::kOp && e->op == ScalarOp::kSelect) {
    count(e->args[0], conditional);
    count(e->args[1], conditional || !e->both_arms);
    count(e->args[2], conditional || !e->both_arms);
    return;
  }
  for (const Expr& a : e->args) count(a, conditional);
}

Expr Extractor::extract(const Expr& e) {
  if (e->args.empty()) return e;
  if (auto it = done_.find(e.get()); it != done_.end()) return it->second;
  if (auto it = named_.find(e); it != named_.end()) return var_expr(it->second);
  std::vector<Expr> args;
  bool changed = false;
  for (const Expr& a : e->args) {
    args.push_back(extract(a));
    changed |= args.back() != a;
  }
  Expr result = changed ? with_args(e, std::move(args)) : e;
  if (worth_a_name(e)) {
    const Uses& uses = uses_[e];
    if (uses.count > 1 && (uses.unconditional || !uses.has_load)) {
      Var var = make_var("t", e->type);
      lets_.push_back(let(var, result));
      named_.emplace(e, var);
      result = var_expr(var);
    }
  }
  done_.emplace(e.get(), result);
  return result;
}

}  // namespace

void extract_common(std::vector<Expr*> roots, std::vector<Stmt>& lets) {
  Extractor extractor(lets);
  for (Expr* root : roots) extractor.count(*root, false);
  if (!extractor.any()) return;
  for (Expr* root : roots) *root = extractor.extract(*root);
}

}  // namespace tern::kernel
