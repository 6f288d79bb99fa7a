// Encodings of constant weights: how kernels read them. Each is stored once however many dispatches and
// levels use it.
#pragma once

#include <functional>

#include "compiler/lower/depthwise_kernel.h"
#include "compiler/support/tensor_data.h"

namespace tern::lower {

// B of a contraction as K-major panels of kPanelColumns columns, zero in the columns past n:
//   out[((batch * panels + n / 16) * k + kk) * 16 + n % 16] = B[batch][kk][n]
// The inverse is the same formula. `element(batch, kk, n)` gives the flat index in `weights` (any float type,
// converted to `stored`: f32, f16 or bf16).
struct PanelSource {
  int64_t batch = 1, k = 0, n = 0;
  std::function<int64_t(int64_t batch, int64_t kk, int64_t n)> element;
};
TensorDataPtr pack_panels(const TensorData& weights, const PanelSource& source, DType stored = DType::kF32);

// B of bytes (i8): panels of steps of four k, the four innermost, zero in what is past n and k:
//   out[(((batch * panels + n / 16) * steps + kk / 4) * 16 + n % 16) * 4 + kk % 4] = B[batch][kk][n]
TensorDataPtr pack_byte_panels(const TensorData& weights, const PanelSource& source);

// Filters of a depthwise convolution [channels, 1, taps...] as [taps][channels rounded up to `granule`], f32,
// zero padded.
TensorDataPtr pack_depthwise(const TensorData& weights, int64_t channels, int64_t taps, int64_t granule);

// The same of bytes (i8) for DepthwiseBytes: [window row][shift][group][channels rounded up to
// kPanelColumns][4], zero where a group's column is outside of the window.
TensorDataPtr pack_depthwise_bytes(const TensorData& weights, const DepthwiseShape& shape);
int64_t depthwise_byte_vector(const DepthwiseShape& shape, int64_t ky, int64_t shift, int64_t group);

}  // namespace tern::lower
