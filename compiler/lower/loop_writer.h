// A small notation for hand-written loops in kernel IR: statements go to the innermost open scope.
//
//   LoopWriter w;
//   w.loop("i", n, [&](Expr i) { w.store(out, i, w.load(in, i)); });
//   std::vector<Stmt> body = w.take();
#pragma once

#include <functional>

#include "compiler/kernel/ir.h"

namespace tern::lower {

// Moves statements behind others.
void append(std::vector<kernel::Stmt>& to, std::vector<kernel::Stmt> from);
// Emits `value` under a name; an expression that reads it.
kernel::Expr named(const std::string& name, const kernel::Expr& value, std::vector<kernel::Stmt>& out);
// 0 <= at < extent.
kernel::Expr in_range(const kernel::Expr& at, const kernel::Expr& extent);

// A binding of a kernel that is written by hand: scalars of `dtype`.
inline kernel::Buffer global(const char* name, DType dtype, kernel::Access access) {
  return kernel::make_buffer(name, {dtype, 1}, kernel::Scope::kGlobal, access);
}
// Both conditions; null is none.
kernel::Expr both(const kernel::Expr& a, const kernel::Expr& b);

class LoopWriter {
 public:
  using Expr = kernel::Expr;
  using ScalarOp = kernel::ScalarOp;

  LoopWriter() { scopes_.emplace_back(); }
  std::vector<kernel::Stmt> take() { return std::move(scopes_.back()); }
  void emit(kernel::Stmt s) { scopes_.back().push_back(std::move(s)); }

  Expr i(int64_t v) const { return kernel::int_const(v); }
  Expr let(const char* name, Expr value);
  // A mutable variable; read it with get().
  kernel::Var declare(const char* name, Expr initial);
  Expr get(const kernel::Var& v) const { return kernel::var_expr(v); }
  void set(const kernel::Var& v, Expr value) { emit(kernel::assign(v, std::move(value))); }
  void bump(const kernel::Var& v) { set(v, kernel::add(get(v), i(1))); }
  Expr load(const kernel::Buffer& b, Expr index) const { return kernel::load(b, std::move(index)); }
  void store(const kernel::Buffer& b, Expr index, Expr value) {
    emit(kernel::store(b, std::move(index), std::move(value)));
  }
  void fail(int64_t code) { emit(kernel::fail(code)); }

  void loop(const char* name, Expr extent, const std::function<void(Expr)>& body) {
    loop_from(name, i(0), std::move(extent), body);
  }
  void loop_from(const char* name, Expr begin, Expr extent, const std::function<void(Expr)>& body);
  void when(Expr condition, const std::function<void()>& then_body,
            const std::function<void()>& else_body = nullptr);
  void while_loop(Expr condition, const std::function<void()>& body);

  Expr lt(Expr a, Expr b) const { return kernel::compare(ScalarOp::kLt, std::move(a), std::move(b)); }
  Expr le(Expr a, Expr b) const { return kernel::compare(ScalarOp::kLe, std::move(a), std::move(b)); }
  Expr eq(Expr a, Expr b) const { return kernel::compare(ScalarOp::kEq, std::move(a), std::move(b)); }
  Expr ne(Expr a, Expr b) const { return kernel::compare(ScalarOp::kNe, std::move(a), std::move(b)); }
  Expr both(const Expr& a, const Expr& b) const { return lower::both(a, b); }
  Expr either(Expr a, Expr b) const { return kernel::op(ScalarOp::kOr, {std::move(a), std::move(b)}); }

 private:
  std::vector<kernel::Stmt> scoped(const std::function<void()>& body);
  std::vector<std::vector<kernel::Stmt>> scopes_;
};

}  // namespace tern::lower
