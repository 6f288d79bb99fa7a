// What a driver cannot pass, and why. The cases are run all the same: one that passes fails the suite.
#include "tests/hal_cts/cts.h"

namespace tern::cts {

std::vector<Skip> skips() {
  const std::string computes_nothing = "the null driver records commands and computes nothing";
  return {
  };
}

}  // namespace tern::cts
