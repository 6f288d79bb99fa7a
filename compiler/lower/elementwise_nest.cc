#include <algorithm>
#include <bit>

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/index_form.h"
#include "compiler/kernel/vectorize.h"
#include "compiler/lower/emitter.h"
#include "compiler/lower/gpu/flat_nest.h"
#include "compiler/lower/gpu/transposing_nest.h"
#include "compiler/lower/loop_invariants.h"
#include "compiler/lower/loop_writer.h"
#include "compiler/lower/nest_axes.h"
#include "compiler/lower/nests.h"
#include "compiler/lower/put_rows.h"
#include "compiler/lower/read_ahead.h"
#include "compiler/lower/streams.h"
#include "compiler/lower/turned_squares.h"
#include "compiler/lower/wide_arithmetic.h"

namespace tern::lower {
namespace {

using graph::Value;
using kernel::Expr;
using kernel::int_const;
using kernel::Stmt;

constexpr int64_t kBlock = 16;         // side of a transposing block
constexpr int64_t kSquaresBlock = 64;  // the same where squares are turned in registers
// And what comes from memory does so in runs of so many elements, so many rows at once; shorter rows whole.
constexpr int64_t kLongRun = 256, kRunsAtOnce = 128, kWholeRow = 512;
constexpr int64_t kBlockElements = kLongRun * kRunsAtOnce;
// Where stored rows lie whole pages apart, banks and sets of caches are shared by many of them: smaller
// blocks (Zen 5: 5000 x 6600 8.0 ms in these, 6.1 in those above; 131072 x 256 5.7 and 6.5).
constexpr int64_t kPagedRun = 128, kPagedRunsAtOnce = 48, kPage = 4096;
// Of blocks whose rows are whole and wait in L1 before they are stored, the next one asked for (Zen 3: 131072
// x 256 in blocks of 32 rows 12.8 GB/s, of 64 10, of 128, all of them waiting, 8).
constexpr int64_t kNearElements = 8192, kNearRuns = 32;
// But where two blocks of so many bytes of each stored row fit L2, the next one is loaded while one is stored
// (Zen 3: 32 columns 23 to 33 GB/s, 64 22 to 32, 128 21 to 30, 256 19 to 29, 512 20 to 22; other runs 18 to
// 30).
constexpr int64_t kLoadedRunBytes = 512;
// Rows that wait until all of a block are turned: long runs, whose restarts cost most, so many at once (Zen
// 3, 4096 x 8192: 128 x 256 11.9 GB/s, 128 x 1024 and more 14, 64 x 1024 11.8, 256 x 1024 13.2).
constexpr int64_t kWaitingRun = 1024, kWaitingRunsAtOnce = 128;
constexpr int kLineBytes = 64, kHalfLineBits = 256;
constexpr int64_t kManyRows = 64;  // the next tile is theirs, too

// Equal sides of at most `most`, whole squares.
int64_t even_side(const Dim& extent, int64_t most, int64_t square) {
  if (!extent.is_const()) return most;
  const int64_t n = std::max<int64_t>(extent.value(), 1), pieces = (n + most - 1) / most;
  return ((n + pieces - 1) / pieces + square - 1) / square * square;
}

// Whether the rows are no vector (three channels): lanes run across them.
bool is_narrow(const NestAxis& rows) {
  return rows.extent.is_const() && rows.extent.value() < 8;
}

// Whether some big input is read across the grain: stride 1 along an axis other than the innermost. Returns
// that axis, or -1.
int transposed_axis(const std::vector<NestAxis>& axes, const RegionAccesses& accesses) {
  if (axes.size() < 2) return -1;
  const auto inner = static_cast<size_t>(axes.back().dims.back());
  const bool narrow = is_narrow(axes.back());
  for (const AccessStrides& a : accesses.loads) {
    if (a.strides[inner].is_const(1)) continue;
    if (a.strides[inner].is_const(0)) {  // repeated: lanes run along what is
      if (narrow && a.strides[static_cast<size_t>(axes[axes.size() - 2].dims.back())].is_const(1))
        return static_cast<int>(axes.size()) - 2;
      continue;
    }
    for (size_t k = 0; k + 1 < axes.size(); ++k) {
      if (a.strides[static_cast<size_t>(axes[k].dims.back())].is_const(1)) return static_cast<int>(k);
    }
  }
  return -1;
}

// Splits an axis in two: blocks (outer) and the place inside a block.
bool can_share_memory(const Region& region, LoweringContext& context, const RegionAccesses& accesses) {
  if (region.outputs.size() != 1) return false;
  const Value* out = region.outputs[0];
  const Place& to = context.place(out);
  const auto& buffers = context.program().buffers;
  for (const AccessStrides& a : accesses.loads) {
    const Place& from = context.place(a.value);
    const BufferDef &source = buffers[static_cast<size_t>(from.buffer)],
                    &target = buffers[static_cast<size_t>(to.buffer)];
    if (source.bytes != target.bytes) continue;
    const bool same = a.identity && from.strides == to.strides && from.offset == to.offset &&
                      dtype_bits(source.dtype) == dtype_bits(target.dtype);
    if (!same) return false;
  }
  return true;
}

// How many vectors pass side by side through a long chain of operations on floats, where one after the other
// waits; 1: there is no such chain. Few registers hold two; four of a tanh, whose chain ends with a division,
// are faster all the same (Zen 3: 3.2 to 2.8 ns a vector).
int vectors_at_once(const Region& region, const MachineModel& machine) {
  using scalar::ScalarOp;
  bool chains = false, tanh = false;
  for (const graph::Node* n : region.nodes) {
    if (n->kind != graph::OpKind::kMap || !scalar::info(n->scalar_op()).expensive) continue;
    const ScalarOp op = n->scalar_op();
    const DType type = n->result()->type.dtype;
    const bool wide = type == DType::kF64;
    if ((!wide && type != DType::kF32 && !is_computed_wide(type, machine.arch)) ||
        (op != ScalarOp::kExp && op != ScalarOp::kErf && op != ScalarOp::kTanh && op != ScalarOp::kLog &&
         op != ScalarOp::kLog1p && !(wide && op == ScalarOp::kExpm1)))
      return 1;
    chains = true;
    tanh |= op == ScalarOp::kTanh && !wide;
  }
  return !chains ? 1 : tanh || machine.vector_registers > 16 ? 4 : 2;
}

// Vectors of equal length one after the other.
Expr joined(std::vector<Expr> parts) {
  while (parts.size() > 1) {
    std::vector<Expr> pairs;
    for (size_t i = 0; i < parts.size(); i += 2) {
      std::vector<int> both(static_cast<size_t>(2 * parts[i]->type.lanes));
      for (size_t l = 0; l < both.size(); ++l) both[l] = static_cast<int>(l);
      pairs.push_back(kernel::shuffle(parts[i], parts[std::min(i + 1, parts.size() - 1)], both));
    }
    parts = std::move(pairs);
  }
  return parts[0];
}

// The stores of `lanes` places along `slow` from `begin` on and all `width` along `fast`, where these lie in
// memory as they are counted, fast first: vectors along slow are computed, interleaved and stored whole.
// Empty where `store`, one element's, is not of that kind.
std::vector<Stmt> interleaved(const std::vector<Stmt>& store, const kernel::Var& slow,
                              const kernel::Var& fast, const Expr& begin, int width, int lanes) {
  if (store.size() != 1 || store[0]->kind != kernel::StmtKind::kStore) return {};
  const kernel::StmtNode& one = *store[0];
  const DType type = one.value->type.dtype;
  if (one.count || type == DType::kBool || dtype_bits(type) < 8 || dtype_bits(type) > 32) return {};
  const auto at = [&](int64_t s, int64_t f) {
    return kernel::substitute(one.index, {{slow.get(), int_const(s)}, {fast.get(), int_const(f)}});
  };
  const auto is_step = [&](const Expr& next, int64_t step) {
    const Expr difference = kernel::sub(next, at(0, 0));
    kernel::IndexForms forms;
    const Expr simple = forms.simplify(difference);
    const Expr& known = simple ? simple : difference;
    return known->kind == kernel::ExprKind::kConst && known->i == step;
  };
  if (!is_step(at(1, 0), width) || !is_step(at(0, 1), 1)) return {};
  if (!kernel::why_not_vectorizable(
           kernel::loop(slow, begin, int_const(lanes), kernel::LoopKind::kSerial, store))
           .empty())
    return {};
  std::vector<Stmt> out;
  std::vector<Expr> values;
  for (int f = 0; f < width; ++f) {
    const Expr scalar = kernel::substitute(one.value, {{fast.get(), int_const(f)}});
    const Expr vector = kernel::substitute(kernel::vectorize(scalar, slow, lanes), {{slow.get(), begin}});
    const kernel::Var named = kernel::make_var(fmt::format("v{}", f), {type, lanes});
    out.push_back(
        kernel::let(named, vector->type.lanes == lanes ? vector : kernel::broadcast(vector, lanes)));
    values.push_back(kernel::var_expr(named));
  }
  const kernel::Var all = kernel::make_var("all", joined(values)->type);
  out.push_back(kernel::let(all, joined(values)));
  for (int j = 0; j < width; ++j) {
    std::vector<int> mixed;
    for (int p = j * lanes; p < (j + 1) * lanes; ++p) mixed.push_back(p % width * lanes + p / width);
    const Expr first = kernel::substitute(one.index, {{slow.get(), begin}, {fast.get(), int_const(0)}});
    out.push_back(kernel::store(one.buffer, kernel::add(first, int_const(int64_t{j} * lanes)),
                                kernel::shuffle(kernel::var_expr(all), nullptr, mixed)));
  }
  return out;
}

class ElementwiseNest {
 public:
  ElementwiseNest(const Region& region, LoweringContext& context)
      : region_(region), context_(context), out_(region.outputs[0]) {}

  void run() {
    RegionAccesses accesses;
    for (const Value* v : region_.outputs) {
      RegionAccesses more = collect_accesses(region_, context_, v);
      accesses.pinned.resize(more.pinned.size());
      for (size_t d = 0; d < more.pinned.size(); ++d)
        accesses.pinned[d] = accesses.pinned[d] || more.pinned[d];
      accesses.ops += more.ops;
      accesses.expensive_ops += more.expensive_ops;
      accesses.loads.insert(accesses.loads.end(), more.loads.begin(), more.loads.end());
    }
    if (const std::optional<MovedRows> moved = moved_rows(region_)) {
      moved_ = true;
      accesses.pinned.resize(std::max(accesses.pinned.size(), out_->type.shape.size()));
      accesses.pinned[0] = accesses.pinned[static_cast<size_t>(moved->axis)] = true;
    }
    const bool in_place = !moved_ && can_share_memory(region_, context_, accesses);
    std::vector<AccessStrides> all = accesses.loads;
    for (const Value* v : region_.outputs) all.push_back({v, context_.place(v).strides, true});
    const Shape& shape = out_->type.shape;
    axes_ = merge_axes(shape, context_.place(out_).layout.order, all, accesses.pinned);
    cheap_ = accesses.expensive_ops == 0 && accesses.ops <= 8;
    const int64_t cost =
        2 + static_cast<int64_t>(accesses.loads.size()) + accesses.ops + 8 * accesses.expensive_ops;

    DispatchBuilder dispatch(context_, region_);
    const int across = moved_ ? -1 : transposed_axis(axes_, accesses);
    if (across < 0 && !moved_) read_in_order(accesses);
    dispatch.set_elementwise_in_place(in_place && across < 0);
    dispatch.set_flops(product(shape) * Dim(accesses.ops + accesses.expensive_ops * 10));
    for (const Level level : variant_levels(context_.target())) {
      ElementEmitter emitter(dispatch);
      if (is_gpu(level_arch(level))) {
        on_gpu(dispatch, emitter, level, across, cost);
      } else if (across >= 0) {
        transposing(dispatch, emitter, level, static_cast<size_t>(across), cost);
      } else {
        straight(dispatch, emitter, level, cost);
      }
    }
    dispatch.finish();
  }

 private:
  // What comes from memory is fast in runs of tens of KB alone (Zen 5, rows of 2 KB in any order: 38 of 47
  // GB/s), and streaming stores are as fast in any order of whole lines: a value whose rows lie otherwise
  // than they are stored is read as it lies.
  void read_in_order(const RegionAccesses& accesses) {
    const Level level = context_.target().levels.front();
    const int64_t elements = context_.hint(product(out_->type.shape));
    if (!comes_from_memory(level, elements * 4) || axes_.size() < 3) return;
    const auto innermost = static_cast<size_t>(axes_.back().dims.back());
    const AccessStrides* big = nullptr;
    for (const AccessStrides& a : accesses.loads) {
      const auto repeats = [&](const NestAxis& axis) {
        return a.strides[static_cast<size_t>(axis.dims.back())].is_const(0);
      };
      if (std::all_of(axes_.begin(), axes_.end() - 1, repeats)) continue;  // a row of constants
      if (big || std::any_of(axes_.begin(), axes_.end(), repeats) || !a.strides[innermost].is_const(1))
        return;
      big = &a;
    }
    if (!big) return;
    const auto stride = [&](const NestAxis& axis) {
      return context_.hint(big->strides[static_cast<size_t>(axis.dims.back())]);
    };
    std::sort(axes_.begin(), axes_.end() - 1,
              [&](const NestAxis& a, const NestAxis& b) { return stride(a) > stride(b); });
  }

  std::vector<Stmt> element(ElementEmitter& emitter, const std::vector<Expr>& coordinates) {
    return store_outputs(emitter, axis_index(axes_, out_->type.shape.size(), coordinates));
  }

  void on_gpu(DispatchBuilder& dispatch, ElementEmitter& emitter, Level level, int across, int64_t cost) {
    const auto body = [&](const std::vector<Expr>& coordinates) { return element(emitter, coordinates); };
    const auto value = [&](const std::vector<Expr>& coordinates) {
      return axis_index(axes_, out_->type.shape.size(), coordinates);
    };
    if (across >= 0 &&
        gpu::add_transposing_variant(dispatch, emitter, level, axes_, static_cast<size_t>(across), value))
      return;
    gpu::add_flat_variant(dispatch, level, axes_, cost, body,
                          fmt::format("elementwise, {} axes", axes_.size()));
  }

  void straight(DispatchBuilder& dispatch, ElementEmitter& emitter, Level level, int64_t cost) {
    int lanes = nest_lanes(region_, level);
    const bool inner_known = !axes_.empty() && axes_.back().extent.is_const();
    const int64_t inner = inner_known ? axes_.back().extent.value() : 0;
    // Two vectors a step hide latency in cheap bodies; narrow rows take what fits.
    if (cheap_ && (!inner_known || inner >= 4 * lanes)) lanes *= 2;
    if (inner_known && inner >= 16 * lanes) lanes *= vectors_at_once(region_, machine(level));
    while (inner_known && lanes > 4 && lanes / 2 >= inner) lanes /= 2;
    const Tiling tiling = choose_tiling(context_, axes_, cost);
    const size_t body_axes = axes_.empty() ? 0 : axes_.size() - 1;
    const bool from_memory =
        !moved_ && comes_from_memory(level, context_.hint(product(out_->type.shape)) * 4);
    const bool loops = static_cast<size_t>(tiling.tiled) < body_axes;  // around the vectors
    int streams = from_memory ? streams_of_copy(level, tiling, loops, lanes) : 1;
    NestParts parts = build_nest(
        dispatch, axes_, tiling, body_axes,
        [&](std::vector<Expr> coordinates, const std::vector<AxisRange>& ranges) -> std::vector<Stmt> {
          if (axes_.empty()) return element(emitter, coordinates);
          const bool whole_row = inner_known && kernel::int_value(ranges.back().extent) == inner;
          if (const std::vector<int64_t> cuts = padded_at(); whole_row && !from_memory && cuts.size() > 2)
            return row_in_parts(emitter, std::move(coordinates), cuts, lanes);
          const kernel::Var v = kernel::make_var("i");
          coordinates.back() = kernel::var_expr(v);
          std::vector<Stmt> body = element(emitter, coordinates);
          // Where a tile has a loop over rows.
          const bool rows = inner_known && loops;
          std::vector<Stmt> rows_ahead;
          const kernel::Var row = rows ? coordinates[body_axes - 1]->var : nullptr;
          // With gaps between rows there is no stream that the processor would follow.
          if (streams > 1 && (rows != loops || !is_one_run(body, v, row, inner))) streams = 1;
          if (from_memory && streams == 1) {
            if (rows) {
              const Dim& extent = axes_[body_axes - 1].extent;
              const Expr last = kernel::sub(dispatch.expr(extent), int_const(1));
              const RowsAhead ahead{row, last, context_.hint(extent) >= kManyRows, v, inner};
              if (std::optional<GappedRun> run = gapped_run(body, ahead, ranges.back().begin)) {
                append(body, std::move(run->within));
                rows_ahead = std::move(run->behind);
              } else {
                rows_ahead = row_ahead(body, ahead, ranges.back().begin);
                append(body, read_ahead(body, ahead, /*looked_up=*/true));
              }
            }
            append(body, run_ahead(body, v, row, inner));
          }
          std::vector<Stmt> out;
          if (inner > 0 && body_axes > 0) out = take_invariants(body, v);
          const Stmt loop = kernel::loop(v, ranges.back().begin, ranges.back().extent,
                                         kernel::LoopKind::kSerial, std::move(body));
          std::vector<Stmt> vectors = vector_loop(loop, lanes);
          append(out, loops ? std::move(vectors) : in_streams(std::move(vectors), streams));
          append(out, std::move(rows_ahead));
          return out;
        });
    if (loops) parts.body = in_streams(std::move(parts.body), streams);
    dispatch.add_variant(
        level, std::move(parts.grid), std::move(parts.body),
        fmt::format("elementwise, {} axes, {} lanes, chunks of {}{}", axes_.size(), lanes, tiling.chunk,
                    streams > 1 ? fmt::format(", in {} streams", streams) : ""));
  }

  // Where the operands of pads begin and end in a row, with both ends of it.
  std::vector<int64_t> padded_at() const {
    const auto d = static_cast<size_t>(axes_.back().dims.back());
    std::vector<int64_t> cuts;
    for (const graph::Node* n : region_.nodes) {
      if (n->kind != graph::OpKind::kPad || n->result()->type.shape != out_->type.shape) continue;
      const Dim low = n->dims("low")[d], high = n->dims("high")[d], &row = out_->type.shape[d];
      if (!low.is_const() || !high.is_const() || !row.is_const()) continue;
      for (const int64_t at : {low.value(), row.value() - high.value()}) {
        if (at > 0 && at < row.value()) cuts.push_back(at);
      }
    }
    cuts.push_back(0);
    cuts.push_back(axes_.back().extent.is_const() ? axes_.back().extent.value() : 0);
    std::sort(cuts.begin(), cuts.end());
    cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
    return cuts;
  }

  // Inside of a pad's operand nothing asks where an element lies: each part of the row has a loop of its own,
  // whose places are simplified before they become vectors.
  std::vector<Stmt> row_in_parts(ElementEmitter& emitter, std::vector<Expr> coordinates,
                                 const std::vector<int64_t>& cuts, int lanes) {
    std::vector<Stmt> out;
    for (size_t part = 0; part + 1 < cuts.size(); ++part) {
      const int64_t length = cuts[part + 1] - cuts[part];
      const kernel::Var v = kernel::make_var("i");
      const Expr begin = int_const(cuts[part]), extent = int_const(length);
      coordinates.back() = kernel::var_expr(v);
      kernel::IndexForms forms;
      forms.define_loop_var(v, begin, extent);
      const std::vector<Stmt> body =
          kernel::rewrite(element(emitter, coordinates), [&](const Expr& e) { return forms.simplify(e); });
      const Stmt loop = kernel::loop(v, begin, extent, kernel::LoopKind::kSerial, body);
      append(out, length < 8 ? std::vector<Stmt>{loop} : vector_loop(loop, lanes));
    }
    return out;
  }

  // What is read of one large value and streamed to memory, with little in between (Zen 3: relu 22.7 to 28
  // GB/s, but GELU 16.3 to 13.7).
  int streams_of_copy(Level level, const Tiling& tiling, bool loops, int lanes) const {
    const int64_t bytes = dtype_bits(out_->type.dtype) / 8;
    if (!cheap_ || region_.outputs.size() != 1 || large_inputs(region_, context_, level) > 1 ||
        !outgrows_caches(level, context_.hint(product(out_->type.shape)) * bytes))
      return 1;
    int64_t elements = loops ? 1 : lanes;
    for (size_t a = static_cast<size_t>(tiling.tiled) + 1; loops && a < axes_.size(); ++a)
      elements *= context_.hint(axes_[a].extent);
    return streams_of(machine(level).copy_streams, loops ? tiling.chunk : tiling.chunk / lanes,
                      elements * bytes);
  }

  struct Blocks {
    int lanes;
    int64_t slow, fast;       // sides: along what is read in runs, and across
    bool near = false;        // the next one fits L1
    bool along_runs = false;  // the next one goes on along the runs
    bool stores_runs = false;
    int loaded = 0;  // streams in which the next one is loaded while one is stored
  };
  Blocks blocks_from_memory(Level level, size_t across, int lanes) {
    const Dim &runs = axes_[across].extent, &rows = axes_.back().extent;
    const int bits = dtype_bits(out_->type.dtype);
    const Dim stride = context_.place(out_).strides[static_cast<size_t>(axes_[across].dims.back())];
    bool paged = stride.is_const() && stride.value() * bits % (kPage * 8) == 0;
    // Then rows that wait in a buffer need no smaller blocks (Zen 3: 4096 x 8192 1.3, 524288 x 64 1.7 to 2.7,
    // 65536 x 512 1.35 times as fast; but 3136 x 256, not whole pages, 0.8).
    const bool stores_runs = paged && machine(level).stored_run_bytes > kLineBytes;
    paged &= !stores_runs;
    const int64_t whole = paged ? kPagedRun : kWholeRow;
    const bool whole_rows = runs.is_const() && runs.value() <= whole;
    Blocks out{lanes, 0, kSquaresBlock};
    out.stores_runs = stores_runs;
    const int64_t long_run = stores_runs ? kWaitingRun : kLongRun;
    out.slow = even_side(runs, whole_rows ? whole : paged ? kPagedRun : long_run, lanes);
    out.near = whole_rows && 2 * out.slow * out.fast * 4 <= machine(level).l1_bytes;
    out.along_runs = !whole_rows && !paged;
    if (stores_runs && whole_rows && out.slow * kNearRuns <= kNearElements) {
      out.fast =
          std::clamp<int64_t>(kNearElements / out.slow / kNearRuns * kNearRuns, kNearRuns, kSquaresBlock);
      out.near = true;
    }
    const int64_t run = kLoadedRunBytes * 8 / bits;
    if (stores_runs && whole_rows && machine(level).copy_streams > 1 && runs.is_const(out.slow) &&
        rows.is_const() && rows.value() % run == 0 &&
        out.slow * run * bits / 8 * 2 <= machine(level).l2_bytes) {
      out.fast = run;
      out.near = true;
      out.loaded = machine(level).copy_streams;
    }
    if (out.near || (paged && whole_rows)) return out;
    // Two squares of half lines that are stored together (AVX-512: 1.1 to 1.2 times as fast as whole lines).
    if (!paged) out.lanes = std::min(lanes, kHalfLineBits / bits);
    const int64_t most = paged         ? kPagedRunsAtOnce
                         : stores_runs ? kWaitingRunsAtOnce
                                       : std::min(kRunsAtOnce, kBlockElements / out.slow);
    out.fast = even_side(rows, most, out.lanes * squares_of_line(out_->type.dtype, out.lanes));
    return out;
  }

  // Square blocks of the innermost axis and the axis along which the input is contiguous, so that both
  // sides' cache lines are used whole.
  void transposing(DispatchBuilder& dispatch, ElementEmitter& emitter, Level level, size_t across,
                   int64_t cost) {
    std::vector<NestAxis> outer;
    std::vector<size_t> outer_of;  // position in axes_
    for (size_t a = 0; a + 1 < axes_.size(); ++a) {
      if (a == across) continue;
      outer.push_back(axes_[a]);
      outer_of.push_back(a);
    }
    int lanes = std::min(nest_lanes(region_, level), static_cast<int>(kBlock));
    const bool squares = turns_in_registers(emitter, across, lanes);
    const bool from_memory =
        squares && comes_from_memory(level, context_.hint(product(out_->type.shape)) * 4);
    const int64_t side = squares ? kSquaresBlock : kBlock, narrow = narrow_side(across);
    if (!squares) lanes = std::min(lanes, static_cast<int>(narrow));
    const Blocks sides =
        from_memory ? blocks_from_memory(level, across, lanes) : Blocks{lanes, squares ? side : narrow, side};
    if (sides.lanes < lanes) dispatch.stream_halves();
    lanes = sides.lanes;
    const int64_t slow_side = sides.slow, fast_side = sides.fast;
    const bool along_runs = sides.along_runs;
    const Dim across_blocks = ceildiv(axes_[across].extent, slow_side),
              inner_blocks = ceildiv(axes_.back().extent, fast_side);
    outer.push_back(along_runs ? NestAxis{axes_.back().dims, inner_blocks}
                               : NestAxis{axes_[across].dims, across_blocks});
    outer.push_back(along_runs ? NestAxis{axes_[across].dims, across_blocks}
                               : NestAxis{axes_.back().dims, inner_blocks});
    const Tiling tiling = choose_tiling(context_, outer, cost * slow_side * fast_side * 2);
    NestParts parts = build_nest(
        dispatch, outer, tiling, outer.size(),
        [&](const std::vector<Expr>& blocks, const std::vector<AxisRange>&) -> std::vector<Stmt> {
          std::vector<Expr> coordinates(axes_.size());
          for (size_t k = 0; k < outer_of.size(); ++k) coordinates[outer_of[k]] = blocks[k];
          const auto range = [&](const Expr& block, const Dim& extent, int64_t length) -> AxisRange {
            const Expr begin = kernel::mul(block, int_const(length));
            if (extent.is_const() && extent.value() % length == 0) return {begin, int_const(length)};
            return {begin, kernel::min(int_const(length), kernel::sub(dispatch.expr(extent), begin))};
          };
          const Expr &first = blocks[blocks.size() - 2], &second = blocks.back();
          const Expr &slow_block = along_runs ? second : first, &fast_block = along_runs ? first : second;
          const AxisRange slow = range(slow_block, axes_[across].extent, slow_side);
          const AxisRange fast = range(fast_block, axes_.back().extent, fast_side);
          const kernel::Var s = kernel::make_var("s"), f = kernel::make_var("f");
          coordinates[across] = kernel::var_expr(s);
          coordinates.back() = kernel::var_expr(f);
          if (squares) {
            std::optional<BlockAhead> ahead;
            if (from_memory) {
              const auto at = [](const Expr& block, bool next, int64_t side) {
                return kernel::mul(next ? kernel::add(block, int_const(1)) : block, int_const(side));
              };
              const bool next_run = along_runs || inner_blocks.is_const(1);
              ahead = BlockAhead{at(slow_block, next_run, slow_side), at(fast_block, !next_run, fast_side),
                                 slow_side, fast_side};
              const Dim& row = axes_.back().extent;
              const int64_t line = lanes * squares_of_line(out_->type.dtype, lanes);
              ahead->near = sides.near;
              ahead->runs = sides.stores_runs;
              ahead->loaded = sides.loaded;
              ahead->last = dispatch.expr(axes_.back().extent - Dim(1));
              ahead->whole_lines = !sides.near && row.is_const() && row.value() % line == 0;
            }
            return turned_squares(element(emitter, coordinates), s, slow, f, fast, lanes, ahead);
          }
          if (is_narrow(axes_.back())) {
            AxisRange whole = slow;
            // The last block ends with the rows: some are stored again.
            const Dim& count = axes_[across].extent;
            if (count.is_const() && count.value() >= narrow)
              whole = {
                  kernel::min(kernel::mul(slow_block, int_const(narrow)), int_const(count.value() - narrow)),
                  int_const(narrow)};
            return narrow_rows(element(emitter, coordinates), s, whole, narrow, f,
                               static_cast<int>(axes_.back().extent.value()), lanes);
          }
          if (const Dim &few = axes_[across].extent, &many = axes_.back().extent;
              few.is_const() && few.value() < lanes && many.is_const() && many.value() >= kBlock) {
            // The last block ends with the lines, likewise.
            const Expr begin =
                kernel::min(kernel::mul(fast_block, int_const(kBlock)), int_const(many.value() - kBlock));
            std::vector<Stmt> columns = narrow_columns(element(emitter, coordinates), s,
                                                       static_cast<int>(few.value()), f, begin, lanes);
            if (!columns.empty()) return columns;
          }
          const Stmt inner = kernel::loop(f, fast.begin, fast.extent, kernel::LoopKind::kSerial,
                                          element(emitter, coordinates));
          return {
              kernel::loop(s, slow.begin, slow.extent, kernel::LoopKind::kSerial, vector_loop(inner, lanes))};
        });
    dispatch.add_variant(
        level, std::move(parts.grid), std::move(parts.body),
        fmt::format("transposing blocks of {}x{}{}", slow_side, fast_side, squares ? ", in registers" : ""));
  }

  bool turns_in_registers(ElementEmitter& emitter, size_t across, int lanes) {
    for (const size_t a : {across, axes_.size() - 1}) {
      const Dim& extent = axes_[a].extent;
      if (extent.is_const() && extent.value() < lanes) return false;
    }
    std::vector<Expr> coordinates;
    std::vector<kernel::Var> at;
    for (size_t a = 0; a < axes_.size(); ++a) {
      at.push_back(kernel::make_var("c"));
      coordinates.push_back(kernel::var_expr(at.back()));
    }
    return turns(element(emitter, coordinates), at[across], at.back());
  }

  // How many narrow rows make a block: as many as there are in whole vectors, where they are few (13 pixels
  // that become 26).
  int64_t narrow_side(size_t across) const {
    constexpr int64_t kLeast = 4;
    const Dim& rows = axes_[across].extent;
    if (!is_narrow(axes_.back()) || !rows.is_const() || rows.value() < kLeast || rows.value() >= kBlock)
      return kBlock;
    return static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(rows.value())));
  }

  // Rows of `width` elements, in blocks of `side`: whole loads along s, and whole stores where rows follow
  // each other; else stores scatter.
  static std::vector<Stmt> narrow_rows(const std::vector<Stmt>& store, const kernel::Var& s,
                                       const AxisRange& slow, int64_t side, const kernel::Var& f, int width,
                                       int lanes) {
    const Stmt line = kernel::loop(s, slow.begin, slow.extent, kernel::LoopKind::kSerial, store);
    const std::vector<Stmt> scattered{
        kernel::loop(f, int_const(0), int_const(width), kernel::LoopKind::kSerial, vector_loop(line, lanes))};
    std::vector<Stmt> whole;
    for (int64_t part = 0; part < side; part += lanes) {
      std::vector<Stmt> stores =
          interleaved(store, s, f, kernel::add(slow.begin, int_const(part)), width, lanes);
      if (stores.empty()) return scattered;
      whole.push_back(kernel::block(std::move(stores)));
    }
    if (slow.extent->kind == kernel::ExprKind::kConst) return whole;
    return {kernel::if_then(kernel::compare(scalar::ScalarOp::kEq, slow.extent, int_const(side)),
                            std::move(whole), scattered)};
  }

  // Lines that are columns of rows of `width` elements, kBlock of each from `first` on: whole loads of some
  // rows, whole stores. Empty where something is computed, or the rows do not lie so.
  static std::vector<Stmt> narrow_columns(const std::vector<Stmt>& store, const kernel::Var& s, int width,
                                          const kernel::Var& f, const Expr& first, int lanes) {
    if (store.size() != 1 || store[0]->kind != kernel::StmtKind::kStore || store[0]->count || width < 2)
      return {};
    const Expr& value = store[0]->value;
    const int bits = dtype_bits(value->type.dtype);
    if (value->kind != kernel::ExprKind::kLoad || value->args.size() != 1 || bits < 16 || bits > 64 ||
        value->type.dtype == DType::kBool)
      return {};
    kernel::IndexForms forms;
    const auto step = [&](const Expr& index, const kernel::Var& v) {
      const Expr next =
          kernel::substitute(index, {{v.get(), kernel::add(kernel::var_expr(v), int_const(1))}});
      const Expr difference = kernel::sub(next, index), simple = forms.simplify(difference);
      return kernel::int_value(simple ? simple : difference);
    };
    if (step(value->args[0], s) != 1 || step(value->args[0], f) != width || step(store[0]->index, f) != 1)
      return {};
    std::vector<Stmt> out;
    for (int64_t part = 0; part < kBlock; part += lanes) {
      std::vector<Stmt> one;
      const Expr at = kernel::add(first, int_const(part));
      const Expr from = kernel::substitute(value->args[0], {{s.get(), int_const(0)}, {f.get(), at}});
      std::vector<Expr> rows;
      for (int i = 0; i < width; ++i)
        rows.push_back(
            named("row", kernel::load(value->buffer, kernel::add(from, int_const(int64_t{i} * lanes)), lanes),
                  one));
      rows = separated(std::move(rows), one);
      for (int i = 0; i < width; ++i)
        one.push_back(kernel::store(
            store[0]->buffer, kernel::substitute(store[0]->index, {{s.get(), int_const(i)}, {f.get(), at}}),
            rows[static_cast<size_t>(i)]));
      out.push_back(kernel::block(std::move(one)));
    }
    return out;
  }

  const Region& region_;
  LoweringContext& context_;
  const Value* out_;
  std::vector<NestAxis> axes_;
  bool cheap_ = true, moved_ = false;  // moved: to other rows (put_rows.h)
};

}  // namespace

std::vector<Stmt> store_outputs(ElementEmitter& emitter, const std::vector<Expr>& index) {
  std::vector<Stmt> stores;
  for (const Value* v : emitter.dispatch().region().outputs)
    stores.push_back(emitter.store(v, index, emitter.element(v, index)));
  std::vector<Stmt> out = emitter.take_checks();
  out.insert(out.end(), stores.begin(), stores.end());
  return out;
}

void lower_elementwise(const Region& region, LoweringContext& context) {
  ElementwiseNest(region, context).run();
}

}  // namespace tern::lower
