// eval_map: a row of ops.def over whole arrays.
#include <algorithm>
#include <array>
#include <cstring>

#include "compiler/scalar/apply.h"
#include "compiler/scalar/native.h"
#include "compiler/support/check.h"
#include "compiler/support/small_float.h"

namespace tern::scalar {
namespace {

using Inputs = std::span<const uint8_t* const>;

template <typename T>
const T* input(Inputs in, size_t i) {
  return reinterpret_cast<const T*>(in[i < in.size() ? i : 0]);
}

template <typename T>
bool map_floats(ScalarOp op, int64_t n, const T* x, const T* y, const T* z, T* out) {
  if (visit_float_unary<T>(op, [&](auto f) {
        for (int64_t i = 0; i < n; ++i) out[i] = f(x[i]);
      }))
    return true;
  if (visit_float_binary<T>(op, [&](auto f) {
        for (int64_t i = 0; i < n; ++i) out[i] = f(x[i], y[i]);
      }))
    return true;
  if (op != ScalarOp::kFma) return false;
  for (int64_t i = 0; i < n; ++i) out[i] = std::fma(x[i], y[i], z[i]);
  return true;
}

template <typename T>
bool test_floats(ScalarOp op, int64_t n, const T* x, const T* y, uint8_t* out) {
  if (visit_compare<T>(op, [&](auto f) {
        for (int64_t i = 0; i < n; ++i) out[i] = f(x[i], y[i]);
      }))
    return true;
  return visit_float_test<T>(op, [&](auto f) {
    for (int64_t i = 0; i < n; ++i) out[i] = f(x[i]);
  });
}

template <typename T>
bool map_ints(ScalarOp op, int64_t n, const T* x, const T* y, uint8_t* out_bytes) {
  T* out = reinterpret_cast<T*>(out_bytes);
  constexpr int kBits = static_cast<int>(sizeof(T)) * 8;
  if (visit_int_unary<T>(op, kBits, [&](auto f) {
        for (int64_t i = 0; i < n; ++i) out[i] = f(x[i]);
      }))
    return true;
  if (visit_int_binary<T>(op, kBits, [&](auto f) {
        for (int64_t i = 0; i < n; ++i) out[i] = f(x[i], y[i]);
      }))
    return true;
  return visit_compare<T>(op, [&](auto f) {
    for (int64_t i = 0; i < n; ++i) out_bytes[i] = f(x[i], y[i]);
  });
}

// f16 and bf16: blocks are widened to f32, mapped, and rounded.
void map_halves(ScalarOp op, DType dtype, int64_t n, Inputs in, uint8_t* output) {
  constexpr int64_t kBlock = 512;
  float wide[3][kBlock], result[kBlock];
  for (int64_t at = 0; at < n; at += kBlock) {
    const int64_t count = std::min(kBlock, n - at);
    for (size_t k = 0; k < in.size(); ++k)
      eval_cast_array(dtype, DType::kF32, false, count, in[k] + 2 * at, reinterpret_cast<uint8_t*>(wide[k]));
    if (test_floats<float>(op, count, wide[0], wide[1], output + at)) continue;
    const bool known = map_floats<float>(op, count, wide[0], wide[1], wide[2], result);
    TERN_CHECK(known, "{} on {}", info(op).name, dtype_name(dtype));
    eval_cast_array(DType::kF32, dtype, false, count, reinterpret_cast<const uint8_t*>(result),
                    output + 2 * at);
  }
}

void select(DType dtype, int64_t n, Inputs in, uint8_t* output) {
  const int bits = dtype_bits(dtype);
  if (bits % 8 == 0) {
    const size_t bytes = static_cast<size_t>(bits / 8);
    for (int64_t i = 0; i < n; ++i) {
      const size_t offset = static_cast<size_t>(i) * bytes;
      std::memcpy(output + offset, (in[0][i] ? in[1] : in[2]) + offset, bytes);
    }
    return;
  }
  for (int64_t i = 0; i < n; ++i)
    store_value(dtype, output, i, load_value(dtype, in[0][i] ? in[1] : in[2], i));
}

}  // namespace

void eval_map(ScalarOp op, DType operand, int64_t n, Inputs in, uint8_t* output) {
  if (n == 0) return;
  if (op == ScalarOp::kSelect) return select(operand, n, in, output);
  if (operand == DType::kF16 || operand == DType::kBF16) return map_halves(op, operand, n, in, output);
  if (operand == DType::kBool) {
    const bool known = visit_bool(op, [&](auto f) {
      const uint8_t *x = input<uint8_t>(in, 0), *y = input<uint8_t>(in, 1);
      for (int64_t i = 0; i < n; ++i) output[i] = f(x[i] != 0, y[i] != 0);
    });
    TERN_CHECK(known, "{} on bool", info(op).name);
    return;
  }
  bool known = false;
  visit_native(operand, [&](auto type) {
    using T = typename decltype(type)::type;
    const T *x = input<T>(in, 0), *y = input<T>(in, 1), *z = input<T>(in, 2);
    if constexpr (std::is_floating_point_v<T>) {
      known =
          map_floats<T>(op, n, x, y, z, reinterpret_cast<T*>(output)) || test_floats<T>(op, n, x, y, output);
    } else {
      known = map_ints<T>(op, n, x, y, output);
    }
  });
  if (known) return;
  const DType types[3] = {operand, operand, operand};
  const Result<DType> result = result_type(op, {types, in.size()});
  TERN_CHECK(result.ok(), "{}", result.error().message);
  ScalarValue values[3];
  for (int64_t i = 0; i < n; ++i) {
    for (size_t k = 0; k < in.size(); ++k) values[k] = load_value(operand, in[k], i);
    store_value(result.value(), output, i, eval_scalar(op, {values, in.size()}));
  }
}

}  // namespace tern::scalar
