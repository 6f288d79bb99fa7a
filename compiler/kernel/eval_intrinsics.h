// Meaning of the rows of intrinsics.def on evaluated operands.
#pragma once

#include <vector>

#include "compiler/kernel/ir.h"

namespace tern::kernel {

struct EvalValue {
  VType type;
  std::vector<scalar::ScalarValue> lanes;
};

EvalValue eval_intrinsic(Intrinsic which, const std::vector<EvalValue>& args, VType type);

}  // namespace tern::kernel
