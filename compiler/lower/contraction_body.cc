#include "compiler/lower/contraction_body.h"

#include <utility>

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/index_form.h"
#include "compiler/kernel/vectorize.h"
#include "compiler/lower/byte_columns.h"
#include "compiler/lower/cache_sets.h"
#include "compiler/lower/contraction_access.h"
#include "compiler/lower/contraction_kernel.h"
#include "compiler/lower/contraction_problem.h"
#include "compiler/lower/conv_gather.h"
#include "compiler/lower/depthwise_body.h"
#include "compiler/lower/few_columns.h"
#include "compiler/lower/packing.h"
#include "compiler/lower/quantised_weights.h"
#include "compiler/lower/turned_squares.h"
#include "compiler/lower/weight_encoding.h"
#include "compiler/lower/window_body.h"
#include "compiler/lower/winograd_body.h"
#include "compiler/support/rounding.h"

namespace tern::lower {
namespace {

using graph::Node;
using graph::OpKind;
using kernel::Buffer;
using kernel::Expr;
using kernel::int_const;
using kernel::Stmt;
using kernel::Var;
using kernel::var_expr;
using Stmts = std::vector<Stmt>;
using Index = std::vector<Expr>;

bool all_are(const std::vector<int64_t>& values, int64_t v) {
  return std::all_of(values.begin(), values.end(), [v](int64_t x) { return x == v; });
}

StepKind step_kind(const ContractionRequest& r) {
  if (is_byte_contraction(*r.root)) return StepKind::kBytes;
  if (const DType d = r.root->result()->type.dtype; d == DType::kF64 || is_contraction_integer(d))
    return StepKind::kOwn;
  const bool pairs = r.machine->variants == Variants::kBf16 || r.machine->variants == Variants::kTiles;
  return r.bf16_pairs && pairs ? StepKind::kBf16Pairs : StepKind::kFloats;
}

using Access = ContractionAccess;

using Problem = ContractionProblem;

class Contraction {
 public:
  Contraction(const ContractionRequest& request, Problem problem)
      : r_(request),
        p_(std::move(problem)),
        params_(*request.params),
        step_(step_kind(request)),
        access_(request, step_),
        group_(step_group(step_)),
        steps_(ceildiv(p_.k, group_)),
        weights_(quantised_weights(*request.root)) {}

  ContractionBody build() {
    const Var batch = kernel::make_var("batch");
    const bool batched = !p_.batch.is_const(1);
    b_ = batched ? var_expr(batch) : int_const(0);
    find_operands();
    const ContractionShape shape = scheduled_shape();
    if (only_tiles() && schedule_.tile_rows == 0) return {};
    ContractionOperands o;
    const std::optional<FewColumns> few = few_columns_of(shape);
    if (const auto windows = windows_of(few ? few->cycles : gathered_cycles(shape)))
      return build_windows(*windows);
    if (few) schedule_.block_depth = shape.k;  // what is gathered is whole rows
    take_a(o);
    const char* how_b = few ? "packed" : take_b(o, shape);
    o.step = step_;
    o.own = wide();
    o.byte_products = r_.machine->byte_products;
    o.pairs_of_bytes = r_.machine->arch == Arch::kX86_64;
    o.few_registers = r_.machine->vector_registers <= 16;
    if (schedule_.chain_vectors > 0) o.chains = chain_operands();
    o.words_of_a = shape.words && !(o.chains && shape.m_static);
    o.words_of_b = o.words_of_a && shape.m > 2 * int64_t{schedule_.rows};
    if (leaves_lines_out()) o.depth_blocks = depth_blocks();
    o.begin = access_.begin([this](const Expr& row, const Expr& n) { return p_.out_index(b_, row, n); });
    o.finish_is_long = r_.finish_is_long;
    o.finish_in_pairs = r_.stores_bytes && r_.machine->arch == Arch::kX86_64 && r_.machine->vector_bits > 128;
    o.finish = [=, this](const Expr& row, const Expr& column, const Expr& value, int width,
                         const Expr& count) {
      return access_.finish([=, this](const Expr& at) { return p_.out_index(b_, row, at); }, column, value,
                            width, count);
    };

    const kernel::GridAxis axis =
        batched ? kernel::GridAxis{batch, p_.batch, params_.expr(p_.batch)} : kernel::GridAxis{};
    if (few) return build_few(*few, axis, o);
    ContractionKernel made =
        build_contraction_kernel(p_.m, p_.n, steps_, axis, schedule_, r_.machine->has_fma, o, params_);
    const std::string kind = step_ == StepKind::kOwn         ? fmt::format("{}, ", dtype_name(wide()))
                             : step_ == StepKind::kBf16Pairs ? "bf16 pairs, "
                             : step_ == StepKind::kBytes     ? "bytes, "
                                                             : "";
    const char* how_a = o.depth_blocks ? "windows gathered, lines inside" : how_a_is_read();
    return {
        std::move(made.grid), std::move(made.body),
        fmt::format("{}{}; A {}, B {}", kind, schedule_.text(), how_a, how_b),
        schedule_.chain_vectors > 0 ? chain_cycles(shape, schedule_, r_.chains->cycles_a_step)
        : schedule_.tile_rows > 0   ? tile_cycles(shape, schedule_)
                                    : contraction_cycles(shape, schedule_, *r_.machine) * product_cost(),
        schedule_.tile_rows > 0 ? kernel::cpu_tile(step_ == StepKind::kBytes ? 8 : 16) : kernel::TileShape{}};
  }

 private:
  const char* how_a_is_read() const {
    return r_.depthwise ? "of a depthwise convolution"
           : a_load_    ? "in place"
           : p_.windows ? "windows gathered"
                        : "gathered";
  }

  // Few columns of a constant B in f32 (few_columns.h).
  std::optional<FewColumns> few_columns_of(const ContractionShape& shape) const {
    if (step_ != StepKind::kFloats || weights_ || words() || !r_.constant_rhs ||
        panel_type() != DType::kF32 || r_.depthwise || leaves_lines_out())
      return std::nullopt;
    return few_columns(shape, schedule_, *r_.machine);
  }

  ContractionBody build_few(const FewColumns& few, const kernel::GridAxis& axis, ContractionOperands& o) {
    ContractionKernel made =
        build_few_columns(p_.m, p_.k.value(), axis, few, r_.machine->has_fma, o, take_rows_of_b(o), params_);
    return {std::move(made.grid), std::move(made.body),
            fmt::format("{}; A {}, B packed", few.text(), how_a_is_read()), few.cycles};
  }

  // A constant B as rows, and where they lie.
  std::function<Expr(int64_t column, const Expr& k)> take_rows_of_b(ContractionOperands& o) const {
    const int64_t padded = padded_depth(p_.k.value());
    o.b_buffer = r_.pack_parameter(ContractionRequest::Parameter::kRows,
                                   [&] { return pack_rows(*r_.constant_rhs, panel_source(), padded); });
    const Expr first = p_.b_start(b_, p_.n.value() * padded);
    return [=](int64_t column, const Expr& step) {
      return kernel::add(first, kernel::add(int_const(column * padded), step));
    };
  }

  // What products cost whose windows are gathered.
  double gathered_cycles(const ContractionShape& shape) const {
    const double cycles = contraction_cycles(shape, schedule_, *r_.machine);
    return leaves_lines_out() ? cycles * (1 - share_outside(p_.geometry)) : cycles;
  }

  std::optional<PixelPlaces> pixels_in_place() const {
    return pixel_places(access_, lane_, [this](const Expr& image, const Expr& iy, const Expr& ix) {
      return channel_index(image, var_expr(lane_), int_const(0), iy, ix);
    });
  }

  // Windows in parts that have the same taps inside, where that takes less time than `otherwise`.
  std::optional<WindowSchedule> windows_of(double otherwise) const {
    constexpr double kWorth = 0.95;
    const Dim& images = p_.geometry.images;
    if (!p_.windows || step_ != StepKind::kFloats || !r_.constant_rhs || !r_.constant || word_steps() > 1 ||
        r_.depthwise || panel_type() != DType::kF32 || p_.geometry.channels < r_.machine->vector_bits / 32 ||
        (!p_.batch.is_const(1) && !images.is_const(1)) || !pixels_in_place())
      return std::nullopt;
    auto windows =
        window_schedule(p_.geometry, p_.n.value(), r_.hint(p_.batch) * r_.hint(images), *r_.machine);
    if (windows && windows->cycles > kWorth * otherwise) windows.reset();
    return windows;
  }

  ContractionBody build_windows(const WindowSchedule& windows) {
    const ConvGeometry& g = p_.geometry;
    schedule_ = windows.product;
    const Buffer table = r_.constant("windows", window_table(windows.blocks));
    const bool grouped = !p_.batch.is_const(1);
    const Var image = kernel::make_var("image");
    const kernel::GridAxis axis = grouped ? kernel::GridAxis{b_->var, p_.batch, params_.expr(p_.batch)}
                                  : g.images.is_const(1)
                                      ? kernel::GridAxis{}
                                      : kernel::GridAxis{image, g.images, params_.expr(g.images)};
    const Expr at_image = axis.var == image ? var_expr(image) : int_const(0);

    ContractionOperands o;
    if (!windows.few) take_packed(o);
    const auto pixel_of = take_windows(windows, *pixels_in_place(), g, table, at_image, params_, o);
    o.finish_is_long = r_.finish_is_long;
    o.finish = [=, this](const Expr& row, const Expr& column, const Expr& value, int width,
                         const Expr& count) {
      const Var pixel = kernel::make_var("pixel");
      Stmts out{kernel::let(pixel, pixel_of(row))};
      for (Stmt& s :
           access_.finish([=, this](const Expr& at) { return p_.out_index(b_, var_expr(pixel), at); }, column,
                          value, width, count))
        out.push_back(std::move(s));
      return out;
    };
    const Dim rows(static_cast<int64_t>(windows.blocks.size()) * schedule_.block_rows);
    ContractionKernel made = windows.few
                                 ? build_few_columns(rows, g.channels, axis, *windows.few,
                                                     r_.machine->has_fma, o, take_rows_of_b(o), params_)
                                 : build_contraction_kernel(rows, p_.n, Dim(g.channels), axis, schedule_,
                                                            r_.machine->has_fma, o, params_);
    return {std::move(made.grid), std::move(made.body),
            fmt::format("{}; A in place, B packed", windows.text()), windows.cycles * product_cost()};
  }

  // Which operands can be read where they lie: A where k is contiguous, B where n is.
  void find_operands() {
    const bool whole_steps = group_ == 1 || (p_.k.is_const() && p_.k.value() % group_ == 0);
    if (!p_.windows && whole_steps && !r_.depthwise)
      a_load_ = access_.contiguous(0, p_.a_index(b_, var_expr(m_), var_expr(k_)), k_);
    if (a_load_ && only_tiles() && !row_pitch()) a_load_ = nullptr;
    if (!r_.constant_rhs && group_ == 1)
      b_load_ = access_.contiguous(1, p_.b_index(b_, var_expr(k_), var_expr(n_)), n_, true);
    crowds_ = b_load_ && crowds_caches();
  }

  // Whether rows of a B in place lie so that a panel's lines share too few sets of L1 to stay while the rows
  // of A pass by (rows of 1,024 floats share one, so eight lines stay), and B is more than L2 gives back as
  // fast.
  bool crowds_caches() const {
    if (step_ != StepKind::kFloats || wide() != DType::kF32 || b_load_->type.dtype != DType::kF32 ||
        !p_.m.is_const() || !p_.k.is_const() || !p_.n.is_const() ||
        p_.k.value() * p_.n.value() * 4 <= r_.machine->l2_bytes / 4)
      return false;
    const auto at = [this](int64_t k) {
      return kernel::substitute(b_load_->args[0], {{n_.get(), int_const(0)}, {k_.get(), int_const(k)}});
    };
    const Expr step = kernel::sub(at(1), at(0));
    if (step->kind != kernel::ExprKind::kConst || step->i == 0) return false;
    return lines_of_set(p_.k.value(), std::abs(step->i) * 4) > l1_ways(*r_.machine);
  }

  bool only_tiles() const { return r_.machine->variants == Variants::kTiles; }

  // Elements from each row of an A in place to the next one, where that is the same for all.
  std::optional<int64_t> row_pitch() const {
    kernel::IndexForms forms;
    const Expr next = kernel::sub(a_at(kernel::add(var_expr(m_), int_const(1))), a_at(var_expr(m_)));
    const Expr simple = forms.simplify(next);
    return kernel::int_value(simple ? simple : next);
  }

  Expr a_at(const Expr& row) const {
    return kernel::substitute(a_load_->args[0], {{m_.get(), row}, {k_.get(), int_const(0)}});
  }

  ContractionShape shape_of_operands() {
    ContractionShape shape;
    shape.bytes = step_ == StepKind::kBytes;
    shape.element_bytes = dtype_bits(wide()) / 8;
    shape.wide_integers = !is_float(wide()) && shape.element_bytes == 8;
    shape.words = shape.bytes && r_.machine->byte_products == ByteProducts::kPairs;
    shape.batch = r_.hint(p_.batch);
    shape.m = r_.hint(p_.m);
    shape.n = r_.hint(p_.n);
    shape.k = r_.hint(steps_);
    shape.m_static = p_.m.is_const();
    shape.n_static = p_.n.is_const();
    shape.k_static = p_.k.is_const();
    shape.packs_a = !a_load_;
    if (a_load_) {
      const Expr step = kernel::sub(a_at(int_const(1)), a_at(int_const(0)));
      if (step->kind == kernel::ExprKind::kConst)
        shape.a_row_bytes = std::abs(step->i) * dtype_bits(a_load_->type.dtype) / 8;
    }
    if (p_.windows) {
      // Tap by tap, runs of few channels would cost more than their products.
      constexpr int64_t kLongWindow = 1024;
      const bool few =
          group_ == 1 && p_.geometry.channels < r_.machine->vector_bits / 32 && p_.k.value() <= kLongWindow;
      shape.whole_depth = few || p_.geometry.channels % group_ != 0;
      shape.depth_granule = std::max<int64_t>(1, p_.geometry.channels / group_);
    }
    if (r_.depthwise && p_.geometry.out_width.is_const()) shape.row_granule = p_.geometry.out_width.value();
    shape.widens_a = group_ == 1 && !a_load_ && !p_.windows && !r_.depthwise &&
                     access_.contiguous(0, p_.a_index(b_, var_expr(m_), var_expr(k_)), k_, true);
    shape.packs_b = !r_.constant_rhs && !b_load_;
    shape.widens_b = group_ == 1 && (b_load_ ? crowds_ || b_load_->type.dtype != wide()
                                             : r_.constant_rhs && (weights_ || panel_type() != wide()));
    return shape;
  }

  // The shape for which schedule_ is chosen, and its choice.
  ContractionShape scheduled_shape() {
    ContractionShape shape = shape_of_operands();
    shape.b_lines = r_.constant_rhs && !weights_ && (group_ != 1 || words() || panel_type() == DType::kF32);
    if (only_tiles()) {
      if (step_ != StepKind::kBytes && step_ != StepKind::kBf16Pairs) return shape;
      shape.single_row = !shape.m_static && may_be_one_row() && !shape.packs_b;
      if (const auto tiles = tile_schedule(shape, *r_.machine)) schedule_ = *tiles;
      return shape;
    }
    if (shape.words && uses_chains(shape)) {
      schedule_ = chain_schedule(shape, *r_.machine);
      return shape;
    }
    // The kernel has a way of its own for a single row. Where words are widened (widen_b) the other one is
    // for many.
    const bool widened = word_steps() > 1 && group_ == 1;
    shape.single_row = !shape.m_static &&
                       (widened ? a_load_ != nullptr : may_be_one_row() && !shape.packs_b && !shape.words);
    if (shape.single_row && widened) shape.m = std::max<int64_t>(shape.m, 64);
    shape.integers = weights_.has_value() && group_ == 1;
    if (shape.integers && p_.m.is_const(1)) shape.whole_depth = true;
    schedule_ = default_contraction_schedule(shape, *r_.machine);
    if (word_steps() > 1 && group_ == 1 && schedule_.block_depth % word_steps() != 0 && !shape.whole_depth) {
      shape.whole_depth = true;  // a block would split a word
      schedule_ = default_contraction_schedule(shape, *r_.machine);
    }
    if (p_.windows && !shape.whole_depth) {
      const int64_t whole = std::exchange(schedule_.block_depth, part_of_line());
      if (!leaves_lines_out()) schedule_.block_depth = whole;
    }
    return shape;
  }

  // Whether a symbolic number of rows is 1 where all symbols are: batches, sequences of one token.
  bool may_be_one_row() const {
    const Dim least = p_.m.substitute([](const std::string&) { return std::optional<Dim>(1); });
    return least.is_const(1) && !p_.windows && !r_.depthwise;
  }

  // The depth of a block that is a line of a window, or taps or channels of it.
  int64_t part_of_line() const {
    const ConvGeometry& g = p_.geometry;
    for (int64_t taps = g.window_w; taps > 0; --taps) {
      if (g.window_w % taps == 0 && taps * g.channels <= schedule_.block_depth) return taps * g.channels;
    }
    const int64_t parts = ceil_div(g.channels, schedule_.block_depth);
    return g.channels % parts == 0 ? g.channels / parts : schedule_.block_depth;
  }

  // Whether lines of windows that lie outside of the picture for all rows of a block are worth leaving out
  // (convolutions of large dilations): so many that blocks of the depth are lines, or parts of them.
  bool leaves_lines_out() const {
    if (!p_.windows || step_ != StepKind::kFloats || word_steps() > 1 || !r_.constant_rhs || r_.depthwise ||
        share_outside(p_.geometry) < kOutsideWorth || schedule_.block_depth < kLeastLineDepth ||
        line_steps() % schedule_.block_depth != 0)
      return false;
    const Dim picture = p_.geometry.out_height * p_.geometry.out_width;
    return picture.is_const() && 2 * schedule_.block_rows <= picture.value();
  }
  int64_t line_steps() const { return p_.geometry.window_w * p_.geometry.channels; }

  decltype(ContractionOperands::depth_blocks) depth_blocks() const {
    return [this](const Expr& row0, const Expr& rows) {
      const WindowLines lines = lines_inside(p_.geometry, row0, rows, params_);
      const Expr blocks = int_const(line_steps() / schedule_.block_depth);
      return WindowLines{kernel::mul(lines.begin, blocks), kernel::mul(lines.end, blocks)};
    };
  }

  void take_a(ContractionOperands& o) {
    if (!a_load_) {
      o.gather_a = gather_a(lane_);
      return;
    }
    o.a_buffer = a_load_->buffer;
    o.a_row = [this](const Expr& row) { return a_at(row); };
    if (schedule_.tile_rows > 0) o.a_pitch = *row_pitch();
  }

  // B: packed at compile time, in place, or transposed block by block. Returns which, in words.
  const char* take_b(ContractionOperands& o, const ContractionShape& shape) {
    if (weights_) {
      const QuantisedPanels panels = quantised_panels();
      o.quantised = panels;
      o.b_buffer = panels.words;
      o.b_index = [=](const Expr& column, const Expr& word) { return panels.word_index(column, word); };
      o.widen_words = [=, this](const Expr& at, const Expr& word, int count, Stmts& out) {
        return panels.widen(at, word, count, schedule_.lanes, out);
      };
    } else if (r_.constant_rhs) {
      take_packed(o);
    } else if (b_load_) {
      o.b_buffer = b_load_->buffer;
      o.b_padded = false;
      o.b_index = [this](const Expr& column, const Expr& step) {
        return kernel::substitute(b_load_->args[0], {{n_.get(), column}, {k_.get(), step}});
      };
    } else {
      o.gather_b = group_ == 1 ? gather_b() : gather_grouped_columns(lane_);
    }
    o.word_steps = group_ == 1 ? word_steps() : 1;
    if (words() && group_ == 1) o.widen_words = widen_bf16(o);
    if (shape.widens_b) return widen_b(o, shape.m);
    return r_.constant_rhs ? "packed" : b_load_ ? "in place" : "transposed";
  }

  void take_packed(ContractionOperands& o) const {
    const PanelSource source = panel_source();
    const auto packed = [&] {
      if (words()) return pack_bf16_pairs(*r_.constant_rhs, source);
      return group_ == 1 ? pack_panels(*r_.constant_rhs, source, panel_type())
                         : pack_byte_panels(*r_.constant_rhs, source);
    };
    const auto encoding = [&]() -> ContractionRequest::Encoding {
      if (words()) return pair_encoding(r_.constant_rhs, source);
      return group_ == 1 ? nullptr : byte_encoding(r_.constant_rhs, source);
    };
    o.b_buffer = r_.pack(packed, encoding);
    const int64_t panels = (p_.n.value() + kPanelColumns - 1) / kPanelColumns,
                  depth = words() ? (p_.k.value() + 1) / 2 : steps_.value();
    const Expr first = p_.b_start(b_, panels * depth * kPanelColumns);
    o.b_index = [=](const Expr& column, const Expr& step) {
      const Expr panel = kernel::index_div(column, int_const(kPanelColumns)),
                 inside = kernel::index_rem(column, int_const(kPanelColumns));
      const Expr row = kernel::add(kernel::mul(panel, int_const(depth)), step);
      return kernel::add(first, kernel::add(kernel::mul(row, int_const(kPanelColumns)), inside));
    };
  }

  // Instructions' worth that one step of the register tile takes beside a fused multiply-add.
  double product_cost() const {
    if (step_ == StepKind::kBytes) return r_.machine->byte_products == ByteProducts::kPairs ? 3 : 1;
    if (!is_float(wide())) return dtype_bits(wide()) == 64 && r_.machine->vector_bits < 512 ? 8 : 2;
    return r_.machine->has_fma || step_ == StepKind::kBf16Pairs ? 1 : 2;
  }

  PanelSource panel_source() const { return {p_.b_batches, p_.k.value(), p_.n.value(), p_.b_element}; }

  // Whether pairs of bytes are added in 16 bits (byte_chains.h): where that takes less than widening them
  // all.
  bool uses_chains(const ContractionShape& shape) const {
    const MachineModel& machine = *r_.machine;
    if (!r_.constant_rhs || !r_.chains || machine.arch != Arch::kX86_64 || !shape.k_static ||
        shape.m < kChainVectors * machine.vector_bits / 32 ||
        !suits_chains(*r_.chains, *r_.constant_rhs, panel_source()))
      return false;
    const double vectors = static_cast<double>(shape.m) / (machine.vector_bits / 32);
    const double widened = kWidenedCycles * vectors * static_cast<double>(shape.batch * shape.n * shape.k);
    return chain_cycles(shape, chain_schedule(shape, machine), r_.chains->cycles_a_step) < widened;
  }

  ChainOperands chain_operands() {
    ChainOperands out;
    out.entries =
        r_.pack_parameter(ContractionRequest::Parameter::kEntries, [&] { return r_.chains->entries; });
    out.codes = r_.pack_parameter(ContractionRequest::Parameter::kCodes, [&] { return r_.chains->codes; });
    const int columns = chain_columns(steps_.value());
    out.lists = (p_.n.value() + columns - 1) / columns;
    out.first_list = p_.b_start(b_, out.lists);
    return out;
  }

  using GatherA = decltype(ContractionOperands::gather_a);
  using GatherB = decltype(ContractionOperands::gather_b);

  // Rows of A along k, as vectors where k is contiguous after all (a cast or an inlined producer), in squares
  // that are turned where rows are (a transposed A), element by element otherwise.
  GatherA gather_a(const Var& lane) {
    if (r_.depthwise) return gather_depthwise(r_, schedule_.block_rows, params_);
    if (p_.windows) {
      ConvSource source;
      source.type = access_.type(0);
      if (const graph::Attr* fill = r_.root->find("pad_value")) source.padding = std::get<int64_t>(*fill);
      source.pixel = [=, this](const Expr& image, const Expr& iz, const Expr& iy, const Expr& ix,
                               const Expr& c, int lanes) {
        return access_.vector(0, channel_index(image, kernel::add(c, var_expr(lane)), iz, iy, ix), lane,
                              lanes);
      };
      source.rows_contiguous = rows_contiguous();
      return [=, this](const Buffer& block, const Expr& row0, const Expr& rows, const Expr& k0,
                       const Expr& depth, int64_t stride) {
        return gather_windows(p_.geometry, source, schedule_.block_depth * group_, schedule_.lanes * group_,
                              block, row0, rows, kernel::mul(k0, int_const(group_)),
                              kernel::mul(depth, int_const(group_)), stride, params_);
      };
    }
    return [=, this](const Buffer& block, const Expr& row0, const Expr& rows, const Expr& k0,
                     const Expr& depth, int64_t stride) {
      const Var i = kernel::make_var("i"), j = kernel::make_var("j");
      const Expr first = kernel::mul(k0, int_const(group_));
      const Expr from =
          access_.scalar(0, p_.a_index(b_, kernel::add(row0, var_expr(i)), kernel::add(first, var_expr(j))));
      const Expr to = kernel::add(kernel::mul(var_expr(i), int_const(stride)), var_expr(j));
      // Elements of the last step that do not exist are met by zeros of B.
      Expr elements = kernel::mul(depth, int_const(group_));
      if (group_ > 1) elements = kernel::min(elements, kernel::sub(params_.expr(p_.k), first));
      const Stmts element{kernel::store(block, to, from)};
      if (group_ == 1 && turns(element, i, j))
        return turned_squares(element, i, {int_const(0), rows}, j, {int_const(0), elements}, schedule_.lanes);
      const Stmt steps = kernel::loop(j, int_const(0), elements, kernel::LoopKind::kSerial, element);
      Stmts inner = kernel::why_not_vectorizable(steps).empty()
                        ? kernel::vectorize_loop(steps, schedule_.lanes * group_)
                        : Stmts{steps};
      if (group_ > 1) {
        const Var rest = kernel::make_var("j");
        inner.push_back(kernel::loop(
            rest, elements, kernel::sub(kernel::mul(depth, int_const(group_)), elements),
            kernel::LoopKind::kSerial,
            {kernel::store(block, kernel::add(kernel::mul(var_expr(i), int_const(stride)), var_expr(rest)),
                           int_const(0, access_.type(0)))}));
      }
      return Stmts{kernel::loop(i, int_const(0), rows, kernel::LoopKind::kSerial, std::move(inner))};
    };
  }

  GatherB gather_b() {
    return
        [=, this](const Buffer& panel, const Expr& n0, int64_t columns, const Expr& k0, const Expr& depth) {
          // B is stored with k contiguous, so reads are: squares turned in registers, then column by column;
          // missing columns are zero.
          const Var i = kernel::make_var("i"), j = kernel::make_var("j");
          const Expr column = kernel::add(n0, var_expr(j));
          const Expr from = access_.scalar(1, p_.b_index(b_, kernel::add(k0, var_expr(i)), column));
          const Expr to = kernel::add(kernel::mul(var_expr(i), int_const(columns)), var_expr(j));
          const Stmts store{kernel::store(panel, to, from)};
          Stmts out;
          Expr done = int_const(0);
          const bool few = p_.n.is_const() && p_.n.value() < schedule_.lanes;
          if (!few && turns(store, i, j)) {
            const Expr lanes = int_const(schedule_.lanes);
            const Expr exist = kernel::min(int_const(columns), kernel::sub(params_.expr(p_.n), n0));
            done = kernel::mul(kernel::index_div(exist, lanes), lanes);
            out = turned_squares(store, i, {int_const(0), depth}, j, {int_const(0), done}, schedule_.lanes);
          }
          const auto steps = [&](const Expr& value) {
            const Var step = kernel::make_var("i");
            const std::unordered_map<const kernel::VarNode*, Expr> rename{{i.get(), var_expr(step)}};
            return Stmts{kernel::loop(
                step, int_const(0), depth, kernel::LoopKind::kSerial,
                {kernel::store(panel, kernel::substitute(to, rename), kernel::substitute(value, rename))})};
          };
          const Expr exists = kernel::compare(kernel::ScalarOp::kLt, column, params_.expr(p_.n));
          const Stmt rest = kernel::if_then(
              exists, steps(from),
              steps(kernel::scalar_const(kernel::reduction_identity(kernel::ScalarOp::kAdd, wide()))));
          out.push_back(kernel::loop(j, done, kernel::sub(int_const(columns), done),
                                     kernel::LoopKind::kSerial, {rest}));
          return out;
        };
  }

  // Whether a constant B lies in words of two bf16: so for all levels of the dispatch, if one multiplies
  // pairs.
  bool words() const { return r_.bf16_pairs && r_.constant_rhs; }

  // Steps along k in a word of a constant B.
  int word_steps() const { return weights_ ? weights_->per_word() : words() ? 2 : 1; }

  QuantisedPanels quantised_panels() {
    QuantisedPanels p;
    p.words = r_.pack([&] { return pack_quantised_words(*weights_); }, nullptr);
    p.scales = r_.pack_parameter(ContractionRequest::Parameter::kScales,
                                 [&] { return pack_quantised_scales(*weights_); });
    const std::optional<double> zero = uniform_zero(*weights_);
    if (zero) {
      p.zero = *zero;
    } else {
      p.zeros = r_.pack_parameter(ContractionRequest::Parameter::kZeros,
                                  [&] { return pack_quantised_zeros(*weights_); });
    }
    p.bits = weights_->bits;
    p.steps = (weights_->k() + weights_->per_word() - 1) / weights_->per_word();
    p.block = weights_->block;
    p.blocks = weights_->blocks();
    p.from_memory = weights_->q->count() * p.bits / 8 > r_.machine->l2_bytes;
    return p;
  }

  decltype(ContractionOperands::widen_words) widen_bf16(const ContractionOperands& o) const {
    const Buffer buffer = o.b_buffer;
    const auto index = o.b_index;
    return [=, this](const Expr& n, const Expr& at, int count, Stmts& out) {
      const Var word = kernel::make_var("word", {DType::kU32, schedule_.lanes});
      out.push_back(kernel::let(word, kernel::load(buffer, index(n, at), schedule_.lanes)));
      std::vector<Expr> values;
      for (int which = 0; which < count; ++which) values.push_back(bf16_of_word(var_expr(word), which));
      return values;
    };
  }

  // In which elements are multiplied, if not bytes.
  DType wide() const { return step_ == StepKind::kOwn ? r_.root->result()->type.dtype : DType::kF32; }
  DType panel_type() const { return r_.stored ? r_.stored(1) : DType::kF32; }

  // B in a narrow type, or in place where its rows crowd the caches. Few rows: widened in registers, each
  // element once or twice. Many: a panel at a time is widened into scratch, where all row tiles of the block
  // find it.
  const char* widen_b(ContractionOperands& o, int64_t m) {
    const bool either = o.widen_words && !o.gather_a && !p_.m.is_const();  // the kernel has both ways
    if (!either && m <= 2 * int64_t{schedule_.rows})
      return weights_  ? "integers, widened in registers"
             : crowds_ ? "in place"
                       : "narrow, widened in registers";
    const Buffer from = o.b_buffer;
    const auto index = o.b_index;
    const bool padded = o.b_padded;
    const auto widen = o.widen_words;
    const int each = o.word_steps;
    o.gather_b = [=, this](const Buffer& panel, const Expr& n0, int64_t columns, const Expr& k0,
                           const Expr& depth) {
      const Expr words = kernel::index_div(depth, int_const(each)),
                 first = kernel::index_div(k0, int_const(each));
      // Word (or step) number i of the panel, `count` steps of it.
      const auto rows = [&](const Expr& i, int count) {
        return widened_rows(
            panel, n0, columns, kernel::mul(i, int_const(each)), count,
            [&](const Expr& column, Stmts& out) -> std::vector<Expr> {
              const Expr at = kernel::add(first, i);
              if (widen) return widen(column, at, count, out);
              const Expr left = kernel::sub(params_.expr(p_.n), column);
              const Expr limit = padded ? nullptr : kernel::min(left, int_const(schedule_.lanes));
              return {
                  kernel::cast(kernel::load(from, index(column, at), schedule_.lanes, limit), DType::kF32)};
            });
      };
      const Var i = kernel::make_var("i");
      Stmts out{kernel::loop(i, int_const(0), words, kernel::LoopKind::kSerial, rows(var_expr(i), each))};
      const int rest = each > 1 ? static_cast<int>(p_.k.value() % each) : 0;
      if (rest != 0) {
        out.push_back(kernel::if_then(
            kernel::compare(kernel::ScalarOp::kNe, kernel::index_rem(depth, int_const(each)), int_const(0)),
            rows(words, rest)));
      }
      return out;
    };
    return weights_  ? "integers, widened by panels"
           : crowds_ ? "copied by panels"
                     : "narrow, widened by panels";
  }

  // `count` rows of a panel from `row` on; `load` gives as many vectors from a column on.
  Stmts widened_rows(const Buffer& panel, const Expr& n0, int64_t columns, const Expr& row, int count,
                     const std::function<std::vector<Expr>(const Expr& column, Stmts& out)>& load) {
    const int lanes = schedule_.lanes;
    const Expr zero = kernel::broadcast(kernel::float_const(0.0), lanes);
    Stmts out;
    for (int64_t j = 0; j < columns; j += lanes) {
      const Expr column = kernel::add(n0, int_const(j));
      const Expr exists = kernel::compare(kernel::ScalarOp::kLt, column, params_.expr(p_.n));
      Stmts some, none;
      const std::vector<Expr> values = load(column, some);
      for (int i = 0; i < count; ++i) {
        const Expr at = kernel::add(row, int_const(i));
        const Expr to = kernel::add(kernel::mul(at, int_const(columns)), int_const(j));
        some.push_back(kernel::store(panel, to, values[static_cast<size_t>(i)]));
        none.push_back(kernel::store(panel, to, zero));
      }
      out.push_back(kernel::if_then(exists, std::move(some), std::move(none)));
    }
    return out;
  }

  GatherB gather_grouped_columns(const Var& lane) {
    const Var k = kernel::make_var("k"), n = kernel::make_var("n");
    const Index at = p_.b_index(b_, var_expr(k), var_expr(n));
    GroupedColumns columns;
    columns.group = group_;
    columns.type = access_.type(1);
    columns.k = params_.expr(p_.k);
    columns.n = params_.expr(p_.n);
    columns.k_whole = p_.k.is_const() && p_.k.value() % group_ == 0;
    columns.runs = access_.contiguous(1, at, k)   ? GroupedColumns::Runs::kDown
                   : access_.contiguous(1, at, n) ? GroupedColumns::Runs::kAcross
                                                  : GroupedColumns::Runs::kNone;
    columns.element = [=, this](const Expr& step, const Expr& column) {
      return access_.scalar(1, p_.b_index(b_, step, column));
    };
    columns.down = [=, this](const Expr& step, const Expr& column, int lanes, const Expr& count) {
      return access_.vector(1, p_.b_index(b_, kernel::add(step, var_expr(lane)), column), lane, lanes, count);
    };
    columns.across = [=, this](const Expr& step, const Expr& column, int lanes, const Expr& count) {
      return access_.vector(1, p_.b_index(b_, step, kernel::add(column, var_expr(lane))), lane, lanes, count);
    };
    return [=](const Buffer& panel, const Expr& n0, int64_t width, const Expr& k0, const Expr& depth) {
      return gather_columns(columns, panel, n0, width, k0, depth);
    };
  }

  // Logical index of input channel c (inside the group) of a pixel; spatial dimensions as many as the operand
  // has.
  Index channel_index(const Expr& image, const Expr& c, const Expr& iz, const Expr& iy,
                      const Expr& ix) const {
    // A run that crosses pixels counts in channels; where a pixel has one, that is the same as counting
    // pixels, and must be written so: an index into a dimension of extent 1 is taken for 0.
    const bool single = p_.geometry.channels == 1;
    const Expr channel = single ? b_ : kernel::add(kernel::mul(b_, int_const(p_.geometry.channels)), c);
    const Expr x = single ? kernel::add(ix, c) : ix;
    return spatial_index(r_.root->operand(0)->type.shape.size(), image, channel, iz, iy, x);
  }

  // Whether c of pixel ix+1 follows c of pixel ix by exactly `channels` elements.
  bool rows_contiguous() const {
    if (!b_->args.empty() || b_->kind == kernel::ExprKind::kVar) return false;  // groups interleave
    // Channels-last memory of an operand that is read in place has this property; test it through two loads
    // whose distance must be `channels`.
    const Expr zero = int_const(0);
    const Expr e0 = r_.element(0, channel_index(zero, zero, zero, zero, zero));
    const Expr e1 = r_.element(0, channel_index(zero, zero, zero, zero, int_const(1)));
    const auto position = [](const Expr& element) -> std::optional<int64_t> {
      const Expr e = load_behind(element);
      if (e->kind != kernel::ExprKind::kLoad || e->args[0]->kind != kernel::ExprKind::kConst)
        return std::nullopt;
      return e->args[0]->i;
    };
    return position(e0) && position(e1) && *position(e1) - *position(e0) == p_.geometry.channels;
  }

  const ContractionRequest& r_;
  const Problem p_;
  kernel::ParamTable& params_;
  const StepKind step_;
  Access access_;
  const int group_;  // elements of a step along k
  const Dim steps_;
  const std::optional<QuantisedWeights> weights_;  // what a constant B is, if it is widened integers
  const Var lane_ = kernel::make_var("lane"), m_ = kernel::make_var("m"), k_ = kernel::make_var("k"),
            n_ = kernel::make_var("n");
  ContractionSchedule schedule_;
  Expr b_;
  Expr a_load_, b_load_;  // of element (m_, k_) and (k_, n_) where they are read in place; else null
  bool crowds_ = false;   // whether B in place is better copied by panels
};

}  // namespace

bool contraction_fits(const Node& root, const TensorDataPtr& constant_rhs, bool own) {
  const bool bytes = is_byte_contraction(root);
  const DType type = root.result()->type.dtype;
  own = own && (type == DType::kF64 || (is_contraction_integer(type) && root.kind == OpKind::kDot));
  if (own && root.kind == OpKind::kConv && is_depthwise(root)) return false;
  for (const graph::Value* v : root.operands) {
    if (v == root.operand(1) && root.find("weight_bits")) continue;
    if (!bytes && (own ? v->type.dtype != type : !is_contraction_float(v->type.dtype))) return false;
  }
  if (root.kind == OpKind::kDot)
    return !constant_rhs ||
           (root.operand(0)->type.shape.back().is_const() && is_static(root.operand(1)->type.shape));
  if (root.kind != OpKind::kConv || !constant_rhs) return false;
  const int rank = root.operand(0)->type.rank();
  return rank >= 3 && rank <= (is_depthwise(root) ? 4 : 5) &&
         (all_are(root.ints("lhs_dilations"), 1) || (!bytes && is_pixel_shuffle(root)));
}

int64_t blocks_of_columns(const Node& root, const MachineModel& machine,
                          const std::function<int64_t(const Dim&)>& hint) {
  kernel::ParamTable unused;
  const Problem p = conv_problem(root, unused);
  ContractionShape shape;
  shape.m = hint(p.m);
  shape.n = p.n.value();
  shape.k = p.k.value();
  shape.m_static = p.m.is_const();
  shape.packs_a = true;
  return ceil_div(shape.n, default_contraction_schedule(shape, machine).block_columns);
}

ContractionBody build_contraction(const ContractionRequest& request) {
  if (request.root->kind == OpKind::kDot)
    return Contraction(request, dot_problem(*request.root, *request.params, request.constant_rhs != nullptr))
        .build();
  if (!all_are(request.root->ints("lhs_dilations"), 1))
    return Contraction(request, pixel_shuffle_problem(*request.root, *request.params)).build();
  if (request.machine->variants == Variants::kTiles) {
    if (is_depthwise(*request.root)) return {};
    return Contraction(request, conv_problem(*request.root, *request.params)).build();
  }
  if (is_depthwise(*request.root)) return build_depthwise(request);
  if (suits_small_groups(request)) return build_small_groups(request);
  if (request.winograd != 0) return build_winograd(request);
  if (auto body = build_byte_winograd(request)) return *std::move(body);
  return Contraction(request, conv_problem(*request.root, *request.params)).build();
}

}  // namespace tern::lower
