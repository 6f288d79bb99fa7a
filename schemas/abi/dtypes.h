// The element types of dtypes.def as a C enumeration. C11; shared by compiler and runtime.
#pragma once

#include <stdint.h>

// tern/tern.h repeats this enumeration behind the same guard.
#ifndef TERN_DTYPES_DEFINED
#define TERN_DTYPES_DEFINED
typedef enum tern_dtype_e {
  TERN_DTYPE_NONE = 0,
#define TERN_DTYPE(id, name, text, bits, kind) TERN_DTYPE_##name = id,
#include "schemas/abi/dtypes.def"
#undef TERN_DTYPE
} tern_dtype_t;
#endif

// Storage bits of one element: 0 for strings and for values that are no dtype.
static inline uint32_t tern_dtype_bits(uint32_t dtype) {
  switch (dtype) {
#define TERN_DTYPE(id, name, text, bits, kind) \
  case id:                                     \
    return bits;
#include "schemas/abi/dtypes.def"
#undef TERN_DTYPE
    default:
      return 0;
  }
}

// The text name ("f32"), or "?" for a value that is no dtype.
static inline const char* tern_dtype_name(uint32_t dtype) {
  switch (dtype) {
#define TERN_DTYPE(id, name, text, bits, kind) \
  case id:                                     \
    return text;
#include "schemas/abi/dtypes.def"
#undef TERN_DTYPE
    default:
      return "?";
  }
}
