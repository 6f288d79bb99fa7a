#include "compiler/lower/gpu/flat_nest.h"

#include <algorithm>

#include "compiler/kernel/vectorize.h"
#include "compiler/lower/loop_writer.h"

namespace tern::lower::gpu {
namespace {

using kernel::Expr;
using kernel::int_const;
using kernel::ScalarOp;
using kernel::Stmt;
using kernel::var_expr;

// Elements that share a byte with others: how many a thread must compute together; 0: any number may meet.
int64_t byte_granule(DispatchBuilder& dispatch) {
  int64_t granule = 1;
  for (const graph::Value* v : dispatch.region().outputs) {
    const int bits = dtype_bits(v->type.dtype);
    if (bits >= 8) continue;
    const Place& place = dispatch.context().place(v);
    const int64_t own = 8 / bits;
    const bool whole_bytes =
        is_contiguous(place, v->type.shape) && place.offset.is_const() && place.offset.value() % own == 0;
    if (!whole_bytes) return 0;
    granule = std::max(granule, own);
  }
  return granule;
}

// The elements of one unit as a loop, for the vectoriser.
Stmt vector_body(std::vector<Expr> coordinates, int width, const ElementBody& body) {
  const kernel::Var v = kernel::make_var("v");
  coordinates.back() = kernel::add(kernel::mul(coordinates.back(), int_const(width)), var_expr(v));
  return kernel::loop(v, int_const(0), int_const(width), kernel::LoopKind::kSerial, body(coordinates));
}

// Neighbours along the innermost axis that a thread computes as one vector, so that its accesses are one: 4,
// or 1 where that leaves too few threads or the statements are none that vectors can do.
int vector_width(const std::vector<NestAxis>& axes, int64_t elements, const GpuModel& model,
                 const ElementBody& body) {
  constexpr int kWidth = 4;
  if (axes.empty() || !axes.back().extent.is_const() || axes.back().extent.value() % kWidth != 0) return 1;
  if (elements < int64_t{model.cores} * 128 * kWidth) return 1;
  std::vector<Expr> coordinates;
  for (size_t a = 0; a < axes.size(); ++a)
    coordinates.push_back(var_expr(kernel::make_var(fmt::format("i{}", a))));
  return kernel::why_not_vectorizable(vector_body(coordinates, kWidth, body)).empty() ? kWidth : 1;
}

int round_to_subgroup(int64_t n) {
  return static_cast<int>((n + 31) / 32 * 32);
}

}  // namespace

std::string FlatSchedule::text() const {
  return fmt::format("{} threads, {} {} each", threads, per_thread, per_thread == 1 ? "element" : "elements");
}

FlatSchedule default_flat_schedule(int64_t elements, int64_t element_cost, const GpuModel& model) {
  FlatSchedule s;
  s.threads = std::min(256, model.max_threads);
  // Little work: more multiprocessors rather than full workgroups.
  while (s.threads > 64 && elements <= int64_t{s.threads} * model.cores) s.threads /= 2;
  if (elements < s.threads) s.threads = round_to_subgroup(std::max<int64_t>(elements, 1));
  // Several elements hide the latency of a cheap one, once every multiprocessor has threads enough.
  const int64_t crowd = int64_t{model.cores} * 2048;
  while (element_cost <= 16 && s.per_thread < 4 && elements >= crowd * s.per_thread * 2) s.per_thread *= 2;
  return s;
}

Dim point_count(const std::vector<NestAxis>& axes) {
  Dim n = 1;
  for (const NestAxis& a : axes) n = n * a.extent;
  return n;
}

std::vector<Expr> split_position(DispatchBuilder& dispatch, const std::vector<NestAxis>& axes,
                                 const Expr& position, std::vector<Stmt>& out) {
  std::vector<Expr> coordinates(axes.size());
  Expr rest = position;
  const auto named = [&](const std::string& name, const Expr& value) {
    const kernel::Var v = kernel::make_var(name);
    out.push_back(kernel::let(v, value));
    return var_expr(v);
  };
  for (size_t a = axes.size(); a-- > 0;) {
    if (a == 0) {
      coordinates[a] = rest;
      break;
    }
    const Expr extent = dispatch.expr(axes[a].extent);
    coordinates[a] = named(fmt::format("i{}", a), kernel::index_rem(rest, extent));
    rest = named(fmt::format("rest{}", a), kernel::index_div(rest, extent));
  }
  return coordinates;
}

void add_flat_variant(DispatchBuilder& dispatch, Level level, const std::vector<NestAxis>& axes,
                      int64_t element_cost, const ElementBody& body, const std::string& what) {
  const int64_t granule = byte_granule(dispatch);
  const int64_t elements = dispatch.context().hint(point_count(axes));
  const int width = granule == 1 ? vector_width(axes, elements, gpu_model(level), body) : 1;
  std::vector<NestAxis> units = axes;  // of `width` elements each
  if (width > 1) units.back().extent = floordiv(units.back().extent, width);
  const Dim total = point_count(units);
  FlatSchedule s = default_flat_schedule(elements / width, element_cost * granule * width, gpu_model(level));
  const kernel::Var thread = kernel::make_var("t");
  const Expr n = dispatch.expr(total);
  const auto element = [&](const Expr& position) {
    std::vector<Stmt> out;
    std::vector<Expr> coordinates = split_position(dispatch, units, position, out);
    append(out, width == 1 ? body(coordinates) : vector_loop(vector_body(coordinates, width, body), width));
    return out;
  };
  if (granule == 0) {
    const kernel::Var i = kernel::make_var("i");
    std::vector<Stmt> all = {
        kernel::loop(i, int_const(0), n, kernel::LoopKind::kSerial, element(var_expr(i)))};
    dispatch.add_variant(level, {}, std::move(all), what + ", one thread: elements share bytes", {1, thread});
    return;
  }
  if (granule > 1) s.per_thread = static_cast<int>(granule);
  const int64_t tile = int64_t{s.threads} * s.per_thread;
  const Dim tiles = ceildiv(total, tile);
  const kernel::Var group = kernel::make_var("group"), u = kernel::make_var("u"),
                    flat = kernel::make_var("at");
  // Elements of one byte are neighbours; else each step of the workgroup is one run of memory.
  const Expr inside = granule > 1
                          ? kernel::add(kernel::mul(var_expr(thread), int_const(granule)), var_expr(u))
                          : kernel::add(kernel::mul(var_expr(u), int_const(s.threads)), var_expr(thread));
  std::vector<Stmt> step = {
      kernel::let(flat, kernel::add(kernel::mul(var_expr(group), int_const(tile)), inside))};
  std::vector<Stmt> one = element(var_expr(flat));
  const bool even = total.is_const() && total.value() % tile == 0;
  if (even) {
    append(step, std::move(one));
  } else {
    step.push_back(kernel::if_then(kernel::compare(ScalarOp::kLt, var_expr(flat), n), std::move(one)));
  }
  std::vector<Stmt> all = {
      kernel::loop(u, int_const(0), int_const(s.per_thread), kernel::LoopKind::kUnroll, std::move(step))};
  std::vector<kernel::GridAxis> grid;
  if (!tiles.is_const(1)) {
    grid.push_back({group, tiles, dispatch.expr(tiles)});
  } else {
    all.insert(all.begin(), kernel::let(group, int_const(0)));
  }
  const std::string vectors = width > 1 ? fmt::format(" of {}", width) : "";
  dispatch.add_variant(level, std::move(grid), std::move(all), what + ", " + s.text() + vectors,
                       {s.threads, thread});
}

}  // namespace tern::lower::gpu
