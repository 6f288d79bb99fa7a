// An elementwise region that reads an input across the grain of its output: elements are computed where the
// input is contiguous, cross workgroup memory, and are stored where the output is, so that both sides'
// accesses are consecutive.
#pragma once

#include "compiler/lower/gpu/flat_nest.h"

namespace tern::lower::gpu {

// `across`: the axis along which the input is contiguous; the innermost axis is the output's. `index_of`
// gives the logical index of axis coordinates. False, with nothing added, when the region does not suit:
// several outputs, elements that share bytes, extents too small to fill a square.
bool add_transposing_variant(DispatchBuilder& dispatch, ElementEmitter& emitter, Level level,
                             const std::vector<NestAxis>& axes, size_t across,
                             const std::function<Index(const std::vector<kernel::Expr>&)>& index_of);

}  // namespace tern::lower::gpu
