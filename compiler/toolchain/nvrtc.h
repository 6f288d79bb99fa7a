// CUDA C++ text to a cubin or PTX with NVRTC, NVIDIA's compiler as a library, loaded when first asked for:
// TERN_NVRTC (the library or its folder), the Python package nvidia-cuda-nvrtc of a .venv beside or above the
// program (tools/setup installs it) or of VIRTUAL_ENV, a CUDA Toolkit (CUDA_HOME, /usr/local/cuda), the
// loader's path. No GPU and no driver is needed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "compiler/support/result.h"
#include "compiler/toolchain/toolchain.h"

namespace tern::toolchain {

struct CudaImage {
  std::vector<uint8_t> bytes;  // a cubin, or PTX text with its terminating zero
  bool cached = false;
};

// architecture: "sm_80", "sm_90a" (a cubin), "compute_80" (PTX). One program; kernels are found by their
// names. `name` names the files of options.dump_dir: NAME.cu, NAME.ptx, and NAME.log with registers and
// spills. Equal input and equal NVRTC give equal bytes.
Result<CudaImage> compile_cuda(std::string_view name, std::string_view architecture,
                               const std::string& source, const CompileOptions& options = {});

// Empty when NVRTC can be loaded, else the sentence that says what to install.
std::string why_no_nvrtc();

}  // namespace tern::toolchain
