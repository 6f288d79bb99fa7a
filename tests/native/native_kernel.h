// A kernel compiled for one level and mapped into this process (x86-64) so that tests can call it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "compiler/kernel/ir.h"
#include "compiler/support/result.h"
#include "compiler/toolchain/toolchain.h"
#include "schemas/abi/kernel_abi.h"

namespace tern::test {

// The levels that this machine executes directly.
std::vector<std::string> native_levels();
// Those too that only contractions have kernels for.
std::vector<std::string> native_product_levels();

// Renders kernels into one image of a level.
Result<toolchain::KernelImage> compile(const std::vector<kernel::Kernel>& kernels, const std::string& level);

class LoadedImage {
 public:
  explicit LoadedImage(const toolchain::KernelImage& image);
  ~LoadedImage();
  LoadedImage(const LoadedImage&) = delete;
  LoadedImage& operator=(const LoadedImage&) = delete;
  tern_kernel_fn_t function(size_t k) const;

 private:
  uint8_t* base_ = nullptr;
  uint64_t size_ = 0;
  std::vector<toolchain::KernelEntry> kernels_;
};

}  // namespace tern::test
