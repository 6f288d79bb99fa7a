// Kernels of regions without contraction: naive scalar nests over the output, vectorised along the innermost
// memory axis and cut into tiles by work. Each adds one dispatch with a variant a level.
#pragma once

#include "compiler/lower/context.h"

namespace tern::lower {

// kNone: elementwise work and data movement; also plain copies (no nodes: inputs[0] to outputs[0]).
void lower_elementwise(const Region& region, LoweringContext& context);
// kRows: reductions over the same axes with elementwise work between and after them.
void lower_rows(const Region& region, LoweringContext& context);
// kWindow: reduce_window, with an epilogue; arg_reduce_window.
void lower_window(const Region& region, LoweringContext& context);
// scan and arg_reduce.
void lower_scan(const Region& region, LoweringContext& context);
void lower_arg_reduce(const Region& region, LoweringContext& context);

// The type that a float reduction accumulates in (f32 for the 16-bit floats), otherwise the type itself.
DType accumulator_type(DType dtype);
// Statements that store every output of the region at `index`, elements emitted now, checks first.
std::vector<kernel::Stmt> store_outputs(class ElementEmitter& emitter,
                                        const std::vector<kernel::Expr>& index);

}  // namespace tern::lower
