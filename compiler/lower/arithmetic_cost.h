// What arithmetic that no schedule counts costs on a CPU level: loops of a plain kind, and the elementwise
// nodes that a region has beside its root (activations behind a convolution, requantisation, what is computed
// on the way into a product). For predicted times (cost_model.h).
#pragma once

#include "compiler/lower/context.h"
#include "compiler/lower/region.h"

namespace tern::lower {

// What an elementwise node (kMap) makes of an element, in cycles of a vector of f32 at 4 GHz (Zen 3, values
// in L2, each function of 16,384 elements; decision 152): 1/2 where it is one instruction.
double operations_of(const graph::Node& node);
// Those of any expensive function alike: what choices were timed with that no prediction decides (GPUs, what
// a loop over rows keeps in scratch).
int rough_operations_of(const graph::Node& node);

// Cycles of one core: so many operations of f32, as multiply-adds (two each) or one by one.
double plain_cycles(const MachineModel& machine, double operations, bool multiply_adds);

// Of the elementwise nodes of a region, each element of each result computed once, at usual sizes.
double elementwise_cycles(const Region& region, const LoweringContext& context, const MachineModel& machine);

}  // namespace tern::lower
