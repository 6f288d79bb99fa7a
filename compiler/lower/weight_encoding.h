// How an encoding of constant weights follows from another one, so that a module stores one of them and a
// program's init steps compute the other in device memory.
//
// The common form are the panels of packing.h (pack_panels), which most kernels read; of bytes, it is the
// tensor as the model has it. A constant in another encoding carries a WeightEncoding: what its panels are,
// and the kernels between the two. Which constants of a module are stored and which derived is decided when
// all programs are known (program/derive.h).
#pragma once

#include <functional>
#include <memory>

#include "compiler/lower/packing.h"
#include "compiler/lower/program_ir.h"

namespace tern::lower {

struct WeightEncoding {
  enum class Kind : uint8_t { kMatrix, kBytes, kPairs };
  Kind kind = Kind::kMatrix;
  DType dtype = DType::kF32;        // of panels and encoding
  int64_t batch = 1, k = 0, n = 0;  // of the panels: steps and columns
  // kMatrix (pack_matrix): step s of it is step s / spread * channels + s % spread of the panels, and zero
  // where s % spread >= channels. Both 1: the same steps.
  int64_t channels = 1, spread = 1;
  // kBytes (pack_byte_panels): where the tensor, which is what `panels` gives, has an element; and whether
  // `panels` gives it with steps last instead, as Gemm's weights are before their transpose.
  std::function<int64_t(int64_t batch, int64_t kk, int64_t n)> element;
  bool steps_last = false;
  std::function<TensorDataPtr()> panels;  // made when asked for

  // kPairs (pack_bf16_pairs): nothing more.

  // Whether panels can be computed from the encoding.
  bool has_inverse() const;
};

std::shared_ptr<const WeightEncoding> pair_encoding(const TensorDataPtr& weights, const PanelSource& source);
// What pack_byte_panels makes of `weights`, and how the tensor follows from it.
std::shared_ptr<const WeightEncoding> byte_encoding(const TensorDataPtr& weights, const PanelSource& source);
// The same with steps last, where that is another tensor; else null.
std::shared_ptr<const WeightEncoding> with_steps_last(const WeightEncoding& encoding);

// The dispatch that computes the encoding in buffer `to` from panels in `from`, exactly as it is packed at
// compile time, and the one back. Its kernel takes sizes as parameters:
// one kernel serves all weights of a program. `from_pairs`: the panels are in pairs (kMatrix).
Step derive_step(const WeightEncoding& encoding, const Target& target, const LoweredProgram& program,
                 int from, int to, bool from_pairs = false);
Step derive_panels_step(const WeightEncoding& encoding, const Target& target, const LoweredProgram& program,
                        int from, int to);

}  // namespace tern::lower
