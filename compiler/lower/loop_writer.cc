#include "compiler/lower/loop_writer.h"

namespace tern::lower {

using kernel::Expr;
using kernel::Stmt;

void append(std::vector<Stmt>& to, std::vector<Stmt> from) {
  for (Stmt& s : from) to.push_back(std::move(s));
}

Expr named(const std::string& name, const Expr& value, std::vector<Stmt>& out) {
  const kernel::Var v = kernel::make_var(name, value->type);
  out.push_back(kernel::let(v, value));
  return kernel::var_expr(v);
}

Expr in_range(const Expr& at, const Expr& extent) {
  using kernel::ScalarOp;
  return kernel::op(ScalarOp::kAnd, {kernel::compare(ScalarOp::kGe, at, kernel::int_const(0)),
                                     kernel::compare(ScalarOp::kLt, at, extent)});
}

Expr both(const Expr& a, const Expr& b) {
  if (!a) return b;
  return b ? kernel::op(kernel::ScalarOp::kAnd, {a, b}) : a;
}

std::vector<Stmt> LoopWriter::scoped(const std::function<void()>& body) {
  scopes_.emplace_back();
  if (body) body();
  std::vector<Stmt> out = std::move(scopes_.back());
  scopes_.pop_back();
  return out;
}

Expr LoopWriter::let(const char* name, Expr value) {
  const kernel::Var v = kernel::make_var(name, value->type);
  emit(kernel::let(v, std::move(value)));
  return kernel::var_expr(v);
}

kernel::Var LoopWriter::declare(const char* name, Expr initial) {
  kernel::Var v = kernel::make_var(name, initial->type);
  emit(kernel::declare(v, std::move(initial)));
  return v;
}

void LoopWriter::loop_from(const char* name, Expr begin, Expr extent, const std::function<void(Expr)>& body) {
  const kernel::Var v = kernel::make_var(name);
  std::vector<Stmt> statements = scoped([&] { body(kernel::var_expr(v)); });
  emit(
      kernel::loop(v, std::move(begin), std::move(extent), kernel::LoopKind::kSerial, std::move(statements)));
}

void LoopWriter::when(Expr condition, const std::function<void()>& then_body,
                      const std::function<void()>& else_body) {
  std::vector<Stmt> then_statements = scoped(then_body), else_statements = scoped(else_body);
  emit(kernel::if_then(std::move(condition), std::move(then_statements), std::move(else_statements)));
}

void LoopWriter::while_loop(Expr condition, const std::function<void()>& body) {
  std::vector<Stmt> statements = scoped(body);
  emit(kernel::while_loop(std::move(condition), std::move(statements)));
}

}  // namespace tern::lower
