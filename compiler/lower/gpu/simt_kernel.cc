#include "compiler/lower/gpu/simt_kernel.h"

#include <algorithm>

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/vectorize.h"
#include "compiler/lower/contraction_schedule.h"
#include "compiler/lower/gpu/index_math.h"
#include "compiler/lower/loop_writer.h"

namespace tern::lower::gpu {
namespace {

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
using Order = TileOperands::Order;

constexpr int kVector = 4, kBytes = 4;  // lanes; of a word
constexpr kernel::VType kWholeVec{DType::kI32, kVector};

Expr zero(kernel::VType type) {
  const Expr z = is_float(type.dtype) ? kernel::float_const(0.0) : int_const(0, type.dtype);
  return type.lanes == 1 ? z : kernel::broadcast(z, type.lanes);
}
Expr guarded(const Expr& condition, const Expr& value) {
  return condition ? kernel::select(kernel::broadcast(condition, value->type.lanes), value, zero(value->type))
                   : value;
}
Stmts set_to_zero(const Buffer& sums) {
  const Var z = kernel::make_var("z");
  return {kernel::loop(z, int_const(0), int_const(sums->size), LoopKind::kUnroll,
                       {kernel::store(sums, var_expr(z), zero(sums->type))})};
}
// at < extent, or null when `extent` is a multiple of `granule`, by which `at` goes.
Expr below(const Expr& at, const Dim& extent, int64_t granule, kernel::ParamTable& params) {
  if (extent.is_const() && extent.value() % granule == 0) return nullptr;
  return kernel::compare(ScalarOp::kLt, at, params.expr(extent));
}
Stmt unrolled(const char* name, int64_t count, const std::function<Stmts(const Expr&)>& body) {
  const Var v = kernel::make_var(name);
  return kernel::loop(v, int_const(0), int_const(count), LoopKind::kUnroll, body(var_expr(v)));
}
Stmts when(const Expr& condition, Stmts body) {
  return condition ? Stmts{kernel::if_then(condition, std::move(body))} : body;
}
bool has_panels(Order order) {
  return order == Order::kPanels || order == Order::kFours;
}

// What both kernels share: the grid, the position of the tile, the stores at the end.
class TileWriter {
 public:
  TileWriter(const TileOperands& operands, const SimtSchedule& schedule, kernel::ParamTable& params)
      : o_(operands), s_(schedule), params_(params), thread_(kernel::make_var("t")), t_(var_expr(thread_)) {}

 protected:
  Expr axis(const char* name, const Dim& extent, int size) {
    const Dim tiles = ceildiv(extent, size);
    if (tiles.is_const(1)) return int_const(0);
    const Var v = kernel::make_var(name);
    grid_.push_back({v, tiles, params_.expr(tiles)});
    return times(var_expr(v), size);
  }
  void make_grid() {
    if (o_.batch.var) grid_.push_back(o_.batch);
    row0_ = axis("row_tile", o_.m, s_.rows);
    column0_ = axis("column_tile", o_.n, s_.columns);
  }
  // Stores a vector of sums, as far as the output goes.
  Stmts finish(const Expr& row, const Expr& column, const Expr& value) {
    const Expr row_ok = below(row, o_.m, s_.rows, params_),
               column_ok = below(column, o_.n, s_.columns, params_);
    Expr count;
    if (!(o_.n.is_const() && o_.n.value() % kVector == 0))
      count = kernel::min(int_const(kVector), kernel::sub(params_.expr(o_.n), column));
    if (!column_ok) count = nullptr;
    return when(both(row_ok, column_ok), o_.finish(row, column, value, kVector, count));
  }
  DType element() const { return o_.dots ? DType::kU32 : DType::kF32; }
  kernel::VType sum_type() const { return {o_.dots ? DType::kI32 : DType::kF32, kVector}; }
  // sum + a * b, of four columns.
  Expr product(const Expr& a, const Expr& b, const Expr& sum) const {
    const Expr row = kernel::broadcast(a, kVector);
    if (!o_.dots) return kernel::op(ScalarOp::kFma, {row, b, sum});
    const bool is_signed = o_.dots->product == kernel::Intrinsic::kDot4I8I8;
    const auto bytes = [](const Expr& words, DType dtype) {
      return kernel::bitcast(words, {dtype, kBytes * kVector});
    };
    return kernel::intrinsic(o_.dots->product,
                             {sum, bytes(row, is_signed ? DType::kI8 : DType::kU8), bytes(b, DType::kI8)},
                             sum_type());
  }
  // What the products lack is 128 times the sums of B's columns. Those are taken 64 times, which is an i8 as
  // well as a u8.
  int lacks() const { return o_.dots ? o_.dots->lacks : 0; }
  Stmt add_to_column_sum(const Buffer& column_sums, int at, const Expr& b) const {
    constexpr int64_t kFours = 0x40404040;
    return kernel::store(
        column_sums, int_const(at),
        product(int_const(kFours, DType::kU32), b, kernel::load(column_sums, int_const(at))));
  }
  Stmt add_lacking(const Buffer& sums, int at, const Expr& column_sums) const {
    const Expr twice =
        kernel::mul(column_sums, kernel::broadcast(int_const(lacks() / 64, DType::kI32), kVector));
    return kernel::store(sums, int_const(at), kernel::add(kernel::load(sums, int_const(at)), twice));
  }
  TileKernel take(Stmts body) { return {std::move(grid_), std::move(body), s_.threads(), thread_, 0}; }

  const TileOperands& o_;
  const SimtSchedule& s_;
  kernel::ParamTable& params_;
  std::vector<kernel::GridAxis> grid_;
  const Var thread_;
  const Expr t_;
  Expr row0_, column0_;
};

class Simt : TileWriter {
 public:
  using TileWriter::TileWriter;

  TileKernel build() {
    make_grid();
    stage_depth_ = int64_t{s_.depth} * s_.slices;
    Stmts body;
    const int across = s_.columns / s_.thread_columns, down = s_.rows / s_.thread_rows;
    tx_ = named("tx", kernel::index_rem(t_, int_const(across)), body);
    const Expr above = kernel::index_div(t_, int_const(across));
    ty_ = named("ty", s_.slices == 1 ? above : kernel::index_rem(above, int_const(down)), body);
    slice_ = s_.slices == 1 ? int_const(0) : named("slice", kernel::index_div(above, int_const(down)), body);
    sums_ = registers("sums", sum_type(), s_.thread_rows * vectors(), body);
    append(body, set_to_zero(sums_));
    if (lacks() != 0) {
      column_sums_ = registers("column_sums", sum_type(), vectors(), body);
      append(body, set_to_zero(column_sums_));
    }
    a_lanes_ = lanes_of(true);
    b_lanes_ = lanes_of(false);
    a_next_ = registers("a_next", {element(), a_lanes_}, per_thread(s_.rows, a_lanes_), body);
    b_next_ = registers("b_next", {element(), b_lanes_}, per_thread(s_.columns, b_lanes_), body);
    results_ = sums_;
    if (o_.exact_steps > 0) {
      results_ = registers("totals", kWholeVec, sums_->size, body);
      append(body, set_to_zero(results_));
    }
    append(body, fetch(int_const(0)));
    // A scope of their own: the parts of fold_slices take the same bytes afterwards.
    Stmts staged;
    a_tile_ = workgroup("a_tile", stage_depth_ * pitch() * s_.buffers, staged, element());
    b_tile_ = workgroup("b_tile", stage_depth_ * s_.columns * s_.buffers, staged, element());
    s_.buffers > 1 ? two_stages(staged) : one_stage(staged);
    body.push_back(kernel::block(std::move(staged)));
    for (int z = 0; lacks() != 0 && z < sums_->size; ++z)
      body.push_back(add_lacking(sums_, z, kernel::load(column_sums_, int_const(z % vectors()))));
    append(body, s_.slices == 1 ? store_all() : fold_slices());
    return take(std::move(body));
  }

 private:
  void one_stage(Stmts& out) {
    const Var stage = kernel::make_var("stage");
    Stmts loop;
    loop.push_back(kernel::barrier());
    append(loop, put(int_const(0)));
    loop.push_back(kernel::barrier());
    append(loop, fetch(times(plus(var_expr(stage), int_const(1)), stage_depth_)));
    append(loop, multiply(int_const(0)));
    take_exact_sums(var_expr(stage), loop);
    out.push_back(kernel::loop(stage, int_const(0), params_.expr(ceildiv(o_.k, stage_depth_)),
                               LoopKind::kSerial, std::move(loop)));
  }

  // One barrier a stage: it is read while the next one's elements come, and go to the other buffer.
  void two_stages(Stmts& out) {
    const Expr stages = params_.expr(ceildiv(o_.k, stage_depth_));
    append(out, put(int_const(0)));
    out.push_back(kernel::barrier());
    const Var stage = kernel::make_var("stage");
    Stmts loop;
    const Expr next = named("next", plus(var_expr(stage), int_const(1)), loop);
    const Expr more = kernel::compare(ScalarOp::kLt, next, stages);
    loop.push_back(kernel::if_then(more, fetch(times(next, stage_depth_))));
    append(loop, multiply(kernel::index_rem(var_expr(stage), int_const(2))));
    take_exact_sums(var_expr(stage), loop);
    loop.push_back(kernel::if_then(more, put(kernel::index_rem(next, int_const(2)))));
    loop.push_back(kernel::barrier());
    out.push_back(kernel::loop(stage, int_const(0), stages, LoopKind::kSerial, std::move(loop)));
  }

  // Sums of whole numbers become i32 before they are too large for f32, and at the end.
  void take_exact_sums(const Expr& stage, Stmts& out) {
    if (o_.exact_steps == 0) return;
    const int64_t stages = o_.exact_steps / s_.depth;  // a slice has `depth` steps of each
    const Stmts take = {unrolled("z", sums_->size, [&](const Expr& z) -> Stmts {
      const Expr sum = kernel::add(kernel::load(results_, z, kVector),
                                   kernel::cast(kernel::load(sums_, z, kVector), DType::kI32));
      return {kernel::store(results_, z, sum), kernel::store(sums_, z, zero(sum_type()))};
    })};
    const Expr next = named("after", plus(stage, int_const(1)), out);
    const Expr last = kernel::compare(ScalarOp::kEq, next, params_.expr(ceildiv(o_.k, stage_depth_)));
    const Expr full =
        kernel::compare(ScalarOp::kEq, kernel::index_rem(next, int_const(stages)), int_const(0));
    out.push_back(kernel::if_then(kernel::op(ScalarOp::kOr, {full, last}), take));
  }

  // Elements that a thread fetches at once: neighbours in memory, four of them where no end of the operand
  // lies between.
  int lanes_of(bool is_a) {
    const int64_t side = is_a ? s_.rows : s_.columns;
    const bool whole = side * stage_depth_ % (int64_t{s_.threads()} * kVector) == 0;
    if (!is_a && o_.b_order == Order::kFours)
      return side % kPanelColumns == 0 && s_.columns * stage_depth_ % kVector == 0 ? kVector : 1;
    if (s_.buffers == 1 || !whole) return 1;
    if (!is_a && o_.b_order == Order::kPanels) return kVector;
    if (o_.dots) return 1;
    const Order order = is_a ? o_.a_order : o_.b_order;
    if (order != Order::kSteps || stage_depth_ % kVector != 0 || !o_.k.is_const() ||
        o_.k.value() % kVector != 0)
      return 1;
    const Var k = kernel::make_var("k"), other = kernel::make_var("other");
    const Expr element = is_a ? o_.a(var_expr(other), var_expr(k)) : o_.b(var_expr(k), var_expr(other));
    return runs_along(element, k) ? kVector : 1;
  }

  // Four steps of an operand from k on.
  Expr along_steps(bool is_a, const Expr& k, const Expr& other) const {
    const Var lane = kernel::make_var("lane");
    const Expr step = plus(k, var_expr(lane));
    const Expr wide = kernel::vectorize(is_a ? o_.a(other, step) : o_.b(step, other), lane, kVector);
    return kernel::substitute(wide, {{lane.get(), int_const(0)}});
  }

  int vectors() const { return s_.thread_columns / kVector; }
  int64_t pitch() const { return s_.rows + kTilePadding; }
  // Accesses.
  int64_t per_thread(int64_t side, int lanes) const {
    return (side * stage_depth_ / lanes + s_.threads() - 1) / s_.threads();
  }

  static Buffer workgroup(const char* name, int64_t size, Stmts& out, DType dtype) {
    const Buffer b =
        kernel::make_buffer(name, {dtype, 1}, Scope::kWorkgroup, kernel::Access::kReadWrite, size);
    out.push_back(kernel::alloc(b));
    return b;
  }
  static Buffer registers(const char* name, kernel::VType type, int64_t size, Stmts& out) {
    const Buffer b = kernel::make_buffer(name, type, Scope::kRegister, kernel::Access::kReadWrite, size);
    out.push_back(kernel::alloc(b));
    return b;
  }

  struct Spot {
    Expr step, other;  // of a tile
    Expr exists;       // null: always
  };
  // The u-th element, or run of `lanes` of them, of a tile that this thread moves.
  Spot spot(const Expr& u, int64_t side, Order order, int lanes) const {
    const Expr e = times(plus(times(u, s_.threads()), t_), lanes);
    Spot out;
    if (side * stage_depth_ % (int64_t{s_.threads()} * lanes) != 0)
      out.exists = kernel::compare(ScalarOp::kLt, e, int_const(side * stage_depth_));
    const auto div = [](const Expr& x, int64_t by) { return kernel::index_div(x, int_const(by)); };
    const auto rem = [](const Expr& x, int64_t by) { return kernel::index_rem(x, int_const(by)); };
    switch (order) {
      case Order::kSteps:
        out.step = rem(e, stage_depth_);
        out.other = div(e, stage_depth_);
        break;
      case Order::kOthers:
        out.step = div(e, side);
        out.other = rem(e, side);
        break;
      case Order::kPanels: {  // panel, step, column
        const Expr inside = rem(e, kPanelColumns), rest = div(e, kPanelColumns);
        out.step = rem(rest, stage_depth_);
        out.other = plus(times(div(rest, stage_depth_), kPanelColumns), inside);
        break;
      }
      case Order::kFours: {  // panel, four steps, column, step
        const Expr column = div(e, kVector), rest = div(column, kPanelColumns);
        out.step = plus(times(rem(rest, stage_depth_ / kVector), kVector), rem(e, kVector));
        out.other = plus(times(div(rest, stage_depth_ / kVector), kPanelColumns), rem(column, kPanelColumns));
        break;
      }
    }
    return out;
  }

  // Loads the stage that begins at step k0 into registers; zeros outside the operands.
  Stmts fetch(const Expr& k0) {
    const auto element = [&](bool is_a, const Expr& u) -> Stmts {
      const int64_t side = is_a ? s_.rows : s_.columns;
      const int lanes = is_a ? a_lanes_ : b_lanes_;
      const Spot at = spot(u, side, is_a ? o_.a_order : o_.b_order, lanes);
      const Expr k = plus(k0, at.step);
      Expr ok = both(at.exists, s_.buffers > 1 ? below(k, o_.k, stage_depth_, params_)
                                               : kernel::compare(ScalarOp::kLt, k, params_.expr(o_.k)));
      Expr value;
      if (is_a) {
        const Expr m = plus(row0_, at.other);
        ok = both(ok, below(m, o_.m, s_.rows, params_));
        value = lanes > 1 ? along_steps(true, k, m) : o_.a(m, k);
      } else {
        const Expr n = plus(column0_, at.other);
        const Dim columns = has_panels(o_.b_order) ? ceildiv(o_.n, kPanelColumns) * Dim(kPanelColumns) : o_.n;
        ok = both(ok, below(n, columns, s_.columns, params_));
        value = lanes == 1               ? o_.b(k, n)
                : has_panels(o_.b_order) ? o_.b_vector(k, n, lanes)
                                         : along_steps(false, k, n);
      }
      return {kernel::store(is_a ? a_next_ : b_next_, u, guarded(ok, value))};
    };
    return {unrolled("ua", a_next_->size, [&](const Expr& u) { return element(true, u); }),
            unrolled("ub", b_next_->size, [&](const Expr& u) { return element(false, u); })};
  }

  // What was fetched goes to a buffer of workgroup memory.
  Stmts put(const Expr& buffer) {
    const auto side = [&](bool is_a, const Expr& u) -> Stmts {
      const int lanes = is_a ? a_lanes_ : b_lanes_;
      const int64_t across = is_a ? pitch() : s_.columns;
      const Order order = is_a ? o_.a_order : o_.b_order;
      const Spot at = spot(u, is_a ? s_.rows : s_.columns, order, lanes);
      const Buffer& tile = is_a ? a_tile_ : b_tile_;
      const Expr first = plus(times(buffer, stage_depth_ * across), plus(times(at.step, across), at.other));
      Stmts out;
      const Expr value = named("value", kernel::load(is_a ? a_next_ : b_next_, u, lanes), out);
      if (lanes == 1 || order == Order::kPanels) {
        out.push_back(kernel::store(tile, first, value));
      } else {
        for (int l = 0; l < lanes; ++l)
          out.push_back(
              kernel::store(tile, plus(first, int_const(l * across)), kernel::shuffle(value, nullptr, {l})));
      }
      return when(at.exists, std::move(out));
    };
    return {unrolled("ua", a_next_->size, [&](const Expr& u) { return side(true, u); }),
            unrolled("ub", b_next_->size, [&](const Expr& u) { return side(false, u); })};
  }

  // Rows and columns of a thread: runs that interleave with other threads', so that a subgroup's reads of
  // workgroup memory are consecutive.
  int row_run() const { return std::min(kVector, s_.thread_rows); }
  Expr row_in_tile(int i) const {
    const int runs = s_.thread_rows / row_run(), run = i / row_run();
    return plus(times(ty_, row_run()), int_const(run * (s_.rows / runs) + i % row_run()));
  }
  Expr column_in_tile(int v) const {
    return plus(times(tx_, kVector), int_const(v * (s_.columns / vectors())));
  }

  Stmts multiply(const Expr& buffer) {
    const Expr first = plus(times(buffer, stage_depth_), times(slice_, s_.depth));
    return {unrolled("kk", s_.depth, [&](const Expr& kk) {
      Stmts out;
      const Expr step = plus(first, kk);
      std::vector<Expr> a, b;
      for (int i = 0; i < s_.thread_rows; i += row_run()) {
        const Expr at = plus(times(step, pitch()), row_in_tile(i));
        const Expr rows = named("a", kernel::load(a_tile_, at, row_run()), out);
        for (int j = 0; j < row_run(); ++j)
          a.push_back(row_run() == 1 ? rows : kernel::shuffle(rows, nullptr, {j}));
      }
      for (int v = 0; v < vectors(); ++v) {
        const Expr at = plus(times(step, s_.columns), column_in_tile(v));
        b.push_back(named("b", kernel::load(b_tile_, at, kVector), out));
        if (lacks() != 0) out.push_back(add_to_column_sum(column_sums_, v, b.back()));
      }
      for (int i = 0; i < s_.thread_rows; ++i) {
        for (int v = 0; v < vectors(); ++v) {
          const Expr slot = int_const(i * vectors() + v);
          out.push_back(kernel::store(
              sums_, slot,
              product(a[static_cast<size_t>(i)], b[static_cast<size_t>(v)], kernel::load(sums_, slot))));
        }
      }
      return out;
    })};
  }

  Stmts store_all() {
    Stmts out;
    for (int i = 0; i < s_.thread_rows; ++i) {
      for (int v = 0; v < vectors(); ++v) {
        append(out, finish(plus(row0_, row_in_tile(i)), plus(column0_, column_in_tile(v)),
                           kernel::load(results_, int_const(i * vectors() + v))));
      }
    }
    return out;
  }

  // The other slices' sums come through workgroup memory to slice 0, in order.
  Stmts fold_slices() {
    const Expr slices_tail = kernel::compare(ScalarOp::kGt, slice_, int_const(0));
    const int64_t tile = int64_t{s_.rows} * s_.columns;
    Stmts out, inner;
    out.push_back(kernel::barrier());
    const Buffer parts = workgroup("parts", tile * (s_.slices - 1), inner, results_->type.dtype);
    const auto at = [&](const Expr& slice, int i, int v) {
      return plus(times(slice, tile), plus(times(row_in_tile(i), s_.columns), column_in_tile(v)));
    };
    Stmts give, take;
    for (int i = 0; i < s_.thread_rows; ++i) {
      for (int v = 0; v < vectors(); ++v) {
        const Expr slot = int_const(i * vectors() + v);
        give.push_back(
            kernel::store(parts, at(kernel::sub(slice_, int_const(1)), i, v), kernel::load(results_, slot)));
        for (int other = 0; other + 1 < s_.slices; ++other) {
          const Expr part = kernel::load(parts, at(int_const(other), i, v), kVector);
          take.push_back(kernel::store(results_, slot, kernel::add(kernel::load(results_, slot), part)));
        }
      }
    }
    append(take, store_all());
    inner.push_back(kernel::if_then(slices_tail, std::move(give)));
    inner.push_back(kernel::barrier());
    inner.push_back(kernel::if_then(kernel::compare(ScalarOp::kEq, slice_, int_const(0)), std::move(take)));
    out.push_back(kernel::block(std::move(inner)));
    return out;
  }

  int64_t stage_depth_ = 1;
  int a_lanes_ = 1, b_lanes_ = 1;
  Expr tx_, ty_, slice_;
  Buffer a_tile_, b_tile_, sums_, a_next_, b_next_;
  Buffer results_;      // sums_, or i32 that they are added to
  Buffer column_sums_;  // where products lack something
};

// Few rows: weights are read once, a panel's steps by neighbouring threads; slices of k meet in workgroup
// memory.
class Gemv : TileWriter {
  static constexpr int kFolded = 8;  // parts that become one between two barriers

 public:
  using TileWriter::TileWriter;

  TileKernel build() {
    make_grid();
    Stmts body;
    const int across = s_.columns / kVector;
    const Expr lane =
        named("column", plus(column0_, times(kernel::index_rem(t_, int_const(across)), kVector)), body);
    const Expr slice = named("slice", kernel::index_div(t_, int_const(across)), body);
    const Buffer sums =
        kernel::make_buffer("sums", sum_type(), Scope::kRegister, kernel::Access::kReadWrite, s_.rows);
    body.push_back(kernel::alloc(sums));
    append(body, set_to_zero(sums));
    append(body, o_.panels ? sums_of_integers(sums, slice, lane) : sums_of_elements(sums, slice, lane));
    append(body, fold(sums, slice, lane));
    return take(std::move(body));
  }

 private:
  Stmts sums_of_elements(const Buffer& sums, const Expr& slice, const Expr& lane) {
    const int steps = o_.b_order == Order::kFours ? kVector : 1;
    Buffer column_sums;
    if (lacks() != 0)
      column_sums =
          kernel::make_buffer("column_sums", sum_type(), Scope::kRegister, kernel::Access::kReadWrite, 1);
    const Var step = kernel::make_var("step"), k = kernel::make_var("k");
    Stmts loop = {kernel::let(k, times(plus(times(var_expr(step), s_.slices), slice), steps))};
    Stmts work;
    const std::vector<Expr> b = steps_of_b(var_expr(k), lane, steps, work);
    if (column_sums) work.push_back(add_to_column_sum(column_sums, 0, b[0]));
    for (int i = 0; i < s_.rows; ++i) {
      const Expr m = plus(row0_, int_const(i));
      for (int at = 0; at < steps; ++at) {
        const Expr of_step = plus(var_expr(k), int_const(at));
        const Expr exists =
            both(below(m, o_.m, s_.rows, params_), at > 0 ? below(of_step, o_.k, steps, params_) : nullptr);
        const Expr a = guarded(exists, o_.a(m, of_step));
        work.push_back(kernel::store(
            sums, int_const(i), product(a, b[static_cast<size_t>(at)], kernel::load(sums, int_const(i)))));
      }
    }
    append(loop, when(below(var_expr(k), o_.k, int64_t{s_.slices} * steps, params_), std::move(work)));
    Stmts out;
    if (column_sums) {
      out.push_back(kernel::alloc(column_sums));
      append(out, set_to_zero(column_sums));
    }
    out.push_back(kernel::loop(step, int_const(0), params_.expr(ceildiv(o_.k, int64_t{s_.slices} * steps)),
                               LoopKind::kSerial, std::move(loop)));
    for (int i = 0; column_sums && i < s_.rows; ++i)
      out.push_back(add_lacking(sums, i, kernel::load(column_sums, int_const(0))));
    return out;
  }

  // A slice takes units of steps that have a scale in common, which multiplies their sum.
  Stmts sums_of_integers(const Buffer& sums, const Expr& slice, const Expr& column) {
    const QuantisedPanels& p = *o_.panels;
    constexpr int64_t kUnit = 32;  // steps, where blocks have so many
    const int64_t unit = p.block % kUnit == 0 ? kUnit : kUnit / 2, each = 32 / p.bits, words = unit / each;
    const Dim units = ceildiv(o_.k, unit);
    const Buffer part =
        kernel::make_buffer("part", sum_type(), Scope::kRegister, kernel::Access::kReadWrite, s_.rows);
    const Var step = kernel::make_var("step");
    Stmts work = {kernel::alloc(part)};
    const Expr at = plus(times(var_expr(step), s_.slices), slice);
    const Expr own = named("unit", at, work);
    for (int i = 0; i < s_.rows; ++i) work.push_back(kernel::store(part, int_const(i), zero(sum_type())));
    const auto block =
        p.parameters(column, kernel::index_div(times(own, unit), int_const(p.block)), kVector, work);
    for (int64_t word = 0; word < words; ++word) {
      Expr at_word = plus(times(own, words), int_const(word));
      // Behind the last step its word again, which is multiplied by zeros.
      if (p.steps % words != 0 && word > 0) at_word = kernel::min(at_word, int_const(p.steps - 1));
      const Expr index = p.word_index(column, at_word);
      // Columns are a multiple of four, which nothing shows of this sum.
      const Expr four = kernel::index_div(index, int_const(kVector));
      const Expr q = named("q", kernel::load(p.words, times(four, kVector), kVector), work);
      for (int i = 0; i < each; ++i) {
        const Expr k = plus(times(own, unit), int_const(word * each + i));
        const Expr w = named("w", p.step_of(q, i, block), work);
        for (int r = 0; r < s_.rows; ++r) {
          const Expr m = plus(row0_, int_const(r));
          const Expr a =
              guarded(both(below(m, o_.m, s_.rows, params_), below(k, o_.k, unit, params_)), o_.a(m, k));
          work.push_back(kernel::store(part, int_const(r),
                                       kernel::op(ScalarOp::kFma, {kernel::broadcast(a, kVector), w,
                                                                   kernel::load(part, int_const(r))})));
        }
      }
    }
    for (int r = 0; r < s_.rows; ++r)
      work.push_back(kernel::store(sums, int_const(r),
                                   kernel::op(ScalarOp::kFma, {kernel::load(part, int_const(r)), block.scale,
                                                               kernel::load(sums, int_const(r))})));
    return {kernel::loop(step, int_const(0), params_.expr(ceildiv(units, s_.slices)), LoopKind::kSerial,
                         when(below(at, units, s_.slices, params_), std::move(work)))};
  }

  // Four columns of each of so many steps.
  std::vector<Expr> steps_of_b(const Expr& k, const Expr& column, int steps, Stmts& out) const {
    if (steps == 1) return {named("b", o_.b_vector(k, column, kVector), out)};
    std::vector<Expr> columns, all;  // `steps` of each column
    for (int c = 0; c < kVector; ++c)
      columns.push_back(named("b", o_.b_vector(k, plus(column, int_const(c)), steps), out));
    for (int at = 0; at < steps; ++at) {
      const Expr front = kernel::shuffle(columns[0], columns[1], {at, steps + at});
      const Expr back = kernel::shuffle(columns[2], columns[3], {at, steps + at});
      all.push_back(named("b", kernel::shuffle(front, back, {0, 1, 2, 3}), out));
    }
    return all;
  }

  // A tree over the slices, eight to one; slice i then stores row i, i + slices, ….
  Stmts fold(const Buffer& sums, const Expr& slice, const Expr& column) {
    const int64_t width = int64_t{s_.rows} * s_.columns;
    const DType dtype = o_.exact_steps > 0 ? DType::kI32 : sum_type().dtype;
    const Buffer parts = kernel::make_buffer("parts", {dtype, 1}, Scope::kWorkgroup,
                                             kernel::Access::kReadWrite, width * s_.slices);
    Stmts out = {kernel::alloc(parts)};
    const Expr inside = named("inside", kernel::sub(column, column0_), out);
    const auto at = [&](const Expr& s, const Expr& row) {
      return plus(times(s, width), plus(times(row, s_.columns), inside));
    };
    for (int i = 0; i < s_.rows; ++i)
      out.push_back(kernel::store(parts, at(slice, int_const(i)),
                                  kernel::cast(kernel::load(sums, int_const(i)), dtype)));
    for (int left = s_.slices; left > 1;) {
      const int next = left / std::min(left, kFolded);
      out.push_back(kernel::barrier());
      Stmts add;
      for (int i = 0; i < s_.rows; ++i) {
        Expr sum;
        for (int part = 0; part < left; part += next) {
          const Expr one = kernel::load(parts, at(plus(slice, int_const(part)), int_const(i)), kVector);
          sum = sum ? kernel::add(sum, one) : one;
        }
        add.push_back(kernel::store(parts, at(slice, int_const(i)), sum));
      }
      out.push_back(kernel::if_then(kernel::compare(ScalarOp::kLt, slice, int_const(next)), std::move(add)));
      left = next;
    }
    out.push_back(kernel::barrier());
    for (int first = 0; first < s_.rows; first += s_.slices) {
      const Expr row = plus(slice, int_const(first));
      Stmts store = finish(plus(row0_, row), column, kernel::load(parts, at(int_const(0), row), kVector));
      out.push_back(
          kernel::if_then(kernel::compare(ScalarOp::kLt, row, int_const(s_.rows)), std::move(store)));
    }
    return out;
  }
};

}  // namespace

TileKernel build_simt_kernel(const TileOperands& operands, const SimtSchedule& schedule,
                             kernel::ParamTable& params) {
  return Simt(operands, schedule, params).build();
}

TileKernel build_gemv_kernel(const TileOperands& operands, const SimtSchedule& schedule,
                             kernel::ParamTable& params) {
  return Gemv(operands, schedule, params).build();
}

}  // namespace tern::lower::gpu
