// Sliding windows: what Conv's and the pools' attributes (kernel_shape, strides, pads, auto_pad, dilations,
// ceil_mode) mean for given operands.
#pragma once

#include "compiler/onnx/importer.h"

namespace tern::onnx {

struct Window {
  std::vector<int64_t> kernel, strides, dilations, low, high;
  // What was asked for, before ceil_mode or symbolic sizes moved padding: AveragePool counts by it.
  std::vector<int64_t> asked_low, asked_high;
  // Padding that depends on a symbolic size, which the operand has been given (0 elsewhere). All of it was
  // asked for by auto_pad; ceil_mode adds to the end.
  Shape moved_low = {}, moved_high = {};
  bool automatic = false;
};

// Reads the attributes. `kernel`: the weight's window, or empty to read kernel_shape. `x` becomes the operand
// padded with `fill` where the padding depends on a symbolic size (low and high are 0 then).
Window read_window(Op& op, Value*& x, std::vector<int64_t> kernel, double fill);

// The strides, dilations and kernel with their defaults, checked to be in [1, 2^31).
std::vector<int64_t> window_ints(Op& op, const std::string& name, size_t count, int64_t otherwise,
                                 int64_t least);
std::vector<int64_t> static_kernel(Value* weights);

// The conv op with x's channels adapted to the weights; `accumulate` kNone: by the types.
Value* convolve(Emit& b, Value* x, Value* weights, const Window& w, int64_t groups, DType accumulate);
// Conv (its third input and attributes) of an operand that lies as [N, C, ..] by weights [M, C/group, ..];
// the pools likewise, without MaxPool's indices.
Value* convolution(Op& op, Value* x, Value* weights);
Value* max_pool(Op& op, Value* x);
Value* average_pool(Op& op, Value* x);
// [N, .., C] as [N, C, ..], and back.
Value* channels_first(Emit& b, Value* x);
Value* channels_last(Emit& b, Value* x);
// A vector as [1, .., n, .., 1] with n at `axis`; a scalar as it is.
Value* per_channel(Emit& b, Value* v, int64_t rank, int64_t axis);
// The least value of a type, which max pooling pads with.
TensorDataPtr lowest_constant(DType dtype);

}  // namespace tern::onnx
