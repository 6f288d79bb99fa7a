// `tern run --expect`: outputs beside files that say what they must be.
#pragma once

#include <string>
#include <vector>

#include "tools/tern/support.h"
#include "tools/tern/tensor_files.h"
#include "tools/tern/values.h"

namespace tern::cli {

struct ExpectOptions {
  std::vector<std::string> files;
  Tolerance tolerance;
};

class Expectations {
 public:
  // Reads the files, or fails with all that is wrong with them.
  Expectations(const tern_module_t* module, uint32_t function, const ExpectOptions& options);

  // One line an output that is expected, on standard output; fails if any is not what it must be.
  void check(const std::vector<tern_tensor_t>& outputs) const;

 private:
  struct Expected {
    std::string name, what;
    uint32_t index = 0;
    bool plain = false;  // bytes without type and shape
    npy::Tensor tensor;
  };
  std::vector<Expected> expected_;
  Tolerance tolerance_;

  void compare_one(const Expected& expected, const tern_tensor_t& output,
                   command_line::Problems& problems) const;
};

}  // namespace tern::cli
