#include "compiler/lower/few_columns.h"

#include <algorithm>

#include "compiler/lower/conv_gather.h"
#include "compiler/lower/loop_writer.h"
#include "compiler/lower/turned_squares.h"
#include "compiler/support/rounding.h"

namespace tern::lower {

using kernel::Buffer;
using kernel::Expr;
using kernel::int_const;
using kernel::LoopKind;
using kernel::ScalarOp;
using kernel::Scope;
using kernel::Stmt;
using kernel::Var;
using kernel::var_expr;
using Stmts = std::vector<Stmt>;

namespace {

constexpr int kGranule = 16;  // lanes of the widest level: all share B

class Tiles {
 public:
  Tiles(const Dim& m, int64_t k, const FewColumns& s, bool has_fma, const ContractionOperands& o,
        const std::function<Expr(int64_t, const Expr&)>& b_at, kernel::ParamTable& params)
      : m_(m), k_(k), s_(s), has_fma_(has_fma), o_(o), b_at_(b_at), params_(params) {}

  ContractionKernel build(const kernel::GridAxis& batch) {
    ContractionKernel out;
    if (batch.var) out.grid.push_back(batch);
    const Var block = kernel::make_var("row_block"), row0 = kernel::make_var("row0"),
              rows = kernel::make_var("rows");
    const Dim blocks = ceildiv(m_, s_.block_rows);
    out.grid.push_back({block, blocks, params_.expr(blocks)});
    row0_ = var_expr(row0);
    rows_ = var_expr(rows);
    Stmts& body = out.body;
    if (o_.begin_block) {
      row0_ = int_const(0);
      rows_ = o_.begin_block(var_expr(block), body);
    } else {
      body.push_back(kernel::let(row0, kernel::mul(var_expr(block), int_const(s_.block_rows))));
      const bool whole = m_.is_const() && m_.value() % s_.block_rows == 0;
      body.push_back(kernel::let(
          rows, whole ? int_const(s_.block_rows)
                      : kernel::min(int_const(s_.block_rows), kernel::sub(params_.expr(m_), row0_))));
    }
    if (o_.gather_a) {
      a_block_ = kernel::make_buffer("a_block", {DType::kF32, 1}, Scope::kScratch, kernel::Access::kReadWrite,
                                     s_.block_rows * k_ + kGatherSlack);
      body.push_back(kernel::alloc(a_block_));
      append(body, o_.gather_a(a_block_, row0_, rows_, int_const(0), int_const(k_), k_));
    }
    const Expr tiles = kernel::index_div(rows_, int_const(s_.rows)),
               done = kernel::mul(tiles, int_const(s_.rows));
    if (!m_.is_const() || m_.value() >= s_.rows) body.push_back(loop_of_tiles(int_const(0), tiles, s_.rows));
    const bool rest = !o_.begin_block && (!m_.is_const() || m_.value() % s_.rows != 0);
    if (s_.rows > 1 && rest) body.push_back(loop_of_tiles(done, kernel::sub(rows_, done), 1));
    return out;
  }

 private:
  Stmt loop_of_tiles(const Expr& first, const Expr& count, int rows) {
    const Var t = kernel::make_var("tile");
    return kernel::loop(t, int_const(0), count, LoopKind::kSerial,
                        tile(kernel::add(first, kernel::mul(var_expr(t), int_const(rows))), rows));
  }

  Stmts tile(const Expr& row, int rows) {
    const int sums = rows * s_.columns;
    const Buffer acc = kernel::make_buffer("acc", {DType::kF32, s_.lanes}, Scope::kRegister,
                                           kernel::Access::kReadWrite, sums);
    Stmts out;
    const Expr r = named("r", row, out);
    std::vector<Expr> bases;
    for (int i = 0; i < rows; ++i) {
      const Expr at = kernel::add(r, int_const(i));
      bases.push_back(
          named("a", o_.gather_a ? kernel::mul(at, int_const(k_)) : o_.a_row(kernel::add(row0_, at)), out));
    }
    out.push_back(kernel::alloc(acc));
    const Expr zero = kernel::broadcast(kernel::float_const(0.0), s_.lanes);
    for (int i = 0; i < sums; ++i) out.push_back(kernel::store(acc, int_const(i), zero));
    if (o_.for_taps) {
      append(out, o_.for_taps([&](const Expr& a, const Expr& b) {
        tap_a_ = a, tap_b_ = b;
        return all_products(acc, bases);
      }));
    } else {
      append(out, all_products(acc, bases));
    }
    for (int i = 0; i < rows; ++i) {
      Stmts one;
      const Expr value = whole_sums(acc, i * s_.columns, one);
      append(one, o_.finish(kernel::add(row0_, kernel::add(r, int_const(i))), int_const(0), value, s_.lanes,
                            int_const(s_.columns)));
      out.push_back(kernel::block(std::move(one)));
    }
    return out;
  }

  Stmts all_products(const Buffer& acc, const std::vector<Expr>& bases) {
    const int64_t steps = k_ / s_.lanes, rest = k_ % s_.lanes;
    const Var step = kernel::make_var("step");
    Stmts out;
    if (steps > 0)
      out.push_back(
          kernel::loop(step, int_const(0), int_const(steps), LoopKind::kSerial,
                       products(acc, bases, kernel::mul(var_expr(step), int_const(s_.lanes)), nullptr)));
    if (rest > 0) append(out, products(acc, bases, int_const(steps * s_.lanes), int_const(rest)));
    return out;
  }

  // A vector of steps: what there are fewer of, rows or columns, waits in registers.
  Stmts products(const Buffer& acc, const std::vector<Expr>& bases, const Expr& k, const Expr& count) {
    Stmts out;
    const int rows = static_cast<int>(bases.size());
    std::vector<Expr> a(bases.size()), b(static_cast<size_t>(s_.columns));
    const auto load_a = [&](int i) {
      a[static_cast<size_t>(i)] =
          named("x",
                kernel::load(o_.gather_a ? a_block_ : o_.a_buffer,
                             kernel::add(bases[static_cast<size_t>(i)], tap_a_ ? kernel::add(k, tap_a_) : k),
                             s_.lanes, count),
                out);
    };
    const auto load_b = [&](int j) {
      b[static_cast<size_t>(j)] =
          named("b", kernel::load(o_.b_buffer, b_at_(j, tap_b_ ? kernel::add(k, tap_b_) : k), s_.lanes), out);
    };
    const auto multiply = [&](int i, int j) {
      const Expr at = int_const(int64_t{i} * s_.columns + j), old = kernel::load(acc, at),
                 &x = a[static_cast<size_t>(i)], &y = b[static_cast<size_t>(j)];
      out.push_back(kernel::store(
          acc, at, has_fma_ ? kernel::op(ScalarOp::kFma, {x, y, old}) : kernel::add(kernel::mul(x, y), old)));
    };
    if (s_.columns <= rows) {
      for (int j = 0; j < s_.columns; ++j) load_b(j);
      for (int i = 0; i < rows; ++i) {
        load_a(i);
        for (int j = 0; j < s_.columns; ++j) multiply(i, j);
      }
    } else {
      for (int i = 0; i < rows; ++i) load_a(i);
      for (int j = 0; j < s_.columns; ++j) {
        load_b(j);
        for (int i = 0; i < rows; ++i) multiply(i, j);
      }
    }
    return out;
  }

  // Column j's sum in lane j: sums are interleaved and added until they are one vector, whose parts are then
  // added.
  Expr whole_sums(const Buffer& acc, int first, Stmts& out) const {
    int count = 1;
    while (count < s_.columns) count *= 2;
    std::vector<Expr> sums;
    for (int j = 0; j < count; ++j)
      sums.push_back(j < s_.columns ? kernel::load(acc, int_const(first + j))
                                    : kernel::broadcast(kernel::float_const(0.0), s_.lanes));
    while (sums.size() > 1) {
      const size_t half = sums.size() / 2;
      for (size_t j = 0; j < half; ++j)
        sums[j] = named("pair",
                        kernel::add(interleaved_half(sums[j], sums[j + half], false),
                                    interleaved_half(sums[j], sums[j + half], true)),
                        out);
      sums.resize(half);
    }
    Expr sum = named("sum", sums[0], out);
    for (int width = s_.lanes / 2; width >= count; width /= 2) {
      std::vector<int> other;
      for (int l = 0; l < s_.lanes; ++l) other.push_back((l + width) % s_.lanes);
      sum = named("sum", kernel::add(sum, kernel::shuffle(sum, nullptr, other)), out);
    }
    return sum;
  }

  const Dim m_;
  const int64_t k_;
  const FewColumns& s_;
  const bool has_fma_;
  const ContractionOperands& o_;
  const std::function<Expr(int64_t, const Expr&)>& b_at_;
  kernel::ParamTable& params_;
  Expr row0_, rows_;
  Expr tap_a_, tap_b_;  // in ContractionOperands::for_taps
  Buffer a_block_;
};

}  // namespace

std::string FewColumns::text() const {
  return fmt::format("tile {}x{}, lanes of the depth ({}), blocks of {} rows", rows, columns, lanes,
                     block_rows);
}

int64_t padded_depth(int64_t k) {
  return ceil_div(k, kGranule) * kGranule;
}

std::optional<FewColumns> few_columns_tile(int64_t columns, const MachineModel& machine) {
  FewColumns s;
  s.lanes = machine.vector_bits / 32;
  if (columns < 1 || 2 * columns > s.lanes) return std::nullopt;
  s.columns = static_cast<int>(columns);
  const int registers = machine.vector_registers > 16 ? 24 : 12;  // for sums
  s.rows = std::clamp(registers / s.columns, 1, 8);
  return s;
}

double few_columns_cycles(const FewColumns& s, int64_t steps, int64_t runs) {
  // Two multiply-adds a cycle, or two loads; four cycles for each. A row's sums are added up at the end by
  // some three operations a column and three more.
  constexpr double kRun = 18;  // the end of its loop is not foreseen
  const double each = std::max({s.rows * s.columns / 2.0, (s.rows + s.columns) / 2.0, 4.0}),
               vectors = static_cast<double>(runs * ceil_div(steps, std::max<int64_t>(runs, 1) * s.lanes));
  return vectors * each + static_cast<double>(runs) * kRun + s.rows * (3 * s.columns + 3);
}

std::optional<FewColumns> few_columns(const ContractionShape& shape, const ContractionSchedule& panels,
                                      const MachineModel& machine) {
  const auto tile = few_columns_tile(shape.n, machine);
  if (!tile || !shape.n_static || !shape.k_static) return std::nullopt;
  FewColumns s = *tile;
  // Rows that are gathered, or pass by, stay in half of L2 beside the columns.
  const int64_t most = machine.l2_bytes / 2 / 4 / std::max<int64_t>(shape.k, 1);
  if (most < 2 * s.rows) return std::nullopt;
  constexpr int64_t kWork = 32 << 10;  // elements of A in a block
  s.block_rows = std::clamp(kWork / std::max<int64_t>(shape.k, 1), int64_t{1}, most) / s.rows * s.rows;
  s.block_rows = std::max<int64_t>(s.block_rows, s.rows);
  // Two multiply-adds a cycle; a row's sums are added up by some three operations a column and three more.
  const double rows = static_cast<double>(shape.batch * shape.m), k = static_cast<double>(shape.k);
  const double row = k / s.lanes * s.columns / 2 + 3 * s.columns + 3, panel_row = k / 2;
  constexpr double kWorth = 0.8;
  if (row > kWorth * panel_row) return std::nullopt;
  const double gathered = contraction_cycles(shape, panels, machine) - rows * panel_row;
  s.cycles = rows * row + std::max(gathered, 0.0);
  return s;
}

ContractionKernel build_few_columns(const Dim& m, int64_t k, const kernel::GridAxis& batch_axis,
                                    const FewColumns& schedule, bool has_fma,
                                    const ContractionOperands& operands,
                                    const std::function<Expr(int64_t column, const Expr& k)>& b_at,
                                    kernel::ParamTable& params) {
  return Tiles(m, k, schedule, has_fma, operands, b_at, params).build(batch_axis);
}

}  // namespace tern::lower
