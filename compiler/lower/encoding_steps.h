// The kernels of weight_encoding.h, one function an encoding.
#pragma once

#include <optional>

#include "compiler/lower/unit_kernel.h"
#include "compiler/lower/weight_encoding.h"

namespace tern::lower {

Step matrix_step(const WeightEncoding& e, const Target& target, const LoweredProgram& program, int from,
                 int to, bool from_pairs);
Step panels_from_pairs_step(const WeightEncoding& e, const Target& target, const LoweredProgram& program,
                            int from, int to);
Step bytes_step(const WeightEncoding& e, const Target& target, const LoweredProgram& program, int from,
                int to);
// Whether the tensor that bytes come from is dense in axes of batch, column and (split) step.
bool has_axes(const WeightEncoding& e);

}  // namespace tern::lower
