// NVRTC's entry points, by dlopen.
#pragma once

#include <cstddef>
#include <string>

#include "compiler/support/result.h"

namespace tern::toolchain {

struct NvrtcLibrary {
  using Program = struct NvrtcProgram*;
  int (*version)(int* major, int* minor);
  const char* (*error_string)(int result);
  int (*create)(Program* program, const char* source, const char* name, int headers,
                const char* const* header_texts, const char* const* header_names);
  int (*destroy)(Program* program);
  int (*compile)(Program program, int count, const char* const* options);
  int (*log_size)(Program program, size_t* bytes);
  int (*log)(Program program, char* text);
  int (*cubin_size)(Program program, size_t* bytes);
  int (*cubin)(Program program, char* image);
  int (*ptx_size)(Program program, size_t* bytes);
  int (*ptx)(Program program, char* text);

  std::string path;
  std::string release;  // what a cache entry depends on
};

// Loaded once; stays loaded.
Result<const NvrtcLibrary*> nvrtc_library();

}  // namespace tern::toolchain
