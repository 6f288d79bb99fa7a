#include "compiler/lower/gpu/transposing_nest.h"

#include <algorithm>

#include "compiler/lower/loop_writer.h"

namespace tern::lower::gpu {
namespace {

using kernel::Expr;
using kernel::int_const;
using kernel::ScalarOp;
using kernel::Stmt;
using kernel::var_expr;

constexpr int64_t kSide = 32;  // of a square

// One sweep of the workgroup over its square: body(slow, fast) for every element, fast along the threads.
std::vector<Stmt> sweep(const Expr& thread, int threads,
                        const std::function<std::vector<Stmt>(const Expr& slow, const Expr& fast)>& body) {
  const int64_t rows = threads / kSide;
  const kernel::Var u = kernel::make_var("u"), slow = kernel::make_var("slow"),
                    fast = kernel::make_var("fast");
  std::vector<Stmt> step = {kernel::let(fast, kernel::index_rem(thread, int_const(kSide))),
                            kernel::let(slow, kernel::add(kernel::mul(var_expr(u), int_const(rows)),
                                                          kernel::index_div(thread, int_const(kSide))))};
  append(step, body(var_expr(slow), var_expr(fast)));
  return {kernel::loop(u, int_const(0), int_const(kSide / rows), kernel::LoopKind::kUnroll, std::move(step))};
}

}  // namespace

bool add_transposing_variant(DispatchBuilder& dispatch, ElementEmitter& emitter, Level level,
                             const std::vector<NestAxis>& axes, size_t across,
                             const std::function<Index(const std::vector<Expr>&)>& index_of) {
  const Region& region = dispatch.region();
  if (region.outputs.size() != 1) return false;
  const graph::Value* out = region.outputs[0];
  const auto hint = [&](size_t a) { return dispatch.context().hint(axes[a].extent); };
  const size_t inner = axes.size() - 1;
  if (dtype_bits(out->type.dtype) < 8 || hint(across) < kSide / 4 || hint(inner) < kSide / 4) return false;

  const int threads = std::min(256, gpu_model(level).max_threads);
  const kernel::Var thread = kernel::make_var("t"), group = kernel::make_var("group");
  std::vector<NestAxis> blocks;
  for (size_t a = 0; a < axes.size(); ++a) {
    const bool square = a == across || a == inner;
    blocks.push_back({axes[a].dims, square ? ceildiv(axes[a].extent, kSide) : axes[a].extent});
  }
  const Dim tiles = point_count(blocks);
  std::vector<Stmt> body;
  const std::vector<Expr> at = split_position(dispatch, blocks, var_expr(group), body);
  // One more column keeps the threads of a subgroup on different banks.
  const kernel::Buffer square = kernel::make_buffer("square", {out->type.dtype, 1}, kernel::Scope::kWorkgroup,
                                                    kernel::Access::kReadWrite, kSide * (kSide + 1));
  body.push_back(kernel::alloc(square));
  const auto inside = [&](const Expr& a, const Expr& i) {
    std::vector<Expr> coordinates = at;
    Expr ok;
    for (const auto& [axis, offset] : {std::pair{across, a}, std::pair{inner, i}}) {
      coordinates[axis] = kernel::add(kernel::mul(at[axis], int_const(kSide)), offset);
      const Dim& extent = axes[axis].extent;
      if (extent.is_const() && extent.value() % kSide == 0) continue;
      const Expr here = kernel::compare(ScalarOp::kLt, coordinates[axis], dispatch.expr(extent));
      ok = ok ? kernel::op(ScalarOp::kAnd, {ok, here}) : here;
    }
    return std::pair{coordinates, ok};
  };
  const auto where = [&](const Expr& a, const Expr& i) {
    return kernel::add(kernel::mul(a, int_const(kSide + 1)), i);
  };
  const auto guarded = [&](const Expr& ok, std::vector<Stmt> s) {
    return ok ? std::vector<Stmt>{kernel::if_then(ok, std::move(s))} : s;
  };
  append(body, sweep(var_expr(thread), threads, [&](const Expr& i, const Expr& a) {
           const auto [coordinates, ok] = inside(a, i);
           const Expr value = emitter.element(out, index_of(coordinates));
           std::vector<Stmt> s = emitter.take_checks();
           s.push_back(kernel::store(square, where(a, i), value));
           return guarded(ok, std::move(s));
         }));
  body.push_back(kernel::barrier());
  append(body, sweep(var_expr(thread), threads, [&](const Expr& a, const Expr& i) {
           const auto [coordinates, ok] = inside(a, i);
           return guarded(ok, {emitter.store(out, index_of(coordinates), kernel::load(square, where(a, i)))});
         }));
  dispatch.add_variant(level, {{group, tiles, dispatch.expr(tiles)}}, std::move(body),
                       fmt::format("transposing squares of {0}x{0}", kSide), {threads, thread});
  return true;
}

}  // namespace tern::lower::gpu
