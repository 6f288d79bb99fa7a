#include "compiler/lower/read_ahead.h"

#include <algorithm>
#include <utility>

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/index_form.h"

namespace tern::lower {
namespace {

using kernel::Expr;
using kernel::int_const;

constexpr int64_t kMostRowsAhead = 32, kLineBytes = 64;
constexpr int64_t kLeastRowBytes = 1024, kMostGapBytes = 2048;  // of rows that are read with their gaps

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

// What such a loop reads `bytes_ahead` later, where rows do not follow each other.
std::vector<std::pair<kernel::Buffer, Expr>> later_rows(const std::vector<kernel::Stmt>& body,
                                                        const RowsAhead& rows, int64_t bytes_ahead,
                                                        bool looked_up, bool others) {
  std::vector<std::pair<kernel::Buffer, Expr>> out;
  for (const Expr& e : runs(body, rows.along)) {
    const Expr& index = e->args[0];
    if (!kernel::uses_var(index, rows.row.get()) || step(index, rows.row) == rows.elements) continue;
    if (!(kernel::contains_load(index) ? looked_up : others)) continue;
    const int64_t bytes = std::max<int64_t>(rows.elements * dtype_bits(e->buffer->type.dtype) / 8, 1);
    const int64_t distance = std::clamp<int64_t>(bytes_ahead / bytes, 1, kMostRowsAhead);
    Expr later = kernel::add(kernel::var_expr(rows.row), int_const(distance));
    if (!rows.beyond || kernel::contains_load(index)) later = kernel::min(later, rows.last);
    out.emplace_back(e->buffer, kernel::substitute(index, {{rows.row.get(), later}}));
  }
  return out;
}

}  // namespace

bool comes_from_memory(Level level, int64_t bytes) {
  return !is_gpu(level_arch(level)) && bytes > 4 * machine(level).l3_share_bytes;
}

std::vector<kernel::Stmt> read_ahead(const std::vector<kernel::Stmt>& body, const RowsAhead& rows,
                                     bool looked_up) {
  std::vector<kernel::Stmt> out;
  for (const auto& [buffer, index] : later_rows(body, rows, kBytesAhead, true, !looked_up))
    out.push_back(kernel::prefetch(buffer, index, rows.near));
  return out;
}

std::vector<kernel::Stmt> row_ahead(const std::vector<kernel::Stmt>& body, const RowsAhead& rows,
                                    const Expr& begin) {
  std::vector<kernel::Stmt> out;
  for (const auto& [buffer, index] : later_rows(body, rows, kBytesAhead / 2, false, true)) {
    const int64_t line = kLineBytes * 8 / dtype_bits(buffer->type.dtype);
    const kernel::Var l = kernel::make_var("line");
    const Expr at = kernel::add(begin, kernel::mul(kernel::var_expr(l), int_const(line)));
    out.push_back(
        kernel::loop(l, int_const(0), int_const((rows.elements + line - 1) / line), kernel::LoopKind::kSerial,
                     {kernel::prefetch(buffer, kernel::substitute(index, {{rows.along.get(), at}}), true)}));
  }
  return out;
}

std::optional<GappedRun> gapped_run(const std::vector<kernel::Stmt>& body, const RowsAhead& rows,
                                    const Expr& begin) {
  const std::vector<Expr> loads = runs(body, rows.along);
  if (loads.size() != 1 || kernel::contains_load(loads[0]->args[0])) return {};
  const Expr& index = loads[0]->args[0];
  const kernel::Buffer& from = loads[0]->buffer;
  const int64_t bits = dtype_bits(from->type.dtype), line = kLineBytes * 8 / bits;
  const int64_t gap = step(index, rows.row).value_or(0) - rows.elements;
  if (gap <= 0 || 2 * gap > rows.elements || gap * bits > kMostGapBytes * 8 ||
      rows.elements * bits < kLeastRowBytes * 8)
    return {};
  const auto ahead = [&](const Expr& at) {
    const Expr later = kernel::add(index, int_const(kNearBytesAhead * 8 / bits));
    return kernel::prefetch(from, at ? kernel::substitute(later, {{rows.along.get(), at}}) : later, true);
  };
  GappedRun out;
  out.within.push_back(ahead(nullptr));
  for (int64_t at = 0; at < gap; at += line)
    out.behind.push_back(ahead(kernel::add(begin, int_const(rows.elements + at))));
  return out;
}

std::vector<kernel::Stmt> run_ahead(const std::vector<kernel::Stmt>& body, const kernel::Var& along,
                                    const kernel::Var& row, int64_t elements, int64_t bytes_ahead) {
  const std::vector<Expr> loads = runs(body, along);
  if (loads.size() != 1 || (row && step(loads[0]->args[0], row) != elements)) return {};
  const kernel::Buffer& from = loads[0]->buffer;
  const int64_t ahead = bytes_ahead * 8 / dtype_bits(from->type.dtype);
  return {kernel::prefetch(from, kernel::add(loads[0]->args[0], int_const(ahead)), true)};
}

bool is_one_run(const std::vector<kernel::Stmt>& body, const kernel::Var& along, const kernel::Var& row,
                int64_t elements) {
  std::vector<Expr> loads = runs(body, along);
  if (row) std::erase_if(loads, [&](const Expr& e) { return step(e->args[0], row) == 0; });
  return loads.size() == 1 && (!row || step(loads[0]->args[0], row) == elements);
}

}  // namespace tern::lower
