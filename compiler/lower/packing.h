// Encodings of constant weights: how kernels read them. Each is stored once however many dispatches and
// levels use it.
#pragma once

#include <functional>

#include "compiler/lower/depthwise_kernel.h"
#include "compiler/support/tensor_data.h"

namespace tern::lower {

// B of a contraction as K-major panels of kPanelColumns columns, zero in the columns past n:
//   out[((batch * panels + n / 16) * k + kk) * 16 + n % 16] = B[batch][kk][n]
// where `element` is not negative, else zero.
// The inverse is the same formula. `element(batch, kk, n)` gives the flat index in `weights` (any float type,
// converted to `stored`: f32, f16, bf16 or f64).
struct PanelSource {
  int64_t batch = 1, k = 0, n = 0;
  std::function<int64_t(int64_t batch, int64_t kk, int64_t n)> element;
};
TensorDataPtr pack_panels(const TensorData& weights, const PanelSource& source, DType stored = DType::kF32);

// Columns as rows of `padded` steps, zero past k.
TensorDataPtr pack_rows(const TensorData& weights, const PanelSource& source, int64_t padded);

// The same as panels in bf16, two steps in a word: u32, the first one in the lower half, zero past k and n.
//   out[((batch * panels + n / 16) * ceil(k / 2) + kk / 2) * 16 + n % 16] = B[batch][kk][n] << 16 * (kk % 2)
TensorDataPtr pack_bf16_pairs(const TensorData& weights, const PanelSource& source);

// B of bytes (i8): panels of steps of four k, the four innermost, zero in what is past n and k:
//   out[(((batch * panels + n / 16) * steps + kk / 4) * 16 + n % 16) * 4 + kk % 4] = B[batch][kk][n]
TensorDataPtr pack_byte_panels(const TensorData& weights, const PanelSource& source);

// What the steps of each of its columns add up to, times `factor`, i32: panels * 16 a batch, zero past n.
TensorDataPtr pack_byte_sums(const TensorData& weights, const PanelSource& source, int64_t factor);

// B of a contraction as matrix units read it: blocks of 128 bytes of steps (W = 64 of f16 and bf16, 128 of
// i8, 32 of f32, which is rounded to TF32), in each a row of W steps a column (zero rows up to a multiple of
// 8, zero steps up to one of W; zero where `element` is negative), its chunks of C = W / 8 steps swizzled so
// that it can be copied into workgroup memory as it is and be read there by group_mma (kernel/ir.h) and, free
// of bank conflicts, by ldmatrix.
//   out[((batch * k_blocks + kk / W) * rows + n) * W + (kk % W / C xor n % 8) * C + kk % C] = B[batch][kk][n]
TensorDataPtr pack_matrix(const TensorData& weights, const PanelSource& source, DType dtype);

// Filters of a depthwise convolution [channels, 1, taps...] as [taps][channels rounded up to `granule`], f32,
// zero padded.
TensorDataPtr pack_depthwise(const TensorData& weights, int64_t channels, int64_t taps, int64_t granule);
// Filters of groups, for channels in blocks of kPanelColumns: [block][tap][input of the group][channel].
TensorDataPtr pack_groups(const TensorData& weights, int64_t channels, int64_t inputs, int64_t taps);
// Of bytes (i8), an even number of inputs in pairs, as i16: [block][tap][pair of inputs][channel][2].
TensorDataPtr pack_group_pairs(const TensorData& weights, int64_t channels, int64_t inputs, int64_t taps);
// The sum of each channel's bytes times `factor`, i32, for whole blocks of kPanelColumns.
TensorDataPtr pack_channel_sums(const TensorData& weights, int64_t channels, int64_t factor);

// The same of bytes (i8) for DepthwiseBytes: [window row][shift][group][channels rounded up to
// kPanelColumns][4], zero where a group's column is outside of the window.
TensorDataPtr pack_depthwise_bytes(const TensorData& weights, const DepthwiseShape& shape);
int64_t depthwise_byte_vector(const DepthwiseShape& shape, int64_t ky, int64_t shift, int64_t group);

}  // namespace tern::lower
