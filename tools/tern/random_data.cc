#include "tools/tern/random_data.h"

#include <cmath>
#include <cstring>

#include "schemas/abi/dtypes.h"
#include "tern/tern.h"

namespace tern::cli {
namespace {

// splitmix64: the same numbers everywhere.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  double unit() { return static_cast<double>(next() >> 11) * 0x1p-53; }

 private:
  uint64_t state_;
};

// A value of [0, 1) as a float of few bits: sign and exponent width, mantissa width; truncated.
uint32_t small_float(double value, int exponent_bits, int mantissa_bits, int bias) {
  if (value <= 0) return 0;
  int exponent = 0;
  const double mantissa = std::frexp(value, &exponent);  // [0.5, 1)
  exponent += bias - 1;
  if (exponent <= 0 || exponent >= (1 << exponent_bits)) return 0;
  const uint32_t fraction = static_cast<uint32_t>((mantissa * 2 - 1) * (1 << mantissa_bits));
  return static_cast<uint32_t>(exponent) << mantissa_bits | fraction;
}

template <typename T>
void put(uint8_t* data, size_t index, T value) {
  std::memcpy(data + index * sizeof(T), &value, sizeof(T));
}

}  // namespace

void fill_random(uint8_t* data, uint32_t dtype, size_t count, uint64_t seed) {
  Random random(seed);
  for (size_t i = 0; i < count; ++i) {
    const double value = random.unit();
    const uint64_t bit = value >= 0.5;
    switch (dtype) {
      case TERN_DTYPE_F32:
        put(data, i, static_cast<float>(value));
        break;
      case TERN_DTYPE_F64:
        put(data, i, value);
        break;
      case TERN_DTYPE_C64:
        put(data, 2 * i, static_cast<float>(value));
        put(data, 2 * i + 1, static_cast<float>(random.unit()));
        break;
      case TERN_DTYPE_C128:
        put(data, 2 * i, value);
        put(data, 2 * i + 1, random.unit());
        break;
      case TERN_DTYPE_F16:
        put(data, i, static_cast<uint16_t>(small_float(value, 5, 10, 15)));
        break;
      case TERN_DTYPE_BF16:
        put(data, i, static_cast<uint16_t>(small_float(value, 8, 7, 127)));
        break;
      case TERN_DTYPE_F8E4M3FN:
        put(data, i, static_cast<uint8_t>(small_float(value, 4, 3, 7)));
        break;
      case TERN_DTYPE_F8E4M3FNUZ:
        put(data, i, static_cast<uint8_t>(small_float(value, 4, 3, 8)));
        break;
      case TERN_DTYPE_F8E5M2:
        put(data, i, static_cast<uint8_t>(small_float(value, 5, 2, 15)));
        break;
      case TERN_DTYPE_F8E5M2FNUZ:
        put(data, i, static_cast<uint8_t>(small_float(value, 5, 2, 16)));
        break;
      case TERN_DTYPE_F8E8M0:
        put(data, i, static_cast<uint8_t>(126 + bit));  // 0.5 or 1
        break;
      case TERN_DTYPE_U8:
      case TERN_DTYPE_I8:
      case TERN_DTYPE_Bool:
        put(data, i, static_cast<uint8_t>(bit));
        break;
      case TERN_DTYPE_U16:
      case TERN_DTYPE_I16:
        put(data, i, static_cast<uint16_t>(bit));
        break;
      case TERN_DTYPE_U32:
      case TERN_DTYPE_I32:
        put(data, i, static_cast<uint32_t>(bit));
        break;
      case TERN_DTYPE_U64:
      case TERN_DTYPE_I64:
        put(data, i, bit);
        break;
      default: {  // types below 8 bits
        const uint32_t bits = tern_dtype_bits(dtype);
        if (bits && bits < 8) data[i * bits / 8] |= static_cast<uint8_t>(bit << (i * bits % 8));
        break;
      }
    }
  }
}

}  // namespace tern::cli
