#include "compiler/lower/window_body.h"

#include <memory>

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/index_form.h"

namespace tern::lower {
namespace {

using kernel::Buffer;
using kernel::Expr;
using kernel::int_const;
using kernel::Stmt;
using kernel::Var;
using kernel::var_expr;
using Stmts = std::vector<Stmt>;

// The words of the block at hand, let when it begins.
using Words = std::shared_ptr<std::vector<Expr>>;

Buffer rows_scratch(const char* name, int64_t rows) {
  return kernel::make_buffer(name, {DType::kI64, 1}, kernel::Scope::kScratch, kernel::Access::kReadWrite,
                             rows);
}

}  // namespace

std::optional<PixelPlaces> pixel_places(
    const ContractionAccess& access, const Var& lane,
    const std::function<std::vector<Expr>(const Expr& image, const Expr& iy, const Expr& ix)>& index_of) {
  const Var image = kernel::make_var("image"), iy = kernel::make_var("iy"), ix = kernel::make_var("ix");
  const Expr load = access.contiguous(0, index_of(var_expr(image), var_expr(iy), var_expr(ix)), lane);
  if (!load) return std::nullopt;
  PixelPlaces out;
  out.buffer = load->buffer;
  out.at = [=, index = load->args[0]](const Expr& i, const Expr& y, const Expr& x) {
    return kernel::substitute(index,
                              {{lane.get(), int_const(0)}, {image.get(), i}, {iy.get(), y}, {ix.get(), x}});
  };
  kernel::IndexForms forms;
  const auto distance = [&](int64_t y, int64_t x) {
    const Expr zero = int_const(0),
               next = kernel::sub(out.at(zero, int_const(y), int_const(x)), out.at(zero, zero, zero));
    const Expr simple = forms.simplify(next);
    return kernel::int_value(simple ? simple : next);
  };
  const auto line = distance(1, 0), pixel = distance(0, 1);
  if (!line || !pixel) return std::nullopt;
  out.line = *line, out.pixel = *pixel;
  return out;
}

std::function<Expr(const Expr& row)> take_windows(const WindowSchedule& windows, const PixelPlaces& places,
                                                  const ConvGeometry& g, const Buffer& table,
                                                  const Expr& image, kernel::ParamTable& params,
                                                  ContractionOperands& o) {
  const int64_t block_rows = windows.product.block_rows;
  const Expr tile = int_const(windows.product.rows), one = int_const(1);
  const Buffer bases = rows_scratch("bases", block_rows), pixels = rows_scratch("pixels", block_rows);
  const Words words = std::make_shared<std::vector<Expr>>(kWindowWords);
  const Expr lines = params.expr(g.out_height), columns = params.expr(g.out_width);

  o.a_buffer = places.buffer;
  o.a_row = [=](const Expr& row) { return kernel::load(bases, row); };
  o.begin_block = [=](const Expr& block, Stmts& out) {
    std::vector<Expr>& word = *words;
    for (int i = 0; i < kWindowWords; ++i) {
      const Var v = kernel::make_var("block");
      const Expr at = kernel::add(kernel::mul(block, int_const(kWindowWords)), int_const(i));
      out.push_back(kernel::let(v, kernel::load(table, at)));
      word[static_cast<size_t>(i)] = var_expr(v);
    }
    const Var rows = kernel::make_var("rows"), i = kernel::make_var("i"), number = kernel::make_var("number"),
              y = kernel::make_var("y"), x = kernel::make_var("x");
    out.push_back(kernel::let(
        rows,
        kernel::mul(kernel::index_div(kernel::add(word[kWindowRows], kernel::sub(tile, one)), tile), tile)));
    out.push_back(kernel::alloc(bases));
    out.push_back(kernel::alloc(pixels));
    // Rows of the last tile that there are none of are the last one once more.
    const Expr last = kernel::sub(word[kWindowRows], one), width = word[kWindowWidth];
    Stmts body{kernel::let(number, kernel::add(word[kWindowFirst], kernel::min(var_expr(i), last))),
               kernel::let(y, kernel::add(word[kWindowTop], kernel::index_div(var_expr(number), width))),
               kernel::let(x, kernel::add(word[kWindowLeft], kernel::index_rem(var_expr(number), width)))};
    const auto begins = [](const Var& v, int64_t stride, int64_t pad) {
      return kernel::sub(kernel::mul(var_expr(v), int_const(stride)), int_const(pad));
    };
    body.push_back(
        kernel::store(bases, var_expr(i),
                      places.at(image, begins(y, g.stride_h, g.pad_top), begins(x, g.stride_w, g.pad_left))));
    const Expr line = kernel::add(kernel::mul(image, lines), var_expr(y));
    body.push_back(kernel::store(pixels, var_expr(i), kernel::add(kernel::mul(line, columns), var_expr(x))));
    out.push_back(kernel::loop(i, int_const(0), var_expr(rows), kernel::LoopKind::kSerial, std::move(body)));
    return var_expr(rows);
  };
  o.for_taps = [=](const ContractionOperands::Pass& pass) -> Stmts {
    const std::vector<Expr>& word = *words;
    const Var ky = kernel::make_var("ky"), kx = kernel::make_var("kx"), a = kernel::make_var("tap_a"),
              b = kernel::make_var("tap_b");
    const Expr down = kernel::add(word[kWindowTapY], var_expr(ky)),
               across = kernel::add(word[kWindowTapX], var_expr(kx));
    Stmts steps{kernel::let(a, kernel::add(kernel::mul(down, int_const(g.dilation_h * places.line)),
                                           kernel::mul(across, int_const(g.dilation_w * places.pixel)))),
                kernel::let(b, kernel::mul(kernel::add(kernel::mul(down, int_const(g.window_w)), across),
                                           int_const(g.channels)))};
    for (Stmt& s : pass(var_expr(a), var_expr(b))) steps.push_back(std::move(s));
    return {kernel::loop(
        ky, int_const(0), word[kWindowTapsY], kernel::LoopKind::kSerial,
        {kernel::loop(kx, int_const(0), word[kWindowTapsX], kernel::LoopKind::kSerial, std::move(steps))})};
  };
  return [=](const Expr& row) { return kernel::load(pixels, row); };
}

}  // namespace tern::lower
