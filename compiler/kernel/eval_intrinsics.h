// Meaning of the rows of intrinsics.def on evaluated operands.
#pragma once

#include <functional>
#include <span>

#include "compiler/kernel/ir.h"

namespace tern::kernel {

using LaneValues = std::span<const scalar::ScalarValue>;

// A row that works on one thread's operands; `out` has the result's lanes.
void eval_lanes_intrinsic(Intrinsic which, std::span<const LaneValues> args, VType type,
                          std::span<scalar::ScalarValue> out);

// What matrix units take of an operand: of f32, its 19 upper bits (TF32, cut off).
double product_operand(DType dtype, double value);
// The sum, if any, and the exact sum of products `value`, as a register of sums holds it.
scalar::ScalarValue added_product(DType dtype, const scalar::ScalarValue* sum, double value);
// Element `i` of 32-bit registers that hold elements of `dtype`.
double packed_element(LaneValues registers, DType dtype, int i);

// A row across a subgroup of `lanes` threads. args(k, lane) is operand k of a thread (of kCollectiveLoad rows
// operand 0 is the 16 bytes of the lane's row, as elements), out(lane) its result. False: a lane number lies
// outside the subgroup.
struct CollectiveOperands {
  int lanes;
  std::function<LaneValues(size_t, int)> arg;
  std::function<std::span<scalar::ScalarValue>(int)> out;
};
bool eval_collective(Intrinsic which, const CollectiveOperands& operands);

}  // namespace tern::kernel
