#include "compiler/scalar/scalar.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "compiler/support/small_float.h"
#include "compiler/support/tensor_data.h"

namespace tern::scalar {
namespace {

const double kInf = std::numeric_limits<double>::infinity();
const double kNan = std::numeric_limits<double>::quiet_NaN();

ScalarValue f(DType t, double v) {
  return scalar_from_double(t, v);
}
ScalarValue i(DType t, int64_t v) {
  return scalar_from_int(t, v);
}
ScalarValue eval(ScalarOp op, std::vector<ScalarValue> v) {
  return eval_scalar(op, v);
}

TEST_CASE("names are unique and found again") {
  for (int k = 0; k < static_cast<int>(ScalarOp::kCount); ++k) {
    const auto op = static_cast<ScalarOp>(k);
    CHECK(scalar_op_from_name(info(op).name) == op);
  }
  CHECK(scalar_op_from_name("nonsense") == ScalarOp::kCount);
}

TEST_CASE("type rules") {
  const DType f32 = DType::kF32, i32 = DType::kI32, b = DType::kBool;
  CHECK(result_type(ScalarOp::kAdd, std::vector{f32, f32}).value() == f32);
  CHECK(result_type(ScalarOp::kLt, std::vector{i32, i32}).value() == b);
  CHECK(result_type(ScalarOp::kSelect, std::vector{b, f32, f32}).value() == f32);
  CHECK(result_type(ScalarOp::kIsNan, std::vector{f32}).value() == b);
  CHECK(result_type(ScalarOp::kAdd, std::vector{f32, i32}).error().message ==
        "The operands of 'add' have different types, f32 and i32.");
  CHECK(result_type(ScalarOp::kExp, std::vector{i32}).error().message ==
        "The scalar op 'exp' does not accept operands of type i32.");
  CHECK(result_type(ScalarOp::kAdd, std::vector{b, b}).error().message ==
        "The scalar op 'add' does not accept operands of type bool.");
}

TEST_CASE("integers wrap and never trap") {
  CHECK(eval(ScalarOp::kAdd, {i(DType::kI8, 127), i(DType::kI8, 1)}).i == -128);
  CHECK(eval(ScalarOp::kSub, {i(DType::kU8, 0), i(DType::kU8, 1)}).i == 255);
  CHECK(eval(ScalarOp::kMul, {i(DType::kI4, 7), i(DType::kI4, 2)}).i == -2);
  CHECK(eval(ScalarOp::kDiv, {i(DType::kI32, -7), i(DType::kI32, 2)}).i == -3);
  CHECK(eval(ScalarOp::kDiv, {i(DType::kI32, 5), i(DType::kI32, 0)}).i == 0);
  CHECK(eval(ScalarOp::kDiv, {i(DType::kI64, INT64_MIN), i(DType::kI64, -1)}).i == INT64_MIN);
  CHECK(eval(ScalarOp::kRem, {i(DType::kI64, INT64_MIN), i(DType::kI64, -1)}).i == 0);
  CHECK(eval(ScalarOp::kFloorMod, {i(DType::kI32, -7), i(DType::kI32, 3)}).i == 2);
  CHECK(eval(ScalarOp::kRem, {i(DType::kI32, -7), i(DType::kI32, 3)}).i == -1);
  CHECK(eval(ScalarOp::kAbs, {i(DType::kI8, -128)}).i == -128);
  CHECK(eval(ScalarOp::kPow, {i(DType::kI32, 2), i(DType::kI32, -1)}).i == 0);
  CHECK(eval(ScalarOp::kPow, {i(DType::kI32, 3), i(DType::kI32, 4)}).i == 81);
  CHECK(eval(ScalarOp::kShl, {i(DType::kU8, 1), i(DType::kU8, 8)}).i == 0);
  CHECK(eval(ScalarOp::kShr, {i(DType::kI8, -1), i(DType::kI8, 9)}).i == -1);
  CHECK(eval(ScalarOp::kNot, {i(DType::kU8, 1)}).i == 254);
  CHECK(eval(ScalarOp::kPopcount, {i(DType::kI8, -1)}).i == 8);
  CHECK(eval(ScalarOp::kLt, {i(DType::kU64, 1), i(DType::kU64, -1)}).i == 1);
}

TEST_CASE("floats: NaN, signs, halves") {
  const DType t = DType::kF32;
  CHECK(std::isnan(eval(ScalarOp::kMax, {f(t, kNan), f(t, 1)}).f));
  CHECK(std::isnan(eval(ScalarOp::kMin, {f(t, 1), f(t, kNan)}).f));
  CHECK(eval(ScalarOp::kRoundEven, {f(t, 2.5)}).f == 2);
  CHECK(eval(ScalarOp::kFloorMod, {f(t, -1), f(t, 3)}).f == 2);
  CHECK(eval(ScalarOp::kRem, {f(t, -1), f(t, 3)}).f == -1);
  CHECK(eval(ScalarOp::kNe, {f(t, kNan), f(t, kNan)}).i == 1);
  CHECK(eval(ScalarOp::kEq, {f(t, kNan), f(t, kNan)}).i == 0);
  CHECK(std::isnan(eval(ScalarOp::kSign, {f(t, kNan)}).f));
  CHECK(eval(ScalarOp::kAdd, {f(DType::kF16, 2048), f(DType::kF16, 1)}).f == 2048);
  CHECK(eval(ScalarOp::kAdd, {f(DType::kBF16, 256), f(DType::kBF16, 1)}).f == 256);
  CHECK(eval(ScalarOp::kIsInf, {f(t, -kInf)}).i == 1);
}

TEST_CASE("complex") {
  ScalarValue a, b;
  a.dtype = b.dtype = DType::kC64;
  a.f = 1, a.imaginary = 2, b.f = 3, b.imaginary = -1;
  const ScalarValue p = eval(ScalarOp::kMul, {a, b});
  CHECK(p.f == 5);
  CHECK(p.imaginary == 5);
}

TEST_CASE("casts") {
  CHECK(eval_cast(f(DType::kF32, -1.7), DType::kI32).i == -1);
  CHECK(eval_cast(f(DType::kF32, 300), DType::kU8).i == 255);
  CHECK(eval_cast(f(DType::kF32, -3), DType::kU8).i == 0);
  CHECK(eval_cast(f(DType::kF64, 1e30), DType::kI64).i == INT64_MAX);
  CHECK(eval_cast(f(DType::kF64, kNan), DType::kI64).i == 0);
  CHECK(eval_cast(i(DType::kI32, 300), DType::kU8).i == 44);
  CHECK(eval_cast(i(DType::kI32, 9), DType::kI4).i == -7);
  CHECK(eval_cast(f(DType::kF32, kNan), DType::kBool).i == 1);
  CHECK(eval_cast(f(DType::kF32, 1e30), DType::kF8E4M3FN, true).f == 448);
  CHECK(std::isnan(eval_cast(f(DType::kF32, 1e30), DType::kF8E4M3FN, false).f));
  CHECK(eval_cast(f(DType::kF32, 1e30), DType::kF8E5M2, false).f == kInf);
  CHECK(eval_cast(f(DType::kF32, 1e30), DType::kF16, true).f == kInf);
  // One rounding, not two: through double this would tie to even.
  CHECK(eval_cast(i(DType::kI64, (int64_t{1} << 54) + (int64_t{1} << 30) + 1), DType::kF32).f ==
        static_cast<double>(static_cast<float>((int64_t{1} << 54) + (int64_t{1} << 30) + 1)));
}

TEST_CASE("every small float pattern decodes and encodes to itself") {
  for (DType t : {DType::kF16, DType::kBF16, DType::kF8E4M3FN, DType::kF8E4M3FNUZ, DType::kF8E5M2,
                  DType::kF8E5M2FNUZ, DType::kF4E2M1, DType::kF8E8M0}) {
    for (uint64_t bits = 0; bits < uint64_t{1} << dtype_bits(t); ++bits) {
      const double v = decode_float(t, bits);
      if (std::isnan(v)) {
        CHECK(std::isnan(decode_float(t, encode_float(t, v))));
      } else {
        REQUIRE_MESSAGE(encode_float(t, v, false) == bits, dtype_name(t), " ", bits);
      }
    }
  }
  CHECK(decode_float(DType::kF8E4M3FNUZ, 0x7f) == 240);
  CHECK(decode_float(DType::kF8E5M2FNUZ, 0x7f) == 57344);
  CHECK(decode_float(DType::kF4E2M1, 7) == 6);
  CHECK(encode_float(DType::kF16, 65520) == 0x7c00);
  CHECK(encode_float(DType::kF16, 65519) == 0x7bff);
}

TEST_CASE("half rounding from f32 agrees with rounding from double") {
  for (uint64_t k = 0; k < 400000; ++k) {
    const auto bits = static_cast<uint32_t>(k * 2654435761u);
    const float v = std::bit_cast<float>(bits);
    if (std::isnan(v)) continue;
    REQUIRE(encode_f16(v) == encode_small_float(DType::kF16, static_cast<double>(v)));
    REQUIRE(encode_bf16(v) == encode_small_float(DType::kBF16, static_cast<double>(v)));
  }
}

// Values of a type that exercise corners.
std::vector<ScalarValue> corners(DType t) {
  std::vector<ScalarValue> out;
  if (t == DType::kBool) return {i(t, 0), i(t, 1)};
  if (is_float(t))
    for (double v : {0.0, -0.0, 1.0, -1.5, 0.3, 2.5, 1e4, kInf, -kInf, kNan}) out.push_back(f(t, v));
  else if (is_complex(t))
    for (double v : {0.0, 1.0, -2.5}) out.push_back(f(t, v));
  else
    out = {lowest(t), highest(t), i(t, 0), i(t, 1), i(t, -1), i(t, 3), i(t, -3)};
  return out;
}

TEST_CASE("arrays agree with single elements, every op and type") {
  for (int k = 0; k < static_cast<int>(ScalarOp::kCount); ++k) {
    const auto op = static_cast<ScalarOp>(k);
    for (uint32_t id = 1; id <= 26; ++id) {
      const auto t = static_cast<DType>(id);
      if (t == DType::kString) continue;
      std::vector<DType> types(static_cast<size_t>(info(op).arity), t);
      if (op == ScalarOp::kSelect) types[0] = DType::kBool;
      const Result<DType> result = result_type(op, types);
      if (!result.ok()) continue;
      std::vector<std::vector<ScalarValue>> columns(types.size());
      const auto values = corners(t), bools = corners(DType::kBool);
      for (const ScalarValue& x : values)
        for (const ScalarValue& y : values)
          for (size_t c = 0; c < types.size(); ++c)
            columns[c].push_back(types[c] != t ? bools[columns[c].size() % 2] : c % 2 ? y : x);
      const auto n = static_cast<int64_t>(columns[0].size());
      std::vector<std::shared_ptr<TensorData>> in;
      std::vector<const uint8_t*> pointers;
      for (size_t c = 0; c < types.size(); ++c) {
        in.push_back(TensorData::make(types[c], {n}));
        for (int64_t e = 0; e < n; ++e)
          store_value(types[c], in[c]->mutable_bytes().data(), e, columns[c][static_cast<size_t>(e)]);
        pointers.push_back(in[c]->bytes().data());
      }
      auto out = TensorData::make(result.value(), {n});
      eval_map(op, t, n, pointers, out->mutable_bytes().data());
      for (int64_t e = 0; e < n; ++e) {
        std::vector<ScalarValue> operands;
        for (auto& column : columns) operands.push_back(column[static_cast<size_t>(e)]);
        const ScalarValue want = eval_scalar(op, operands);
        const ScalarValue got = load_value(result.value(), out->bytes().data(), e);
        const bool same = want.i == got.i && (want.f == got.f || (std::isnan(want.f) && std::isnan(got.f))) &&
                          (want.imaginary == got.imaginary || std::isnan(want.imaginary));
        REQUIRE_MESSAGE(same, info(op).name, " on ", dtype_name(t), " element ", e, ": ", want.f, " ", got.f);
      }
    }
  }
}

TEST_CASE("array casts agree with single casts, every pair of types") {
  for (uint32_t a = 1; a <= 26; ++a) {
    for (uint32_t b = 1; b <= 26; ++b) {
      const auto from = static_cast<DType>(a), to = static_cast<DType>(b);
      if (from == DType::kString || to == DType::kString) continue;
      const auto values = corners(from);
      const auto n = static_cast<int64_t>(values.size());
      auto in = TensorData::make(from, {n}), out = TensorData::make(to, {n});
      for (int64_t e = 0; e < n; ++e)
        store_value(from, in->mutable_bytes().data(), e, values[static_cast<size_t>(e)]);
      eval_cast_array(from, to, false, n, in->bytes().data(), out->mutable_bytes().data());
      for (int64_t e = 0; e < n; ++e) {
        const ScalarValue want = eval_cast(load_value(from, in->bytes().data(), e), to, false);
        const ScalarValue got = load_value(to, out->bytes().data(), e);
        REQUIRE_MESSAGE((want.i == got.i && (want.f == got.f || (std::isnan(want.f) && std::isnan(got.f)))),
                        dtype_name(from), " to ", dtype_name(to), " element ", e);
      }
    }
  }
}

}  // namespace
}  // namespace tern::scalar
