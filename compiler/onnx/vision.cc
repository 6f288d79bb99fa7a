// Sampling of images at computed positions: GridSample, AffineGrid, RoiAlign, MaxRoiPool, CropAndResize,
// DeformConv.
#include <algorithm>
#include <limits>

#include "compiler/onnx/common.h"
#include "compiler/onnx/families.h"
#include "compiler/onnx/window.h"

namespace tern::onnx {

namespace {

struct Sampling {
  std::string mode, padding;
  bool align;
};

// A position mirrored at the borders until it lies between them.
Value* reflect(Emit& b, Value* v, Value* low, Value* high) {
  Value* range = b.max(b.sub(high, low), b.like(low, 1e-6));
  auto mirrored = [&](Value* distance, Value* near, Value* far, double sign) {
    Value* turns = b.unary(ScalarOp::kFloor, b.div(distance, range));
    Value* rest = b.mul(b.sub(distance, b.mul(turns, range)), sign);
    Value* odd = b.compare(ScalarOp::kNe, b.map(ScalarOp::kRem, {turns, b.like(turns, 2)}), 0.0);
    return b.select(odd, b.sub(far, rest), b.add(near, rest));
  };
  Value* below = mirrored(b.sub(low, v), low, high, 1);
  Value* above = mirrored(b.sub(v, high), high, low, -1);
  return b.select(b.compare(ScalarOp::kLt, v, low), below,
                  b.select(b.compare(ScalarOp::kGt, v, high), above, v));
}

// One spatial axis: its taps' indices (clamped), weights, and whether they lie inside (null: always).
struct Tap {
  Value *index, *weight, *inside;
};

std::vector<Value*> tap_weights(Emit& b, const Sampling& s, Value* fraction) {
  auto f32 = [&](double v) { return b.scalar(DType::kF32, v); };
  if (s.mode == "linear") return {b.sub(f32(1), fraction), fraction};
  constexpr double kA = -0.75;
  auto outer = [&](Value* d) {
    return b.sub(b.mul(b.add(b.mul(b.sub(b.mul(d, kA), 5 * kA), d), 8 * kA), d), 4 * kA);
  };
  auto inner = [&](Value* d) { return b.add(b.mul(b.mul(b.sub(b.mul(d, kA + 2), kA + 3), d), d), 1.0); };
  return {outer(b.add(fraction, 1.0)), inner(fraction), inner(b.sub(f32(1), fraction)),
          outer(b.sub(f32(2), fraction))};
}

// The taps at positions in pixels.
std::vector<Tap> position_taps(Emit& b, const Sampling& s, Value* position, const Dim& extent) {
  Value* size = b.cast(b.dim(extent), DType::kF32);
  Value* last = b.sub(size, 1.0);
  if (s.mode == "nearest") position = b.unary(ScalarOp::kRoundEven, position);
  Value* low = b.scalar(DType::kF32, s.align ? 0 : -0.5);
  Value* high = s.align ? last : b.sub(size, 0.5);
  Value* zero = b.scalar(DType::kF32, 0);
  if (s.padding == "border") {
    Value* out = b.map(ScalarOp::kOr,
                       {b.compare(ScalarOp::kLt, position, low), b.compare(ScalarOp::kGt, position, high)});
    position = b.select(out, b.max(b.min(position, last), zero), position);
  }
  if (s.padding == "reflection") position = reflect(b, position, low, high);
  std::vector<Tap> taps;
  auto tap = [&](Value* at, Value* weight) {
    Value* inside = nullptr;
    if (s.padding == "zeros")
      inside =
          b.map(ScalarOp::kAnd, {b.compare(ScalarOp::kGe, at, zero), b.compare(ScalarOp::kLe, at, last)});
    if (s.padding == "reflection") at = b.unary(ScalarOp::kTrunc, reflect(b, at, low, high));
    taps.push_back({b.cast(b.max(b.min(at, last), zero), DType::kI64), weight, inside});
  };
  if (s.mode == "nearest") {
    tap(position, nullptr);
    return taps;
  }
  Value* base = b.unary(ScalarOp::kFloor, position);
  std::vector<Value*> weights = tap_weights(b, s, b.sub(position, base));
  double first = s.mode == "linear" ? 0 : -1;
  for (size_t k = 0; k < weights.size(); ++k) tap(b.add(base, first + static_cast<double>(k)), weights[k]);
  return taps;
}

// The taps of a grid's coordinates, which span an axis by [-1, 1].
std::vector<Tap> axis_taps(Emit& b, const Sampling& s, Value* grid, const Dim& extent) {
  Value* size = b.cast(b.dim(extent), DType::kF32);
  Value* shifted = b.add(grid, 1.0);
  Value* position =
      s.align ? b.mul(b.mul(shifted, 0.5), b.sub(size, 1.0)) : b.mul(b.sub(b.mul(shifted, size), 1.0), 0.5);
  return position_taps(b, s, position, extent);
}

// The sum over all combinations of the axes' taps.
Value* sample(Emit& b, Value* flat, const std::vector<std::vector<Tap>>& taps, const Shape& extents,
              const Shape& out) {
  size_t combinations = 1;
  for (const auto& axis : taps) combinations *= axis.size();
  Value* sum = nullptr;
  for (size_t c = 0; c < combinations; ++c) {
    Value *index = nullptr, *weight = nullptr, *inside = nullptr;
    size_t rest = c;
    for (size_t a = 0; a < taps.size(); ++a) {
      const Tap& tap = taps[a][rest % taps[a].size()];
      rest /= taps[a].size();
      index = index ? b.add(b.mul(index, b.dim(extents[a])), tap.index) : tap.index;
      if (tap.weight) weight = weight ? b.mul(weight, tap.weight) : tap.weight;
      if (tap.inside) inside = inside ? b.map(ScalarOp::kAnd, {inside, tap.inside}) : tap.inside;
    }
    Value* part = b.emit(OpKind::kGatherElements, {flat, b.expand_to(b.unsqueeze(index, {1}), out)},
                         {{"axis", int64_t{2}}});
    if (inside) part = b.select(b.unsqueeze(inside, {1}), part, b.like(part, 0));
    if (weight) part = b.mul(part, b.cast(b.unsqueeze(weight, {1}), part->type.dtype));
    sum = sum ? b.add(sum, part) : part;
  }
  return sum;
}

void import_grid_sample(Op& op) {
  Emit& b = op.b;
  Value *x = op.tensor(0), *grid = op.tensor(1);
  Sampling s{op.s("mode", op.version >= 20 ? "linear" : "bilinear"), op.s("padding_mode", "zeros"),
             op.i("align_corners", 0) != 0};
  if (s.mode == "bilinear") s.mode = "linear";
  if (s.mode == "bicubic") s.mode = "cubic";
  if (s.mode != "linear" && s.mode != "nearest" && s.mode != "cubic")
    fail("Attribute 'mode' ('{}') must be linear, nearest or cubic.", s.mode);
  if (s.padding != "zeros" && s.padding != "border" && s.padding != "reflection")
    fail("Attribute 'padding_mode' ('{}') must be zeros, border or reflection.", s.padding);
  size_t rank = x->type.shape.size();
  if (rank < 3 || rank > 5 || grid->type.shape.size() != rank ||
      (last_dimension(grid).is_const() && !last_dimension(grid).is_const(static_cast<int64_t>(rank) - 2)))
    fail("The grid ({}) does not match the operand ({}).", grid->type.text(), x->type.text());
  Shape fitting = grid->type.shape;
  fitting.front() = dimension(x, 0);
  fitting.back() = Dim(static_cast<int64_t>(rank) - 2);
  grid = fitted(b, grid, "grid", fitting);
  const Shape extents = dimensions(x, 2), result = dimensions(grid, 1, -1);
  Dim points = product(result), batch = dimension(x, 0), channels = dimension(x, 1);
  auto axes = static_cast<int64_t>(extents.size());
  Value* flat_grid = b.cast(b.reshape(grid, {dimension(grid, 0), points, Dim(axes)}), DType::kF32);
  std::vector<std::vector<Tap>> taps;
  for (int64_t a = 0; a < axes; ++a) {
    // The grid's coordinates come last axis first.
    Value* along = b.squeeze(b.slice_axis(flat_grid, 2, Dim(axes - 1 - a), Dim(1)), {2});
    taps.push_back(axis_taps(b, s, along, extents[static_cast<size_t>(a)]));
  }
  Value* y =
      sample(b, b.reshape(x, {batch, channels, product(extents)}), taps, extents, {batch, channels, points});
  Shape shape = {batch, channels};
  shape.append(result);
  op.output(0, b.reshape(y, shape));
}

void import_affine_grid(Op& op) {
  Emit& b = op.b;
  Value *theta = op.tensor(0), *size = op.tensor(1);
  bool align = op.i("align_corners", 0) != 0;
  if (theta->type.rank() != 3 || !dimension(theta, 1).is_const() ||
      (dimension(theta, 1).value() != 2 && dimension(theta, 1).value() != 3))
    fail("The transforms ({}) are neither [N,2,3] nor [N,3,4].", theta->type.text());
  auto axes = static_cast<size_t>(dimension(theta, 1).value());
  Shape extents;
  auto known = b.known_dims(size);
  auto stated = op.declared_dims(0);
  if (known && known->size() == axes + 2) {
    extents.assign(known->begin() + 2, known->end());
  } else if (!known && stated && stated->size() == axes + 2) {
    extents.assign(stated->begin() + 1, stated->end() - 1);
  } else {
    Shape dims = b.dims(size);
    if (dims.size() != axes + 2) fail("The size has {} elements instead of {}.", dims.size(), axes + 2);
    extents.assign(dims.begin() + 2, dims.end());
  }
  DType type = theta->type.dtype;
  Dim points = product(extents);
  std::vector<Value*> columns;
  for (size_t a = axes; a-- > 0;) {  // x, y, then z
    Value* count = b.cast(b.dim(extents[a]), type);
    Value *step, *start;
    if (align) {  // a single position lies in the middle, as PyTorch has it; ONNX's function divides by 0
      Value *gaps = b.sub(count, 1.0), *one = b.like(count, 1);
      step = b.div(b.like(count, 2), b.max(gaps, one));
      start = b.min(gaps, one);
    } else {
      step = b.div(b.like(count, 2), count);
      start = b.sub(b.like(count, 1), b.mul(step, 0.5));
    }
    Value* at = b.sub(b.mul(b.iota(extents, static_cast<int>(a), type), step), start);
    columns.push_back(b.reshape(at, {points, Dim(1)}));
  }
  columns.push_back(b.full({points, Dim(1)}, b.scalar(type, 1)));
  Value* base = b.unsqueeze(b.concat(columns, 1), {0});
  Value* y = b.dot(base, b.transpose(theta, {0, 2, 1}));
  Shape shape = {dimension(theta, 0)};
  shape.append(extents);
  shape.push_back(Dim(static_cast<int64_t>(axes)));
  op.output(0, b.reshape(y, shape));
}

// One axis of RoiAlign's samples, [rois, bins, samples]: two taps and their weights. A sample that is further
// out than a pixel, or that its region does not have, counts nothing.
struct RoiAxis {
  Value *low, *high, *low_weight, *high_weight;
  Value* counts;  // whether the sample does
  Value* count;   // samples a bin, [rois, 1, 1]
};

// `start`, `size`: of each region along the axis, [rois, 1, 1], in pixels. `ratio` 0: as many samples as
// pixels.
RoiAxis roi_axis(Emit& b, Value* start, Value* size, const Dim& extent, int64_t bins, int64_t ratio) {
  const DType type = start->type.dtype;
  Value* bin = b.div(size, static_cast<double>(bins));
  Value* count = b.like(start, static_cast<double>(ratio));
  Dim samples(ratio);
  if (ratio <= 0) {
    count = b.max(b.unary(ScalarOp::kCeil, bin), b.like(bin, 1));
    Value* most = b.max(b.reduce(ScalarOp::kMax, count, {0, 1, 2}), b.like(bin, 1));
    samples = b.dims(b.reshape(b.cast(most, DType::kI64), {Dim(1)}))[0];
  }
  Value* number = b.iota({Dim(1), Dim(1), samples}, 2, type);
  Value* inside_bin = b.div(b.mul(b.add(number, 0.5), bin), count);
  Value* at = b.add(b.add(b.mul(b.iota({Dim(1), Dim(bins), Dim(1)}, 1, type), bin), inside_bin), start);
  Value* end = b.cast(b.dim(extent), type);
  Value* counts =
      b.map(ScalarOp::kAnd, {b.compare(ScalarOp::kGe, at, -1.0), b.compare(ScalarOp::kLe, at, end)});
  if (ratio <= 0) counts = b.map(ScalarOp::kAnd, {counts, b.compare(ScalarOp::kLt, number, count)});
  Value* last = b.sub(end, 1.0);
  Value* position = b.max(b.min(at, last), b.like(at, 0));
  Value* low = b.unary(ScalarOp::kFloor, position);
  Value* fraction = b.sub(position, low);
  return {b.cast(low, DType::kI64),
          b.cast(b.min(b.add(low, 1.0), last), DType::kI64),
          b.sub(b.like(fraction, 1), fraction),
          fraction,
          counts,
          count};
}

// Regions of an image [R, numbers]. How many numbers one has may be known at run time only.
Value* regions_of(Emit& b, Value* rois, int64_t numbers) {
  const bool open = rois->type.rank() == 2 && !dimension(rois, 1).is_const();
  return open ? b.adapt(rois, 1, Dim(numbers)) : rois;
}

void import_roi_align(Op& op) {
  Emit& b = op.b;
  Value *x = op.tensor(0), *rois = regions_of(b, b.wide(op.tensor(1)), 4), *images = op.tensor(2);
  const std::string mode = op.s("mode", "avg");
  const bool half = op.version >= 16 && op.s("coordinate_transformation_mode", "half_pixel") == "half_pixel";
  const int64_t height = op.i("output_height", 1), width = op.i("output_width", 1),
                ratio = op.i("sampling_ratio", 0);
  if (mode != "avg" && mode != "max") fail("Attribute 'mode' ('{}') must be avg or max.", mode);
  if (x->type.rank() != 4 || rois->type.rank() != 2 || !dimension(rois, 1).is_const(4) || height < 1 ||
      width < 1)
    fail("Regions {} of an operand {} with an output of {} x {} are not supported.", rois->type.text(),
         x->type.text(), height, width);
  const Shape in = x->type.shape;
  const Dim regions = dimension(rois, 0);
  const double scale = op.f("spatial_scale", 1);
  const auto corner = [&](int64_t i) {
    Value* c = b.mul(b.slice_axis(rois, 1, Dim(i), Dim(1)), scale);
    return b.unsqueeze(half ? b.sub(c, 0.5) : c, {2});
  };
  const auto axis = [&](int64_t first, const Dim& extent, int64_t bins) {
    Value* start = corner(first);
    Value* size = b.sub(corner(first + 2), start);
    return roi_axis(b, start, half ? size : b.max(size, b.like(size, 1)), extent, bins, ratio);
  };
  const RoiAxis v = axis(1, in[2], height), h = axis(0, in[3], width);
  // [rois, bins down, bins across, samples down, samples across]
  const auto down = [&](Value* t) { return b.unsqueeze(t, {2, 4}); };
  const auto across = [&](Value* t) { return b.unsqueeze(t, {1, 3}); };
  Value* pixels = b.reshape(b.transpose(x, {0, 2, 3, 1}), {in[0] * in[2] * in[3], in[1]});
  Value* image = b.mul(b.reshape(b.cast(images, DType::kI64), {regions, Dim(1), Dim(1), Dim(1), Dim(1)}),
                       b.dim(in[2] * in[3]));
  Value* all = nullptr;
  for (const bool bottom : {false, true}) {
    for (const bool right : {false, true}) {
      Value* row = b.add(image, b.mul(down(bottom ? v.high : v.low), b.dim(in[3])));
      Value* part = b.wide(b.gather(pixels, b.add(row, across(right ? h.high : h.low)), 0));
      Value* weight =
          b.mul(down(bottom ? v.high_weight : v.low_weight), across(right ? h.high_weight : h.low_weight));
      part = b.mul(part, b.unsqueeze(weight, {5}));
      all = !all ? part : mode == "avg" ? b.add(all, part) : b.max(all, part);
    }
  }
  // Chosen, not multiplied by 0: the pixel at the border may be an infinity.
  Value* counts = b.map(ScalarOp::kAnd, {down(v.counts), across(h.counts)});
  all = b.select(b.unsqueeze(counts, {5}), all, b.like(all, 0));
  Value* y = b.reduce(mode == "avg" ? ScalarOp::kAdd : ScalarOp::kMax, all, {3, 4});
  if (mode == "avg") {
    Value* count = b.mul(v.count, h.count);
    y = b.div(y, count->type.rank() == 0 ? count : b.unsqueeze(count, {3}));
  }
  op.output(0, b.cast(b.transpose(y, {0, 3, 1, 2}), x->type.dtype));
}

// For each region the greatest pixel of bins that hold whole pixels, or 0 where they hold none.
void import_max_roi_pool(Op& op) {
  Emit& b = op.b;
  Value *x = op.tensor(0), *rois = regions_of(b, op.tensor(1), 5);
  const std::vector<int64_t> bins = op.ints("pooled_shape");
  if (x->type.rank() != 4 || rois->type.rank() != 2 || !dimension(rois, 1).is_const(5) || bins.size() != 2 ||
      bins[0] < 1 || bins[1] < 1)
    fail("Regions {} of an operand {} with {} numbers of bins are not supported.", rois->type.text(),
         x->type.text(), bins.size());
  const Dim regions = dimension(rois, 0);
  const double scale = op.f("spatial_scale", 1);
  const auto column = [&](int64_t i) { return b.slice_axis(rois, 1, Dim(i), Dim(1)); };  // [R, 1]
  Value* y = b.gather(x, b.cast(b.reshape(column(0), {regions}), DType::kI64), 0);       // [R, C, H, W]
  // Columns first, then rows: which pixels a bin holds, [R, bins, pixels].
  for (const int64_t axis : {1, 0}) {
    const auto at = static_cast<size_t>(axis);
    const Dim extent = dimension(x, at + 2);
    const auto pixel = [&](int64_t i) {  // halves away from zero
      Value* v = b.mul(column(i), scale);
      return b.unary(ScalarOp::kTrunc,
                     b.add(v, b.select(b.compare(ScalarOp::kLt, v, 0.0), b.like(v, -0.5), b.like(v, 0.5))));
    };
    const int64_t first = axis == 1 ? 1 : 2;
    Value* start = b.unsqueeze(pixel(first), {2});
    Value* length = b.add(b.sub(b.unsqueeze(pixel(first + 2), {2}), start), 1.0);
    Value* step = b.div(b.max(length, b.like(length, 1)), static_cast<double>(bins[at]));
    Value* number = b.iota({Dim(1), Dim(bins[at]), Dim(1)}, 1, start->type.dtype);
    Value* low = b.add(b.unary(ScalarOp::kFloor, b.mul(number, step)), start);
    Value* high = b.add(b.unary(ScalarOp::kCeil, b.mul(b.add(number, 1.0), step)), start);
    Value* position = b.iota({Dim(1), Dim(1), extent}, 2, start->type.dtype);
    Value* inside = b.map(
        ScalarOp::kAnd, {b.compare(ScalarOp::kGe, position, low), b.compare(ScalarOp::kLt, position, high)});
    // [R, C, .., bins, .., pixels]
    const bool across = axis == 1;
    inside = b.unsqueeze(inside, across ? std::vector<int64_t>{1, 2} : std::vector<int64_t>{1, 4});
    Value* all = b.unsqueeze(y, {across ? 3 : 2});
    all = b.select(inside, all, b.like(all, -std::numeric_limits<double>::infinity()));
    y = b.reduce(ScalarOp::kMax, all, {across ? 4 : 3});
  }
  Value* empty = b.compare(ScalarOp::kEq, y, -std::numeric_limits<double>::infinity());
  op.output(0, b.select(empty, b.like(y, 0), y));
}

// Boxes of images, resized so that their corners are pixels of the result.
void import_crop_and_resize(Op& op) {
  Emit& b = op.b;
  Value *x = op.tensor(0), *boxes = regions_of(b, op.tensor(1), 4), *images = op.tensor(2);
  const std::string mode = op.s("mode", "bilinear");
  if (mode != "bilinear" && mode != "nearest")
    fail("Attribute 'mode' ('{}') must be bilinear or nearest.", mode);
  if (x->type.rank() != 4 || boxes->type.rank() != 2 || !dimension(boxes, 1).is_const(4))
    fail("Boxes {} of an operand {} are not supported.", boxes->type.text(), x->type.text());
  const Shape in = x->type.shape;
  const Dim regions = dimension(boxes, 0);
  const Shape size = b.dims(op.tensor(3));
  if (size.size() != 2) fail("The size of the crops has {} elements instead of two.", size.size());
  const DType type = boxes->type.dtype;
  struct Axis {
    Value *low, *high, *fraction, *inside;
  };
  const auto axis = [&](int64_t first, const Dim& extent, const Dim& count) {
    Value* last = b.cast(b.dim(extent - Dim(1)), type);
    const auto corner = [&](int64_t i) { return b.mul(b.slice_axis(boxes, 1, Dim(i), Dim(1)), last); };
    Value *start = corner(first), *end = corner(first + 2), *steps = b.cast(b.dim(count - Dim(1)), type);
    Value* part = b.div(b.iota({Dim(1), count}, 1, type), b.max(steps, b.like(steps, 1)));
    // A single pixel is the middle of its box.
    part = b.select(b.compare(ScalarOp::kGt, steps, 0.0), part, b.like(part, 0.5));
    Value* at = b.add(start, b.mul(part, b.sub(end, start)));
    Value* inside =
        b.map(ScalarOp::kAnd, {b.compare(ScalarOp::kGe, at, 0.0), b.compare(ScalarOp::kLe, at, last)});
    at = b.max(b.min(at, last), b.like(at, 0));
    if (mode == "nearest") at = b.unary(ScalarOp::kFloor, b.add(at, 0.5));
    Value* low = b.unary(ScalarOp::kFloor, at);
    return Axis{b.cast(low, DType::kI64), b.cast(b.unary(ScalarOp::kCeil, at), DType::kI64), b.sub(at, low),
                inside};
  };
  const Axis v = axis(0, in[2], size[0]), h = axis(1, in[3], size[1]);
  Value* pixels = b.reshape(b.transpose(x, {0, 2, 3, 1}), {in[0] * in[2] * in[3], in[1]});
  Value* image =
      b.mul(b.reshape(b.cast(images, DType::kI64), {regions, Dim(1), Dim(1)}), b.dim(in[2] * in[3]));
  const auto down = [&](Value* t) { return b.unsqueeze(t, {2}); };
  const auto across = [&](Value* t) { return b.unsqueeze(t, {1}); };
  const auto at = [&](Value* row, Value* col) {
    return b.gather(pixels, b.add(b.add(image, b.mul(down(row), b.dim(in[3]))), across(col)), 0);
  };
  const auto between = [&](Value* from, Value* to, Value* fraction) {
    return b.add(from, b.mul(b.sub(to, from), b.cast(b.unsqueeze(fraction, {3}), x->type.dtype)));
  };
  Value* y = at(v.low, h.low);
  if (mode == "bilinear")
    y = between(between(y, at(v.low, h.high), across(h.fraction)),
                between(at(v.high, h.low), at(v.high, h.high), across(h.fraction)), down(v.fraction));
  Value* inside = b.unsqueeze(b.map(ScalarOp::kAnd, {down(v.inside), across(h.inside)}), {3});
  y = b.select(inside, y, b.like(y, op.f("extrapolation_value", 0)));
  op.output(0, b.transpose(y, {0, 3, 1, 2}));
}

// Where the window's tap k lies along an axis for each output, in pixels, [K, out..] without the offsets.
Value* tap_positions(Emit& b, const Window& w, size_t axis, const Shape& out) {
  Shape all(w.kernel.begin(), w.kernel.end());
  all.append(out);
  const auto at = static_cast<int>(axis);
  Value* tap = b.mul(b.iota(all, at, DType::kF32), static_cast<double>(w.dilations[axis]));
  Value* start = b.mul(b.iota(all, at + static_cast<int>(w.kernel.size()), DType::kF32),
                       static_cast<double>(w.strides[axis]));
  Value* position = b.add(b.sub(start, static_cast<double>(w.low[axis])), tap);
  int64_t taps = 1;
  for (const int64_t k : w.kernel) taps *= k;
  return b.reshape(position, {Dim(1), Dim(taps) * product(out)});
}

// A convolution whose taps are moved by offsets: sampled columns [N, C * K, P], then a product by groups.
void import_deform_conv(Op& op) {
  Emit& b = op.b;
  Value *x = op.tensor(0), *weights = op.tensor(1), *offset = op.tensor(2);
  if (x->type.rank() != 4 || weights->type.rank() != 4 || offset->type.rank() != 4)
    fail("The operand ({}), its weights ({}) and offsets ({}) do not all have four dimensions.",
         x->type.text(), weights->type.text(), offset->type.text());
  const int64_t groups = op.i("group", 1), offset_groups = op.i("offset_group", 1);
  if (groups < 1 || offset_groups < 1)
    fail("Attributes 'group' ({}) and 'offset_group' ({}) must be positive.", groups, offset_groups);
  const Window w = read_window(op, x, static_kernel(weights), 0);
  const Shape in = x->type.shape, out = {dimension(offset, 2), dimension(offset, 3)};
  const Dim batch = in[0], taps(w.kernel[0] * w.kernel[1]), points = product(out);
  for (size_t a = 0; a < 2; ++a) {
    const Dim extent =
        floordiv(in[a + 2] + Dim(w.low[a] + w.high[a] - (w.kernel[a] - 1) * w.dilations[a] - 1),
                 Dim(w.strides[a])) +
        Dim(1);
    b.require(ScalarOp::kEq, out[a], extent, "The offsets of DeformConv do not have the output's size.");
  }
  const Dim parts = batch * Dim(offset_groups), columns = taps * points;
  // [N * offset groups, K, y and x, P]
  Value* moves = b.cast(b.reshape(offset, {parts, taps, Dim(2), points}), DType::kF32);
  const Sampling linear{"linear", "zeros", true};
  std::vector<std::vector<Tap>> all_taps;
  for (size_t a = 0; a < 2; ++a) {
    Value* move = b.reshape(b.slice_axis(moves, 2, Dim(static_cast<int64_t>(a)), Dim(1)), {parts, columns});
    all_taps.push_back(position_taps(b, linear, b.add(move, tap_positions(b, w, a, out)), in[a + 2]));
  }
  const Dim width = divide_products({in[1]}, {Dim(offset_groups)});
  Value* sampled = sample(b, b.reshape(x, {parts, width, in[2] * in[3]}), all_taps, {in[2], in[3]},
                          {parts, width, columns});
  if (op.has(4)) sampled = b.mul(sampled, b.reshape(op.tensor(4), {parts, Dim(1), columns}));
  const Dim rows = divide_products({dimension(weights, 0)}, {Dim(groups)});
  const Dim depth = dimension(weights, 1) * taps;
  Value* y = b.dot(b.reshape(weights, {Dim(1), Dim(groups), rows, depth}),
                   b.reshape(sampled, {batch, Dim(groups), depth, points}));
  y = b.reshape(y, {batch, dimension(weights, 0), out[0], out[1]});
  op.output(0, op.has(3) ? b.add(y, per_channel(b, op.tensor(3), 4, 1)) : y);
}

constexpr OpRow kRows[] = {
    {kOnnx, "DeformConv", 19, kLatest, import_deform_conv},
    {kOnnx, "GridSample", 16, kLatest, import_grid_sample},
    {kOnnx, "AffineGrid", 20, kLatest, import_affine_grid},
    {kOnnx, "RoiAlign", 10, kLatest, import_roi_align},
    {kOnnx, "MaxRoiPool", 1, kLatest, import_max_roi_pool},
    {kMicrosoft, "CropAndResize", 1, kLatest, import_crop_and_resize},
};

}  // namespace

std::span<const OpRow> vision_rows() {
  return kRows;
}

}  // namespace tern::onnx
