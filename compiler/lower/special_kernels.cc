#include "compiler/lower/special_kernels.h"

#include "compiler/kernel/assign_scratch.h"
#include "compiler/lower/loop_writer.h"
#include "schemas/abi/kernel_abi.h"

namespace tern::lower {
namespace {

using kernel::Access;
using kernel::Buffer;
using kernel::Expr;
using kernel::ScalarOp;

Buffer global(const char* name, DType dtype, Access access) {
  return kernel::make_buffer(name, {dtype, 1}, kernel::Scope::kGlobal, access);
}

// Whether element a comes before element b: by value (NaN greatest), lower index first among equals (indices
// in the order they are compared).
Expr precedes(LoopWriter& w, DType dtype, Expr a, Expr b, bool largest) {
  if (largest) std::swap(a, b);
  Expr less = w.lt(a, b);
  if (is_float(dtype)) {
    const Expr a_nan = kernel::op(ScalarOp::kIsNan, {a}), b_nan = kernel::op(ScalarOp::kIsNan, {b});
    less = w.either(less, w.both(b_nan, kernel::op(ScalarOp::kNot, {a_nan})));
  }
  return less;
}

// Bottom-up merge sort of the positions 0..n-1 by `at(position)`, stable. Uses work[base .. base+2n); returns
// the base of the sorted half.
Expr merge_sort(LoopWriter& w, DType dtype, const Expr& n, bool largest, const Buffer& work, const Expr& base,
                const std::function<Expr(Expr)>& at) {
  w.loop("p", n, [&](Expr p) { w.store(work, kernel::add(base, p), p); });
  const kernel::Var from = w.declare("from", base), to = w.declare("to", kernel::add(base, n)),
                    width = w.declare("width", w.i(1));
  w.while_loop(w.lt(w.get(width), n), [&] {
    const kernel::Var low = w.declare("low", w.i(0));
    w.while_loop(w.lt(w.get(low), n), [&] {
      const Expr middle = w.let("middle", kernel::min(kernel::add(w.get(low), w.get(width)), n));
      const Expr high = w.let("high", kernel::min(kernel::add(middle, w.get(width)), n));
      const kernel::Var left = w.declare("left", w.get(low)), right = w.declare("right", middle);
      w.loop_from("o", w.get(low), kernel::sub(high, w.get(low)), [&](Expr o) {
        const kernel::Var take_right = w.declare("take_right", w.le(middle, w.get(left)));
        w.when(w.both(w.lt(w.get(left), middle), w.lt(w.get(right), high)), [&] {
          const Expr r = w.let("r", at(w.load(work, kernel::add(w.get(from), w.get(right)))));
          const Expr l = w.let("l", at(w.load(work, kernel::add(w.get(from), w.get(left)))));
          w.set(take_right, precedes(w, dtype, r, l, largest));
        });
        w.when(
            w.get(take_right),
            [&] {
              w.store(work, kernel::add(w.get(to), o), w.load(work, kernel::add(w.get(from), w.get(right))));
              w.bump(right);
            },
            [&] {
              w.store(work, kernel::add(w.get(to), o), w.load(work, kernel::add(w.get(from), w.get(left))));
              w.bump(left);
            });
      });
      w.set(low, high);
    });
    const Expr sorted = w.let("sorted", w.get(to));
    w.set(to, w.get(from));
    w.set(from, sorted);
    w.set(width, kernel::mul(w.get(width), w.i(2)));
  });
  return w.get(from);
}

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

Expr combine(const std::string& reduction, const Expr& old, const Expr& update) {
  if (reduction == "add") return kernel::add(old, update);
  if (reduction == "mul") return kernel::mul(old, update);
  if (reduction == "min") return kernel::min(old, update);
  if (reduction == "max") return kernel::max(old, update);
  TERN_CHECK(reduction == "none", "unknown scatter reduction {}", reduction);
  return update;
}

Shape tail(const Shape& shape, size_t from) {
  return Shape(shape.begin() + static_cast<std::ptrdiff_t>(from), shape.end());
}

}  // namespace

SpecialKernel top_k_kernel(DType dtype, Dim outer, Dim n_dim, Dim inner_dim, Dim k_dim, bool largest,
                           kernel::ParamTable& params) {
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
  const Expr sorted = merge_sort(w, dtype, n, largest, work, base, at);
  w.loop("j", k, [&](Expr j) {
    const Expr to =
        w.let("to_at", kernel::add(kernel::mul(kernel::add(kernel::mul(w.get(o), k), j), inner), w.get(l)));
    const Expr position = w.let("position", w.load(work, kernel::add(sorted, j)));
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
  LoopWriter w;
  w.loop("i", params.expr(product(update_shape)), [&](Expr i) {
    const size_t a = static_cast<size_t>(axis);
    const Expr at = checked_index(w, w.load(indices, i), params.expr(data_shape[a]));
    Expr to = w.i(0);
    for (size_t d = 0; d < data_shape.size(); ++d) {
      const Expr coordinate =
          d == a ? at
                 : kernel::index_rem(kernel::index_div(i, params.expr(product(tail(update_shape, d + 1)))),
                                     params.expr(update_shape[d]));
      to = kernel::add(to, kernel::mul(coordinate, params.expr(product(tail(data_shape, d + 1)))));
    }
    const Expr target = w.let("target", to);
    w.store(data, target, combine(reduction, w.load(data, target), w.load(updates, i)));
  });
  out.body = w.take();
  return out;
}

SpecialKernel scatter_nd_kernel(DType dtype, DType index_dtype, const Shape& data_shape,
                                const Shape& index_shape, const std::string& reduction,
                                kernel::ParamTable& params) {
  SpecialKernel out;
  const Buffer data = global("data", dtype, Access::kReadWrite),
               indices = global("indices", index_dtype, Access::kRead);
  const Buffer updates = global("updates", dtype, Access::kRead);
  out.bindings = {data, indices, updates};
  const size_t depth = static_cast<size_t>(index_shape.back().value());
  const Dim slice = product(tail(data_shape, depth)),
            slices = product(Shape(index_shape.begin(), index_shape.end() - 1));
  LoopWriter w;
  w.loop("s", params.expr(slices), [&](Expr s) {
    Expr base = w.i(0);
    for (size_t d = 0; d < depth; ++d) {
      const Expr raw = w.load(indices, kernel::add(kernel::mul(s, w.i(static_cast<int64_t>(depth))),
                                                   w.i(static_cast<int64_t>(d))));
      base = kernel::add(base, kernel::mul(checked_index(w, raw, params.expr(data_shape[d])),
                                           params.expr(product(tail(data_shape, d + 1)))));
    }
    const Expr first = w.let("first", base);
    w.loop("e", params.expr(slice), [&](Expr e) {
      const Expr to = w.let("to", kernel::add(first, e));
      w.store(data, to,
              combine(reduction, w.load(data, to),
                      w.load(updates, kernel::add(kernel::mul(s, params.expr(slice)), e))));
    });
  });
  out.body = w.take();
  return out;
}

SpecialKernel unique_kernel(DType dtype, Dim n_dim, bool sorted, kernel::ParamTable& params) {
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
  const Expr order = merge_sort(w, dtype, n, false, work, w.i(0), at);
  // Groups of equal neighbours in sorted order; the stable sort puts each group's first occurrence first.
  const kernel::Var groups = w.declare("groups", w.i(0));
  w.loop("j", n, [&](Expr j) {
    const Expr p = w.let("p", w.load(work, kernel::add(order, j)));
    const kernel::Var is_new = w.declare("is_new", w.eq(j, w.i(0)));
    w.when(w.lt(w.i(0), j),
           [&] { w.set(is_new, w.ne(at(w.load(work, kernel::sub(kernel::add(order, j), w.i(1)))), at(p))); });
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

// Whether boxes p and q overlap by more than the threshold: intersection / union > threshold.
Expr overlaps(LoopWriter& w, const Buffer& boxes, const Expr& first, const Expr& p, const Expr& q,
              const Expr& threshold, bool center) {
  const Corners a = corners(w, boxes, first, p, center), b = corners(w, boxes, first, q, center);
  const Expr zero = kernel::float_const(0.0);
  const Expr height =
      w.let("overlap_h", kernel::max(kernel::sub(kernel::min(a.y2, b.y2), kernel::max(a.y1, b.y1)), zero));
  const Expr width =
      w.let("overlap_w", kernel::max(kernel::sub(kernel::min(a.x2, b.x2), kernel::max(a.x1, b.x1)), zero));
  const Expr intersection = w.let("intersection", kernel::mul(height, width));
  const Expr area_a = area(w, a), area_b = area(w, b);
  const Expr whole = kernel::sub(kernel::add(area_a, area_b), intersection);
  const Expr valid = w.both(w.lt(zero, intersection), w.both(w.lt(zero, area_a), w.lt(zero, area_b)));
  return w.let("overlap", w.both(valid, w.lt(threshold, kernel::op(ScalarOp::kDiv, {intersection, whole}))));
}

}  // namespace

SpecialKernel nms_kernel(Dim batches, Dim classes_dim, Dim n_dim, bool center_point_box,
                         kernel::ParamTable& params) {
  SpecialKernel out;
  const Buffer boxes = global("boxes", DType::kF32, Access::kRead),
               scores = global("scores", DType::kF32, Access::kRead);
  const Buffer limits = global("limits", DType::kI64, Access::kRead),
               thresholds = global("thresholds", DType::kF32, Access::kRead);
  const Buffer selected = global("selected", DType::kI64, Access::kReadWrite),
               count = global("count", DType::kI64, Access::kWrite);
  const Buffer work = global("work", DType::kI64, Access::kReadWrite);
  out.bindings = {boxes, scores, limits, thresholds, selected, count, work};
  LoopWriter w;
  const Expr n = params.expr(n_dim), classes = params.expr(classes_dim);
  const Expr limit = w.let("limit", w.load(limits, w.i(0)));
  const Expr iou = w.let("iou", w.load(thresholds, w.i(0))),
             least = w.let("least", w.load(thresholds, w.i(1)));
  const kernel::Var total = w.declare("total", w.i(0));
  w.loop("b", params.expr(batches), [&](Expr b) {
    const Expr box0 = w.let("box0", kernel::mul(kernel::mul(b, n), w.i(4)));
    w.loop("c", classes, [&](Expr c) {
      const Expr score0 = w.let("score0", kernel::mul(kernel::add(kernel::mul(b, classes), c), n));
      const auto at = [&](Expr p) { return w.load(scores, kernel::add(score0, p)); };
      const Expr order = merge_sort(w, DType::kF32, n, true, work, w.i(0), at);
      const Expr from = w.let("from_row", w.get(total));
      w.loop("j", n, [&](Expr j) {
        const Expr p = w.let("p", w.load(work, kernel::add(order, j)));
        const kernel::Var keep =
            w.declare("keep", w.both(w.lt(least, at(p)), w.lt(kernel::sub(w.get(total), from), limit)));
        const kernel::Var s = w.declare("s", from);
        w.while_loop(w.both(w.get(keep), w.lt(w.get(s), w.get(total))), [&] {
          const Expr q = w.let("q", w.load(selected, kernel::add(kernel::mul(w.get(s), w.i(3)), w.i(2))));
          w.set(keep, kernel::op(ScalarOp::kNot, {overlaps(w, boxes, box0, p, q, iou, center_point_box)}));
          w.bump(s);
        });
        w.when(w.get(keep), [&] {
          const Expr row = w.let("row", kernel::mul(w.get(total), w.i(3)));
          w.store(selected, row, b);
          w.store(selected, kernel::add(row, w.i(1)), c);
          w.store(selected, kernel::add(row, w.i(2)), p);
          w.bump(total);
        });
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
  k.schedule = "serial loops";
  kernel::assign_scratch(k);
  return k;
}

}  // namespace tern::lower
