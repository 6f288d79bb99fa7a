// libcuda.so.1, loaded when a device is enumerated or made: a table of the entry points in cuda_symbols.def.
#pragma once

#include "drivers/cuda/cuda_api.h"
#include "hal/base/status.h"

namespace tern::cuda {

struct Symbols {
  void* library;  // of dlopen; the last close unloads it
#define TERN_CUDA_SYMBOL(member, name, parameters) CUresult(*member) parameters;
#define TERN_CUDA_OPTIONAL(member, name, parameters) CUresult(*member) parameters;
#include "drivers/cuda/cuda_symbols.def"
#undef TERN_CUDA_SYMBOL
#undef TERN_CUDA_OPTIONAL
};

// Loads the library and initialises it. NOT_FOUND: there is no library, or no device that it can use (the
// machine has none); INCOMPATIBLE: it is older than the table wants.
TERN_MUST_USE tern_status_t cuda_symbols_load(tern_allocator_t allocator, Symbols* out_symbols);
void cuda_symbols_unload(Symbols* symbols);

// For tests: the library to load instead of libcuda.so.1; null restores that.
void cuda_symbols_set_library(const char* path);

}  // namespace tern::cuda
