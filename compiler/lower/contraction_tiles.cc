// Products of bytes, or of pairs of bf16, by a CPU's tiles (kernel/tile_shape.h): 2 x 2 of them, 32 x 32
// sums. A's rows and B's panels lie as tiles take them; steps behind the last whole tile wait in scratch,
// zeros behind them. Sums pass through scratch, a line of which the rest of the region takes as it takes a
// register tile's.
#include <algorithm>

#include "compiler/kernel/expr_util.h"
#include "compiler/lower/contraction_builder.h"
#include "compiler/lower/loop_writer.h"

namespace tern::lower::contraction {
namespace {

using kernel::kCpuTileBytes;
using kernel::kCpuTileRows;
using kernel::TileOp;

}  // namespace

// Steps of the depth that a tile has, and those of the last tile where it is no whole one.
int64_t Builder::tile_steps() const {
  return kCpuTileBytes / kernel::kCpuGroupBytes;
}
int64_t Builder::rest_steps() const {
  return k_dim_.value() % tile_steps();
}

Stmts Builder::tile_block() {
  k0_ = int_const(0);
  depth_ = k_;
  Stmts out;
  if (o_.gather_a) out = o_.gather_a(a_block_, row0_, rows_, k0_, depth_, s_.block_depth * step_);
  if (const int64_t rest = rest_steps(); rest > 0) {
    const Buffer source = o_.gather_a ? a_block_ : o_.a_buffer;
    const int64_t width = tile_steps() * step_;
    a_rest_ = scratch("a_rest", s_.block_rows * width, source->type.dtype);
    out.push_back(kernel::alloc(a_rest_));
    const Var row = kernel::make_var("i");
    const Expr from = kernel::add(row_base(var_expr(row)), int_const((k_dim_.value() - rest) * step_)),
               last = kernel::load(source, from, static_cast<int>(width), int_const(rest * step_));
    const Stmt keep = kernel::store(a_rest_, kernel::mul(var_expr(row), int_const(width)), last);
    out.push_back(kernel::loop(row, int_const(0), rows_, LoopKind::kSerial, {keep}));
  }
  by_tiles_ = true;
  append(out, column_groups(s_.vectors));
  by_tiles_ = false;
  return out;
}

// Where vector j of the columns from n on has its step `step`, in elements of the memory that B is read from:
// bytes or (pairs of bf16) words, in scratch halves of them.
Expr Builder::tile_of_b(const Expr& n, const Expr& step, int j) const {
  const Expr column = int_const(int64_t{j} * s_.lanes);
  if (o_.gather_b)
    return kernel::mul(kernel::add(kernel::mul(step, int_const(group_)), column), int_const(step_));
  const Expr at = o_.b_index(kernel::add(n, column), step);
  return o_.step == StepKind::kBytes ? kernel::mul(at, int_const(kByteGroup)) : at;
}

Stmts Builder::tile_rows(const Expr& n, int vectors, const Expr& valid) {
  Stmts out;
  if (o_.gather_b) out = o_.gather_b(b_panel_, n, group_, k0_, depth_);
  if (const int64_t rest = rest_steps(); rest > 0) {
    const Buffer source = o_.gather_b ? b_panel_ : o_.b_buffer;
    const DType type = source->type.dtype;
    const int lanes = kCpuTileBytes * 8 / dtype_bits(type);
    b_rest_ = scratch("b_rest", int64_t{vectors} * kCpuTileRows * lanes, type);
    out.push_back(kernel::alloc(b_rest_));
    for (int j = 0; j < vectors; ++j) {
      for (int64_t step = 0; step < tile_steps(); ++step) {
        const Expr from = tile_of_b(n, int_const(k_dim_.value() - rest + std::min(step, rest - 1)), j);
        const Expr value =
            step < rest ? kernel::load(source, from, lanes) : kernel::broadcast(int_const(0, type), lanes);
        out.push_back(kernel::store(b_rest_, int_const((j * tile_steps() + step) * lanes), value));
      }
    }
  }
  if (prefetches() && !valid) plan_prefetch(n, out);
  const auto tiles = [&](const Expr& first_tile, const Expr& count, const Expr& first_row, int rows,
                         bool overlap) {
    const Var t = kernel::make_var("tile"), at = kernel::make_var("at"), r = kernel::make_var("r");
    tile_ = kernel::add(first_tile, var_expr(t));
    Expr begin = kernel::add(first_row, kernel::mul(var_expr(t), int_const(rows)));
    Stmts body{kernel::let(at, begin)};
    // The last one takes rows that another one has had instead of fewer.
    if (overlap) begin = kernel::min(var_expr(at), kernel::sub(rows_, int_const(rows)));
    body.push_back(kernel::let(r, begin));
    const Expr done = overlap ? kernel::sub(var_expr(at), var_expr(r)) : int_const(0);
    append(body, tile_products(var_expr(r), done, n, rows, vectors, valid));
    return kernel::loop(t, int_const(0), count, LoopKind::kSerial, std::move(body));
  };
  const int64_t all = m_dim_.is_const() ? m_dim_.value() : 0;
  const bool known = m_dim_.is_const() && all <= s_.block_rows;
  const Expr whole = kernel::index_div(rows_, int_const(s_.tile_rows)),
             taken = kernel::mul(whole, int_const(s_.tile_rows));
  if (!known || all >= s_.tile_rows)
    out.push_back(tiles(int_const(0), whole, int_const(0), s_.tile_rows, false));
  if (m_dim_.is_const() && all % s_.tile_rows == 0) return out;
  const Expr left = kernel::sub(rows_, taken);
  out.push_back(tiles(whole, blocks_of(left, int_const(kCpuTileRows)), taken, kCpuTileRows, true));
  return out;
}

Stmts Builder::tile_products(const Expr& r, const Expr& done, const Expr& n, int rows, int vectors,
                             const Expr& valid) {
  const int row_tiles = rows / kCpuTileRows, width = static_cast<int>(tile_steps()) * step_,
            elements = kCpuTileRows * width;
  const bool bytes = o_.step == StepKind::kBytes;
  const auto held = [](const char* name, DType type, int lanes, int count) {
    return kernel::make_buffer(name, {type, lanes}, Scope::kRegister, kernel::Access::kReadWrite, count);
  };
  const Buffer acc = held("sums", sum_, kCpuTileRows * kPanelColumns, row_tiles * vectors),
               a = held("a_tiles", bytes ? DType::kU8 : DType::kBF16, elements, row_tiles),
               b = held("b_tiles", bytes ? DType::kI8 : DType::kBF16, elements, vectors);
  Stmts out{kernel::alloc(acc), kernel::alloc(a), kernel::alloc(b)};
  const Expr zero = is_float(sum_) ? kernel::float_const(0.0, sum_) : int_const(0, sum_);
  for (int i = 0; i < row_tiles * vectors; ++i)
    out.push_back(kernel::tile(TileOp::kFill, acc, int_const(i), zero));
  std::vector<Expr> bases, rests;
  for (int i = 0; i < row_tiles; ++i) {
    const Expr row = kernel::add(r, int_const(int64_t{i} * kCpuTileRows));
    bases.push_back(named("a_row", row_base(row), out));
    rests.push_back(kernel::mul(row, int_const(width)));
  }

  struct Memory {
    Buffer buffer;
    int64_t pitch;
  };
  const auto load = [](TileOp how, const Buffer& tile, int index, const Memory& from, const Expr& at) {
    return kernel::tile(how, tile, int_const(index), kernel::load(from.buffer, at), int_const(from.pitch));
  };
  // Each operand is loaded right before it is first used: its register is free as early as can be.
  const auto products = [&](const Memory& from_a, const std::function<Expr(int)>& a_at, const Memory& from_b,
                            const std::function<Expr(int)>& b_at) {
    Stmts body;
    for (int i = 0; i < row_tiles; ++i) {
      body.push_back(load(TileOp::kLoad, a, i, from_a, a_at(i)));
      for (int j = 0; j < vectors; ++j) {
        if (i == 0) body.push_back(load(TileOp::kLoadGroups, b, j, from_b, b_at(j)));
        body.push_back(kernel::tile(TileOp::kMultiply, acc, int_const(int64_t{i} * vectors + j),
                                    kernel::load(a, int_const(i), elements),
                                    kernel::load(b, int_const(j), elements)));
      }
    }
    return body;
  };
  const auto line = [](const Buffer& buffer) {
    return int64_t{kCpuTileBytes} * 8 / dtype_bits(buffer->type.dtype);
  };
  const Memory from_a =
                   o_.gather_a ? Memory{a_block_, s_.block_depth * step_} : Memory{o_.a_buffer, o_.a_pitch},
               from_b =
                   o_.gather_b ? Memory{b_panel_, group_ * step_} : Memory{o_.b_buffer, line(o_.b_buffer)};
  const Var kv = kernel::make_var("k");
  Stmts body = products(
      from_a,
      [&](int i) {
        return kernel::add(bases[static_cast<size_t>(i)], kernel::mul(var_expr(kv), int_const(width)));
      },
      from_b, [&](int j) { return tile_of_b(n, kernel::mul(var_expr(kv), int_const(tile_steps())), j); });
  const Expr passes = int_const(k_dim_.value() / tile_steps());
  append(out, step_loop(kv, passes, std::move(body), vectors, valid, static_cast<int>(tile_steps())));
  if (rest_steps() > 0) {
    append(out,
           products(
               {a_rest_, width}, [&](int i) { return rests[static_cast<size_t>(i)]; },
               {b_rest_, line(b_rest_)}, [&](int j) { return int_const(j * tile_steps() * line(b_rest_)); }));
  }
  append(out, finish_tiles(acc, r, done, n, rows, vectors, valid));
  return {kernel::block(std::move(out))};
}

Stmts Builder::finish_tiles(const Buffer& acc, const Expr& r, const Expr& done, const Expr& n, int rows,
                            int vectors, const Expr& valid) {
  const int64_t width = int64_t{vectors} * s_.lanes;
  const Buffer stage = scratch("stage", rows * width, sum_);
  Stmts out{kernel::alloc(stage)};
  for (int i = 0; i < rows / kCpuTileRows; ++i) {
    for (int j = 0; j < vectors; ++j) {
      const Expr at = int_const(i * kCpuTileRows * width + int64_t{j} * s_.lanes);
      out.push_back(kernel::tile(TileOp::kStore, acc, int_const(int64_t{i} * vectors + j),
                                 kernel::load(stage, at), int_const(width)));
    }
  }
  const Var iv = kernel::make_var("i");
  const Expr i = kernel::add(done, var_expr(iv)), m = kernel::add(row0_, kernel::add(r, i));
  Stmts row;
  for (int j = 0; j < vectors;) {
    const int together = finishes_pair(j, vectors, valid) ? 2 : 1, lanes = together * s_.lanes;
    const Expr column = kernel::add(n, int_const(int64_t{j} * s_.lanes)), count = lane_count(valid, j);
    const Expr at = kernel::add(kernel::mul(i, int_const(width)), int_const(int64_t{j} * s_.lanes));
    Expr value = kernel::load(stage, at, lanes);
    if (o_.begin) value = kernel::add(value, named("begin", o_.begin(column, lanes, count), out));
    append(row, o_.finish(m, column, value, lanes, count));
    j += together;
  }
  out.push_back(
      kernel::loop(iv, int_const(0), kernel::sub(int_const(rows), done), LoopKind::kSerial, std::move(row)));
  return out;
}

}  // namespace tern::lower::contraction
