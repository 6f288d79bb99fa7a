// Executables of the CPU driver: an ELF image, or functions linked into the program. The front keeps the
// entries.
#pragma once

#include "hal/executable.h"

namespace tern::cpu {

TERN_MUST_USE tern_status_t cpu_executable_create(tern_hal_device_t* device,
                                                  const tern_hal_executable_desc_t* desc,
                                                  tern_hal_executable_t** out_executable);

// The function of an entry.
tern_kernel_fn_t cpu_executable_function(const tern_hal_executable_t* executable, uint32_t entry);

}  // namespace tern::cpu
