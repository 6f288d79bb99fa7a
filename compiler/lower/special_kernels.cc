#include "compiler/lower/special_kernels.h"

#include <algorithm>

#include "compiler/kernel/assign_scratch.h"
#include "compiler/lower/loop_writer.h"
#include "compiler/lower/nest_axes.h"
#include "compiler/lower/special_sort.h"
#include "schemas/abi/kernel_abi.h"

namespace tern::lower {
namespace {

using kernel::Access;
using kernel::Buffer;
using kernel::Expr;
using kernel::ScalarOp;

Expr is_nonzero(LoopWriter& w, DType dtype, const Expr& v) {
  if (dtype == DType::kBool) return v;
  return w.ne(v, is_float(dtype) ? kernel::float_const(0, dtype) : kernel::int_const(0, dtype));
}

// index in [-extent, extent) made non-negative; anything else ends the kernel.
Expr checked_index(LoopWriter& w, const Expr& raw, const Expr& extent) {
  const Expr wide = w.let("raw", kernel::cast(raw, DType::kI64));
  const Expr at = w.let("at", kernel::select(w.lt(wide, w.i(0)), kernel::add(wide, extent), wide));
  w.when(w.either(w.lt(at, w.i(0)), w.le(extent, at)), [&] { w.fail(TERN_KERNEL_INDEX_OUT_OF_RANGE); });
  return at;
}

Shape tail(const Shape& shape, size_t from) {
  return Shape(shape.begin() + static_cast<std::ptrdiff_t>(from), shape.end());
}

// What a tile of a scatter does: `rows` of the axes in front of the indexed one, `width` elements of those
// behind it. Each looks at the indices of its lines, so there are no more tiles than the work pays for.
struct Lines {
  int64_t rows = 1, width = 1;
};
Lines lines_of_tile(const Dim& outer, const Dim& inner, const Dim& updates) {
  constexpr int64_t kWork = 8192, kParts = 8, kLine = 16;  // updates of a tile; elements that share a line
  constexpr int64_t kAll = int64_t{1} << 40;
  const int64_t length = updates.is_const() ? std::max<int64_t>(updates.value(), 1) : kWork;
  if (!inner.is_const()) return {1, kAll};
  const int64_t all = std::max<int64_t>(inner.value(), 1);
  Lines lines;
  const int64_t most = std::clamp<int64_t>(length * all / kWork, 1, kParts);
  lines.width =
      most == 1 ? all : std::min(all, (std::max<int64_t>(all / most, 1) + kLine - 1) / kLine * kLine);
  lines.rows = std::max<int64_t>(1, kWork / (length * all));
  if (outer.is_const()) lines.rows = std::min(lines.rows, std::max<int64_t>(outer.value(), 1));
  return lines;
}

}  // namespace

Expr scatter_combine(const std::string& reduction, const Expr& old, const Expr& update) {
  if (reduction == "add") return kernel::add(old, update);
  if (reduction == "mul") return kernel::mul(old, update);
  if (reduction == "min") return kernel::min(old, update);
  if (reduction == "max") return kernel::max(old, update);
  TERN_CHECK(reduction == "none", "unknown scatter reduction {}", reduction);
  return update;
}

SpecialKernel top_k_kernel(DType dtype, Dim outer, Dim n_dim, Dim inner_dim, Dim k_dim, bool largest,
                           const SpecialMachine& machine, kernel::ParamTable& params) {
  SpecialKernel out;
  const Buffer in = global("input", dtype, Access::kRead), values = global("values", dtype, Access::kWrite);
  const Buffer indices = global("indices", DType::kI64, Access::kWrite),
               work = global("work", DType::kI64, Access::kReadWrite);
  out.bindings = {in, values, indices, work};
  const kernel::Var o = kernel::make_var("o"), l = kernel::make_var("l");
  out.grid = {{o, outer, params.expr(outer)}, {l, inner_dim, params.expr(inner_dim)}};
  LoopWriter w;
  const Expr n = params.expr(n_dim), inner = params.expr(inner_dim), k = params.expr(k_dim);
  const Expr first = w.let("first", kernel::add(kernel::mul(kernel::mul(w.get(o), n), inner), w.get(l)));
  const Expr base =
      w.let("base", kernel::mul(kernel::add(kernel::mul(w.get(o), inner), w.get(l)), kernel::mul(n, w.i(2))));
  const auto at = [&](Expr p) { return w.load(in, kernel::add(first, kernel::mul(p, inner))); };
  // Neighbouring lines as lanes.
  constexpr int64_t kMostInLanes = 8, kLines = 256;
  const bool in_lanes = machine.lanes > 1 && inner_dim.is_const() && inner_dim.value() >= machine.lanes &&
                        k_dim.is_const() && k_dim.value() <= kMostInLanes && n_dim.is_const() &&
                        n_dim.value() >= k_dim.value();
  if (LoopWriter lanes;
      in_lanes && PositionSort(lanes, dtype, largest, machine.keys, work, base, at).has_keys()) {
    const Dim tiles = ceildiv(inner_dim, kLines);
    const kernel::Var tile = kernel::make_var("tile");
    out.grid = {{o, outer, params.expr(outer)}, {tile, tiles, params.expr(tiles)}};
    const Expr column = w.get(l);
    const auto element = [&](const Expr& p) {
      return lanes.load(in,
                        kernel::add(kernel::mul(kernel::add(kernel::mul(w.get(o), n), p), inner), column));
    };
    PositionSort sort(lanes, dtype, largest, true, work, w.i(0), element);
    const std::vector<Expr> best = sort.pass_through(n, k_dim.value());
    for (size_t j = 0; j < best.size(); ++j) {
      const Expr to = kernel::add(
          kernel::mul(kernel::add(kernel::mul(w.get(o), k), w.i(static_cast<int64_t>(j))), inner), column);
      const Expr position = lanes.let("position", sort.position_of(best[j]));
      lanes.store(indices, to, position);
      lanes.store(values, to, element(position));
    }
    const Expr begin = kernel::mul(w.get(tile), w.i(kLines));
    const Expr count = tiles.is_const(1) ? inner : kernel::min(w.i(kLines), kernel::sub(inner, begin));
    out.body =
        vector_loop(kernel::loop(l, begin, count, kernel::LoopKind::kSerial, lanes.take()), machine.lanes);
    return out;
  }
  PositionSort sort(w, dtype, largest, machine.keys, work, base, at);
  PositionSort::VectorAt vector;
  vector.lanes = machine.lanes;
  if (dtype == DType::kF32 && inner_dim.is_const(1) && machine.lanes > 1)
    vector = {machine.lanes,
              [&](const Expr& p) { return kernel::load(in, kernel::add(first, p), machine.lanes); }};
  const Expr sorted = sort.run_first(n, k, vector);
  w.loop("j", k, [&](Expr j) {
    const Expr to =
        w.let("to_at", kernel::add(kernel::mul(kernel::add(kernel::mul(w.get(o), k), j), inner), w.get(l)));
    const Expr position = w.let("position", sort.position(sorted, j));
    w.store(indices, to, position);
    w.store(values, to, at(position));
  });
  out.body = w.take();
  return out;
}

SpecialKernel nonzero_count_kernel(DType dtype, const Shape& shape, kernel::ParamTable& params) {
  SpecialKernel out;
  const Buffer in = global("input", dtype, Access::kRead),
               count = global("count", DType::kI64, Access::kWrite);
  out.bindings = {in, count};
  LoopWriter w;
  const kernel::Var total = w.declare("total", w.i(0));
  w.loop("i", params.expr(product(shape)),
         [&](Expr i) { w.when(is_nonzero(w, dtype, w.load(in, i)), [&] { w.bump(total); }); });
  w.store(count, w.i(0), w.get(total));
  out.body = w.take();
  return out;
}

SpecialKernel nonzero_kernel(DType dtype, const Shape& shape, Dim stride, kernel::ParamTable& params) {
  SpecialKernel out;
  const Buffer in = global("input", dtype, Access::kRead),
               indices = global("indices", DType::kI64, Access::kWrite);
  out.bindings = {in, indices};
  LoopWriter w;
  const kernel::Var found = w.declare("found", w.i(0));
  w.loop("i", params.expr(product(shape)), [&](Expr i) {
    w.when(is_nonzero(w, dtype, w.load(in, i)), [&] {
      for (size_t d = 0; d < shape.size(); ++d) {
        Expr coordinate = kernel::index_div(i, params.expr(product(tail(shape, d + 1))));
        if (d > 0) coordinate = kernel::index_rem(coordinate, params.expr(shape[d]));
        w.store(indices,
                kernel::add(kernel::mul(w.i(static_cast<int64_t>(d)), params.expr(stride)), w.get(found)),
                coordinate);
      }
      w.bump(found);
    });
  });
  out.body = w.take();
  return out;
}

SpecialKernel scatter_elements_kernel(DType dtype, DType index_dtype, const Shape& data_shape,
                                      const Shape& update_shape, int axis, const std::string& reduction,
                                      kernel::ParamTable& params) {
  SpecialKernel out;
  const Buffer data = global("data", dtype, Access::kReadWrite),
               indices = global("indices", index_dtype, Access::kRead);
  const Buffer updates = global("updates", dtype, Access::kRead);
  out.bindings = {data, indices, updates};
  const auto a = static_cast<size_t>(axis);
  const Dim outer = product(Shape(update_shape.begin(), update_shape.begin() + axis)),
            inner = product(tail(update_shape, a + 1));
  // Only updates of one line, whose coordinates along all axes but the indexed one are the same, can meet.
  const Lines lines = lines_of_tile(outer, inner, update_shape[a]);
  const kernel::Var block = kernel::make_var("block"), part = kernel::make_var("part");
  const Dim blocks = ceildiv(outer, lines.rows), parts = ceildiv(inner, lines.width);
  out.grid = {{block, blocks, params.expr(blocks)}, {part, parts, params.expr(parts)}};
  LoopWriter w;
  const auto end = [&](const Expr& begin, int64_t count, const Dim& of) {
    return kernel::min(kernel::add(begin, w.i(count)), params.expr(of));
  };
  // Where a coordinate counted over axes [from, to) of the updates lies in the data.
  const auto in_data = [&](const Expr& linear, size_t from, size_t to) {
    Expr at = w.i(0);
    for (size_t d = from; d < to; ++d) {
      Expr c = kernel::index_div(
          linear, params.expr(product(Shape(update_shape.begin() + static_cast<std::ptrdiff_t>(d) + 1,
                                            update_shape.begin() + static_cast<std::ptrdiff_t>(to)))));
      if (d > from) c = kernel::index_rem(c, params.expr(update_shape[d]));
      at = kernel::add(at, kernel::mul(c, params.expr(product(tail(data_shape, d + 1)))));
    }
    return at;
  };
  const bool same_inside = tail(update_shape, a + 1) == tail(data_shape, a + 1);
  const Expr row0 = w.let("row0", kernel::mul(w.get(block), w.i(lines.rows)));
  const Expr line0 = w.let("line0", kernel::mul(w.get(part), w.i(lines.width)));
  const Expr row_end = w.let("row_end", end(row0, lines.rows, outer)),
             line_end = w.let("line_end", end(line0, lines.width, inner));
  w.loop_from("row", row0, kernel::sub(row_end, row0), [&](const Expr& row) {
    const Expr row_at = w.let("row_at", in_data(row, 0, a));
    w.loop("j", params.expr(update_shape[a]), [&](const Expr& j) {
      const Expr from = w.let(
          "from",
          kernel::mul(kernel::add(kernel::mul(row, params.expr(update_shape[a])), j), params.expr(inner)));
      w.loop_from("line", line0, kernel::sub(line_end, line0), [&](const Expr& line) {
        const Expr i = w.let("i", kernel::add(from, line));
        const Expr at = checked_index(w, w.load(indices, i), params.expr(data_shape[a]));
        const Expr inside = same_inside ? line : in_data(line, a + 1, update_shape.size());
        const Expr target = w.let(
            "target",
            kernel::add(kernel::add(row_at, kernel::mul(at, params.expr(product(tail(data_shape, a + 1))))),
                        inside));
        w.store(data, target, scatter_combine(reduction, w.load(data, target), w.load(updates, i)));
      });
    });
  });
  out.body = w.take();
  return out;
}

SpecialKernel scatter_nd_kernel(DType dtype, DType index_dtype, const Shape& data_shape,
                                const Shape& index_shape, const std::string& reduction,
                                const SpecialMachine& machine, kernel::ParamTable& params) {
  SpecialKernel out;
  const Buffer data = global("data", dtype, Access::kReadWrite),
               indices = global("indices", index_dtype, Access::kRead);
  const Buffer updates = global("updates", dtype, Access::kRead);
  out.bindings = {data, indices, updates};
  const size_t depth = static_cast<size_t>(index_shape.back().value());
  const Dim slice = product(tail(data_shape, depth)),
            slices = product(Shape(index_shape.begin(), index_shape.end() - 1));
  // A tile has a part of every slice: parts do not meet.
  const int64_t width = lines_of_tile(Dim(1), slice, slices).width;
  const kernel::Var part = kernel::make_var("part");
  const Dim parts = ceildiv(slice, width);
  out.grid = {{part, parts, params.expr(parts)}};
  LoopWriter w;
  const Expr begin = w.let("begin", kernel::mul(w.get(part), w.i(width)));
  const Expr count = slice.is_const() && slice.value() % width == 0
                         ? w.i(width)
                         : w.let("count", kernel::min(w.i(width), kernel::sub(params.expr(slice), begin)));
  w.loop("s", params.expr(slices), [&](const Expr& s) {
    Expr base = begin;
    for (size_t d = 0; d < depth; ++d) {
      const Expr raw = w.load(indices, kernel::add(kernel::mul(s, w.i(static_cast<int64_t>(depth))),
                                                   w.i(static_cast<int64_t>(d))));
      base = kernel::add(base, kernel::mul(checked_index(w, raw, params.expr(data_shape[d])),
                                           params.expr(product(tail(data_shape, d + 1)))));
    }
    const Expr first = w.let("first", base);
    const Expr from = w.let("from", kernel::add(kernel::mul(s, params.expr(slice)), begin));
    const kernel::Var e = kernel::make_var("e");
    const Expr to = kernel::add(first, kernel::var_expr(e));
    const kernel::Stmt element =
        kernel::store(data, to,
                      scatter_combine(reduction, w.load(data, to),
                                      w.load(updates, kernel::add(from, kernel::var_expr(e)))));
    const int bits = std::max(dtype_bits(dtype), 32);
    for (kernel::Stmt& each :
         vector_loop(kernel::loop(e, w.i(0), count, kernel::LoopKind::kSerial, {element}),
                     std::max(machine.lanes * 32 / bits, 1)))
      w.emit(std::move(each));
  });
  out.body = w.take();
  return out;
}

namespace {

// NaN differs from numbers only.
Expr differ(LoopWriter& w, const Expr& a, const Expr& b) {
  const Expr x = w.let("before", a), y = w.let("here", b);
  if (!is_float(x->type.dtype)) return w.ne(x, y);
  const auto nan = [](const Expr& e) { return kernel::op(ScalarOp::kIsNan, {e}); };
  return w.both(w.ne(x, y), kernel::op(ScalarOp::kNot, {w.both(nan(x), nan(y))}));
}

}  // namespace

SpecialKernel unique_kernel(DType dtype, Dim n_dim, bool sorted, const SpecialMachine& machine,
                            kernel::ParamTable& params) {
  SpecialKernel out;
  const Buffer in = global("input", dtype, Access::kRead), values = global("values", dtype, Access::kWrite);
  const Buffer first = global("first", DType::kI64, Access::kReadWrite),
               inverse = global("inverse", DType::kI64, Access::kReadWrite);
  const Buffer counts = global("counts", DType::kI64, Access::kReadWrite),
               number = global("number", DType::kI64, Access::kWrite);
  const Buffer work = global("work", DType::kI64, Access::kReadWrite);
  out.bindings = {in, values, first, inverse, counts, number, work};
  LoopWriter w;
  const Expr n = params.expr(n_dim);
  const auto at = [&](Expr p) { return w.load(in, p); };
  PositionSort sort(w, dtype, false, machine.keys, work, w.i(0), at);
  sort.put_all(n);
  const Expr order = sort.run(n);
  // Groups of equal neighbours in sorted order; the stable sort puts each group's first occurrence first.
  const kernel::Var groups = w.declare("groups", w.i(0));
  w.loop("j", n, [&](Expr j) {
    const Expr p = w.let("p", sort.position(order, j));
    const kernel::Var is_new = w.declare("is_new", w.eq(j, w.i(0)));
    w.when(w.lt(w.i(0), j),
           [&] { w.set(is_new, differ(w, at(sort.position(order, kernel::sub(j, w.i(1)))), at(p))); });
    w.when(w.get(is_new), [&] {
      w.store(first, w.get(groups), p);
      w.store(counts, w.get(groups), w.i(0));
      w.bump(groups);
    });
    const Expr g = w.let("g", kernel::sub(w.get(groups), w.i(1)));
    w.store(counts, g, kernel::add(w.load(counts, g), w.i(1)));
    w.store(inverse, p, g);
  });
  w.store(number, w.i(0), w.get(groups));
  if (!sorted) {
    // Order of first appearance: walk the input; a group whose first occurrence is p gets the next number.
    // work holds the new number of each group, then first and counts are rebuilt.
    const kernel::Var next = w.declare("next", w.i(0));
    w.loop("p", n, [&](Expr p) {
      const Expr g = w.let("g", w.load(inverse, p));
      w.when(w.eq(w.load(first, g), p), [&] {
        w.store(work, g, w.get(next));
        w.bump(next);
      });
    });
    w.loop("p", n, [&](Expr p) { w.store(inverse, p, w.load(work, w.load(inverse, p))); });
    w.loop("g", w.get(groups), [&](Expr g) { w.store(counts, g, w.i(0)); });
    w.set(next, w.i(0));
    w.loop("p", n, [&](Expr p) {
      const Expr g = w.let("g", w.load(inverse, p));
      w.when(w.eq(w.load(counts, g), w.i(0)), [&] { w.store(first, g, p); });
      w.store(counts, g, kernel::add(w.load(counts, g), w.i(1)));
    });
  }
  w.loop("g", w.get(groups), [&](Expr g) { w.store(values, g, at(w.load(first, g))); });
  out.body = w.take();
  return out;
}

namespace {

// Corners of box p: y1, x1, y2, x2 in ascending order.
struct Corners {
  Expr y1, x1, y2, x2;
};
Corners corners(LoopWriter& w, const Buffer& boxes, const Expr& first, const Expr& p, bool center_point_box) {
  Expr v[4];
  const char* names[] = {"c0", "c1", "c2", "c3"};
  for (int i = 0; i < 4; ++i)
    v[i] = w.let(names[i], w.load(boxes, kernel::add(kernel::add(first, kernel::mul(p, w.i(4))), w.i(i))));
  if (center_point_box) {  // x center, y center, width, height
    const Expr half = kernel::float_const(0.5);
    const Expr hw = w.let("half_width", kernel::mul(v[2], half)),
               hh = w.let("half_height", kernel::mul(v[3], half));
    return {w.let("y1", kernel::sub(v[1], hh)), w.let("x1", kernel::sub(v[0], hw)),
            w.let("y2", kernel::add(v[1], hh)), w.let("x2", kernel::add(v[0], hw))};
  }
  return {w.let("y1", kernel::min(v[0], v[2])), w.let("x1", kernel::min(v[1], v[3])),
          w.let("y2", kernel::max(v[0], v[2])), w.let("x2", kernel::max(v[1], v[3]))};
}

Expr area(LoopWriter& w, const Corners& c) {
  return w.let("area", kernel::mul(kernel::sub(c.y2, c.y1), kernel::sub(c.x2, c.x1)));
}

// The boxes that one class keeps, a plane for each corner and one for areas, so that a candidate meets many
// of them at once.
class KeptBoxes {
 public:
  KeptBoxes(LoopWriter& w, Buffer planes, Expr room, int lanes)
      : w_(w), planes_(std::move(planes)), room_(std::move(room)), lanes_(lanes) {}

  void store(const Expr& at, const Corners& box, const Expr& area) {
    const Expr values[] = {box.y1, box.x1, box.y2, box.x2, area};
    for (int i = 0; i < 5; ++i) w_.store(planes_, plane(i, at), values[i]);
  }

  // Clears `keep` if one of the `count` boxes overlaps by more than the threshold: intersection / union >
  // threshold. The last ones first: their scores are nearest, often because they are of the same object.
  void compare(const Expr& count, const Corners& box, const Expr& area, const Expr& threshold,
               const kernel::Var& keep) {
    const kernel::Var left = w_.declare("left", count);
    for (const int vectors : {kVectors, 1}) {
      const Expr step = w_.i(int64_t{vectors} * lanes_);
      w_.while_loop(w_.both(w_.get(keep), w_.le(step, w_.get(left))), [&] {
        w_.set(left, kernel::sub(w_.get(left), step));
        compare_vectors(w_.get(left), vectors, nullptr, box, area, threshold, keep);
      });
    }
    if (lanes_ == 1) return;
    w_.when(w_.both(w_.get(keep), w_.lt(w_.i(0), w_.get(left))),
            [&] { compare_vectors(w_.i(0), 1, w_.get(left), box, area, threshold, keep); });
  }

 private:
  Expr plane(int i, const Expr& at) const { return kernel::add(kernel::mul(room_, w_.i(i)), at); }
  Expr all_lanes(const Expr& scalar) const {
    return lanes_ == 1 ? scalar : kernel::broadcast(scalar, lanes_);
  }
  // Whether one of the values, none of which is below 0, is above.
  Expr any(const char* name, std::vector<Expr> values) {
    for (size_t i = 1; i < values.size(); ++i) values[0] = kernel::max(values[0], values[i]);
    const Expr most = w_.let(name, lanes_ == 1 ? values[0] : kernel::reduce_lanes(ScalarOp::kMax, values[0]));
    return w_.lt(kernel::float_const(0.0), most);
  }

  // Lanes from `count` on are boxes without area, which overlap nothing. Most boxes do not meet at all.
  void compare_vectors(const Expr& first, int vectors, const Expr& count, const Corners& box,
                       const Expr& area, const Expr& threshold, const kernel::Var& keep) {
    const auto load = [&](const char* name, int i, int v) {
      const Expr at = kernel::add(first, w_.i(v * lanes_));
      return w_.let(name, kernel::load(planes_, plane(i, at), lanes_, count));
    };
    const Expr zero = all_lanes(kernel::float_const(0.0));
    const auto extent = [&](const char* name, const Expr& low, const Expr& low2, const Expr& high,
                            const Expr& high2) {
      return w_.let(name, kernel::max(kernel::sub(kernel::min(high, high2), kernel::max(low, low2)), zero));
    };
    std::vector<Expr> both, above;
    for (int v = 0; v < vectors; ++v) {
      const Expr height =
          extent("overlap_h", load("k_y1", 0, v), all_lanes(box.y1), load("k_y2", 2, v), all_lanes(box.y2));
      const Expr width =
          extent("overlap_w", load("k_x1", 1, v), all_lanes(box.x1), load("k_x2", 3, v), all_lanes(box.x2));
      both.push_back(w_.let("intersection", kernel::mul(height, width)));
    }
    w_.when(any("most", both), [&] {
      const Expr mine = all_lanes(area), limit = all_lanes(threshold);
      for (int v = 0; v < vectors; ++v) {
        const Expr& part = both[static_cast<size_t>(v)];
        const Expr other = load("k_area", 4, v);
        const Expr whole = kernel::sub(kernel::add(other, mine), part);
        const Expr valid = w_.both(w_.lt(zero, part), w_.both(w_.lt(zero, mine), w_.lt(zero, other)));
        const Expr over = w_.both(valid, w_.lt(limit, kernel::op(ScalarOp::kDiv, {part, whole})));
        above.push_back(w_.let("above", kernel::select(over, all_lanes(kernel::float_const(1.0)), zero)));
      }
      w_.when(any("worst", above), [&] { w_.set(keep, kernel::op(ScalarOp::kNot, {w_.get(keep)})); });
    });
  }

  static constexpr int kVectors = 4;  // so that folding lanes costs little
  LoopWriter& w_;
  const Buffer planes_;
  const Expr room_;
  const int lanes_;
};

}  // namespace

SpecialKernel nms_kernel(Dim batches, Dim classes_dim, Dim n_dim, const NmsForm& form,
                         const SpecialMachine& machine, kernel::ParamTable& params) {
  SpecialKernel out;
  const Buffer boxes = global("boxes", DType::kF32, Access::kRead),
               scores = global("scores", DType::kF32, Access::kRead);
  const Buffer limits = global("limits", DType::kI64, Access::kRead),
               thresholds = global("thresholds", DType::kF32, Access::kRead);
  const Buffer selected = global("selected", DType::kI64, Access::kWrite),
               count = global("count", DType::kI64, Access::kWrite);
  const Buffer work = global("work", DType::kI64, Access::kReadWrite),
               planes = global("kept", DType::kF32, Access::kReadWrite);
  out.bindings = {boxes, scores, limits, thresholds, selected, count, work, planes};
  LoopWriter w;
  const Expr n = params.expr(n_dim), classes = params.expr(classes_dim);
  const Expr limit = w.let("limit", w.load(limits, w.i(0)));
  const Expr iou = w.let("iou", w.load(thresholds, w.i(0))),
             least = form.has_least_score ? w.let("least", w.load(thresholds, w.i(1))) : nullptr;
  KeptBoxes kept(w, planes, n, machine.lanes);
  const kernel::Var total = w.declare("total", w.i(0));
  w.loop("b", params.expr(batches), [&](Expr b) {
    const Expr box0 = w.let("box0", kernel::mul(kernel::mul(b, n), w.i(4)));
    w.loop("c", classes, [&](Expr c) {
      const Expr score0 = w.let("score0", kernel::mul(kernel::add(kernel::mul(b, classes), c), n));
      const auto at = [&](Expr p) { return w.load(scores, kernel::add(score0, p)); };
      PositionSort sort(w, DType::kF32, true, machine.keys, work, w.i(0), at);
      const kernel::Var found = w.declare("found", least ? w.i(0) : n), number = w.declare("number", w.i(0));
      if (least) {
        w.loop("p", n, [&](Expr p) {
          w.when(w.lt(least, at(p)), [&] {
            sort.put(w.get(found), p);
            w.bump(found);
          });
        });
      } else {
        sort.put_all(n);
      }
      const Expr candidates = w.let("candidates", w.get(found));
      const Expr order = sort.run(candidates);
      const kernel::Var j = w.declare("j", w.i(0));
      w.while_loop(w.both(w.lt(w.get(j), candidates), w.lt(w.get(number), limit)), [&] {
        const Expr p = w.let("p", sort.position(order, w.get(j)));
        const Corners box = corners(w, boxes, box0, p, form.center_point_box);
        const Expr mine = area(w, box);
        const kernel::Var keep = w.declare("keep", w.lt(w.get(number), limit));
        kept.compare(w.get(number), box, mine, iou, keep);
        w.when(w.get(keep), [&] {
          kept.store(w.get(number), box, mine);
          w.bump(number);
          const Expr row = w.let("row", kernel::mul(w.get(total), w.i(3)));
          w.store(selected, row, b);
          w.store(selected, kernel::add(row, w.i(1)), c);
          w.store(selected, kernel::add(row, w.i(2)), p);
          w.bump(total);
        });
        w.bump(j);
      });
    });
  });
  w.store(count, w.i(0), w.get(total));
  out.body = w.take();
  return out;
}

kernel::Kernel finish_special(std::string name, SpecialKernel special, const kernel::ParamTable& params) {
  kernel::Kernel k;
  k.name = std::move(name);
  k.bindings = std::move(special.bindings);
  k.params = params.params();
  k.grid = std::move(special.grid);
  k.body = std::move(special.body);
  k.schedule = special.schedule;
  k.threads = special.threads;
  k.thread = special.thread;
  k.subgroup = special.subgroup;
  kernel::assign_scratch(k);
  return k;
}

}  // namespace tern::lower
