#include "compiler/lower/gpu/mma_source.h"

#include "compiler/lower/contraction_body.h"
#include "compiler/lower/gpu/chunks.h"
#include "compiler/lower/gpu/mma_contraction.h"
#include "compiler/lower/loop_writer.h"

namespace tern::lower::gpu {
namespace {

using graph::Node;
using graph::OpKind;
using graph::Value;
using kernel::Expr;
using kernel::int_const;
using kernel::ScalarOp;
using State = MmaOperands::State;
using Stmts = std::vector<kernel::Stmt>;

// An expression that is no name or number yet, under a name.
Expr let(Stmts& lets, const char* name, const Expr& value) {
  if (value->kind == kernel::ExprKind::kConst || value->kind == kernel::ExprKind::kVar) return value;
  return named(name, value, lets);
}

}  // namespace

class MmaSource::Impl {
 public:
  Impl(DispatchBuilder& dispatch, ElementEmitter& emitter, ContractionProblem problem, DType dtype,
       bool in_pieces)
      : context_(dispatch.context()),
        dispatch_(dispatch),
        emitter_(emitter),
        root_(*dispatch.region().root),
        x_(root_.operand(0)),
        p_(std::move(problem)),
        params_(dispatch.params()),
        channels_(root_.kind == OpKind::kConv ? root_.operand(1)->type.shape[1].value() : 0),
        dtype_(dtype),
        a_type_(dtype == DType::kI8 ? DType::kU8 : dtype),
        chunk_(chunk_of(dtype)),
        in_pieces_(in_pieces) {
    if (const graph::Attr* fill = root_.find("pad_value")) padding_ = std::get<int64_t>(*fill);
  }

  MmaOperands operands(const kernel::Buffer& weights, kernel::GridAxis& batch) {
    b_ = int_const(0);
    if (!p_.batch.is_const(1)) {
      const kernel::Var v = kernel::make_var("batch");
      b_ = kernel::var_expr(v);
      batch = {v, p_.batch, params_.expr(p_.batch)};
    }
    MmaOperands o;
    o.dtype = dtype_;
    o.b_batches = p_.b_batches;
    const int64_t rows = (p_.n.value() + 7) / 8 * 8, width = 8 * chunk_,
                  blocks = (p_.k.value() + width - 1) / width;
    o.b_buffer = weights;
    o.b_first = p_.b_start(b_, blocks * rows * width);
    p_.windows ? windows(o) : rows_of_memory(o);
    o.is_constant = [this](const kernel::Buffer& b) { return dispatch_.is_constant(b); };
    o.finish = [this](const Expr& m, const Expr& n, const Expr& value, int lanes, const Expr& count) {
      const DType type = root_.result()->type.dtype;
      return store_epilogue(
          emitter_, [&](const Expr& at) { return p_.out_index(b_, m, at); }, n,
          value->type.dtype == type ? value : kernel::cast(value, type), lanes, count,
          type == DType::kI32);  // what follows sums of bytes is fused as CPUs with fma do
    };
    return o;
  }

 private:
  Expr element(const Index& index) {
    const Expr e = emitter_.element(x_, index);
    TERN_CHECK(emitter_.take_checks().empty(), "a contraction inlines a gather");
    return kernel::cast(e, a_type_);
  }

  // Elements of a copy, runs of `run` of them along a dimension; 0: they are read one by one.
  int piece(size_t along, int64_t run) const {
    const int most = piece_of(x_, along, run, a_type_, context_);
    return most == chunk_ || in_pieces_ ? most : 0;
  }

  void rows_of_memory(MmaOperands& o) {
    o.a_plain = [this](const Expr& m, const Expr& k, Stmts&) { return element(p_.a_index(b_, m, k)); };
    const size_t along = root_.kind == OpKind::kConv ? 1 : x_->type.shape.size() - 1;
    o.a_depth = [](const Expr& k, Stmts&) { return State{k}; };
    o.a_piece = piece(along, p_.k.value());
    if (o.a_piece > 0) {
      o.a_buffer = dispatch_.buffer_of(x_);
      o.a_row = [this](const Expr& m, Stmts& lets) {
        return State{let(lets, "a_row", emitter_.address(x_, p_.a_index(b_, m, int_const(0))))};
      };
      o.a_chunk = [](const State& row, const State& depth) {
        return MmaChunk{kernel::add(row[0], depth[0]), nullptr};
      };
      if (root_.kind == OpKind::kDot || p_.batch.is_const(1))
        o.a_rows = rows_in_line(
            x_, along, [this](const Expr& m) { return p_.a_index(b_, m, int_const(0)); }, dispatch_);
      return;
    }
    o.a_row = [](const Expr& m, Stmts&) { return State{m}; };
    o.a_element = [this](const State& row, const Expr& k) { return element(p_.a_index(b_, row[0], k)); };
  }

  Index pixel(const Expr& image, const Expr& channel, const Expr& iy, const Expr& ix, const Expr& iz) const {
    const Expr c = kernel::add(kernel::mul(b_, int_const(p_.geometry.channels)), channel);
    return spatial_index(x_->type.rank(), image, c, iz, iy, ix);
  }
  Expr inside(const Expr& iy, const Expr& ix, const Expr& iz) const {
    const ConvGeometry& g = p_.geometry;
    const auto with = [this](const Expr& in, const Expr& at, const Dim& extent) {
      return kernel::op(ScalarOp::kAnd, {in_range(at, params_.expr(extent)), in});
    };
    Expr in = in_range(ix, params_.expr(g.width));
    if (x_->type.rank() > 3) in = with(in, iy, g.height);
    return is_volume() ? with(in, iz, g.depth) : in;
  }
  bool is_volume() const { return x_->type.rank() == 5; }

  // Row m is an output pixel: its image and the corner of its window (image, iy, ix, iz). A step is a tap and
  // a channel (ky, kx, c, kz).
  void windows(MmaOperands& o) {
    const ConvGeometry& g = p_.geometry;
    const auto div = [this](const Expr& x, const Dim& by) { return kernel::index_div(x, params_.expr(by)); };
    const auto rem = [this](const Expr& x, const Dim& by) { return kernel::index_rem(x, params_.expr(by)); };
    const auto corner = [](const Expr& out, int64_t stride, int64_t pad) {
      return kernel::sub(kernel::mul(out, int_const(stride)), int_const(pad));
    };
    const auto row = [=, this](const Expr& m, Stmts& lets) {
      const Dim plane = g.out_height * g.out_width, volume = g.out_depth * plane;
      Expr at = let(lets, "pixel", rem(m, volume));
      const Expr image = let(lets, "image", div(m, volume));
      Expr iz = int_const(0);
      if (is_volume()) {
        iz = let(lets, "iz", corner(div(at, plane), g.stride_d, g.pad_front));
        at = let(lets, "in_plane", rem(at, plane));
      }
      return State{image, let(lets, "iy", corner(div(at, g.out_width), g.stride_h, g.pad_top)),
                   let(lets, "ix", corner(rem(at, g.out_width), g.stride_w, g.pad_left)), iz};
    };
    const auto depth = [=, this](const Expr& k, Stmts& lets) {
      Expr tap = let(lets, "tap", kernel::index_div(k, int_const(g.channels)));
      const auto offset = [](const Expr& at, int64_t dilation) {
        return kernel::mul(at, int_const(dilation));
      };
      Expr kz = int_const(0);
      if (is_volume()) {
        const Expr plane = int_const(g.window_h * g.window_w);
        kz = let(lets, "kz", offset(kernel::index_div(tap, plane), g.dilation_d));
        tap = let(lets, "tap_in_plane", kernel::index_rem(tap, plane));
      }
      return State{let(lets, "ky", offset(kernel::index_div(tap, int_const(g.window_w)), g.dilation_h)),
                   let(lets, "kx", offset(kernel::index_rem(tap, int_const(g.window_w)), g.dilation_w)),
                   let(lets, "c", kernel::index_rem(k, int_const(g.channels))), kz};
    };
    const auto tap_inside = [this](const State& r, const State& d) {
      return inside(kernel::add(r[1], d[0]), kernel::add(r[2], d[1]), kernel::add(r[3], d[3]));
    };
    const auto element_of = [=, this](const State& r, const Expr& k) {
      Expr tap = kernel::index_div(k, int_const(g.channels));
      const auto at = [](const Expr& corner, const Expr& step, int64_t dilation) {
        return kernel::add(corner, kernel::mul(step, int_const(dilation)));
      };
      Expr iz = int_const(0);
      if (is_volume()) {
        const Expr plane = int_const(g.window_h * g.window_w);
        iz = at(r[3], kernel::index_div(tap, plane), g.dilation_d);
        tap = kernel::index_rem(tap, plane);
      }
      const Expr iy = at(r[1], kernel::index_div(tap, int_const(g.window_w)), g.dilation_h),
                 ix = at(r[2], kernel::index_rem(tap, int_const(g.window_w)), g.dilation_w);
      const Expr channel = kernel::index_rem(k, int_const(g.channels));
      const Expr value = element(pixel(r[0], channel, iy, ix, iz));
      const Expr outside =
          is_float(a_type_) ? kernel::float_const(0.0, a_type_) : int_const(padding_, a_type_);
      Expr exists = inside(iy, ix, iz);
      if (g.channels > channels_) exists = both(exists, less(channel, int_const(channels_)));
      return kernel::select(exists, value, outside);
    };
    o.a_plain = [=](const Expr& m, const Expr& k, Stmts& lets) { return element_of(row(m, lets), k); };
    o.a_depth = depth;
    o.a_padding = padding_;
    o.a_piece = piece(1, g.channels);
    if (o.a_piece > 0) {
      o.a_buffer = dispatch_.buffer_of(x_);
      // Addresses are sums of a part of the row and a part of the step.
      o.a_row = [=, this](const Expr& m, Stmts& lets) {
        State s = row(m, lets);
        s.push_back(let(lets, "a_row", emitter_.address(x_, pixel(s[0], int_const(0), s[1], s[2], s[3]))));
        return s;
      };
      o.a_depth = [=, this](const Expr& k, Stmts& lets) {
        State s = depth(k, lets);
        s.push_back(let(lets, "a_step", step_address(s)));
        return s;
      };
      o.a_chunk = [=, this](const State& r, const State& d) {
        return MmaChunk{kernel::add(r[4], d[4]), tap_inside(r, d), channels_};
      };
      return;
    }
    o.a_row = row;
    o.a_element = element_of;
  }

  // What a tap and a channel add to an address.
  Expr step_address(const State& step) {
    const Place& place = context_.place(x_);
    const size_t rank = place.strides.size();
    Expr at = kernel::add(step[2], kernel::mul(step[1], params_.expr(place.strides[rank - 1])));
    if (rank > 3) at = kernel::add(at, kernel::mul(step[0], params_.expr(place.strides[rank - 2])));
    if (rank > 4) at = kernel::add(at, kernel::mul(step[3], params_.expr(place.strides[2])));
    return at;
  }

  LoweringContext& context_;
  DispatchBuilder& dispatch_;
  ElementEmitter& emitter_;
  const Node& root_;
  Value* x_;
  const ContractionProblem p_;
  kernel::ParamTable& params_;
  const int64_t channels_;  // of one group of a convolution, in memory
  const DType dtype_, a_type_;
  const int64_t chunk_;
  const bool in_pieces_;  // copies may be shorter than a chunk
  int64_t padding_ = 0;
  Expr b_;
};

MmaSource::MmaSource(DispatchBuilder& dispatch, ElementEmitter& emitter, ContractionProblem problem,
                     DType dtype, bool in_pieces)
    : impl_(std::make_unique<Impl>(dispatch, emitter, std::move(problem), dtype, in_pieces)) {}

MmaSource::~MmaSource() = default;

MmaOperands MmaSource::operands(const kernel::Buffer& weights, kernel::GridAxis& batch) {
  return impl_->operands(weights, batch);
}

}  // namespace tern::lower::gpu
