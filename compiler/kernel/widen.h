// The machinery of vectorize: rewrites expressions and statements of one loop body into vector form.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "compiler/kernel/ir.h"

namespace tern::kernel {

// A variable from outside the loop that the body only folds into.
struct Reduction {
  Var var;
  ScalarOp op;
};
// The reductions of a body; sets *problem when an outer variable is used in another way.
std::vector<Reduction> find_reductions(const std::vector<Stmt>& body, std::string* problem);

class Widener {
 public:
  // Lane l stands for var = begin + l. count: lanes from there on are off (null: all on).
  Widener(const Var& var, Expr begin, int lanes, Expr count);

  void set_widened(const VarNode* var, Expr vector) {
    widened_[var] = std::move(vector);
    forget();
  }
  // The vector that stands for an outer variable's partial results.
  void set_accumulator(const VarNode* var, const Var& vector) {
    accumulators_[var] = vector;
    forget();
  }
  Expr expr(const Expr& e);         // scalar when the same in every lane
  Expr vector_expr(const Expr& e);  // always lanes wide
  std::vector<Stmt> body(const std::vector<Stmt>& in);
  void analyse(const std::vector<Stmt>& in);  // before body()
  const std::string& problem() const { return problem_; }

 private:
  struct Affine {
    Expr base;
    int64_t stride;
  };
  bool varying(const Expr& e);
  std::optional<Affine> affine(const Expr& e);
  std::optional<Affine> find_affine(const Expr& e);
  Expr widen(const Expr& e);
  Expr widen_load(const Expr& e);
  // Lane l is `base` + l / each: neighbours repeat an element.
  struct Repeated {
    Expr base;
    int each = 1;
  };
  std::optional<Repeated> repeated(const Expr& e);
  Expr widen_select(const Expr& e);
  Expr limit(bool consecutive);  // count or mask for an access, or null
  Expr full_mask();              // mask and count together, or null
  void stmt(const Stmt& s, std::vector<Stmt>& out);
  void let_stmt(const Stmt& s, std::vector<Stmt>& out);
  void assign_stmt(const Stmt& s, std::vector<Stmt>& out);
  void store_stmt(const Stmt& s, std::vector<Stmt>& out);
  void prefetch_stmt(const Stmt& s, std::vector<Stmt>& out);
  void if_stmt(const Stmt& s, std::vector<Stmt>& out);
  void alloc_stmt(const Stmt& s, std::vector<Stmt>& out);
  bool mark_varying(const std::vector<Stmt>& in, bool under_condition);
  void forget() {
    done_.clear();
    affine_done_.clear();
  }
  void fail(std::string text) {
    if (problem_.empty()) problem_ = std::move(text);
  }

  Var var_;
  Expr begin_;
  int lanes_;
  Expr count_, mask_;
  std::unordered_map<const VarNode*, Expr> widened_;
  std::unordered_map<const VarNode*, Affine> affine_;
  std::unordered_map<const VarNode*, Var> accumulators_, vectors_;
  std::unordered_map<const BufferNode*, Buffer> private_;
  std::unordered_set<const VarNode*> varying_, defined_;
  std::unordered_set<const BufferNode*> inside_;
  // Expressions share their parts: what one has become under a mask, until a variable gets another form.
  std::map<std::pair<Expr, Expr>, Expr> done_;
  std::unordered_map<Expr, std::optional<Affine>> affine_done_;
  std::string problem_;
};

}  // namespace tern::kernel
