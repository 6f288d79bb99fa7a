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

// Loads of read bindings that are consecutive along `along`, each once.
std::vector<Expr> runs(const std::vector<kernel::Stmt>& body, const kernel::Var& along) {
  std::vector<Expr> seen;
  const auto see = [&](const Expr& e) {
    if (e->kind != kernel::ExprKind::kLoad || e->type.lanes > 1 || e->args.size() > 1) return;
    const kernel::BufferNode& b = *e->buffer;
    if (b.scope != kernel::Scope::kGlobal || b.access != kernel::Access::kRead ||
        dtype_bits(b.type.dtype) < 8 || step(e->args[0], along) != 1)
      return;
    for (const Expr& other : seen) {
      if (kernel::equal(other, e)) return;
    }
    seen.push_back(e);
  };
  kernel::visit(body, [&](const kernel::Stmt& s) {
    kernel::visit_exprs(s, [&](const Expr& root) { kernel::visit(root, see); });
  });
  return seen;
}

}  // namespace

bool comes_from_memory(Level level, int64_t bytes) {
  return !is_gpu(level_arch(level)) && bytes > 4 * machine(level).l3_share_bytes;
}

std::vector<kernel::Stmt> read_ahead(const std::vector<kernel::Stmt>& body, const RowsAhead& rows) {
  std::vector<kernel::Stmt> out;
  for (const Expr& e : runs(body, rows.along)) {
    const Expr& index = e->args[0];
    if (!kernel::uses_var(index, rows.row.get()) || step(index, rows.row) == rows.elements) continue;
    const int64_t bytes = std::max<int64_t>(rows.elements * dtype_bits(e->buffer->type.dtype) / 8, 1);
    const int64_t distance = std::clamp<int64_t>(kBytesAhead / bytes, 1, kMostRowsAhead);
    Expr later = kernel::add(kernel::var_expr(rows.row), int_const(distance));
    if (!rows.beyond || kernel::contains_load(index)) later = kernel::min(later, rows.last);
    out.push_back(kernel::prefetch(e->buffer, kernel::substitute(index, {{rows.row.get(), later}}), true));
  }
  return out;
}

std::vector<kernel::Stmt> run_ahead(const std::vector<kernel::Stmt>& body, const kernel::Var& along,
                                    const kernel::Var& row, int64_t elements) {
  const std::vector<Expr> loads = runs(body, along);
  if (loads.size() != 1 || (row && step(loads[0]->args[0], row) != elements)) return {};
  const kernel::Buffer& from = loads[0]->buffer;
  const int64_t ahead = kBytesAhead * 8 / dtype_bits(from->type.dtype);
  return {kernel::prefetch(from, kernel::add(loads[0]->args[0], int_const(ahead)), true)};
}

}  // namespace tern::lower
