#include "compiler/lower/conv_gather.h"

#include "compiler/lower/loop_writer.h"

namespace tern::lower {
namespace {

using kernel::Expr;
using kernel::int_const;
using kernel::LoopKind;
using kernel::ScalarOp;
using kernel::Stmt;
using kernel::Var;
using kernel::var_expr;
using Stmts = std::vector<Stmt>;

// For-loop with a body made from its variable.
Stmt for_each(const char* name, const Expr& extent, const std::function<Stmts(const Expr&)>& body) {
  const Var v = kernel::make_var(name);
  return kernel::loop(v, int_const(0), extent, LoopKind::kSerial, body(var_expr(v)));
}

Expr constant(int64_t value, DType type, int lanes) {
  const Expr c =
      is_float(type) ? kernel::float_const(static_cast<double>(value), type) : int_const(value, type);
  return lanes == 1 ? c : kernel::broadcast(c, lanes);
}

constexpr int64_t kUnrolledRows = 8;

// The least number of elements, from `count` on, that whole vectors cover: a single one may be narrower.
int64_t whole_vectors(int64_t count, int64_t lanes) {
  if (count > lanes) return (count + lanes - 1) / lanes * lanes;
  while (lanes / 2 >= count) lanes /= 2;
  return lanes;
}

Expr all_of(const std::vector<Expr>& conditions) {
  Expr all = conditions[0];
  for (size_t i = 1; i < conditions.size(); ++i) all = kernel::op(ScalarOp::kAnd, {all, conditions[i]});
  return all;
}

}  // namespace

std::vector<Stmt> vector_run(int64_t count, int lanes,
                             const std::function<Stmts(const Expr& offset, int lanes)>& emit) {
  Stmts out;
  int64_t done = count / lanes * lanes;
  if (done > lanes) {
    out.push_back(for_each("v", int_const(done / lanes),
                           [&](const Expr& v) { return emit(kernel::mul(v, int_const(lanes)), lanes); }));
  } else if (done > 0) {
    for (Stmt& s : emit(int_const(0), lanes)) out.push_back(std::move(s));
  }
  for (int part = lanes / 2; part >= 1; part /= 2) {
    for (; count - done >= part; done += part) {
      for (Stmt& s : emit(int_const(done), part)) out.push_back(std::move(s));
    }
  }
  return out;
}

std::vector<Stmt> gather_windows(const ConvGeometry& g, const ConvSource& source, int64_t block_depth,
                                 int lanes, const kernel::Buffer& block, const Expr& row0, const Expr& rows,
                                 const Expr& k0, const Expr& depth, int64_t row_stride,
                                 kernel::ParamTable& params) {
  const Expr height = params.expr(g.height), width = params.expr(g.width);
  const Expr out_w = params.expr(g.out_width);
  const Dim out_plane = g.out_height * g.out_width;
  const Expr out_pixels = params.expr(g.out_depth * out_plane);
  const int64_t taps_of_plane = g.window_h * g.window_w, all = g.channels * g.window_d * taps_of_plane;
  const bool volume = !g.depth.is_const(1) || g.window_d > 1 || g.pad_front != 0 || !g.out_depth.is_const(1);
  const bool whole = block_depth >= all;
  const bool part_of_tap = !whole && block_depth < g.channels;
  TERN_CHECK(whole || block_depth % g.channels == 0 || g.channels % block_depth == 0,
             "depth block {} does not suit {} channels", block_depth, g.channels);
  const int64_t run = part_of_tap ? block_depth : g.channels;
  const bool one = g.images.is_const(1);
  const auto first_of = [](const Expr& out, int64_t stride, int64_t pad) {
    return kernel::sub(kernel::mul(out, int_const(stride)), int_const(pad));
  };

  const auto row = [&](const Expr& i) -> Stmts {
    const Var m = kernel::make_var("m"), pixel = kernel::make_var("pixel"), image = kernel::make_var("image");
    const Var iz0 = kernel::make_var("iz0"), iy0 = kernel::make_var("iy0"), ix0 = kernel::make_var("ix0"),
              to = kernel::make_var("to"), in_plane = volume ? kernel::make_var("in_plane") : pixel;
    Stmts out{kernel::let(m, kernel::add(row0, i)),
              kernel::let(image, one ? int_const(0) : kernel::index_div(var_expr(m), out_pixels)),
              kernel::let(pixel, one ? var_expr(m) : kernel::index_rem(var_expr(m), out_pixels))};
    if (volume) {
      const Expr plane = params.expr(out_plane);
      out.push_back(
          kernel::let(iz0, first_of(kernel::index_div(var_expr(pixel), plane), g.stride_d, g.pad_front)));
      out.push_back(kernel::let(in_plane, kernel::index_rem(var_expr(pixel), plane)));
    }
    append(out,
           {kernel::let(iy0, first_of(kernel::index_div(var_expr(in_plane), out_w), g.stride_h, g.pad_top)),
            kernel::let(ix0, first_of(kernel::index_rem(var_expr(in_plane), out_w), g.stride_w, g.pad_left)),
            kernel::let(to, kernel::mul(i, int_const(row_stride)))});
    Expr iz = int_const(0);  // the plane of the window that is being copied
    const auto copy = [&](const Expr& iy, const Expr& ix, const Expr& c, const Expr& at, int64_t count) {
      return vector_run(count, lanes, [&](const Expr& offset, int n) -> Stmts {
        return {kernel::store(block, kernel::add(at, offset),
                              source.pixel(var_expr(image), iz, iy, ix, kernel::add(c, offset), n))};
      });
    };
    const auto fill = [&](const Expr& at, int64_t count, int64_t value) {
      return vector_run(count, lanes, [&](const Expr& offset, int n) -> Stmts {
        return {kernel::store(block, kernel::add(at, offset), constant(value, source.type, n))};
      });
    };
    // What `inside` makes of plane kz of the window, if it is in range.
    const auto plane = [&](const Expr& kz, const std::function<Stmts()>& inside, Stmts outside) -> Stmts {
      if (!volume) return inside();
      const Var z = kernel::make_var("iz");
      iz = var_expr(z);
      return {kernel::let(z, kernel::add(var_expr(iz0), kernel::mul(kz, int_const(g.dilation_d)))),
              kernel::if_then(in_range(iz, params.expr(g.depth)), inside(), std::move(outside))};
    };
    // One tap: in range or zero.
    const auto tap = [&](const Expr& ky, const Expr& kx, const Expr& c, const Expr& at) -> Stmts {
      const Var iy = kernel::make_var("iy"), ix = kernel::make_var("ix");
      return {kernel::let(iy, kernel::add(var_expr(iy0), kernel::mul(ky, int_const(g.dilation_h)))),
              kernel::let(ix, kernel::add(var_expr(ix0), kernel::mul(kx, int_const(g.dilation_w)))),
              kernel::if_then(
                  kernel::op(ScalarOp::kAnd, {in_range(var_expr(iy), height), in_range(var_expr(ix), width)}),
                  copy(var_expr(iy), var_expr(ix), c, at, run), fill(at, run, source.padding))};
    };
    if (!whole) {
      const Expr first = kernel::index_div(k0, int_const(g.channels));
      const Expr c0 = part_of_tap ? kernel::index_rem(k0, int_const(g.channels)) : int_const(0);
      const Expr taps = part_of_tap ? int_const(1) : kernel::index_div(depth, int_const(g.channels));
      out.push_back(for_each("tap", taps, [&](const Expr& t) -> Stmts {
        const Expr n = kernel::add(first, t);
        const Expr kz = kernel::index_div(n, int_const(taps_of_plane)),
                   flat = volume ? kernel::index_rem(n, int_const(taps_of_plane)) : n;
        const Expr at = kernel::add(var_expr(to), kernel::mul(t, int_const(g.channels)));
        return plane(
            kz,
            [&] {
              return tap(kernel::index_div(flat, int_const(g.window_w)),
                         kernel::index_rem(flat, int_const(g.window_w)), c0, at);
            },
            fill(at, run, source.padding));
      }));
      return out;
    }
    const bool adjacent = source.rows_contiguous && g.dilation_w == 1;
    const bool runs = adjacent && g.window_w > 1 && g.channels < lanes;
    const int64_t length = g.window_w * g.channels, reach = whole_vectors(length, lanes);
    const Expr last = kernel::add(var_expr(ix0), int_const(g.window_w - 1));
    // The window's rows of one plane, from block[from] on.
    const auto rows_of_plane = [&](const Expr& from) -> Stmts {
      const Stmt rows_of_window = for_each("ky", int_const(g.window_h), [&](const Expr& ky) -> Stmts {
        const Expr at = kernel::add(from, kernel::mul(ky, int_const(length)));
        Stmts taps{for_each("kx", int_const(g.window_w), [&](const Expr& kx) {
          return tap(ky, kx, int_const(0), kernel::add(at, kernel::mul(kx, int_const(g.channels))));
        })};
        if (!runs) return taps;
        // A row of the window as one run, when all of it is inside.
        const Var iy = kernel::make_var("iy");
        const Expr inside = all_of({in_range(var_expr(iy), height),
                                    kernel::compare(ScalarOp::kGe, var_expr(ix0), int_const(0)),
                                    kernel::compare(ScalarOp::kLt, last, width)});
        return {kernel::let(iy, kernel::add(var_expr(iy0), kernel::mul(ky, int_const(g.dilation_h)))),
                kernel::if_then(inside, copy(var_expr(iy), var_expr(ix0), int_const(0), at, length),
                                std::move(taps))};
      });
      if (adjacent && g.window_h <= kUnrolledRows && reach - length <= kGatherSlack) {
        // The usual window, with room around it for whole vectors: nothing else to be asked.
        const int64_t pixels = (reach + g.channels - 1) / g.channels;
        const Expr bottom = kernel::add(var_expr(iy0), int_const((g.window_h - 1) * g.dilation_h));
        const Expr inside =
            all_of({kernel::compare(ScalarOp::kGe, var_expr(iy0), int_const(0)),
                    kernel::compare(ScalarOp::kLt, bottom, height),
                    kernel::compare(ScalarOp::kGe, var_expr(ix0), int_const(0)),
                    kernel::compare(ScalarOp::kLe, kernel::add(var_expr(ix0), int_const(pixels)), width)});
        Stmts fast;
        for (int64_t ky = 0; ky < g.window_h; ++ky)
          append(fast, copy(kernel::add(var_expr(iy0), int_const(ky * g.dilation_h)), var_expr(ix0),
                            int_const(0), kernel::add(from, int_const(ky * length)), reach));
        return {kernel::if_then(inside, std::move(fast), {rows_of_window})};
      }
      return {rows_of_window};
    };
    const int64_t part = g.channels * taps_of_plane;
    if (!volume) {
      append(out, rows_of_plane(var_expr(to)));
    } else {
      out.push_back(for_each("kz", int_const(g.window_d), [&](const Expr& kz) {
        const Expr from = kernel::add(var_expr(to), kernel::mul(kz, int_const(part)));
        return plane(kz, [&] { return rows_of_plane(from); }, fill(from, part, source.padding));
      }));
    }
    if (row_stride > all) append(out, fill(kernel::add(var_expr(to), int_const(all)), row_stride - all, 0));
    return out;
  };
  return {for_each("i", rows, row)};
}

WindowLines lines_inside(const ConvGeometry& g, const Expr& row0, const Expr& rows,
                         kernel::ParamTable& params) {
  const Expr width = params.expr(g.out_width), height = params.expr(g.out_height), zero = int_const(0);
  const Expr first = kernel::index_div(row0, width),
             last = kernel::index_div(kernel::sub(kernel::add(row0, rows), int_const(1)), width);
  Expr top = kernel::index_rem(first, height), bottom = kernel::index_rem(last, height);
  if (!g.images.is_const(1)) {  // of two pictures: all lines
    const Expr one = kernel::compare(kernel::ScalarOp::kEq, kernel::index_div(first, height),
                                     kernel::index_div(last, height));
    top = kernel::select_both(one, top, zero);
    bottom = kernel::select_both(one, bottom, kernel::sub(height, int_const(1)));
  }
  // Lines whose place is at least `place`, counted from the window's first one.
  const auto before = [&](const Expr& place) {
    const Expr up = kernel::add(place, int_const(g.dilation_h - 1));
    const Expr lines = kernel::index_div(kernel::max(up, zero), int_const(g.dilation_h));
    return kernel::min(lines, int_const(g.window_h));
  };
  const auto place = [&](const Expr& line, const Expr& input) {
    const Expr begins = kernel::sub(kernel::mul(line, int_const(g.stride_h)), int_const(g.pad_top));
    return kernel::sub(input, begins);
  };
  const Expr begin = kernel::min(before(place(bottom, zero)), int_const(g.window_h - 1));
  return {begin, kernel::max(before(place(top, params.expr(g.height))), kernel::add(begin, int_const(1)))};
}

double share_outside(const ConvGeometry& g) {
  if (!g.height.is_const() || !g.out_height.is_const() || g.window_d != 1 || !g.out_depth.is_const(1))
    return 0;
  int64_t outside = 0;
  for (int64_t y = 0; y < g.out_height.value(); ++y) {
    for (int64_t ky = 0; ky < g.window_h; ++ky) {
      const int64_t iy = y * g.stride_h + ky * g.dilation_h - g.pad_top;
      if (iy < 0 || iy >= g.height.value()) ++outside;
    }
  }
  return static_cast<double>(outside) / static_cast<double>(g.out_height.value() * g.window_h);
}

}  // namespace tern::lower
