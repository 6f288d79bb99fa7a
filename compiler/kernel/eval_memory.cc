#include "compiler/kernel/eval_memory.h"

#include <bit>
#include <cstring>

namespace tern::kernel {

using scalar::ScalarValue;

uint64_t value_bits(const ScalarValue& value) {
  switch (dtype_kind(value.dtype)) {
    case DTypeKind::kBool:
      return value.i != 0;
    case DTypeKind::kFloat:
      if (value.dtype == DType::kF64) return std::bit_cast<uint64_t>(value.f);
      if (value.dtype == DType::kF32) return std::bit_cast<uint32_t>(static_cast<float>(value.f));
      return scalar::encode_float(value.dtype, value.f, false);  // rounded already: an infinity stays one
    case DTypeKind::kComplex:
      return std::bit_cast<uint32_t>(static_cast<float>(value.f)) |
             uint64_t{std::bit_cast<uint32_t>(static_cast<float>(value.imaginary))} << 32;
    default: {
      int bits = dtype_bits(value.dtype);
      uint64_t raw = static_cast<uint64_t>(value.i);
      return bits >= 64 ? raw : raw & ((uint64_t{1} << bits) - 1);
    }
  }
}

ScalarValue value_from_bits(DType dtype, uint64_t bits) {
  ScalarValue value;
  value.dtype = dtype;
  int width = dtype_bits(dtype);
  switch (dtype_kind(dtype)) {
    case DTypeKind::kBool:
      value.i = bits != 0;
      return value;
    case DTypeKind::kFloat:
      if (dtype == DType::kF64) {
        value.f = std::bit_cast<double>(bits);
      } else if (dtype == DType::kF32) {
        value.f = std::bit_cast<float>(static_cast<uint32_t>(bits));
      } else {
        value.f = scalar::decode_float(dtype, bits);
      }
      return value;
    case DTypeKind::kComplex:
      value.f = std::bit_cast<float>(static_cast<uint32_t>(bits));
      value.imaginary = std::bit_cast<float>(static_cast<uint32_t>(bits >> 32));
      return value;
    case DTypeKind::kInt:
      value.i = width >= 64 ? static_cast<int64_t>(bits)
                            : static_cast<int64_t>(bits << (64 - width)) >> (64 - width);
      return value;
    default:
      value.i = static_cast<int64_t>(bits);
      return value;
  }
}

ScalarValue read_element(DType dtype, const uint8_t* data, int64_t index) {
  if (dtype == DType::kC128) {
    ScalarValue value;
    value.dtype = dtype;
    std::memcpy(&value.f, data + index * 16, 8);
    std::memcpy(&value.imaginary, data + index * 16 + 8, 8);
    return value;
  }
  int width = dtype_bits(dtype);
  if (width < 8) {
    int64_t bit = index * width;
    return value_from_bits(dtype, (data[bit / 8] >> (bit % 8)) & ((1u << width) - 1));
  }
  uint64_t bits = 0;
  std::memcpy(&bits, data + index * (width / 8), static_cast<size_t>(width / 8));
  return value_from_bits(dtype, bits);
}

void write_element(DType dtype, uint8_t* data, int64_t index, const ScalarValue& value) {
  if (dtype == DType::kC128) {
    std::memcpy(data + index * 16, &value.f, 8);
    std::memcpy(data + index * 16 + 8, &value.imaginary, 8);
    return;
  }
  int width = dtype_bits(dtype);
  uint64_t bits = value_bits(value);
  if (width < 8) {
    int64_t bit = index * width;
    unsigned mask = ((1u << width) - 1) << (bit % 8);
    data[bit / 8] = static_cast<uint8_t>((data[bit / 8] & ~mask) | ((bits << (bit % 8)) & mask));
    return;
  }
  std::memcpy(data + index * (width / 8), &bits, static_cast<size_t>(width / 8));
}

}  // namespace tern::kernel
