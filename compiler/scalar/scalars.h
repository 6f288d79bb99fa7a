// One operation on many operands: which one it is gets found once. For evaluators; others have eval_scalar.
#pragma once

#include "compiler/scalar/scalar.h"

namespace tern::scalar {

// An operand of each of several results: `step` is 1, or 0 if they share one.
struct ScalarOperand {
  const ScalarValue* first = nullptr;
  size_t step = 0;
};
// eval_scalar `count` times.
void eval_scalars(ScalarOp op, std::span<const ScalarOperand> operands, size_t count, ScalarValue* out);

}  // namespace tern::scalar
