#include "compiler/lower/winograd_kernel.h"

#include <algorithm>

#include "compiler/lower/byte_product.h"
#include "compiler/lower/contraction_kernel.h"
#include "compiler/lower/loop_writer.h"
#include "compiler/lower/winograd_bytes.h"
#include "compiler/lower/winograd_weights.h"
#include "compiler/support/rounding.h"

namespace tern::lower {
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
using kernel::VType;
using Stmts = std::vector<Stmt>;

// One vector a point or pixel of a patch, row by row.
using Square = std::vector<std::vector<Expr>>;

class Builder {
 public:
  Builder(const ConvGeometry& g, int64_t columns, const WinogradSchedule& s, bool has_fma,
          const WinogradOperands& o, kernel::ParamTable& params)
      : g_(g),
        columns_(columns),
        s_(s),
        has_fma_(has_fma),
        o_(o),
        params_(params),
        transform_(winograd_transform(s.outputs, static_cast<int>(g.stride_h))),
        size_(transform_.size()),
        lanes_(s.product.lanes),
        group_(int64_t{s.product.vectors} * s.product.lanes),
        depth_(g.window_d * g.channels) {
    const auto tiles = [&](const Dim& outputs, int64_t dilation) {
      return winograd_phases(outputs, dilation) * ceildiv(ceildiv(outputs, dilation), s.outputs);
    };
    tiles_y_ = tiles(g.out_height, g.dilation_h);
    tiles_x_ = tiles(g.out_width, g.dilation_w);
    all_tiles_ = g.images * g.out_depth * tiles_y_ * tiles_x_;
  }

  WinogradKernel build() {
    WinogradKernel out;
    const Var column_block = kernel::make_var("column_block"), tile_block = kernel::make_var("tile_block");
    const Dim column_blocks = ceildiv(Dim(columns_), s_.product.block_columns),
              tile_blocks = ceildiv(all_tiles_, s_.product.block_rows);
    // The last axis runs fastest: neighbours share their part of the weights.
    out.grid.push_back({column_block, column_blocks, params_.expr(column_blocks)});
    out.grid.push_back({tile_block, tile_blocks, params_.expr(tile_blocks)});

    // Points lie a line apart from each other modulo the cache's sets.
    point_stride_ = s_.product.block_rows * depth_ + kPanelColumns * (o_.bytes ? 2 : 1);
    product_stride_ = s_.product.block_rows * group_ + kPanelColumns;
    points_ = scratch("points", int64_t{size_} * size_ * point_stride_, o_.bytes ? DType::kI16 : DType::kF32);
    products_ = scratch("products", int64_t{size_} * size_ * product_stride_, sum_);
    if (o_.bytes) {
      weights_ = scratch("weights", size_ * weight_stride(), DType::kI16);
    } else {
      half_ = scratch("half", int64_t{size_} * size_ * lanes_, DType::kF32);
      stage_ = scratch("stage", int64_t{s_.outputs} * s_.outputs * group_, DType::kF32);
    }

    const Var tile0 = kernel::make_var("tile0"), tiles = kernel::make_var("tiles"),
              n0 = kernel::make_var("n0");
    tile0_ = var_expr(tile0);
    tiles_count_ = var_expr(tiles);
    const int64_t block = s_.product.block_rows;
    const bool even = all_tiles_.is_const() && all_tiles_.value() % block == 0;
    out.body = {kernel::let(tile0, kernel::mul(var_expr(tile_block), int_const(block))),
                kernel::let(tiles, even ? int_const(block)
                                        : kernel::min(int_const(block),
                                                      kernel::sub(params_.expr(all_tiles_), tile0_))),
                kernel::let(n0, kernel::mul(var_expr(column_block), int_const(s_.product.block_columns))),
                kernel::alloc(points_), kernel::alloc(products_)};
    if (o_.bytes) {
      out.body.push_back(kernel::alloc(weights_));
    } else {
      append(out.body, {kernel::alloc(half_), kernel::alloc(stage_)});
    }
    append(out.body, for_each_patch([&](const Patch& p) { return input_patch(p); }));
    append(out.body, column_groups(var_expr(n0)));
    return out;
  }

 private:
  struct Patch {
    Expr i, image, oz, oy, ox;  // index in the block; first output pixel
  };

  static Buffer scratch(const char* name, int64_t elements, DType type) {
    return kernel::make_buffer(name, {type, 1}, Scope::kScratch, kernel::Access::kReadWrite, elements);
  }

  // Words of a point's weights for a group of columns, a line apart modulo the cache's sets.
  int64_t weight_stride() const { return g_.channels * group_ + 2 * kPanelColumns; }

  // Where that patch along an axis begins; patches of all phases lie side by side.
  Expr first_output(const Expr& patch, const Dim& outputs, int64_t dilation) const {
    if (dilation == 1) return kernel::mul(patch, int_const(s_.outputs));
    const Expr phases = params_.expr(winograd_phases(outputs, dilation));
    return kernel::add(kernel::mul(kernel::index_div(patch, phases), int_const(s_.outputs * dilation)),
                       kernel::index_rem(patch, phases));
  }

  Stmts for_each_patch(const std::function<Stmts(const Patch&)>& body) {
    const Var i = kernel::make_var("i"), t = kernel::make_var("t"), image = kernel::make_var("image"),
              ozv = kernel::make_var("oz"), oy = kernel::make_var("oy"), ox = kernel::make_var("ox");
    const Expr across = params_.expr(tiles_x_), in_image = params_.expr(tiles_y_ * tiles_x_);
    const Expr inside = kernel::index_rem(var_expr(t), in_image);
    Expr plane = kernel::index_div(var_expr(t), in_image), oz = int_const(0);
    if (!g_.out_depth.is_const(1)) {
      const Expr planes = params_.expr(g_.out_depth);
      oz = kernel::index_rem(plane, planes);
      plane = kernel::index_div(plane, planes);
    }
    Stmts out{kernel::let(t, kernel::add(tile0_, var_expr(i))), kernel::let(image, plane),
              kernel::let(ozv, oz),
              kernel::let(oy, first_output(kernel::index_div(inside, across), g_.out_height, g_.dilation_h)),
              kernel::let(ox, first_output(kernel::index_rem(inside, across), g_.out_width, g_.dilation_w))};
    append(out, body({var_expr(i), var_expr(image), var_expr(ozv), var_expr(oy), var_expr(ox)}));
    return {kernel::loop(i, int_const(0), tiles_count_, LoopKind::kSerial, std::move(out))};
  }

  // ---- Input

  // The planes of the window side by side, zero where there are none.
  Stmts input_patch(const Patch& p) {
    const auto plane = [&](const Expr& kz) {
      const Expr first = kernel::sub(kernel::mul(p.oz, int_const(g_.stride_d)), int_const(g_.pad_front));
      return kernel::add(first, kernel::mul(kz, int_const(g_.dilation_d)));
    };
    if (g_.window_d == 1 && g_.pad_front == 0 && g_.stride_d == 1 && g_.out_depth == g_.depth)
      return input_plane(p, p.oz, int_const(0));
    const Var kz = kernel::make_var("kz"), iz = kernel::make_var("iz");
    const Expr from = kernel::mul(var_expr(kz), int_const(g_.channels));
    return {kernel::loop(kz, int_const(0), int_const(g_.window_d), LoopKind::kSerial,
                         {kernel::let(iz, plane(var_expr(kz))),
                          kernel::if_then(in_range(var_expr(iz), params_.expr(g_.depth)),
                                          input_plane(p, var_expr(iz), from), no_plane(p, from))})};
  }

  Stmts no_plane(const Patch& p, const Expr& from) const {
    const Var point = kernel::make_var("point");
    const Expr at = kernel::add(kernel::mul(var_expr(point), int_const(point_stride_)),
                                kernel::add(kernel::mul(p.i, int_const(depth_)), from));
    Stmts zeros = vector_run(g_.channels, lanes_, [&](const Expr& offset, int lanes) -> Stmts {
      const Expr zero = kernel::float_const(0.0);
      return {kernel::store(points_, kernel::add(at, offset),
                            lanes == 1 ? zero : kernel::broadcast(zero, lanes))};
    });
    return {kernel::loop(point, int_const(0), int_const(int64_t{size_} * size_), LoopKind::kSerial,
                         std::move(zeros))};
  }

  // Channels of a plane, to channels of the products from `from` on.
  Stmts input_plane(const Patch& p, const Expr& iz, const Expr& from) {
    const Var iy0 = kernel::make_var("iy0"), ix0 = kernel::make_var("ix0");
    const Expr height = params_.expr(g_.height), width = params_.expr(g_.width);
    const auto fits = [&](const Expr& first, int64_t dilation, const Expr& extent) {
      const Expr end = kernel::add(first, int_const((size_ - 1) * dilation + 1));
      return both(kernel::compare(ScalarOp::kGe, first, int_const(0)),
                  kernel::compare(ScalarOp::kLe, end, extent));
    };
    const auto below = [&](int row) { return kernel::add(var_expr(iy0), int_const(row * g_.dilation_h)); };
    const auto beside = [&](const Expr& x) {
      return kernel::add(var_expr(ix0), kernel::mul(x, int_const(g_.dilation_w)));
    };
    Stmts guards;
    std::vector<Expr> rows;
    for (int i = 0; i < size_; ++i) {
      const Var row = kernel::make_var("row_exists", {DType::kBool, 1});
      guards.push_back(kernel::let(row, in_range(below(i), height)));
      rows.push_back(var_expr(row));
    }
    const auto pixel = [&](int y, const Expr& x, const Expr& c, int lanes) {
      return o_.pixel(p.image, iz, below(y), beside(x), c, lanes);
    };
    const auto guarded = [&](int y, const Expr& x, const Expr& c, int lanes) {
      const Expr zero = o_.bytes ? int_const(o_.bytes->padding, DType::kU8) : kernel::float_const(0.0);
      return kernel::select(both(rows[static_cast<size_t>(y)], in_range(beside(x), width)),
                            pixel(y, x, c, lanes), lanes == 1 ? zero : kernel::broadcast(zero, lanes));
    };
    const auto channels = [&](const auto& of) {
      return o_.bytes ? input_bytes(p, of) : input_channels(p, from, of);
    };
    append(guards, channels(guarded));
    return {kernel::let(iy0, kernel::sub(kernel::mul(p.oy, int_const(g_.stride_h)), int_const(g_.pad_top))),
            kernel::let(ix0, kernel::sub(kernel::mul(p.ox, int_const(g_.stride_w)), int_const(g_.pad_left))),
            kernel::if_then(
                both(fits(var_expr(iy0), g_.dilation_h, height), fits(var_expr(ix0), g_.dilation_w, width)),
                channels(pixel), std::move(guards))};
  }

  using Pixel = std::function<Expr(int y, const Expr& x, const Expr& c, int lanes)>;

  Stmts input_channels(const Patch& p, const Expr& from, const Pixel& pixel) {
    int lanes = lanes_;
    while (lanes > g_.channels) lanes /= 2;
    const int64_t vectors = (g_.channels + lanes - 1) / lanes;
    const Var v = kernel::make_var("v"), cv = kernel::make_var("c");
    const Expr c = var_expr(cv);
    // The last vector ends with the last channel: where it overlaps the one before, both write the same.
    Expr first = kernel::mul(var_expr(v), int_const(lanes));
    if (g_.channels % lanes != 0) first = kernel::min(first, int_const(g_.channels - lanes));
    Stmts body{kernel::let(cv, first)};
    const Expr at = kernel::add(kernel::mul(p.i, int_const(depth_)), kernel::add(from, c));
    append(body,
           transform_square(
               size_, lanes, winograd_input, [&](int y, const Expr& x) { return pixel(y, x, c, lanes); },
               [&](const Expr& y, int x, const Expr& value) {
                 const Expr point = kernel::add(kernel::mul(y, int_const(size_)), int_const(x));
                 return kernel::store(points_, kernel::add(at, kernel::mul(point, int_const(point_stride_))),
                                      value);
               }));
    return {kernel::loop(v, int_const(0), int_const(vectors), LoopKind::kSerial, std::move(body))};
  }

  using Transform = std::vector<Expr>(const WinogradTransform&, bool, const std::vector<Expr>&, Stmts&);

  // A transform of a square's columns, then of the rows of what that gives, which waits in scratch: as loops,
  // since the values are more than there are registers, and code is `size_` times as long without.
  Stmts transform_square(int outputs, int lanes, Transform transform,
                         const std::function<Expr(int y, const Expr& x)>& read,
                         const std::function<Stmt(const Expr& y, int x, const Expr& value)>& write) const {
    const VType vector{DType::kF32, lanes};
    const Var x = kernel::make_var("x"), y = kernel::make_var("y");
    const auto half_at = [&](const Expr& row, const Expr& column) {
      return kernel::mul(kernel::add(kernel::mul(row, int_const(size_)), column), int_const(lanes));
    };
    Stmts column, row;
    std::vector<Expr> values;
    for (int i = 0; i < size_; ++i) {
      const Var v = kernel::make_var("d", vector);
      column.push_back(kernel::let(v, read(i, var_expr(x))));
      values.push_back(var_expr(v));
    }
    values = transform(transform_, has_fma_, values, column);
    for (int i = 0; i < outputs; ++i)
      column.push_back(
          kernel::store(half_, half_at(int_const(i), var_expr(x)), values[static_cast<size_t>(i)]));
    values.clear();
    for (int i = 0; i < size_; ++i) {
      const Var v = kernel::make_var("t", vector);
      row.push_back(kernel::let(v, kernel::load(half_, half_at(var_expr(y), int_const(i)), lanes)));
      values.push_back(var_expr(v));
    }
    values = transform(transform_, has_fma_, values, row);
    for (int i = 0; i < outputs; ++i) row.push_back(write(var_expr(y), i, values[static_cast<size_t>(i)]));
    return {kernel::loop(x, int_const(0), int_const(size_), LoopKind::kSerial, std::move(column)),
            kernel::loop(y, int_const(0), int_const(outputs), LoopKind::kSerial, std::move(row))};
  }

  // Even bytes of all pixels, then odd ones: words of both are more than there are registers.
  Stmts input_bytes(const Patch& p, const Pixel& pixel) {
    const int lanes = kByteGroup * lanes_;
    const Var v = kernel::make_var("v"), cv = kernel::make_var("c");
    const Expr c = var_expr(cv);
    Expr first = kernel::mul(var_expr(v), int_const(lanes));
    if (g_.channels % lanes != 0) first = kernel::min(first, int_const(g_.channels - lanes));
    Stmts body{kernel::let(cv, first)};
    const WordRows rows{points_, g_.channels / kByteGroup};
    for (int part = 0; part < kPairParts; ++part) {
      Square half(static_cast<size_t>(size_));
      for (int x = 0; x < size_; ++x) {
        std::vector<Expr> d;
        for (int y = 0; y < size_; ++y) {
          const ByteProduct product(ByteProducts::kPairs, lanes_);
          d.push_back(product.left_part(pixel(y, int_const(x), c, lanes), part, body));
        }
        half[static_cast<size_t>(x)] = byte_winograd_input(s_.outputs, d, body);
      }
      const Expr at = kernel::add(kernel::add(rows.row(p.i), int_const(part * rows.plane())),
                                  kernel::index_div(c, int_const(2)));
      for (int y = 0; y < size_; ++y) {
        std::vector<Expr> row;
        for (const std::vector<Expr>& column : half) row.push_back(column[static_cast<size_t>(y)]);
        const std::vector<Expr> values = byte_winograd_input(s_.outputs, row, body);
        for (int x = 0; x < size_; ++x)
          body.push_back(kernel::store(points_,
                                       kernel::add(at, int_const((int64_t{y} * size_ + x) * point_stride_)),
                                       values[static_cast<size_t>(x)]));
      }
    }
    return {kernel::loop(v, int_const(0), int_const(ceil_div(g_.channels, lanes)), LoopKind::kSerial,
                         std::move(body))};
  }

  // ---- Products and output

  Stmts column_groups(const Expr& n0) {
    const int64_t rest_columns = columns_ % group_;
    const Var g = kernel::make_var("group");
    const int64_t block = s_.product.block_columns;
    const Expr columns = columns_ % block == 0
                             ? int_const(block)
                             : kernel::min(int_const(block), kernel::sub(int_const(columns_), n0));
    Stmts out;
    if (columns_ >= group_) {
      out.push_back(
          kernel::loop(g, int_const(0), kernel::index_div(columns, int_const(group_)), LoopKind::kSerial,
                       column_group(kernel::add(n0, kernel::mul(var_expr(g), int_const(group_))), group_)));
    }
    if (rest_columns == 0) return out;
    const int64_t rest_n = columns_ - rest_columns;
    Stmts tail = column_group(int_const(rest_n), rest_columns);
    if (columns_ <= block) {
      append(out, std::move(tail));
    } else {
      out.push_back(kernel::if_then(
          kernel::compare(ScalarOp::kGt, kernel::add(n0, columns), int_const(rest_n)), std::move(tail)));
    }
    return out;
  }

  Stmts column_group(const Expr& n_value, int64_t columns) {
    const int vectors = static_cast<int>((columns + lanes_ - 1) / lanes_);
    const Var nv = kernel::make_var("n"), row_point = kernel::make_var("row_point"),
              column_point = kernel::make_var("column_point"), pv = kernel::make_var("point"),
              wv = kernel::make_var("weights");
    const Expr n = var_expr(nv), point = var_expr(pv), weights = var_expr(wv);
    const int64_t distinct = transform_.weights();
    ContractionOperands o;
    o.a_buffer = points_;
    o.a_row = [&](const Expr& row) {
      return kernel::add(kernel::mul(point, int_const(point_stride_)),
                         kernel::mul(kernel::sub(row, tile0_), int_const(depth_)));
    };
    o.b_buffer = o_.weights;
    o.b_index = [&](const Expr& column, const Expr& k) {
      const Expr panel = kernel::index_div(column, int_const(kPanelColumns)),
                 inside = kernel::index_rem(column, int_const(kPanelColumns));
      const Expr product = kernel::add(kernel::mul(panel, int_const(distinct * distinct)), weights);
      const Expr row = kernel::add(kernel::mul(product, int_const(WinogradWeights::pitch(depth_))), k);
      return kernel::add(kernel::mul(row, int_const(kPanelColumns)), inside);
    };
    if (o_.bytes) take_bytes(point, var_expr(column_point), o);
    o.finish = [&](const Expr& row, const Expr& column, const Expr& value, int, const Expr&) -> Stmts {
      const Expr at =
          kernel::add(kernel::mul(kernel::sub(row, tile0_), int_const(group_)), kernel::sub(column, n));
      return {
          kernel::store(products_, kernel::add(kernel::mul(point, int_const(product_stride_)), at), value)};
    };
    ContractionColumns block;
    block.row0 = tile0_;
    block.rows = tiles_count_;
    block.n = n;
    block.vectors = vectors;
    Stmts out{kernel::let(nv, n_value)};
    const auto distinct_of = [&](const Var& v) {
      return distinct == size_ ? var_expr(v) : kernel::min(var_expr(v), int_const(distinct - 1));
    };
    Stmts one{kernel::let(pv, kernel::add(kernel::mul(var_expr(row_point), int_const(size_)),
                                          var_expr(column_point))),
              kernel::let(wv, kernel::add(kernel::mul(distinct_of(row_point), int_const(distinct)),
                                          distinct_of(column_point)))};
    const Dim depth(o_.bytes ? g_.channels / kByteGroup : depth_);
    append(one, contraction_columns(all_tiles_, depth, block, s_.product, has_fma_, o, params_));
    Stmts row = o_.bytes ? byte_weights(var_expr(row_point), n, vectors) : Stmts{};
    row.push_back(
        kernel::loop(column_point, int_const(0), int_const(size_), LoopKind::kSerial, std::move(one)));
    out.push_back(kernel::loop(row_point, int_const(0), int_const(size_), LoopKind::kSerial, std::move(row)));
    append(out, for_each_patch([&](const Patch& p) { return output_patch(p, n, columns, vectors); }));
    return {kernel::block(std::move(out))};
  }

  void take_bytes(const Expr& point, const Expr& column, ContractionOperands& o) const {
    o.step = StepKind::kBytes;
    o.byte_products = ByteProducts::kPairs;
    o.words_of_a = o.words_of_b = true;
    o.word_rows = WordRows{points_, g_.channels / kByteGroup, kernel::mul(point, int_const(point_stride_))};
    o.word_panel =
        WordPanel{weights_, s_.product.vectors, lanes_, kernel::mul(column, int_const(weight_stride()))};
    o.b_buffer = nullptr;
  }

  // The weights of all points of that row.
  Stmts byte_weights(const Expr& row, const Expr& n, int vectors) const {
    Stmts out;
    for (int y = size_ - 1; y >= 0; --y) {
      Stmts one = byte_winograd_weights(
          s_.outputs, y, g_.channels / kByteGroup, vectors,
          [&](int64_t column) {
            return WordPanel{weights_, s_.product.vectors, lanes_, int_const(column * weight_stride())};
          },
          [&](int64_t tap, const Expr& step, int vector) {
            return o_.bytes->weight(tap, step, kernel::add(n, int_const(int64_t{vector} * lanes_)), lanes_);
          });
      out = out.empty() ? std::move(one)
                        : Stmts{kernel::if_then(kernel::compare(ScalarOp::kEq, row, int_const(y)),
                                                std::move(one), std::move(out))};
    }
    return out;
  }

  Stmts output_patch(const Patch& p, const Expr& n, int64_t columns, int vectors) {
    const int outputs = s_.outputs;
    const int64_t width = int64_t{vectors} * lanes_;
    const Buffer stage = o_.bytes ? kernel::make_buffer("stage", {sum_, 1}, Scope::kStack,
                                                        kernel::Access::kReadWrite, outputs * outputs * width)
                                  : stage_;
    Stmts out;
    if (o_.bytes) out.push_back(kernel::alloc(stage));
    const Var j = kernel::make_var("j"), lane0v = kernel::make_var("lane0");
    const Expr lane0 = var_expr(lane0v);
    Stmts body{kernel::let(lane0v, kernel::mul(var_expr(j), int_const(lanes_)))};
    const Expr at = kernel::add(kernel::mul(p.i, int_const(group_)), lane0);
    const auto product = [&](int y, const Expr& x) {
      const Expr point = kernel::add(int_const(int64_t{y} * size_), x);
      return kernel::load(products_, kernel::add(at, kernel::mul(point, int_const(product_stride_))), lanes_);
    };
    const auto write = [&](const Expr& y, int x, const Expr& value) {
      const Expr pixel = kernel::add(kernel::mul(y, int_const(outputs)), int_const(x));
      return kernel::store(stage, kernel::add(lane0, kernel::mul(pixel, int_const(width))), value);
    };
    append(body, o_.bytes ? output_bytes(product, write)
                          : transform_square(outputs, lanes_, winograd_output, product, write));
    out.push_back(kernel::loop(j, int_const(0), int_const(vectors), LoopKind::kSerial, std::move(body)));
    append(out, finish_patch(p, n, columns, vectors, stage));
    return out;
  }

  // Not in loops: how a sum is divided depends on its place.
  Stmts output_bytes(const std::function<Expr(int y, const Expr& x)>& product,
                     const std::function<Stmt(const Expr& y, int x, const Expr& value)>& write) const {
    Stmts out;
    Square half;  // A^T m, column by column
    for (int x = 0; x < size_; ++x) {
      std::vector<Expr> m;
      for (int y = 0; y < size_; ++y) {
        const Var mv = kernel::make_var("m", {sum_, lanes_});
        out.push_back(kernel::let(mv, product(y, int_const(x))));
        m.push_back(var_expr(mv));
      }
      half.push_back(byte_winograd_output(s_.outputs, m, out));
    }
    for (int y = 0; y < s_.outputs; ++y) {
      std::vector<Expr> m;
      for (const std::vector<Expr>& column : half) m.push_back(column[static_cast<size_t>(y)]);
      const std::vector<Expr> values = byte_winograd_output(s_.outputs, m, out);
      for (int x = 0; x < s_.outputs; ++x)
        out.push_back(
            write(int_const(y), x, byte_winograd_sum(s_.outputs, y, x, values[static_cast<size_t>(x)])));
    }
    return out;
  }

  Stmts finish_patch(const Patch& p, const Expr& n, int64_t columns, int vectors, const Buffer& stage) {
    const int64_t width = int64_t{vectors} * lanes_;
    const Var y = kernel::make_var("y"), x = kernel::make_var("x");
    const auto clipped = [&](const Expr& first, const Dim& extent, int64_t dilation) {
      if (extent.is_const() && extent.value() % (s_.outputs * dilation) == 0) return int_const(s_.outputs);
      const Expr left = kernel::sub(params_.expr(extent), first);
      if (dilation == 1) return kernel::min(int_const(s_.outputs), left);
      const Expr rounded = kernel::add(left, int_const(dilation - 1));
      return kernel::min(int_const(s_.outputs), kernel::index_div(rounded, int_const(dilation)));
    };
    const auto along = [](const Expr& first, const Var& i, int64_t dilation) {
      return kernel::add(first, kernel::mul(var_expr(i), int_const(dilation)));
    };
    Stmts pixel;
    for (int j = 0; j < vectors; ++j) {
      const Expr lane0 = int_const(int64_t{j} * lanes_);
      const Expr at = kernel::add(
          lane0, kernel::mul(kernel::add(kernel::mul(var_expr(y), int_const(s_.outputs)), var_expr(x)),
                             int_const(width)));
      const int64_t left = columns - int64_t{j} * lanes_;
      const int lanes = o_.finish_in_pairs && left >= int64_t{2} * lanes_ ? 2 * lanes_ : lanes_;
      append(pixel, o_.finish(p.image, p.oz, along(p.oy, y, g_.dilation_h), along(p.ox, x, g_.dilation_w),
                              kernel::add(n, lane0), kernel::load(stage, at, lanes), lanes,
                              left >= lanes ? nullptr : int_const(left)));
      if (lanes > lanes_) ++j;
    }
    return {kernel::loop(y, int_const(0), clipped(p.oy, g_.out_height, g_.dilation_h), LoopKind::kSerial,
                         {kernel::loop(x, int_const(0), clipped(p.ox, g_.out_width, g_.dilation_w),
                                       LoopKind::kSerial, std::move(pixel))})};
  }

  const ConvGeometry& g_;
  const int64_t columns_;
  const WinogradSchedule& s_;
  const bool has_fma_;
  const WinogradOperands& o_;
  kernel::ParamTable& params_;
  const WinogradTransform& transform_;
  const int size_, lanes_;
  const int64_t group_, depth_;  // columns of a group; channels of the products
  Dim tiles_y_, tiles_x_, all_tiles_;
  int64_t point_stride_ = 0, product_stride_ = 0;
  Expr tile0_, tiles_count_;
  const DType sum_ = o_.bytes ? DType::kI32 : DType::kF32;
  Buffer points_, products_, weights_, half_, stage_;
};

}  // namespace

WinogradKernel build_winograd_kernel(const ConvGeometry& geometry, int64_t columns,
                                     const WinogradSchedule& schedule, bool has_fma,
                                     const WinogradOperands& operands, kernel::ParamTable& params) {
  return Builder(geometry, columns, schedule, has_fma, operands, params).build();
}

}  // namespace tern::lower
