#include "compiler/onnx/window.h"

#include <algorithm>
#include <cmath>

namespace tern::onnx {

std::vector<int64_t> window_ints(Op& op, const std::string& name, size_t count, int64_t otherwise,
                                 int64_t least) {
  std::vector<int64_t> values = op.ints(name);
  if (!op.has_attr(name) || values.empty()) return std::vector<int64_t>(count, otherwise);
  if (values.size() != count)
    fail("Attribute '{}' has {} elements instead of {}.", name, values.size(), count);
  for (int64_t v : values)
    if (v < least || v >= (int64_t{1} << 31)) fail("Attribute '{}' ({}) is out of range.", name, v);
  return values;
}

std::vector<int64_t> static_kernel(Value* weights) {
  std::vector<int64_t> kernel;
  for (size_t i = 2; i < weights->type.shape.size(); ++i) {
    if (!dimension(weights, i).is_const())
      fail("The weights ({}) have a window of unknown size.", weights->type.text());
    kernel.push_back(dimension(weights, i).value());
  }
  return kernel;
}

TensorDataPtr lowest_constant(DType dtype) {
  auto data = TensorData::make(dtype, {});
  scalar::ScalarValue least = scalar::lowest(dtype);
  if (is_float(dtype)) {
    data->set_float(0, least.f);
  } else {
    data->set_int(0, least.i);
  }
  return data;
}

namespace {

struct Padding {
  Dim low, high;
};

// SAME: as many outputs as ceil(extent / stride); the odd one of the padding goes to one end.
Padding same_padding(Emit& b, const Dim& extent, int64_t reach, int64_t stride, bool upper) {
  Dim total = b.max_dim((ceildiv(extent, Dim(stride)) - Dim(1)) * Dim(stride) + Dim(reach) - extent, Dim(0));
  Dim half = floordiv(total, Dim(2));
  return upper ? Padding{half, total - half} : Padding{total - half, half};
}

// ceil_mode: enough padding at the end that the last, partial window fits; it must start inside the operand.
Dim ceil_padding(Emit& b, const Dim& extent, int64_t low, int64_t high, int64_t reach, int64_t stride) {
  Dim padded = extent + Dim(low) + Dim(high);
  Dim count = ceildiv(padded - Dim(reach), Dim(stride)) + Dim(1);
  count = b.min_dim(count, ceildiv(extent + Dim(low), Dim(stride)));
  return (count - Dim(1)) * Dim(stride) + Dim(reach) - extent - Dim(low);
}

}  // namespace

Window read_window(Op& op, Value*& x, std::vector<int64_t> kernel, double fill) {
  Emit& b = op.b;
  if (x->type.rank() < 3) fail("The operand ({}) has no spatial dimension.", x->type.text());
  size_t spatial = x->type.shape.size() - 2;
  Window w;
  std::vector<int64_t> stated = window_ints(op, "kernel_shape", spatial, 0, 1);
  bool given = op.has_attr("kernel_shape") && !op.ints("kernel_shape").empty();
  if (kernel.empty()) {
    if (!given) fail("Attribute 'kernel_shape' is missing.");
    kernel = stated;
  } else if (given && stated != kernel) {
    fail("Attribute 'kernel_shape' does not match the weights' window.");
  }
  if (kernel.size() != spatial) fail("The window has {} dimensions, the operand {}.", kernel.size(), spatial);
  w.kernel = kernel;
  w.strides = window_ints(op, "strides", spatial, 1, 1);
  w.dilations = window_ints(op, "dilations", spatial, 1, 1);
  std::string mode = op.s("auto_pad", "NOTSET");
  if (mode != "NOTSET" && mode != "VALID" && mode != "SAME_UPPER" && mode != "SAME_LOWER" && !mode.empty())
    fail("Attribute 'auto_pad' ('{}') must be NOTSET, VALID, SAME_UPPER or SAME_LOWER.", mode);
  bool ceil = op.i("ceil_mode", 0) != 0;
  std::vector<int64_t> pads = window_ints(op, "pads", 2 * spatial, 0, -(int64_t{1} << 30));
  bool same = mode == "SAME_UPPER" || mode == "SAME_LOWER";
  w.automatic = same;
  if (mode == "VALID" || same) pads.assign(2 * spatial, 0);
  Shape explicit_low(spatial + 2, Dim(0)), explicit_high = explicit_low;
  for (size_t i = 0; i < spatial; ++i) {
    const Dim extent = dimension(x, i + 2);
    int64_t reach = (kernel[i] - 1) * w.dilations[i] + 1;
    Padding padding{Dim(pads[i]), Dim(pads[i + spatial])};
    if (same) padding = same_padding(b, extent, reach, w.strides[i], mode == "SAME_UPPER");
    bool known = padding.low.is_const() && padding.high.is_const();
    w.asked_low.push_back(known ? padding.low.value() : 0);
    w.asked_high.push_back(known ? padding.high.value() : 0);
    if (ceil && !same && w.strides[i] > 1)
      padding.high = ceil_padding(b, extent, pads[i], pads[i + spatial], reach, w.strides[i]);
    known = padding.low.is_const() && padding.high.is_const();
    w.low.push_back(known ? padding.low.value() : 0);
    w.high.push_back(known ? padding.high.value() : 0);
    w.moved_low.push_back(known ? Dim(0) : padding.low);
    w.moved_high.push_back(known ? Dim(0) : padding.high);
    if (known) continue;
    explicit_low[i + 2] = padding.low;
    explicit_high[i + 2] = padding.high;
  }
  Value* value = fill == -HUGE_VAL ? b.constant(lowest_constant(x->type.dtype)) : b.like(x, fill);
  x = b.pad(x, explicit_low, explicit_high, value);
  return w;
}

}  // namespace tern::onnx
