#include "compiler/kernel/eval_intrinsics.h"

#include <bit>
#include <cmath>
#include <limits>

#include "compiler/kernel/eval_memory.h"
#include "compiler/support/small_float.h"

namespace tern::kernel {

namespace {

using scalar::ScalarValue;

// `width` products a lane.
void dot_integers(std::span<const LaneValues> args, DType dtype, size_t width, std::span<ScalarValue> out) {
  for (size_t n = 0; n < out.size(); ++n) {
    int64_t sum = args[0][n].i;
    for (size_t k = width * n; k < width * (n + 1); ++k) sum += args[1][k].i * args[2][k].i;
    out[n] = scalar::scalar_from_int(dtype, static_cast<int32_t>(static_cast<uint32_t>(sum)));
  }
}

void pairs_saturating(std::span<const LaneValues> args, DType dtype, std::span<ScalarValue> out) {
  for (size_t n = 0; n < out.size(); ++n) {
    const int64_t sum = args[0][2 * n].i * args[1][2 * n].i + args[0][2 * n + 1].i * args[1][2 * n + 1].i;
    out[n] = scalar::scalar_from_int(dtype, std::clamp<int64_t>(sum, INT16_MIN, INT16_MAX));
  }
}

void dot2_bf16(std::span<const LaneValues> args, DType dtype, std::span<ScalarValue> out) {
  for (size_t n = 0; n < out.size(); ++n) {
    const auto a = static_cast<uint32_t>(args[1][n].i), b = static_cast<uint32_t>(args[2][n].i);
    auto sum = static_cast<float>(args[0][n].f);
    sum += std::bit_cast<float>(a & 0xffff0000u) * std::bit_cast<float>(b & 0xffff0000u);
    sum += std::bit_cast<float>(a << 16) * std::bit_cast<float>(b << 16);
    out[n] = scalar::scalar_from_double(dtype, sum);
  }
}

}  // namespace

double product_operand(DType dtype, double value) {
  if (dtype != DType::kF32) return value;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(static_cast<float>(value)) & ~0x1fffu);
}

ScalarValue added_product(DType dtype, const ScalarValue* sum, double value) {
  if (is_float(dtype)) return scalar::scalar_from_double(dtype, (sum ? sum->f : 0) + value);
  const int64_t exact = (sum ? sum->i : 0) + static_cast<int64_t>(value);
  return scalar::scalar_from_int(dtype, static_cast<int32_t>(static_cast<uint32_t>(exact)));
}

double packed_element(LaneValues registers, DType dtype, int i) {
  int per_register = 32 / dtype_bits(dtype);
  uint64_t bits = static_cast<uint64_t>(registers[static_cast<size_t>(i / per_register)].i) & 0xffffffffu;
  bits >>= i % per_register * dtype_bits(dtype);
  ScalarValue value = value_from_bits(dtype, bits & ((uint64_t{1} << dtype_bits(dtype)) - 1));
  return is_float(dtype) ? product_operand(dtype, value.f) : static_cast<double>(value.i);
}

namespace {

// D[16][8] = A[16][K] * B[K][8] + C, with PTX's fragment layouts for elements of `bits`: a register holds e =
// 32 / bits neighbours along k. With g = lane / 4, t = lane % 4: registers 0 to 3 of A are (row g, k e*t), (g
// + 8, e*t), (g, e*(t + 4)), (g + 8, e*(t + 4)); registers of B are (k e*t, column g), (e*(t + 4), g); of C
// (g, 2t), (g, 2t + 1), (g + 8, ..).
void mma(const CollectiveOperands& o, DType a_type, DType b_type, DType out_type) {
  const int e = 32 / dtype_bits(a_type), depth = 8 * e;
  double a[16][32], b[32][8];
  for (int lane = 0; lane < 32; ++lane) {
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4 * e; ++i) {
      const int reg = i / e;
      a[g + 8 * (reg % 2)][e * (t + 4 * (reg / 2)) + i % e] = packed_element(o.arg(0, lane), a_type, i);
    }
    for (int i = 0; i < 2 * e; ++i)
      b[e * (t + 4 * (i / e)) + i % e][g] = packed_element(o.arg(1, lane), b_type, i);
  }
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + 8 * (i / 2), column = lane % 4 * 2 + i % 2;
      const ScalarValue& c = o.arg(2, lane)[static_cast<size_t>(i)];
      double sum = 0;
      for (int k = 0; k < depth; ++k) sum += a[row][k] * b[k][column];
      o.out(lane)[static_cast<size_t>(i)] = added_product(out_type, &c, sum);
    }
  }
}

// Lane l gets word l % 4 of row l / 4 of each matrix, or (16-bit elements) of its transpose.
void ldmatrix(const CollectiveOperands& o, bool transposed) {
  const int elements = static_cast<int>(o.arg(0, 0).size()) / 4, bits = 32 / elements;  // of a word
  for (int lane = 0; lane < 32; ++lane) {
    for (int matrix = 0; matrix < 4; ++matrix) {
      uint64_t packed = 0;
      for (int part = 0; part < elements; ++part) {
        int row = lane / 4, column = lane % 4 * elements + part;
        if (transposed) std::swap(row, column);
        packed |= value_bits(o.arg(0, 8 * matrix + row)[static_cast<size_t>(column)]) << (bits * part);
      }
      o.out(lane)[static_cast<size_t>(matrix)] = value_from_bits(DType::kU32, packed);
    }
  }
}

bool shuffle_lanes(const CollectiveOperands& o, bool by_xor) {
  for (int lane = 0; lane < o.lanes; ++lane) {
    int64_t from = o.arg(1, lane)[0].i;
    if (by_xor) from ^= lane;
    if (from < 0 || from >= o.lanes) return false;
    LaneValues values = o.arg(0, static_cast<int>(from));
    std::copy(values.begin(), values.end(), o.out(lane).begin());
  }
  return true;
}

}  // namespace

void eval_lanes_intrinsic(Intrinsic which, std::span<const LaneValues> args, VType type,
                          std::span<ScalarValue> out) {
  switch (which) {
    case Intrinsic::kDot4U8I8:
    case Intrinsic::kDot4I8I8:
      return dot_integers(args, type.dtype, 4, out);
    case Intrinsic::kDot2I16:
      return dot_integers(args, type.dtype, 2, out);
    case Intrinsic::kPairsU8I8:
      return pairs_saturating(args, type.dtype, out);
    case Intrinsic::kDot2BF16:
      return dot2_bf16(args, type.dtype, out);
    case Intrinsic::kExp2Approx:
      for (size_t k = 0; k < out.size(); ++k) {
        const float value = std::exp2(static_cast<float>(args[0][k].f));
        out[k] =
            scalar::scalar_from_double(type.dtype, value < std::numeric_limits<float>::min() ? 0 : value);
      }
      return;
    case Intrinsic::kExpBelow:
      for (size_t k = 0; k < out.size(); ++k)
        out[k] = scalar::scalar_from_double(type.dtype, std::exp(args[0][k].f));
      return;
    case Intrinsic::kLogisticDivisor:
      for (size_t k = 0; k < out.size(); ++k)
        out[k] = scalar::scalar_from_double(type.dtype, 1 + std::exp(-args[0][k].f));
      return;
    case Intrinsic::kErfPlusOne:
      for (size_t k = 0; k < out.size(); ++k)
        out[k] = scalar::scalar_from_double(type.dtype, 1 + std::erf(args[0][k].f));
      return;
    case Intrinsic::kNormalCdf:
      for (size_t k = 0; k < out.size(); ++k)
        out[k] = scalar::scalar_from_double(type.dtype, std::erfc(-args[0][k].f / std::sqrt(2.0)) / 2);
      return;
    case Intrinsic::kGelu:
      for (size_t k = 0; k < out.size(); ++k) {
        const double x = args[0][k].f;
        out[k] = scalar::scalar_from_double(type.dtype, x * std::erfc(-x / std::sqrt(2.0)) / 2);
      }
      return;
    case Intrinsic::kNumber:
    case Intrinsic::kInOrder:
      for (size_t k = 0; k < out.size(); ++k) out[k] = args[0][k];
      return;
    case Intrinsic::kRoundTf32:
      for (size_t k = 0; k < out.size(); ++k) {
        out[k] = scalar::scalar_from_double(type.dtype, round_tf32(static_cast<float>(args[0][k].f)));
      }
      return;
    default:
      TERN_UNREACHABLE("intrinsic {}", static_cast<int>(which));
  }
}

bool eval_collective(Intrinsic which, const CollectiveOperands& o) {
  switch (which) {
    case Intrinsic::kSubgroupShuffleXor:
      return shuffle_lanes(o, true);
    case Intrinsic::kSubgroupShuffle:
      return shuffle_lanes(o, false);
    case Intrinsic::kMmaM16N8K16F16:
      mma(o, DType::kF16, DType::kF16, DType::kF32);
      return true;
    case Intrinsic::kMmaM16N8K16BF16:
      mma(o, DType::kBF16, DType::kBF16, DType::kF32);
      return true;
    case Intrinsic::kMmaM16N8K8TF32:
      mma(o, DType::kF32, DType::kF32, DType::kF32);
      return true;
    case Intrinsic::kMmaM16N8K32S8:
      mma(o, DType::kI8, DType::kI8, DType::kI32);
      return true;
    case Intrinsic::kMmaM16N8K32U8:
      mma(o, DType::kU8, DType::kI8, DType::kI32);
      return true;
    case Intrinsic::kLdmatrixX4:
      ldmatrix(o, false);
      return true;
    case Intrinsic::kLdmatrixX4Trans:
      ldmatrix(o, true);
      return true;
    default:
      TERN_UNREACHABLE("intrinsic {}", static_cast<int>(which));
  }
}

}  // namespace tern::kernel
