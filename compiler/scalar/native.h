// Calls a generic lambda with std::type_identity<T> for the C++ type T of an element type, where there is
// one.
#pragma once

#include <cstdint>
#include <type_traits>

#include "compiler/support/dtype.h"

namespace tern::scalar {

// Returns false, without a call, for types that C++ does not have (bool counts as one that it has not: its
// bytes need normalising).
template <typename V>
bool visit_native(DType dtype, V&& v) {
  switch (dtype) {
    case DType::kF32:
      v(std::type_identity<float>());
      return true;
    case DType::kF64:
      v(std::type_identity<double>());
      return true;
    case DType::kI8:
      v(std::type_identity<int8_t>());
      return true;
    case DType::kI16:
      v(std::type_identity<int16_t>());
      return true;
    case DType::kI32:
      v(std::type_identity<int32_t>());
      return true;
    case DType::kI64:
      v(std::type_identity<int64_t>());
      return true;
    case DType::kU8:
      v(std::type_identity<uint8_t>());
      return true;
    case DType::kU16:
      v(std::type_identity<uint16_t>());
      return true;
    case DType::kU32:
      v(std::type_identity<uint32_t>());
      return true;
    case DType::kU64:
      v(std::type_identity<uint64_t>());
      return true;
    default:
      return false;
  }
}

}  // namespace tern::scalar
