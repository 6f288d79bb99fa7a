// One small kernel for every scalar op on every type that takes it.
#pragma once

#include <string>
#include <vector>

#include "tests/native/kernel_factory.h"

namespace tern::test {

struct Case {
  kernel::Kernel kernel;
  std::string what;
  double ulps;
};

const std::vector<DType>& all_types();
// As vectors of the level's width, and with_scalars as scalar loops too.
std::vector<Case> op_cases(const std::string& level, bool with_scalars);

}  // namespace tern::test
