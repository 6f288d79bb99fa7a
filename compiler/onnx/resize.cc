// Resize and Upsample: one axis at a time, each as gathers of the source rows with weights.
//
// The result along an axis is sum over taps t of weight_t[i] * x[index_t[i]]: one tap for nearest, two for
// linear, four for cubic, more when antialiasing. Indices and weights are computed here when the sizes are
// known, else at run time.
#include "compiler/onnx/resize.h"

#include <algorithm>
#include <cmath>

#include "compiler/onnx/common.h"
#include "compiler/onnx/families.h"

namespace tern::onnx {

namespace {

// Where output position `i` lies in the source: in f32, as with sizes that are known at run time only, and as
// ONNX Runtime has it. A position half way between two decides between them.
float source_position(const ResizeMode& mode, const ResizeAxis& a, float i) {
  const auto in = static_cast<float>(a.in.value()), out = static_cast<float>(a.out.value());
  const auto scale = static_cast<float>(a.scale);
  const auto start = static_cast<float>(a.roi_start), end = static_cast<float>(a.roi_end);
  if (mode.coordinates == "half_pixel") return (i + 0.5f) / scale - 0.5f;
  if (mode.coordinates == "pytorch_half_pixel") return out > 1 ? (i + 0.5f) / scale - 0.5f : 0;
  if (mode.coordinates == "align_corners") {
    const float length = scale * in;
    return length == 1 ? 0 : i * (in - 1) / (length - 1);
  }
  if (mode.coordinates == "asymmetric") return i / scale;
  if (mode.coordinates == "tf_half_pixel_for_nn") return (i + 0.5f) / scale;
  if (mode.coordinates == "half_pixel_symmetric") {
    const float adjustment = out / (scale * in), centre = in / 2;
    return centre * (1 - adjustment) + (i + 0.5f) / scale - 0.5f;
  }
  // tf_crop_and_resize
  if (out > 1) return start * (in - 1) + i * (end - start) * (in - 1) / (out - 1);
  return 0.5f * (start + end) * (in - 1);
}

int64_t nearest_index(const std::string& rule, double position) {
  const double low = std::floor(position), part = position - low;
  const bool up = rule == "round_prefer_floor"  ? part > kAboveHalf
                  : rule == "round_prefer_ceil" ? part >= kBelowHalf
                  : rule == "floor"             ? false
                                                : part > 0;
  return static_cast<int64_t>(low) + up;
}

double cubic_weight(double a, double distance) {
  double d = std::fabs(distance);
  if (d <= 1) return (a + 2) * d * d * d - (a + 3) * d * d + 1;
  if (d < 2) return a * d * d * d - 5 * a * d * d + 8 * a * d - 4 * a;
  return 0;
}

double tap_weight(const ResizeMode& mode, double distance) {
  if (mode.mode == "cubic") return cubic_weight(mode.cubic_a, distance);
  return std::max(0.0, 1 - std::fabs(distance));
}

struct Taps {
  std::vector<std::vector<int64_t>> index;  // [tap][output]
  std::vector<std::vector<double>> weight;
  std::vector<bool> outside;  // output positions that extrapolate
};

Taps compute_taps(const ResizeMode& mode, const ResizeAxis& a) {
  int64_t in = a.in.value(), out = a.out.value();
  double support = mode.mode == "cubic" ? 2 : 1;
  // Antialiasing widens the kernel by the factor of reduction.
  double shrink = mode.antialias && a.scale < 1 && out > 0 ? a.scale : 1;
  constexpr double kMostTaps = 4096;  // each is a gather of the program
  const double wanted = mode.mode == "nearest" ? 1 : 2 * std::ceil(support / shrink);
  if (!(wanted <= kMostTaps))
    fail(
        "Antialiasing at a scale of {} on axis {} takes {} elements for each of the output's; at most {} are "
        "supported.",
        a.scale, a.axis, wanted, kMostTaps);
  const auto taps = static_cast<size_t>(wanted);
  Taps t;
  t.index.assign(taps, std::vector<int64_t>(static_cast<size_t>(out)));
  t.weight.assign(taps, std::vector<double>(static_cast<size_t>(out), 1));
  t.outside.assign(static_cast<size_t>(out), false);
  for (int64_t i = 0; i < out; ++i) {
    auto o = static_cast<size_t>(i);
    const double position = source_position(mode, a, static_cast<float>(i));
    if (mode.coordinates == "tf_crop_and_resize")
      t.outside[o] = position < 0 || position > static_cast<double>(in - 1);
    if (mode.mode == "nearest") {
      t.index[0][o] = std::clamp<int64_t>(nearest_index(mode.nearest, position), 0, in - 1);
      continue;
    }
    auto first = static_cast<int64_t>(std::floor(position)) - static_cast<int64_t>(taps) / 2 + 1;
    double sum = 0;
    for (size_t k = 0; k < taps; ++k) {
      int64_t at = first + static_cast<int64_t>(k);
      double weight = tap_weight(mode, (static_cast<double>(at) - position) * shrink);
      if (mode.exclude_outside && (at < 0 || at >= in)) weight = 0;
      t.index[k][o] = std::clamp<int64_t>(at, 0, in - 1);
      t.weight[k][o] = weight;
      sum += weight;
    }
    bool normalise_weights = mode.exclude_outside || shrink != 1;
    for (size_t k = 0; normalise_weights && sum != 0 && k < taps; ++k) t.weight[k][o] /= sum;
  }
  return t;
}

Value* resize_static(Emit& b, Value* x, const ResizeMode& mode, const ResizeAxis& a) {
  Taps taps = compute_taps(mode, a);
  int64_t rank = x->type.rank();
  Value* sum = nullptr;
  for (size_t k = 0; k < taps.index.size(); ++k) {
    if (std::all_of(taps.weight[k].begin(), taps.weight[k].end(), [](double w) { return w == 0; })) continue;
    Value* part = b.gather(x, b.i64s(taps.index[k]), a.axis);
    bool plain = std::all_of(taps.weight[k].begin(), taps.weight[k].end(), [](double w) { return w == 1; });
    if (!plain) part = b.mul(part, along(b, b.floats(x->type.dtype, taps.weight[k]), rank, a.axis));
    sum = sum ? b.add(sum, part) : part;
  }
  if (!sum) sum = b.gather(x, b.i64s(taps.index[0]), a.axis);
  return sum;
}

// A whole factor with nearest neighbours repeats every element: a broadcast, for any size.
int64_t repeat_factor(const ResizeMode& mode, const ResizeAxis& a) {
  if (mode.mode != "nearest" || !a.scale_known || a.scale < 1 || a.scale != std::floor(a.scale) ||
      a.scale > 64)
    return 0;
  auto factor = static_cast<int64_t>(a.scale);
  bool asymmetric = mode.coordinates == "asymmetric" && mode.nearest == "floor";
  bool half = mode.coordinates == "half_pixel" &&
              (mode.nearest == "round_prefer_floor" || mode.nearest == "round_prefer_ceil");
  if ((asymmetric || half) && a.out == a.in * Dim(factor)) return factor;
  return 0;
}

Value* repeat(Emit& b, Value* x, int64_t axis, int64_t factor) {
  Shape split = x->type.shape, wide, joined = x->type.shape;
  auto at = static_cast<size_t>(axis);
  split.insert(split.begin() + axis + 1, Dim(1));
  wide = split;
  wide[at + 1] = Dim(factor);
  joined[at] = joined[at] * Dim(factor);
  return b.reshape(b.broadcast(b.reshape(x, split), wide), joined);
}

Value* resize_axis(Emit& b, Value* x, const ResizeMode& mode, const ResizeAxis& a) {
  if (a.in == a.out && mode.coordinates != "tf_crop_and_resize" && (!a.scale_known || a.scale == 1)) return x;
  if (int64_t factor = repeat_factor(mode, a)) return repeat(b, x, a.axis, factor);
  if (a.in.is_const() && a.out.is_const() && a.scale_known) {
    if (a.in.value() < 1) fail("An axis of {} elements cannot be resized.", a.in.value());
    if (a.out.value() > (1 << 24)) fail("The size {} is too large.", a.out.value());
    return resize_static(b, x, mode, a);
  }
  return resize_symbolic(b, x, mode, a);
}

Value* extrapolate(Emit& b, Value* x, const ResizeMode& mode, const std::vector<ResizeAxis>& axes) {
  for (const ResizeAxis& a : axes) {
    if (!a.in.is_const() || !a.out.is_const() || !a.scale_known) continue;  // resize_symbolic has done it
    Taps taps = compute_taps(mode, a);
    auto mask = TensorData::make(DType::kBool, {a.out.value()});
    bool any = false;
    for (size_t i = 0; i < taps.outside.size(); ++i) {
      mask->set_int(static_cast<int64_t>(i), taps.outside[i]);
      any |= taps.outside[i];
    }
    if (any)
      x = b.select(along(b, b.constant(mask), x->type.rank(), a.axis), b.like(x, mode.extrapolation), x);
  }
  return x;
}

using Target = std::vector<ResizeAxis>;

void check_list(const char* what, const Value* v, size_t axes) {
  if (v->type.rank() != 1 ||
      !(dimension(v, 0) == Dim(static_cast<int64_t>(axes)) || !dimension(v, 0).is_const()))
    fail("The {} ({}) are not a list of one for each of {} axes.", what, v->type.text(), axes);
}

// The output's dimensions along the axes: what the model states, checked against `sizes` at run time, else
// read from there.
Shape stated_sizes(Op& op, Value* sizes, const std::vector<int64_t>& which, int64_t rank) {
  Emit& b = op.b;
  auto stated = op.declared_dims(0);
  if (!stated || static_cast<int64_t>(stated->size()) != rank) return b.dims(sizes);
  Shape out;
  for (int64_t a : which) out.push_back(Dim((*stated)[static_cast<size_t>(a)]));
  Value* same = b.compare(ScalarOp::kEq, sizes, b.from_dims(out, {Dim(static_cast<int64_t>(which.size()))}));
  b.check(b.reduce(ScalarOp::kAnd, same, {0}),
          fmt::format("The output '{}' does not have the dimensions that the model states for it.",
                      op.node.output(0)));
  return out;
}

void apply_policy(Op& op, std::vector<ResizeAxis>& axes) {
  std::string policy = op.s("keep_aspect_ratio_policy", "stretch");
  if (policy == "stretch") return;
  if (policy != "not_larger" && policy != "not_smaller")
    fail("Attribute 'keep_aspect_ratio_policy' ('{}') is not known.", policy);
  double best = policy == "not_larger" ? HUGE_VAL : 0;
  for (const ResizeAxis& a : axes) {
    double ratio = static_cast<double>(a.out.value()) / static_cast<double>(a.in.value());
    best = policy == "not_larger" ? std::min(best, ratio) : std::max(best, ratio);
  }
  for (ResizeAxis& a : axes) {
    a.scale = best;
    a.out = Dim(static_cast<int64_t>(std::floor(best * static_cast<double>(a.in.value()) + 0.5)));
  }
}

// The factor that keeps the aspect ratio, for sizes that are known at run time only.
Value* common_factor(Op& op, Value* sizes, const Shape& in) {
  Emit& b = op.b;
  Value* from = b.cast(b.from_dims(in, {Dim(static_cast<int64_t>(in.size()))}), DType::kF32);
  bool smaller_one = op.s("keep_aspect_ratio_policy", "stretch") == "not_larger";
  return b.reduce(smaller_one ? ScalarOp::kMin : ScalarOp::kMax, b.div(b.cast(sizes, DType::kF32), from),
                  {0});
}

Target from_sizes(Op& op, Value* x, Value* sizes, const std::vector<int64_t>& which) {
  Emit& b = op.b;
  check_list("sizes", sizes, which.size());
  Shape in;
  for (int64_t a : which) in.push_back(dimension(x, a));
  auto known = b.known_dims(sizes);
  bool stretch = op.s("keep_aspect_ratio_policy", "stretch") == "stretch";
  const auto constant = [](const Dim& d) { return d.is_const(); };
  bool fixed = known && std::all_of(known->begin(), known->end(), constant) &&
               std::all_of(in.begin(), in.end(), constant);
  Value* factor = fixed || stretch ? nullptr : common_factor(op, sizes, in);
  if (factor) {
    Value* exact =
        b.mul(b.cast(b.from_dims(in, {Dim(static_cast<int64_t>(in.size()))}), DType::kF32), factor);
    sizes = b.cast(b.unary(ScalarOp::kFloor, b.add(exact, 0.5)), DType::kI64);
  }
  Shape dims = known && !factor ? *known : stated_sizes(op, sizes, which, x->type.rank());
  if (dims.size() != which.size()) fail("{} sizes are given for {} axes.", dims.size(), which.size());
  Target t;
  for (size_t i = 0; i < which.size(); ++i) {
    ResizeAxis a;
    a.axis = which[i];
    a.in = in[i];
    a.out = dims[i];
    if (a.out.is_const() && a.out.value() < 0)
      fail("The size ({}) of axis {} is negative.", a.out.value(), a.axis);
    a.scale_known = !factor && a.in.is_const() && a.out.is_const();
    if (a.scale_known)
      a.scale = static_cast<double>(a.out.value()) / static_cast<double>(std::max<int64_t>(a.in.value(), 1));
    t.push_back(a);
  }
  if (fixed) apply_policy(op, t);
  for (ResizeAxis& a : t)
    a.scale_value =
        factor ? factor : b.div(b.cast(b.dim(a.out), DType::kF32), b.cast(b.dim(a.in), DType::kF32));
  return t;
}

// The product is rounded to f32 before its floor is taken, as that of scales that are known at run time only,
// and as frameworks and ONNX Runtime have it: 10 by 0.7 is 7. What no fraction says exactly is computed with
// the input.
Dim scaled_dim(Emit& b, const Dim& in, double scale) {
  const auto factor = static_cast<float>(scale);
  if (in.is_const()) return Dim(static_cast<int64_t>(std::floor(static_cast<float>(in.value()) * factor)));
  for (int64_t divisor = 1; divisor <= 4096; divisor *= 2) {
    double numerator = scale * static_cast<double>(divisor);
    if (numerator == std::floor(numerator))
      return floordiv(in * Dim(static_cast<int64_t>(numerator)), Dim(divisor));
  }
  Value* size = b.unary(ScalarOp::kFloor, b.mul(b.cast(b.dim(in), DType::kF32), scale));
  return b.dims(b.cast(size, DType::kI64))[0];
}

Target from_scales(Op& op, Value* x, const std::vector<double>& scales, const std::vector<int64_t>& which) {
  if (scales.size() != which.size()) fail("{} scales are given for {} axes.", scales.size(), which.size());
  Target t;
  for (size_t i = 0; i < which.size(); ++i) {
    if (!(scales[i] > 0 && scales[i] < 65536))
      fail("The scale ({}) of axis {} is out of range.", scales[i], which[i]);
    ResizeAxis a;
    a.axis = which[i];
    a.in = dimension(x, which[i]);
    a.out = scaled_dim(op.b, a.in, scales[i]);
    a.scale = scales[i];
    a.by_scale = true;
    a.scale_value = op.b.scalar(DType::kF32, scales[i]);
    t.push_back(a);
  }
  return t;
}

// Scales that are known at run time only: the output's sizes are read back, or stated by the model.
Target from_run_time_scales(Op& op, Value* x, Value* scales, const std::vector<int64_t>& which) {
  Emit& b = op.b;
  check_list("scales", scales, which.size());
  Shape dims;
  for (int64_t a : which) dims.push_back(dimension(x, a));
  Value* in = b.cast(b.from_dims(dims, {Dim(static_cast<int64_t>(which.size()))}), scales->type.dtype);
  Value* sizes = b.cast(b.unary(ScalarOp::kFloor, b.mul(in, scales)), DType::kI64);
  Shape out = stated_sizes(op, sizes, which, x->type.rank());
  if (out.size() != which.size()) fail("{} scales are given for {} axes.", out.size(), which.size());
  Target t;
  for (size_t i = 0; i < which.size(); ++i) {
    ResizeAxis a;
    a.axis = which[i];
    a.in = dims[i];
    a.out = out[i];
    a.scale_known = false;
    a.by_scale = true;
    a.scale_value = b.cast(element(b, scales, static_cast<int64_t>(i)), DType::kF32);
    t.push_back(a);
  }
  return t;
}

std::optional<std::vector<double>> known_doubles(Emit& b, Value* v) {
  TensorDataPtr data = b.constant_data(v);
  if (!data) return std::nullopt;
  std::vector<double> out;
  for (int64_t i = 0; i < data->count(); ++i) out.push_back(data->float_at(i));
  return out;
}

ResizeMode read_mode(Op& op) {
  ResizeMode mode;
  mode.mode = op.s("mode", "nearest");
  mode.coordinates = op.s("coordinate_transformation_mode", "half_pixel");
  mode.nearest = op.s("nearest_mode", "round_prefer_floor");
  mode.cubic_a = op.f("cubic_coeff_a", -0.75);
  op.s("keep_aspect_ratio_policy", "stretch");  // of sizes alone; exporters state it beside scales too
  mode.extrapolation = op.f("extrapolation_value", 0);
  mode.exclude_outside = op.i("exclude_outside", 0) != 0;
  mode.antialias = op.i("antialias", 0) != 0;
  if (op.version < 11) {
    mode.coordinates = "asymmetric";
    mode.nearest = "floor";
  }
  if (mode.mode == "bilinear" || mode.mode == "trilinear") mode.mode = "linear";
  if (mode.mode != "nearest" && mode.mode != "linear" && mode.mode != "cubic")
    fail("Attribute 'mode' ('{}') must be nearest, linear or cubic.", mode.mode);
  static constexpr const char* kCoordinates[] = {
      "half_pixel",           "pytorch_half_pixel",   "align_corners",     "asymmetric",
      "tf_half_pixel_for_nn", "half_pixel_symmetric", "tf_crop_and_resize"};
  if (std::none_of(std::begin(kCoordinates), std::end(kCoordinates),
                   [&](const char* c) { return mode.coordinates == c; }))
    fail("Attribute 'coordinate_transformation_mode' ('{}') is not known.", mode.coordinates);
  return mode;
}

void resize(Op& op, Value* x, const ResizeMode& mode, Target target) {
  Emit& b = op.b;
  DType type = x->type.dtype;
  bool weights = mode.mode != "nearest";
  Value* y = weights && !is_float(type) ? b.cast(x, DType::kF32) : x;
  for (size_t i = 0; i < target.size(); ++i) y = resize_axis(b, y, mode, target[i]);
  if (mode.coordinates == "tf_crop_and_resize") y = extrapolate(b, y, mode, target);
  if (y->type.dtype != type) y = b.cast(b.unary(ScalarOp::kRoundEven, y), type);
  op.output(0, y);
}

std::vector<int64_t> all_axes(int64_t rank) {
  std::vector<int64_t> axes;
  for (int64_t a = 0; a < rank; ++a) axes.push_back(a);
  return axes;
}

// The region of interest: starts, then ends, as fractions of the axes.
void read_region(Op& op, Target& target) {
  Emit& b = op.b;
  Value* roi = op.tensor(1);
  if (roi->type.rank() != 1 || !dimension(roi, 0).is_const(static_cast<int64_t>(2 * target.size())))
    fail("The region of interest ({}) must have {} elements.", roi->type.text(), 2 * target.size());
  auto known = known_doubles(b, roi);
  for (size_t i = 0; i < target.size(); ++i) {
    ResizeAxis& a = target[i];
    a.roi_start_value = b.cast(element(b, roi, static_cast<int64_t>(i)), DType::kF32);
    a.roi_end_value = b.cast(element(b, roi, static_cast<int64_t>(i + target.size())), DType::kF32);
    a.scale_known &= known.has_value();
    if (known) {
      a.roi_start = (*known)[i];
      a.roi_end = (*known)[i + target.size()];
    }
  }
}

void import_resize(Op& op) {
  Emit& b = op.b;
  Value* x = op.tensor(0);
  int64_t rank = x->type.rank();
  op.has(1);  // regions of interest, which matter to one mode alone
  ResizeMode mode = read_mode(op);
  std::vector<int64_t> which = all_axes(rank);
  if (op.has_attr("axes")) {
    which = op.ints("axes");
    for (int64_t& a : which) a = op.axis(a, rank);
    op.axes(which, rank);
  }
  int scales_at = op.version < 11 ? 1 : 2;
  auto not_empty = [&](int i) {
    return op.has(i) && !op.tensor(i)->type.shape.empty() && !dimension(op.tensor(i), 0).is_const(0);
  };
  // Each is asked for: an empty one beside the other is how exporters leave it out.
  const bool scales = not_empty(scales_at), sizes = not_empty(3);
  if (scales && sizes) fail("Scales and sizes are given; one of the two must be.");
  Target target;
  if (sizes) {
    target = from_sizes(op, x, as_i64(b, op.tensor(3)), which);
  } else if (scales) {
    if (auto known = known_doubles(b, op.tensor(scales_at))) {
      target = from_scales(op, x, *known, which);
    } else {
      target = from_run_time_scales(op, x, op.tensor(scales_at), which);
    }
  } else {
    fail("Neither scales nor sizes are given.");
  }
  if (mode.coordinates == "tf_crop_and_resize") {
    read_region(op, target);
  }
  resize(op, x, mode, std::move(target));
}

void import_upsample(Op& op) {
  Value* x = op.tensor(0);
  ResizeMode mode;
  mode.mode = op.s("mode", "nearest");
  if (mode.mode == "bilinear") mode.mode = "linear";
  if (mode.mode != "nearest" && mode.mode != "linear")
    fail("Attribute 'mode' ('{}') must be nearest or linear.", mode.mode);
  mode.coordinates = "asymmetric";
  mode.nearest = "floor";
  std::vector<int64_t> which = all_axes(x->type.rank());
  if (op.version < 9) return resize(op, x, mode, from_scales(op, x, op.floats("scales"), which));
  if (auto known = known_doubles(op.b, op.tensor(1)))
    return resize(op, x, mode, from_scales(op, x, *known, which));
  resize(op, x, mode, from_run_time_scales(op, x, op.tensor(1), which));
}

constexpr OpRow kRows[] = {
    {kOnnx, "Resize", 10, kLatest, import_resize},
    {kOnnx, "Upsample", 7, 9, import_upsample},
};

}  // namespace

std::span<const OpRow> resize_rows() {
  return kRows;
}

}  // namespace tern::onnx
