// Results of the driver API as statuses, with the driver's own texts. The only file that knows which is
// which.
#pragma once

#include "drivers/cuda/cuda_symbols.h"

namespace tern::cuda {

// OK for CUDA_SUCCESS. `call` names what was called, for the sentence.
TERN_MUST_USE tern_status_t cuda_status(tern_allocator_t allocator, const Symbols* symbols, CUresult result,
                                        const char* call);

// The code alone.
tern_status_code_t cuda_status_code(CUresult result);

}  // namespace tern::cuda
