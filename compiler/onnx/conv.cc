// Convolutions.
#include <algorithm>

#include "compiler/onnx/common.h"
#include "compiler/onnx/families.h"
#include "compiler/onnx/window.h"

namespace tern::onnx {

Value* convolve(Emit& b, Value* x, Value* weights, const Window& w, int64_t groups, DType accumulate) {
  std::vector<int64_t> ones(w.kernel.size(), 1);
  std::vector<std::pair<std::string, Attr>> attrs = {{"strides", w.strides},  {"low", w.low},
                                                     {"high", w.high},        {"dilations", w.dilations},
                                                     {"lhs_dilations", ones}, {"groups", groups}};
  if (accumulate != DType::kNone) attrs.emplace_back("accumulate", accumulate);
  if (groups > 0 && weights->type.rank() == x->type.rank())
    x = b.adapt(x, 1, dimension(weights, 1) * Dim(groups));
  return b.emit(OpKind::kConv, {x, weights}, std::move(attrs));
}

Value* channels_first(Emit& b, Value* x) {
  std::vector<int64_t> perm = {0, x->type.rank() - 1};
  for (int64_t a = 1; a + 1 < x->type.rank(); ++a) perm.push_back(a);
  return b.transpose(x, perm);
}

Value* channels_last(Emit& b, Value* x) {
  std::vector<int64_t> perm = {0};
  for (int64_t a = 2; a < x->type.rank(); ++a) perm.push_back(a);
  perm.push_back(1);
  return b.transpose(x, perm);
}

Value* per_channel(Emit& b, Value* v, int64_t rank, int64_t axis) {
  if (v->type.rank() == 0) return v;
  if (axis < 0 || axis >= rank)
    fail("The operand has {} dimensions, none of them channels for {}.", rank, v->type.text());
  Shape shape(static_cast<size_t>(rank), Dim(1));
  shape[static_cast<size_t>(axis)] = product(v->type.shape);
  return b.reshape(v, shape);
}

Value* convolution(Op& op, Value* x, Value* weights) {
  if (weights->type.rank() != x->type.rank())
    fail("The weights ({}) do not match the operand ({}).", weights->type.text(), x->type.text());
  int64_t groups = op.i("group", 1);
  Window w = read_window(op, x, static_kernel(weights), 0);
  Value* result = convolve(op.b, x, weights, w, groups, DType::kNone);
  if (op.has(2)) result = op.b.add(result, per_channel(op.b, op.tensor(2), x->type.rank(), 1));
  return result;
}

namespace {

void import_conv(Op& op) {
  op.output(0, convolution(op, op.tensor(0), op.tensor(1)));
}

// [C, O/groups, window] to [O, C/groups, window], the window reversed.
Value* transposed_weights(Emit& b, Value* weights, int64_t groups) {
  const Shape& shape = weights->type.shape;
  auto spatial = static_cast<int64_t>(shape.size()) - 2;
  for (int64_t i = 0; i < spatial; ++i) {
    const Dim extent = dimension(weights, static_cast<size_t>(i) + 2);
    if (!extent.is_const(1)) weights = b.slice_axis(weights, i + 2, extent - Dim(1), extent, -1);
  }
  Dim g(groups), in = floordiv(shape[0], g), out = shape[1];
  Shape split = {g, in, out}, joined = {g * out, in};
  std::vector<int64_t> perm = {0, 2, 1};
  for (int64_t i = 0; i < spatial; ++i) {
    split.push_back(dimension(weights, static_cast<size_t>(i) + 2));
    joined.push_back(split.back());
    perm.push_back(i + 3);
  }
  return b.reshape(b.transpose(b.reshape(weights, split), perm), joined);
}

struct TransposePads {
  Shape low, high;  // of the output: what is cut off
};

TransposePads transpose_pads(Op& op, Value* x, const std::vector<int64_t>& kernel,
                             const std::vector<int64_t>& strides, const std::vector<int64_t>& dilations,
                             const std::vector<int64_t>& extra) {
  size_t spatial = kernel.size();
  std::string mode = op.s("auto_pad", "NOTSET");
  std::vector<int64_t> pads = window_ints(op, "pads", 2 * spatial, 0, -(int64_t{1} << 30));
  std::vector<int64_t> output = op.ints("output_shape");
  bool same = mode == "SAME_UPPER" || mode == "SAME_LOWER",
       sized = op.has_attr("output_shape") && !output.empty();
  if (sized && output.size() == spatial + 2) output.erase(output.begin(), output.begin() + 2);
  if (sized && output.size() != spatial)
    fail("Attribute 'output_shape' has {} elements instead of {}.", output.size(), spatial);
  TransposePads out;
  for (size_t i = 0; i < spatial; ++i) {
    if (!same && !sized) {
      out.low.push_back(Dim(mode == "VALID" ? 0 : pads[i]));
      out.high.push_back(Dim(mode == "VALID" ? 0 : pads[i + spatial]));
      continue;
    }
    const Dim extent = dimension(x, i + 2);
    Dim target = sized ? Dim(output[i]) : extent * Dim(strides[i]);
    Dim total =
        (extent - Dim(1)) * Dim(strides[i]) + Dim(extra[i] + (kernel[i] - 1) * dilations[i] + 1) - target;
    if (!sized) total = op.b.max_dim(total, Dim(0));
    Dim half = floordiv(total, Dim(2));
    out.low.push_back(mode == "SAME_UPPER" ? half : total - half);
    out.high.push_back(total - out.low.back());
  }
  return out;
}

void import_conv_transpose(Op& op) {
  Emit& b = op.b;
  Value *x = op.tensor(0), *weights = op.tensor(1);
  if (x->type.rank() < 3 || weights->type.rank() != x->type.rank())
    fail("The weights ({}) do not match the operand ({}).", weights->type.text(), x->type.text());
  size_t spatial = x->type.shape.size() - 2;
  int64_t groups = op.i("group", 1);
  if (groups < 1) fail("Attribute 'group' ({}) is below 1.", groups);
  std::vector<int64_t> kernel = static_kernel(weights);
  window_ints(op, "kernel_shape", spatial, 1, 1);
  std::vector<int64_t> strides = window_ints(op, "strides", spatial, 1, 1);
  std::vector<int64_t> dilations = window_ints(op, "dilations", spatial, 1, 1);
  std::vector<int64_t> extra = window_ints(op, "output_padding", spatial, 0, 0);
  TransposePads pads = transpose_pads(op, x, kernel, strides, dilations, extra);
  std::vector<int64_t> low, high;
  Shape crop_low(spatial + 2, Dim(0)), crop_high = crop_low;
  for (size_t i = 0; i < spatial; ++i) {
    // The full transposed convolution pads by the window's reach; what cannot be taken from that is cut
    // afterwards.
    int64_t reach = (kernel[i] - 1) * dilations[i];
    auto take = [&](const Dim& pad, int64_t room, Dim& crop) {
      int64_t taken = pad.is_const() ? std::min(pad.value(), room) : 0;
      crop = Dim(taken) - pad;
      return room - taken;
    };
    low.push_back(take(pads.low[i], reach, crop_low[i + 2]));
    high.push_back(take(pads.high[i], reach + extra[i], crop_high[i + 2]));
  }
  Value* turned = transposed_weights(b, weights, groups);
  x = b.adapt(x, 1, dimension(turned, 1) * Dim(groups));
  Value* result = b.emit(OpKind::kConv, {x, turned},
                         {{"strides", std::vector<int64_t>(spatial, 1)},
                          {"low", low},
                          {"high", high},
                          {"dilations", dilations},
                          {"lhs_dilations", strides},
                          {"groups", groups}});
  result = b.pad(result, crop_low, crop_high, b.like(result, 0));
  if (op.has(2)) result = b.add(result, per_channel(b, op.tensor(2), x->type.rank(), 1));
  op.output(0, result);
}

// What Col2Im's operands say.
struct Columns {
  Shape block, image, counts;  // of an axis: taps, pixels, and how many blocks
  std::vector<int64_t> strides, dilations, pads;
};

// Blocks [N * C, taps, counts..] added up where they lie: each element at its place in the padded image. (A
// transposed convolution by weights of 0 and 1 would multiply infinities by 0, and its weights are taps *
// taps.)
Value* fold_blocks(Emit& b, const Columns& c, Value* blocks) {
  const size_t spatial = c.block.size();
  Shape grid = c.block, padded = {dimension(blocks, 0)};
  grid.insert(grid.end(), c.counts.begin(), c.counts.end());
  Shape low(spatial + 1, Dim(0)), high = low;
  Value* place = nullptr;
  Dim pixels = 1;
  for (size_t i = 0; i < spatial; ++i) {
    const Dim extent = c.image[i] + Dim(c.pads[i] + c.pads[i + spatial]);
    Value* tap = b.mul(b.iota(grid, static_cast<int>(i), DType::kI64), b.i64(c.dilations[i]));
    Value* start = b.mul(b.iota(grid, static_cast<int>(i + spatial), DType::kI64), b.i64(c.strides[i]));
    Value* at = b.add(tap, start);
    place = place ? b.add(b.mul(place, b.dim(extent)), at) : at;
    pixels = pixels * extent;
    padded.push_back(extent);
    low[i + 1] = Dim(-c.pads[i]);
    high[i + 1] = Dim(-c.pads[i + spatial]);
  }
  const Shape rows = {dimension(blocks, 0), product(grid)};
  Value* sums = b.emit(OpKind::kScatterElements,
                       {b.full({rows[0], pixels}, b.like(blocks, 0)),
                        b.broadcast(b.reshape(place, {Dim(1), rows[1]}), rows), b.reshape(blocks, rows)},
                       {{"axis", int64_t{1}}, {"reduction", std::string("add")}});
  return b.pad(b.reshape(sums, padded), low, high, b.like(sums, 0));
}

void import_col2im(Op& op) {
  Emit& b = op.b;
  Value* x = op.tensor(0);
  Columns c{b.dims(op.tensor(2)), b.dims(op.tensor(1)), {}, {}, {}, {}};
  const size_t spatial = c.block.size();
  if (x->type.rank() != 3 || spatial < 1 || c.image.size() != spatial)
    fail("Columns {} of blocks of {} dimensions do not make an image of {}.", x->type.text(), spatial,
         c.image.size());
  c.strides = window_ints(op, "strides", spatial, 1, 1);
  c.dilations = window_ints(op, "dilations", spatial, 1, 1);
  c.pads = window_ints(op, "pads", 2 * spatial, 0, 0);
  const Dim taps = product(c.block), channels = divide_products({dimension(x, 1)}, {taps});
  Shape blocks = {dimension(x, 0) * channels, taps}, result = {dimension(x, 0), channels};
  for (size_t i = 0; i < spatial; ++i) {
    const Dim reach = (c.block[i] - Dim(1)) * Dim(c.dilations[i]);
    c.counts.push_back(
        floordiv(c.image[i] + Dim(c.pads[i] + c.pads[i + spatial] - 1) - reach, Dim(c.strides[i])) + Dim(1));
    blocks.push_back(c.counts.back());
    result.push_back(c.image[i]);
  }
  Value* parts = b.reshape(x, blocks);
  op.output(0, b.reshape(fold_blocks(b, c, parts), result));
}

constexpr OpRow kRows[] = {
    {kOnnx, "Col2Im", 18, kLatest, import_col2im},
    {kOnnx, "Conv", 1, kLatest, import_conv},
    {kOnnx, "ConvTranspose", 1, kLatest, import_conv_transpose},
};

}  // namespace

std::span<const OpRow> conv_rows() {
  return kRows;
}

}  // namespace tern::onnx
