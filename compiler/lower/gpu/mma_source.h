// The operands of a kernel on matrix units (mma_kernel.h): where a contraction's rows lie in memory, how they
// are copied or computed, and what is done with its results.
#pragma once

#include <memory>

#include "compiler/lower/contraction_problem.h"
#include "compiler/lower/emitter.h"
#include "compiler/lower/gpu/mma_kernel.h"

namespace tern::lower::gpu {

// One contraction region. What operands() gives refers to this object.
class MmaSource {
 public:
  // `in_pieces`: copies may be shorter than a chunk.
  MmaSource(DispatchBuilder& dispatch, ElementEmitter& emitter, ContractionProblem problem, DType dtype,
            bool in_pieces);
  ~MmaSource();

  MmaOperands operands(const kernel::Buffer& weights, kernel::GridAxis& batch);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tern::lower::gpu
