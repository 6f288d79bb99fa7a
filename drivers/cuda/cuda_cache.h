// What PTX was compiled to, on disk: one file for each text, architecture and version of NVIDIA's driver.
#pragma once

#include "drivers/cuda/cuda_device.h"

namespace tern::cuda {

// `text`: `size` letters and a terminating zero. False: there is no folder, or something failed; the caller
// then loads the text itself, whose failure says why. The device's context is the thread's.
bool cuda_cache_load(Device* device, const char* text, size_t size, CUmodule* out_module);

}  // namespace tern::cuda
