// How an encoding of constant weights follows from another one, so that a module stores one of them and a
// program's init steps compute the other in device memory.
//
// The common form are the panels of packing.h (pack_panels), which most kernels read. A constant in another
// encoding carries a WeightEncoding: what its panels are, and the kernels between the two. Which constants of
// a module are stored and which derived is decided when all programs are known (program/derive.h).
#pragma once

#include <functional>
#include <memory>

#include "compiler/lower/program_ir.h"
#include "compiler/lower/winograd_transform.h"

namespace tern::lower {

struct WeightEncoding {
  enum class Kind : uint8_t { kMatrix, kWinograd };
  Kind kind = Kind::kMatrix;
  DType dtype = DType::kF32;        // of panels and encoding
  int64_t batch = 1, k = 0, n = 0;  // of the panels: steps and columns
  // kMatrix (pack_matrix): step s of it is step s / spread * channels + s % spread of the panels, and zero
  // where s % spread >= channels. Both 1: the same steps.
  int64_t channels = 1, spread = 1;
  // kWinograd (pack_winograd): the panels' steps are (tap, channel).
  const WinogradTransform* transform = nullptr;
  std::function<TensorDataPtr()> panels;  // made when asked for

  // Whether panels can be computed from the encoding: to some units in the last place.
  bool has_inverse() const { return kind == Kind::kWinograd; }
};

// The dispatch that computes the encoding in buffer `to` from panels in `from`, exactly as it is packed at
// compile time (kWinograd on GPUs: rounded in f32), and the one back. Its kernel takes sizes as parameters:
// one kernel serves all weights of a program.
Step derive_step(const WeightEncoding& encoding, const Target& target, const LoweredProgram& program,
                 int from, int to);
Step derive_panels_step(const WeightEncoding& encoding, const Target& target, const LoweredProgram& program,
                        int from, int to);

}  // namespace tern::lower
