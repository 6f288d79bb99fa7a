#include "compiler/lower/read_ahead.h"

#include <algorithm>

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/index_form.h"

namespace tern::lower {
namespace {

using kernel::Expr;
using kernel::int_const;

constexpr int64_t kBytesAhead = 16384;  // some 100 ns at a core's share of the bandwidth
constexpr int64_t kMostRowsAhead = 32;

// index at var + 1 less index, if that is a number.
std::optional<int64_t> step(const Expr& index, const kernel::Var& var) {
  const Expr next =
      kernel::substitute(index, {{var.get(), kernel::add(kernel::var_expr(var), int_const(1))}});
  const Expr difference = kernel::sub(next, index);
  kernel::IndexForms forms;
  const Expr simple = forms.simplify(difference);
  return kernel::int_value(simple ? simple : difference);
}

}  // namespace

bool comes_from_memory(Level level, int64_t bytes) {
  return !is_gpu(level_arch(level)) && bytes > 4 * machine(level).l3_share_bytes;
}

std::vector<kernel::Stmt> read_ahead(const std::vector<kernel::Stmt>& body, const RowsAhead& rows) {
  std::vector<kernel::Stmt> out;
  std::vector<Expr> seen;
  const auto see = [&](const Expr& e) {
    if (e->kind != kernel::ExprKind::kLoad || e->type.lanes > 1 || e->args.size() > 1) return;
    const kernel::BufferNode& b = *e->buffer;
    const Expr& index = e->args[0];
    if (b.scope != kernel::Scope::kGlobal || b.access != kernel::Access::kRead ||
        dtype_bits(b.type.dtype) < 8)
      return;
    if (!kernel::uses_var(index, rows.row.get()) || step(index, rows.along) != 1 ||
        step(index, rows.row) == rows.elements)
      return;
    for (const Expr& other : seen) {
      if (kernel::equal(other, e)) return;
    }
    seen.push_back(e);
    const int64_t bytes = std::max<int64_t>(rows.elements * dtype_bits(b.type.dtype) / 8, 1);
    const int64_t distance = std::clamp<int64_t>(kBytesAhead / bytes, 1, kMostRowsAhead);
    const Expr later = kernel::min(kernel::add(kernel::var_expr(rows.row), int_const(distance)), rows.last);
    out.push_back(kernel::prefetch(e->buffer, kernel::substitute(index, {{rows.row.get(), later}})));
  };
  kernel::visit(body, [&](const kernel::Stmt& s) {
    kernel::visit_exprs(s, [&](const Expr& root) { kernel::visit(root, see); });
  });
  return out;
}

}  // namespace tern::lower
