// Element types on the compiler's side: the rows of schemas/abi/dtypes.def.
#pragma once

#include <cstdint>
#include <string_view>

#include "schemas/abi/dtypes.h"

namespace tern {

enum class DType : uint8_t {
  kNone = 0,
#define TERN_DTYPE(id, name, text, bits, kind) k##name = id,
#include "schemas/abi/dtypes.def"
#undef TERN_DTYPE
};

enum class DTypeKind : uint8_t { kNone, kBool, kInt, kUint, kFloat, kComplex, kString };

DTypeKind dtype_kind(DType dtype);
inline int dtype_bits(DType dtype) {
  return static_cast<int>(tern_dtype_bits(static_cast<uint32_t>(dtype)));
}
inline std::string_view dtype_name(DType dtype) {
  return tern_dtype_name(static_cast<uint32_t>(dtype));
}
// kNone when the name is unknown.
DType dtype_from_name(std::string_view name);
// Bytes that `count` elements take, packed sub-byte types rounded up.
inline int64_t dtype_storage_bytes(DType dtype, int64_t count) {
  return (count * dtype_bits(dtype) + 7) / 8;
}
inline bool is_float(DType d) {
  return dtype_kind(d) == DTypeKind::kFloat;
}
inline bool is_int(DType d) {
  return dtype_kind(d) == DTypeKind::kInt || dtype_kind(d) == DTypeKind::kUint;
}
inline bool is_signed_int(DType d) {
  return dtype_kind(d) == DTypeKind::kInt;
}
inline bool is_complex(DType d) {
  return dtype_kind(d) == DTypeKind::kComplex;
}

}  // namespace tern
