// Conversions: eval_cast and whole arrays; elements of dense arrays.
#include <cmath>
#include <cstring>

#include "compiler/scalar/native.h"
#include "compiler/scalar/scalar.h"
#include "compiler/support/check.h"
#include "compiler/support/small_float.h"
#include "compiler/support/tensor_data.h"

namespace tern::scalar {
namespace {

// Toward zero, saturating, NaN to 0.
int64_t float_to_int(double v, DType to) {
  if (std::isnan(v)) return 0;
  const int bits = dtype_bits(to);
  if (dtype_kind(to) == DTypeKind::kUint) {
    if (v <= 0) return 0;
    if (v >= std::ldexp(1.0, bits)) return highest(to).i;
    return static_cast<int64_t>(static_cast<uint64_t>(v));
  }
  const double limit = std::ldexp(1.0, bits - 1);
  if (v >= limit) return highest(to).i;
  if (v < -limit) return lowest(to).i;
  return static_cast<int64_t>(v);
}

int64_t wrap_int(int64_t v, DType to) {
  const int shift = 64 - dtype_bits(to);
  const uint64_t shifted = static_cast<uint64_t>(v) << shift;
  return dtype_kind(to) == DTypeKind::kInt ? static_cast<int64_t>(shifted) >> shift
                                           : static_cast<int64_t>(shifted >> shift);
}

double int_to_float(const ScalarValue& value, DType to, bool saturate) {
  const bool is_unsigned = value.dtype == DType::kU64;
  const auto u = static_cast<uint64_t>(value.i);
  if (to == DType::kF32)  // once, not through double
    return is_unsigned ? static_cast<double>(static_cast<float>(u))
                       : static_cast<double>(static_cast<float>(value.i));
  const double d = is_unsigned ? static_cast<double>(u) : static_cast<double>(value.i);
  if (to == DType::kF64) return d;
  return decode_small_float(to, encode_small_float(to, d, saturate));
}

template <typename From, typename To>
To cast_native(From v, DType to) {
  if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    return static_cast<To>(float_to_int(static_cast<double>(v), to));
  } else {
    return static_cast<To>(v);
  }
}

bool cast_array_native(DType from, DType to, int64_t count, const uint8_t* input, uint8_t* output) {
  bool done = false;
  visit_native(from, [&](auto from_type) {
    using From = typename decltype(from_type)::type;
    done = visit_native(to, [&](auto to_type) {
      using To = typename decltype(to_type)::type;
      const auto* in = reinterpret_cast<const From*>(input);
      auto* out = reinterpret_cast<To*>(output);
      for (int64_t i = 0; i < count; ++i) out[i] = cast_native<From, To>(in[i], to);
    });
  });
  return done;
}

// f16 and bf16 from and to f32: weights of half-precision models are large.
bool cast_array_half(DType from, DType to, int64_t count, const uint8_t* input, uint8_t* output) {
  const auto loop = [&](auto in_type, auto out_type, auto convert) {
    const auto* in = reinterpret_cast<const typename decltype(in_type)::type*>(input);
    auto* out = reinterpret_cast<typename decltype(out_type)::type*>(output);
    for (int64_t i = 0; i < count; ++i) out[i] = convert(in[i]);
    return true;
  };
  constexpr std::type_identity<uint16_t> half;
  constexpr std::type_identity<float> single;
  if (from == DType::kF16 && to == DType::kF32) return loop(half, single, decode_f16);
  if (from == DType::kBF16 && to == DType::kF32) return loop(half, single, decode_bf16);
  if (from == DType::kF32 && to == DType::kF16) return loop(single, half, encode_f16);
  if (from == DType::kF32 && to == DType::kBF16) return loop(single, half, encode_bf16);
  return false;
}

}  // namespace

ScalarValue eval_cast(const ScalarValue& value, DType to, bool saturate) {
  ScalarValue out;
  out.dtype = to;
  const DTypeKind from = dtype_kind(value.dtype);
  const bool from_float = from == DTypeKind::kFloat || from == DTypeKind::kComplex;
  switch (dtype_kind(to)) {
    case DTypeKind::kBool:
      out.i =
          from_float ? value.f != 0 || (from == DTypeKind::kComplex && value.imaginary != 0) : value.i != 0;
      return out;
    case DTypeKind::kInt:
    case DTypeKind::kUint:
      out.i = from_float ? float_to_int(value.f, to) : wrap_int(value.i, to);
      return out;
    case DTypeKind::kFloat:
      out.f = !from_float         ? int_to_float(value, to, saturate)
              : to == DType::kF64 ? value.f
              : to == value.dtype ? value.f
                                  : decode_small_float(to, encode_small_float(to, value.f, saturate));
      return out;
    case DTypeKind::kComplex: {
      const bool narrow = to == DType::kC64;
      out.f = from_float ? value.f : int_to_float(value, DType::kF64, saturate);
      out.imaginary = from == DTypeKind::kComplex ? value.imaginary : 0;
      if (narrow) {
        out.f = static_cast<double>(static_cast<float>(out.f));
        out.imaginary = static_cast<double>(static_cast<float>(out.imaginary));
      }
      return out;
    }
    default:
      TERN_UNREACHABLE("cast from {} to {}", dtype_name(value.dtype), dtype_name(to));
  }
}

ScalarValue load_value(DType dtype, const uint8_t* bytes, int64_t i) {
  ScalarValue v;
  v.dtype = dtype;
  switch (dtype_kind(dtype)) {
    case DTypeKind::kBool:
      v.i = bytes[i] != 0;
      return v;
    case DTypeKind::kInt:
    case DTypeKind::kUint:
      v.i = wrap_int(static_cast<int64_t>(load_element_bits(bytes, dtype_bits(dtype), i)), dtype);
      return v;
    case DTypeKind::kFloat:
      v.f = decode_small_float(dtype, load_element_bits(bytes, dtype_bits(dtype), i));
      return v;
    case DTypeKind::kComplex: {
      const DType part = dtype == DType::kC64 ? DType::kF32 : DType::kF64;
      v.f = load_value(part, bytes, 2 * i).f;
      v.imaginary = load_value(part, bytes, 2 * i + 1).f;
      return v;
    }
    default:
      TERN_UNREACHABLE("load of {}", dtype_name(dtype));
  }
}

void store_value(DType dtype, uint8_t* bytes, int64_t i, const ScalarValue& value) {
  switch (dtype_kind(dtype)) {
    case DTypeKind::kBool:
      bytes[i] = value.i != 0;
      return;
    case DTypeKind::kInt:
    case DTypeKind::kUint:
      return store_element_bits(bytes, dtype_bits(dtype), i, static_cast<uint64_t>(value.i));
    case DTypeKind::kFloat:
      return store_element_bits(bytes, dtype_bits(dtype), i, encode_small_float(dtype, value.f, false));
    case DTypeKind::kComplex: {
      const DType part = dtype == DType::kC64 ? DType::kF32 : DType::kF64;
      store_element_bits(bytes, dtype_bits(part), 2 * i, encode_small_float(part, value.f));
      store_element_bits(bytes, dtype_bits(part), 2 * i + 1, encode_small_float(part, value.imaginary));
      return;
    }
    default:
      TERN_UNREACHABLE("store of {}", dtype_name(dtype));
  }
}

void eval_cast_array(DType from, DType to, bool saturate, int64_t count, const uint8_t* input,
                     uint8_t* output) {
  if (count == 0) return;
  if (from == to) {
    std::memcpy(output, input, static_cast<size_t>(dtype_storage_bytes(from, count)));
    return;
  }
  if (cast_array_native(from, to, count, input, output)) return;
  if (cast_array_half(from, to, count, input, output)) return;
  for (int64_t i = 0; i < count; ++i) {
    ScalarValue v = eval_cast(load_value(from, input, i), to, saturate);
    store_value(to, output, i, v);
  }
}

}  // namespace tern::scalar
