#include "compiler/lower/byte_columns.h"

#include <algorithm>

#include "compiler/lower/contraction_schedule.h"
#include "compiler/lower/loop_writer.h"

namespace tern::lower {
namespace {

using kernel::Expr;
using kernel::int_const;
using kernel::ScalarOp;
using kernel::Stmt;
using Stmts = std::vector<Stmt>;

constexpr int kAcross = 16;  // columns that one interleaving takes

Expr clamped(const Expr& count, int64_t most) {
  return kernel::max(kernel::min(count, int_const(most)), int_const(0));
}

class Gatherer {
 public:
  Gatherer(const GroupedColumns& b, const kernel::Buffer& panel, const Expr& n0, int64_t columns,
           const Expr& k0)
      : b_(b), panel_(panel), n0_(n0), columns_(columns), k0_(k0) {}

  Stmts run(const Expr& depth) {
    if (b_.runs == GroupedColumns::Runs::kAcross && columns_ % kAcross == 0) {
      w_.loop("i", depth, [&](const Expr& i) {
        for (int64_t c = 0; c < columns_; c += kAcross) interleave(i, c);
      });
      return w_.take();
    }
    w_.loop("j", int_const(columns_), [&](const Expr& j) {
      const Expr column = kernel::add(n0_, j);
      w_.when(
          w_.lt(column, b_.n), [&] { w_.loop("i", depth, [&](const Expr& i) { group(i, j, column); }); },
          [&] {
            w_.loop("i", depth, [&](const Expr& i) {
              w_.store(panel_, place(i, j), kernel::broadcast(int_const(0, b_.type), b_.group));
            });
          });
    });
    return w_.take();
  }

 private:
  Expr place(const Expr& i, const Expr& column) const {
    return kernel::mul(kernel::add(kernel::mul(i, int_const(columns_)), column), int_const(b_.group));
  }
  Expr step(const Expr& i) const { return kernel::mul(kernel::add(k0_, i), int_const(b_.group)); }

  // The k of one step and column.
  void group(const Expr& i, const Expr& j, const Expr& column) {
    const Expr k = step(i);
    if (b_.runs == GroupedColumns::Runs::kDown) {
      const Expr count = b_.k_whole ? nullptr : clamped(kernel::sub(b_.k, k), b_.group);
      w_.store(panel_, place(i, j), b_.down(k, column, b_.group, count));
      return;
    }
    for (int r = 0; r < b_.group; ++r) {
      const Expr at = kernel::add(k, int_const(r)), to = kernel::add(place(i, j), int_const(r));
      const auto copy = [&] { w_.store(panel_, to, b_.element(at, column)); };
      if (b_.k_whole) {
        copy();
      } else {
        w_.when(w_.lt(at, b_.k), copy, [&] { w_.store(panel_, to, int_const(0, b_.type)); });
      }
    }
  }

  // The rows of a step, kAcross columns from column c of the panel on.
  void interleave(const Expr& i, int64_t c) {
    const Expr column = kernel::add(n0_, int_const(c));
    const bool whole = b_.k_whole && b_.n->kind == kernel::ExprKind::kConst && b_.n->i % columns_ == 0;
    std::vector<Expr> rows;
    for (int r = 0; r < b_.group; ++r) {
      const Expr k = kernel::add(step(i), int_const(r));
      Expr count = kernel::sub(b_.n, column);
      if (!b_.k_whole) count = kernel::select(w_.lt(k, b_.k), count, int_const(0));
      rows.push_back(w_.let("row", b_.across(k, column, kAcross, whole ? nullptr : clamped(count, kAcross))));
    }
    std::vector<int> both(2 * kAcross), mixed;
    for (int l = 0; l < 2 * kAcross; ++l) both[static_cast<size_t>(l)] = l;
    for (int l = 0; l < kAcross; ++l)
      for (int r = 0; r < b_.group; ++r) mixed.push_back(r * kAcross + l);
    const auto pair = [&](size_t r) { return kernel::shuffle(rows[r], rows[r + 1], both); };
    w_.store(
        panel_, place(i, int_const(c)),
        b_.group == 2 ? kernel::shuffle(rows[0], rows[1], mixed) : kernel::shuffle(pair(0), pair(2), mixed));
  }

  const GroupedColumns& b_;
  const kernel::Buffer& panel_;
  const Expr n0_;
  const int64_t columns_;
  const Expr k0_;
  LoopWriter w_;
};

}  // namespace

std::vector<Stmt> gather_columns(const GroupedColumns& b, const kernel::Buffer& panel, const Expr& n0,
                                 int64_t columns, const Expr& k0, const Expr& depth) {
  return Gatherer(b, panel, n0, columns, k0).run(depth);
}

}  // namespace tern::lower
