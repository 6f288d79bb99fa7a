#include "tools/tern/values.h"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "schemas/abi/dtypes.h"

namespace tern::cli {
namespace {

double small(uint32_t dtype, uint32_t bits) {
  return static_cast<double>(number_at(dtype, &bits, 0));
}

TEST_CASE("values: every type as numbers") {
  CHECK(small(TERN_DTYPE_F16, 0x3c00) == 1);
  CHECK(small(TERN_DTYPE_F16, 0xc500) == -5);
  CHECK(small(TERN_DTYPE_F16, 0x0001) == std::ldexp(1, -24));
  CHECK(std::isinf(small(TERN_DTYPE_F16, 0x7c00)));
  CHECK(std::isnan(small(TERN_DTYPE_F16, 0x7e00)));
  CHECK(small(TERN_DTYPE_BF16, 0x3fc0) == 1.5);
  CHECK(small(TERN_DTYPE_F8E4M3FN, 0x7e) == 448);
  CHECK(std::isnan(small(TERN_DTYPE_F8E4M3FN, 0x7f)));
  CHECK(small(TERN_DTYPE_F8E4M3FNUZ, 0x7f) == 240);
  CHECK(std::isnan(small(TERN_DTYPE_F8E4M3FNUZ, 0x80)));
  CHECK(small(TERN_DTYPE_F8E5M2, 0x7b) == 57344);
  CHECK(small(TERN_DTYPE_F8E5M2FNUZ, 0x7f) == 57344);
  CHECK(small(TERN_DTYPE_F8E8M0, 128) == 2);
  const uint8_t packed[] = {0x7a, 0x93};
  CHECK(number_at(TERN_DTYPE_F4E2M1, packed, 1) == 6);
  CHECK(number_at(TERN_DTYPE_F4E2M1, packed, 0) == -1);
  CHECK(number_at(TERN_DTYPE_U4, packed, 2) == 3);
  CHECK(number_at(TERN_DTYPE_I4, packed, 3) == -7);
  CHECK(number_at(TERN_DTYPE_U2, packed, 1) == 2);
  CHECK(number_at(TERN_DTYPE_I2, packed, 1) == -2);
  const int64_t wide = -(int64_t{1} << 53) - 1;
  CHECK(number_at(TERN_DTYPE_I64, &wide, 0) == static_cast<long double>(wide));
}

TEST_CASE("values: a summary") {
  const std::vector<float> few = {1, 2.5f}, many = {1, 2, 3, 4, 5, 6, 7, -8};
  CHECK(summary(TERN_DTYPE_F32, few.data(), 2) == "  1 2.5");
  CHECK(summary(TERN_DTYPE_C64, few.data(), 1) == "  1 2.5");
  CHECK(summary(TERN_DTYPE_F32, many.data(), 8) == "  1 2 3 4 5 6 … (-8 to 7)");
  CHECK(summary(TERN_DTYPE_F32, many.data(), 0) == "");
  const std::vector<float> none(7, NAN);
  CHECK(summary(TERN_DTYPE_F32, none.data(), 7) == "  nan nan nan nan nan nan … (nan)");
}

TEST_CASE("values: comparisons") {
  const std::vector<float> expected = {1, 100, NAN, INFINITY, 0};
  std::vector<float> got = {1.0005f, 100.05f, NAN, INFINITY, 0};
  CHECK(compare(TERN_DTYPE_F32, got.data(), expected.data(), 5, {}).different == 0);
  CHECK(compare(TERN_DTYPE_F32, got.data(), expected.data(), 5, {}).largest ==
        doctest::Approx(0.05).epsilon(1e-4));
  CHECK(compare(TERN_DTYPE_F32, got.data(), expected.data(), 5, {0, 0}).different == 2);
  CHECK(compare(TERN_DTYPE_F32, got.data(), expected.data(), 5, {0, 0}).worst == 1);
  got = {1, 100, 0, -INFINITY, NAN};
  const Comparison all = compare(TERN_DTYPE_F32, got.data(), expected.data(), 5, {1e9, 1e9});
  CHECK(all.different == 3);
  CHECK(all.worst == 2);
}

}  // namespace
}  // namespace tern::cli
