// Lists of byte_chains.h: every weight is met once, and no sum in 16 bits can overflow.
#include "compiler/lower/byte_chains.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "compiler/lower/contraction_schedule.h"

namespace tern::lower {
namespace {

struct Matrix {
  int64_t batch, k, n;
  TensorDataPtr data;
  PanelSource source() const {
    return {batch, k, n, [k = k, n = n](int64_t b, int64_t kk, int64_t c) { return (b * k + kk) * n + c; }};
  }
  int at(int64_t b, int64_t kk, int64_t c) const {
    return kk < k && c < n ? data->as<int8_t>()[(b * k + kk) * n + c] : 0;
  }
};

Matrix matrix(int64_t batch, int64_t k, int64_t n, int largest) {
  auto data = TensorData::make(DType::kI8, {batch, k, n});
  uint32_t random = 7;
  for (int64_t i = 0; i < batch * k * n; ++i) {
    random = random * 1664525u + 1013904223u;
    data->mutable_as<int8_t>()[i] =
        static_cast<int8_t>(static_cast<int>(random >> 16) % (2 * largest) - largest);
  }
  return {batch, k, n, std::move(data)};
}

// Follows one group's units as a kernel does.
void check_group(const Matrix& m, const ByteChains& chains, int64_t batch, int64_t n0, int64_t group) {
  const auto* table = chains.table->as<uint32_t>();
  const auto* codes = chains.codes->as<uint16_t>();
  const uint32_t first = table[ByteChains::kMasks + group], end = table[ByteChains::kMasks + group + 1];
  std::vector<int> met(static_cast<size_t>((m.k + 3) / 4 * 4), 0);
  for (uint32_t unit = first; unit < end; ++unit) {
    for (int64_t c = n0; c < n0 + kChainColumns; ++c) {
      for (int pair = 0; pair < 2; ++pair) {
        int positive = 0, negative = 0;
        for (int which = 0; which < 2; ++which) {
          const int code = codes[2 * unit + static_cast<uint32_t>(which)];
          for (int i = 2 * pair; i < 2 * pair + 2; ++i) {
            if ((table[code & 3] >> (8 * i) & 255) == 0) continue;
            const int64_t k = code / 4 * 4 + i;
            const int w = m.at(batch, k, c);
            (w > 0 ? positive : negative) += w;
            if (c == n0) ++met[static_cast<size_t>(k)];
          }
        }
        REQUIRE(255 * positive <= INT16_MAX);
        REQUIRE(255 * negative >= INT16_MIN);
      }
    }
  }
  for (int64_t k = 0; k < m.k; ++k) {
    bool is_zero = true;
    for (int64_t i = k / 4 * 4; i < k / 4 * 4 + 4; ++i) {
      for (int64_t c = n0; c < n0 + kChainColumns; ++c) is_zero = is_zero && m.at(batch, i, c) == 0;
    }
    CAPTURE(k);
    CHECK(met[static_cast<size_t>(k)] == (is_zero ? 0 : 1));
  }
}

TEST_CASE("chains meet every weight once and cannot overflow") {
  for (const int largest : {20, 64, 100, 128}) {
    const Matrix m = matrix(2, 70, 21, largest);
    const ByteChains chains = chain_bytes(*m.data, m.source());
    int64_t group = 0;
    for (int64_t b = 0; b < m.batch; ++b) {
      for (int64_t n0 = 0; n0 < 32; n0 += kChainColumns) check_group(m, chains, b, n0, group++);
    }
    CHECK(chains.table->as<uint32_t>()[ByteChains::kMasks + group] * 2 <=
          static_cast<uint32_t>(std::max<int64_t>(1, chains.codes->count())));
  }
}

TEST_CASE("chains join two steps where weights are small, and take steps apart where they are not") {
  const Matrix small = matrix(1, 256, 16, 20), large = matrix(1, 256, 16, 128);
  CHECK(chain_bytes(*small.data, small.source()).units_a_step == doctest::Approx(0.5));
  CHECK(chain_bytes(*large.data, large.source()).units_a_step > 1);
}

// Weights that no two of which suit each other; random ones of which few do. What bounds the time of the
// search is that no step is kept waiting for a partner from far away.
TEST_CASE("chains look for partners nearby only, and give up where there are too few") {
  const Matrix random = matrix(1, 4096, 16, 100), few = matrix(1, 4096, 16, 60);
  auto largest = TensorData::make(DType::kI8, {1, 4096, 16});
  for (int64_t i = 0; i < largest->count(); ++i)
    largest->mutable_as<int8_t>()[i] = random.data->as<int8_t>()[i] < 0 ? -127 : 127;
  const Matrix none{1, 4096, 16, std::move(largest)};
  for (const Matrix* m : {&none, &few}) {
    const ByteChains chains = chain_bytes(*m->data, m->source());
    check_group(*m, chains, 0, 0, 0);
    const auto* codes = chains.codes->as<uint16_t>();
    int farthest = 0;
    for (int64_t i = 0; i < chains.codes->count(); i += 2)
      farthest = std::max(farthest, std::abs(codes[i] / 4 - codes[i + 1] / 4));
    CHECK(farthest < 2 * kChainSegment);
  }
  const ByteChains all = chain_bytes(*none.data, none.source());
  CHECK(all.units_a_step > 1.9);
  const Matrix wide = matrix(1, 512, 64, 128);
  const ByteChains stopped = chain_bytes(*wide.data, wide.source(), 0.7);
  CHECK(stopped.table == nullptr);
  CHECK(stopped.units_a_step > 0.7);
}

}  // namespace
}  // namespace tern::lower
