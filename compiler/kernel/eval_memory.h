// Elements in memory, as the evaluator reads and writes them: dtypes.def's storage, little-endian, sub-byte
// types packed lowest bits first.
#pragma once

#include <cstdint>

#include "compiler/scalar/scalar.h"

namespace tern::kernel {

scalar::ScalarValue read_element(DType dtype, const uint8_t* data, int64_t index);
void write_element(DType dtype, uint8_t* data, int64_t index, const scalar::ScalarValue& value);
// The value's bits, in the low dtype_bits; types of at most 64 bits.
uint64_t value_bits(const scalar::ScalarValue& value);
scalar::ScalarValue value_from_bits(DType dtype, uint64_t bits);

}  // namespace tern::kernel
