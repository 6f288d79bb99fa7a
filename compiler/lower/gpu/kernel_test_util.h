// What tests of GPU kernel builders share: seeded operands, global buffers, bindings of the evaluator.
#pragma once

#include <functional>

#include "compiler/kernel/ir.h"
#include "compiler/support/tensor_data.h"

namespace tern::lower::gpu {

// Elements are value(random) of a seeded sequence of 24-bit numbers.
inline TensorDataPtr seeded(DType dtype, std::vector<int64_t> shape, uint64_t seed,
                            const std::function<double(uint64_t random)>& value) {
  auto data = TensorData::make(dtype, std::move(shape));
  for (int64_t i = 0; i < data->count(); ++i) {
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    data->set_float(i, value(seed >> 40));
  }
  return data;
}

inline kernel::Buffer global_buffer(const char* name, DType dtype, kernel::Access access) {
  return kernel::make_buffer(name, {dtype, 1}, kernel::Scope::kGlobal, access);
}

inline kernel::EvalBinding binding_of(const TensorDataPtr& tensor) {
  auto bytes = std::const_pointer_cast<TensorData>(tensor)->mutable_bytes();
  return {bytes.data(), static_cast<int64_t>(bytes.size())};
}

}  // namespace tern::lower::gpu
