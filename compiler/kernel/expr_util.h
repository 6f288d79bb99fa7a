// Small questions about kernel IR that passes ask: constants, structure, uses. Structural equality treats
// variables and buffers as identities.
#pragma once

#include <functional>
#include <optional>
#include <unordered_set>
#include <vector>

#include "compiler/kernel/ir.h"

namespace tern::kernel {

inline bool is_const(const Expr& e) {
  return e->kind == ExprKind::kConst;
}
// The value of an integer or bool constant.
std::optional<int64_t> int_value(const Expr& e);
inline bool is_int(const Expr& e, int64_t value) {
  return int_value(e) == value;
}
scalar::ScalarValue const_value(const Expr& e);  // e is kConst

bool equal(const Expr& a, const Expr& b);
size_t hash(const Expr& e);
struct ExprHash {
  size_t operator()(const Expr& e) const { return hash(e); }
};
struct ExprEqual {
  bool operator()(const Expr& a, const Expr& b) const { return equal(a, b); }
};

// The node with other arguments, through its constructor (so that it is checked and folded again).
Expr with_args(const Expr& e, std::vector<Expr> args);

// Calls f for every node of e, each shared node once, arguments first.
void visit(const Expr& e, const std::function<void(const Expr&)>& f);
// Calls f for every expression that a statement holds itself (not its body's).
void visit_exprs(const Stmt& s, const std::function<void(const Expr&)>& f);
// Calls f for every statement, outer ones first.
void visit(const std::vector<Stmt>& body, const std::function<void(const Stmt&)>& f);

bool uses_var(const Expr& e, const VarNode* var);
bool contains_load(const Expr& e);
bool is_collective(const Expr& e);  // a row that works across a subgroup
bool can_fail(const Kernel& kernel);
// Iterations of all loops that one thread makes, those of unknown length counted once; 2^30 stands for more.
int64_t constant_iterations(const std::vector<Stmt>& body);
bool uses_any(const Expr& e, const std::unordered_set<const VarNode*>& vars);

// A copy of the statements in which every variable and local buffer defined inside is a fresh one, with
// `values` substituted.
std::vector<Stmt> clone_fresh(const std::vector<Stmt>& body,
                              std::unordered_map<const VarNode*, Expr> values = {});

}  // namespace tern::kernel
