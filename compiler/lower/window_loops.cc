#include "compiler/lower/window_loops.h"

namespace tern::lower {
namespace {

using kernel::Expr;
using kernel::int_const;
using kernel::ScalarOp;
using kernel::Stmt;

struct Loop {
  kernel::Var var;
  Expr begin, extent;
  Expr condition;          // or null
  std::vector<Stmt> lets;  // inside the loop
};

bool is_trivial(const WindowAxis& a) {
  return a.window == 1 && a.stride == 1 && a.low == 0 && a.high <= 0 && a.lhs_dilation == 1;
}

}  // namespace

std::vector<Stmt> window_loops(
    const WindowGeometry& geometry, const Index& output, int vector_dim, DispatchBuilder& dispatch,
    const std::function<std::vector<Stmt>(const Index& at, const Index& tap)>& body) {
  Index at(output.size()), taps(output.size(), int_const(0));
  std::vector<Stmt> before;
  std::vector<Loop> loops;
  for (size_t d = 0; d < output.size(); ++d) {
    const WindowAxis& a = geometry.axes[d];
    if (is_trivial(a)) {
      at[d] = output[d];
      continue;
    }
    const Expr n = dispatch.expr(a.extent);
    Loop loop{kernel::make_var(fmt::format("k{}", d)), int_const(0), int_const(a.window), nullptr, {}};
    taps[d] = kernel::var_expr(loop.var);
    // Position in the padded, dilated operand: start + k * dilation.
    const kernel::Var start = kernel::make_var(fmt::format("start{}", d));
    before.push_back(
        kernel::let(start, kernel::sub(kernel::mul(output[d], int_const(a.stride)), int_const(a.low))));
    const Expr s = kernel::var_expr(start);
    const kernel::Var position = kernel::make_var(fmt::format("at{}", d));
    const Expr offset = kernel::add(s, kernel::mul(taps[d], int_const(a.dilation)));
    if (a.inside) {
      loop.lets.push_back(kernel::let(position, offset));
      at[d] = kernel::var_expr(position);
    } else if (static_cast<int>(d) == vector_dim || a.lhs_dilation != 1) {
      const kernel::Var p = kernel::make_var(fmt::format("p{}", d));
      loop.lets.push_back(kernel::let(p, offset));
      const Expr pe = kernel::var_expr(p);
      const Expr span = a.lhs_dilation == 1 ? n : dispatch.expr((a.extent - 1) * Dim(a.lhs_dilation) + 1);
      loop.condition = kernel::op(ScalarOp::kAnd, {kernel::compare(ScalarOp::kGe, pe, int_const(0)),
                                                   kernel::compare(ScalarOp::kLt, pe, span)});
      at[d] = pe;
      if (a.lhs_dilation != 1) {
        const Expr step = int_const(a.lhs_dilation);
        loop.condition = kernel::op(
            ScalarOp::kAnd,
            {loop.condition,
             kernel::compare(ScalarOp::kEq, kernel::op(ScalarOp::kRem, {pe, step}), int_const(0))});
        at[d] = kernel::op(ScalarOp::kDiv, {pe, step});
      }
    } else {
      // First tap at or after element 0: ceil(-s / dilation); one past the last: ceil((n - s) / dilation).
      const auto ceil_taps = [&](const Expr& distance) {
        const Expr positive = kernel::max(distance, int_const(0));
        return kernel::index_div(kernel::add(positive, int_const(a.dilation - 1)), int_const(a.dilation));
      };
      const kernel::Var first = kernel::make_var(fmt::format("first{}", d)),
                        end = kernel::make_var(fmt::format("end{}", d));
      before.push_back(kernel::let(first, ceil_taps(kernel::sub(int_const(0), s))));
      before.push_back(kernel::let(end, kernel::min(int_const(a.window), ceil_taps(kernel::sub(n, s)))));
      loop.begin = kernel::var_expr(first);
      loop.extent = kernel::max(kernel::sub(kernel::var_expr(end), kernel::var_expr(first)), int_const(0));
      loop.lets.push_back(kernel::let(position, offset));
      at[d] = kernel::var_expr(position);
    }
    loops.push_back(std::move(loop));
  }
  std::vector<Stmt> inner = body(at, taps);
  for (size_t l = loops.size(); l-- > 0;) {
    Loop& loop = loops[l];
    std::vector<Stmt> content = loop.lets;
    if (loop.condition) {
      content.push_back(kernel::if_then(loop.condition, std::move(inner)));
    } else {
      content.insert(content.end(), inner.begin(), inner.end());
    }
    inner = {kernel::loop(loop.var, loop.begin, loop.extent, kernel::LoopKind::kSerial, std::move(content))};
  }
  before.insert(before.end(), inner.begin(), inner.end());
  return before;
}

}  // namespace tern::lower
