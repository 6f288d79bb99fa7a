#include "compiler/lower/nest_axes.h"

#include <algorithm>

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/vectorize.h"
#include "compiler/lower/regions.h"

namespace tern::lower {
namespace {

using graph::Node;
using graph::OpKind;
using graph::Value;
using kernel::Expr;
using kernel::int_const;
using kernel::Stmt;

// A coordinate of a value in terms of the space: dimension (or -1) and factor.
struct Coordinate {
  int dim = -1;
  int64_t factor = 1;
};
using Coordinates = std::vector<Coordinate>;

class Collector {
 public:
  Collector(const Region& region, LoweringContext& context, size_t rank,
            const std::vector<const Value*>& stops)
      : region_(region), context_(context), stops_(stops) {
    out_.pinned.assign(rank, false);
  }

  RegionAccesses run(const Value* value) {
    Coordinates identity;
    for (size_t d = 0; d < out_.pinned.size(); ++d) identity.push_back({static_cast<int>(d), 1});
    visit(value, identity, true);
    return std::move(out_);
  }

 private:
  void pin(const Coordinate& c) {
    if (c.dim >= 0) out_.pinned[static_cast<size_t>(c.dim)] = true;
  }

  void load(const Value* value, const Coordinates& at, bool identity) {
    AccessStrides access{value, std::vector<Dim>(out_.pinned.size(), Dim(0)), identity};
    const Place& place = context_.place(value);
    for (size_t d = 0; d < at.size(); ++d) {
      if (at[d].dim < 0 || value->type.shape[d].is_const(1)) continue;
      Dim& s = access.strides[static_cast<size_t>(at[d].dim)];
      s = s + place.strides[d] * Dim(at[d].factor);
    }
    out_.loads.push_back(std::move(access));
  }

  void visit(const Value* value, const Coordinates& at, bool identity) {
    if (std::find(stops_.begin(), stops_.end(), value) != stops_.end()) return;
    if (++visits_ > 4000) return;
    const bool inlined = value->def && region_.contains(value->def);
    if (!inlined) {
      if (!LoweringContext::splat(value)) load(value, at, identity);
      return;
    }
    node(*value->def, at, identity);
  }

  void node(const Node& n, const Coordinates& at, bool identity) {
    switch (n.kind) {
      case OpKind::kMap:
        ++out_.ops;
        if (scalar::info(n.scalar_op()).expensive) ++out_.expensive_ops;
        for (const Value* v : n.operands) visit(v, at, identity);
        return;
      case OpKind::kCast:
      case OpKind::kBitcast:
      case OpKind::kLookup:
        ++out_.ops;
        visit(n.operand(), at, identity);
        return;
      case OpKind::kIota:
        pin(at[static_cast<size_t>(n.int_attr("axis"))]);
        return;
      case OpKind::kFromDims:
        for (const Coordinate& c : at) pin(c);
        return;
      case OpKind::kReshape:
        reshape(n, at);
        return;
      default:
        movement(n, at);
    }
  }

  // Dimensions that stay what they are, those of extent 1 aside, are followed; those that are joined or split
  // are opaque.
  void reshape(const Node& n, const Coordinates& at) {
    const Shape& from = n.operand()->type.shape;
    const Shape& to = n.result()->type.shape;
    Coordinates real;
    std::vector<Dim> from_real, to_real;
    for (size_t d = 0; d < to.size(); ++d) {
      if (to[d].is_const(1)) continue;
      real.push_back(at[d]);
      to_real.push_back(to[d]);
    }
    for (const Dim& d : from) {
      if (!d.is_const(1)) from_real.push_back(d);
    }
    Coordinates kept(from_real.size());
    size_t f = 0, t = 0;
    // Dimensions of one product; false where that is not known.
    const auto take_group = [&] {
      Dim before = from_real[f++], after = to_real[t];
      pin(real[t++]);
      while (!(before == after)) {
        if (!before.is_const() || !after.is_const()) return false;
        const bool more = before.value() < after.value();
        if (more ? f == from_real.size() : t == to_real.size()) return false;
        if (more) {
          before = before * from_real[f++];
        } else {
          after = after * to_real[t];
          pin(real[t++]);
        }
      }
      return true;
    };
    while (f < from_real.size() && t < to_real.size()) {
      if (from_real[f] == to_real[t]) {
        kept[f++] = real[t++];
      } else if (!take_group()) {
        break;
      }
    }
    for (; t < to_real.size(); ++t) pin(real[t]);
    Coordinates out(from.size());
    size_t next = 0;
    for (size_t d = 0; d < from.size(); ++d) {
      if (!from[d].is_const(1)) out[d] = kept[next++];
    }
    visit(n.operand(), out, false);
  }

  void movement(const Node& n, const Coordinates& at) {
    const Shape& from = n.operand()->type.shape;
    Coordinates out;
    switch (n.kind) {
      case OpKind::kBroadcast: {
        const Shape& to = n.result()->type.shape;
        for (size_t d = 0; d < from.size(); ++d) {
          const size_t t = d + to.size() - from.size();
          out.push_back(from[d] == to[t] ? at[t] : Coordinate{});
        }
        break;
      }
      case OpKind::kTranspose:
        out.resize(at.size());
        for (size_t d = 0; d < at.size(); ++d) out[static_cast<size_t>(n.ints("perm")[d])] = at[d];
        break;
      case OpKind::kSlice:
        out = at;
        for (size_t d = 0; d < at.size(); ++d) out[d].factor *= n.ints("steps")[d];
        break;
      case OpKind::kPad:
        out = at;
        for (size_t d = 0; d < at.size(); ++d) {
          if (n.dims("low")[d].is_const(0) && n.dims("high")[d].is_const(0)) continue;
          pin(at[d]);
          if (n.str("mode") != "constant") out[d] = {};
        }
        visit(n.operand(1), {}, false);
        break;
      case OpKind::kConcat:
        pin(at[static_cast<size_t>(n.int_attr("axis"))]);
        for (const Value* v : n.operands) visit(v, at, false);
        return;
      case OpKind::kGather:
        return gather(n, at);
      case OpKind::kGatherElements:
        visit(n.operand(1), at, false);
        out = at;
        out[static_cast<size_t>(n.int_attr("axis"))] = {};
        break;
      case OpKind::kGatherNd: {
        const Shape& index_shape = n.operand(1)->type.shape;
        const size_t lead = index_shape.size() - 1;
        Coordinates where(at.begin(), at.begin() + static_cast<std::ptrdiff_t>(lead));
        where.push_back({});
        visit(n.operand(1), where, false);
        const auto batch = static_cast<size_t>(n.int_attr("batch_dims"));
        out.assign(at.begin(), at.begin() + static_cast<std::ptrdiff_t>(batch));
        for (int64_t k = 0; k < index_shape.back().value(); ++k) out.push_back({});
        out.insert(out.end(), at.begin() + static_cast<std::ptrdiff_t>(lead), at.end());
        break;
      }
      default:
        TERN_UNREACHABLE("op {} cannot be inlined", graph::info(n.kind).name);
    }
    visit(n.operand(), out, false);
  }

  void gather(const Node& n, const Coordinates& at) {
    const auto axis = static_cast<std::ptrdiff_t>(n.int_attr("axis"));
    const auto count = static_cast<std::ptrdiff_t>(n.operand(1)->type.rank());
    visit(n.operand(1), Coordinates(at.begin() + axis, at.begin() + axis + count), false);
    Coordinates out(at.begin(), at.begin() + axis);
    out.push_back({});
    out.insert(out.end(), at.begin() + axis + count, at.end());
    visit(n.operand(), out, false);
  }

  const Region& region_;
  LoweringContext& context_;
  const std::vector<const Value*>& stops_;
  RegionAccesses out_;
  int visits_ = 0;
};

}  // namespace

RegionAccesses collect_accesses(const Region& region, LoweringContext& context, const Value* value,
                                const std::vector<const Value*>& stops) {
  return Collector(region, context, value->type.shape.size(), stops).run(value);
}

std::vector<NestAxis> merge_axes(const Shape& shape, const std::vector<int>& order,
                                 const std::vector<AccessStrides>& accesses,
                                 const std::vector<bool>& pinned) {
  std::vector<NestAxis> out;
  for (const int d : order) {
    const auto dim = static_cast<size_t>(d);
    if (shape[dim].is_const(1)) continue;
    bool merges = !out.empty() && !pinned[dim] && !pinned[static_cast<size_t>(out.back().dims.back())];
    if (merges) {
      const auto outer = static_cast<size_t>(out.back().dims.back());
      for (const AccessStrides& a : accesses) merges &= a.strides[outer] == a.strides[dim] * shape[dim];
    }
    if (merges) {
      out.back().dims.push_back(d);
      out.back().extent = out.back().extent * shape[dim];
    } else {
      out.push_back({{d}, shape[dim]});
    }
  }
  return out;
}

Tiling choose_tiling(const LoweringContext& context, const std::vector<NestAxis>& axes, int64_t element_cost,
                     int64_t target_cost) {
  Tiling out;
  if (axes.empty()) return out;
  int64_t inner = std::max<int64_t>(element_cost, 1);
  for (size_t a = axes.size(); a-- > 0;) {
    const int64_t extent = context.hint(axes[a].extent);
    if (a == 0 || inner * extent >= target_cost) {
      out.tiled = static_cast<int>(a);
      int64_t chunk = std::max<int64_t>(target_cost / inner, 1);
      // Whole cache lines and vectors on the innermost axis.
      if (a + 1 == axes.size()) chunk = (chunk + 63) / 64 * 64;
      if (axes[a].extent.is_const()) {
        const int64_t n = std::max<int64_t>(axes[a].extent.value(), 1);
        if (chunk >= n) {
          chunk = n;
        } else if (a + 1 < axes.size()) {  // even chunks
          const int64_t pieces = (n + chunk - 1) / chunk;
          chunk = (n + pieces - 1) / pieces;
        }
      }
      out.chunk = chunk;
      return out;
    }
    inner *= extent;
  }
  return out;
}

NestParts build_nest(
    DispatchBuilder& dispatch, const std::vector<NestAxis>& axes, const Tiling& tiling, size_t body_axes,
    const std::function<std::vector<kernel::Stmt>(const std::vector<Expr>&, const std::vector<AxisRange>&)>&
        innermost) {
  NestParts out;
  std::vector<Expr> coordinates(axes.size());
  std::vector<AxisRange> ranges;
  for (const NestAxis& a : axes) ranges.push_back({int_const(0), dispatch.expr(a.extent)});
  std::vector<kernel::Var> loops(axes.size());
  const auto tiled = static_cast<size_t>(tiling.tiled);
  if (axes.empty()) {
    out.body = innermost(coordinates, ranges);
    return out;
  }
  for (size_t a = 0; a < tiled && a < body_axes; ++a) {
    const kernel::Var v = kernel::make_var(fmt::format("g{}", a));
    out.grid.push_back({v, axes[a].extent, dispatch.expr(axes[a].extent)});
    coordinates[a] = kernel::var_expr(v);
  }
  const bool whole = axes[tiled].extent.is_const() && axes[tiled].extent.value() <= tiling.chunk;
  if (!whole && tiled < axes.size()) {
    const Dim tiles = ceildiv(axes[tiled].extent, tiling.chunk);
    const kernel::Var v = kernel::make_var("tile");
    out.grid.push_back({v, tiles, dispatch.expr(tiles)});
    const Expr begin = kernel::mul(kernel::var_expr(v), int_const(tiling.chunk));
    const bool even = axes[tiled].extent.is_const() && axes[tiled].extent.value() % tiling.chunk == 0;
    const Expr extent =
        even ? int_const(tiling.chunk)
             : kernel::min(int_const(tiling.chunk), kernel::sub(dispatch.expr(axes[tiled].extent), begin));
    ranges[tiled] = {begin, extent};
  }
  for (size_t a = tiled; a < body_axes; ++a) {
    loops[a] = kernel::make_var(fmt::format("i{}", a));
    coordinates[a] = kernel::var_expr(loops[a]);
  }
  std::vector<kernel::Stmt> body = innermost(coordinates, ranges);
  for (size_t a = body_axes; a-- > tiled;) {
    body = {kernel::loop(loops[a], ranges[a].begin, ranges[a].extent, kernel::LoopKind::kSerial,
                         std::move(body))};
  }
  out.body = std::move(body);
  return out;
}

Index axis_index(const std::vector<NestAxis>& axes, size_t rank, const std::vector<Expr>& coordinates) {
  Index out(rank, int_const(0));
  for (size_t a = 0; a < axes.size(); ++a) {
    if (coordinates[a]) out[static_cast<size_t>(axes[a].dims.back())] = coordinates[a];
  }
  return out;
}

std::vector<Level> variant_levels(const Target& target, Covers nest) {
  if (!is_gpu(target.arch)) return target.levels;
  std::vector<Level> out;
  for (const Level level : target.levels) {
    const Covers covers = gpu_model(level).covers;
    const bool covered = covers == Covers::kAll || covers == nest ||
                         (nest == Covers::kBytes && covers == Covers::kContractions);
    if (out.empty() || covered) out.push_back(level);
  }
  return out;
}

// A nest with one value of 64 bits in so many has the lanes of the others.
constexpr int kWideShare = 4;

int nest_lanes(const Region& region, Level level) {
  int bits = 8, wide = 0, others = 0;
  bool moves = true;
  const auto see = [&](const Value* v) {
    bits = std::max(bits, dtype_bits(v->type.dtype));
    ++(dtype_bits(v->type.dtype) > 32 ? wide : others);
  };
  for (const Value* v : region.inputs) see(v);
  for (const Node* n : region.nodes) {
    for (const Value* v : n->results) see(v);
    const bool copies = n->kind == OpKind::kCast && n->operand()->type.dtype == n->result()->type.dtype;
    moves &= copies || is_view(*n);
  }
  // A mask of integers before a softmax is two vectors then, and the softmax is not halves.
  if (bits > 32 && wide * kWideShare <= others) bits = 32;
  // 16-bit floats compute in f32.
  if (bits == 16 && !moves) bits = 32;
  return std::max(machine(level).vector_bits / std::min(bits, 64), 1);
}

std::vector<kernel::Stmt> vector_loop(const kernel::Stmt& loop, int lanes, int interleave) {
  if (lanes <= 1 || !kernel::why_not_vectorizable(loop).empty()) return {loop};
  return kernel::vectorize_loop(loop, lanes, interleave);
}

std::vector<Stmt> overlapping_vectors(const Stmt& loop, int lanes) {
  const std::optional<int64_t> extent = kernel::int_value(loop->extent);
  if (!extent || *extent <= 1) return vector_loop(loop, lanes);
  while (lanes > *extent) lanes /= 2;
  const int64_t full = *extent / lanes * lanes;
  std::vector<Stmt> out = vector_loop(
      kernel::loop(loop->var, loop->begin, int_const(full), loop->loop, std::vector<Stmt>(loop->body)),
      lanes);
  if (full == *extent) return out;
  const Expr last = kernel::add(loop->begin, int_const(*extent - lanes));
  for (Stmt& s : vector_loop(
           kernel::loop(loop->var, last, int_const(lanes), loop->loop, std::vector<Stmt>(loop->body)), lanes))
    out.push_back(std::move(s));
  return out;
}

}  // namespace tern::lower
