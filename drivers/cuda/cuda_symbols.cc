#include "drivers/cuda/cuda_symbols.h"

#include <dlfcn.h>
#include <string.h>

namespace tern::cuda {
namespace {

constexpr char kLibrary[] = "libcuda.so.1";
const char* library_path = kLibrary;

struct Row {
  const char* name;
  bool optional;
};
constexpr Row kRows[] = {
#define TERN_CUDA_SYMBOL(member, name, parameters) {#name, false},
#define TERN_CUDA_OPTIONAL(member, name, parameters) {#name, true},
#include "drivers/cuda/cuda_symbols.def"
#undef TERN_CUDA_SYMBOL
#undef TERN_CUDA_OPTIONAL
};
constexpr size_t kRowCount = sizeof(kRows) / sizeof(kRows[0]);
static_assert(sizeof(Symbols) == (kRowCount + 1) * sizeof(void*),
              "a table of pointers, in the order of the rows");

tern_status_t fill([[maybe_unused]] tern_allocator_t allocator, Symbols* symbols) {
  char* next = reinterpret_cast<char*>(symbols) + sizeof(void*);
  for (const Row& row : kRows) {
    void* address = dlsym(symbols->library, row.name);
    if (!address && !row.optional) {
      return tern_status_make(
          allocator, TERN_STATUS_INCOMPATIBLE,
          "The NVIDIA driver has no entry point '%s': version 525 (CUDA 12.0) or later is needed.", row.name);
    }
    memcpy(next, &address, sizeof(address));
    next += sizeof(address);
  }
  return TERN_OK;
}

}  // namespace

void cuda_symbols_set_library(const char* path) {
  library_path = path ? path : kLibrary;
}

tern_status_t cuda_symbols_load(tern_allocator_t allocator, Symbols* out_symbols) {
  *out_symbols = {};
  out_symbols->library = dlopen(library_path, RTLD_NOW | RTLD_LOCAL);
  if (!out_symbols->library) {
    [[maybe_unused]] const char* reason = dlerror();
    return tern_status_make(allocator, TERN_STATUS_NOT_FOUND,
                            "The NVIDIA driver's library could not be loaded (%s).",
                            reason ? reason : library_path);
  }
  tern_status_t status = fill(allocator, out_symbols);
  if (tern_status_is_ok(status)) {
    const CUresult result = out_symbols->Init(0);
    if (result != CUDA_SUCCESS) {
      status = tern_status_make(allocator, TERN_STATUS_NOT_FOUND,
                                "The NVIDIA driver finds no device that it can use (error %d).", result);
    }
  }
  if (!tern_status_is_ok(status)) cuda_symbols_unload(out_symbols);
  return status;
}

void cuda_symbols_unload(Symbols* symbols) {
  if (symbols->library) dlclose(symbols->library);
  *symbols = {};
}

}  // namespace tern::cuda
