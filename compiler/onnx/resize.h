// Resize's axes: what is asked for along one, and the way that computes positions at run time.
#pragma once

#include "compiler/onnx/importer.h"

namespace tern::onnx {

struct ResizeAxis {
  int64_t axis = 0;
  Dim in, out;
  double scale = 1;  // out / in, as given or computed; only when `scale_known`
  bool scale_known = true;
  double roi_start = 0, roi_end = 1;
  Value *scale_value = nullptr, *roi_start_value = nullptr,
        *roi_end_value = nullptr;  // f32 scalars, for run time
  bool by_scale = false;           // the scale is given, not computed from sizes
};

struct ResizeMode {
  std::string mode, coordinates, nearest;
  double cubic_a = -0.75, extrapolation = 0;
  bool exclude_outside = false, antialias = false;
};

// Positions are f32: what is halfway between two elements but for a rounding counts as halfway, as in ONNX
// Runtime (element 4 of 8 out of 13 is 4 / (8 / 13), 6.4999995).
constexpr float kBelowHalf = 0.5f - 1e-6f, kAboveHalf = 0.5f + 1e-6f;

// A vector along one axis of a tensor of this rank.
Value* along(Emit& b, Value* vector, int64_t rank, int64_t axis);

// Sizes, scales or regions that are known at run time only: positions from an iota, in f32. x is resized
// along a's axis.
Value* resize_symbolic(Emit& b, Value* x, const ResizeMode& mode, const ResizeAxis& a);

}  // namespace tern::onnx
