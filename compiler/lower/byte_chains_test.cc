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

int64_t steps_of(const Matrix& m) {
  return (m.k + kByteGroup - 1) / kByteGroup;
}

// Follows the list of a group of columns as a kernel does; how many steps are in chains.
int64_t check_group(const Matrix& m, const ByteChains& chains, int64_t batch, int64_t group) {
  const int64_t steps = steps_of(m), segments = chain_segments(steps), segment = chain_segment_steps(steps),
                columns = chain_columns(steps), groups = (m.n + columns - 1) / columns;
  const auto* codes = chains.codes->as<uint8_t>() + (batch * groups + group) * steps;
  const auto* counts = chains.counts->as<uint8_t>() + (batch * groups + group) * segments * 2;
  std::vector<int> met(static_cast<size_t>(steps), 0);
  int64_t chained = 0;
  for (int64_t s = 0; s < segments; ++s, counts += 2) {
    const auto* code = codes + s * segment;
    const auto* end = codes + std::min(steps, (s + 1) * segment);
    for (int length = 3; length > 0; --length) {
      const int64_t count = length > 1 ? counts[3 - length] : end - code;
      if (length > 1) chained += length * count;
      for (int64_t i = 0; i < count; ++i, code += length) {
        for (int64_t c = group * columns; c < (group + 1) * columns; ++c) {
          for (int64_t pair = 0; pair < 2; ++pair) {
            int positive = 0, negative = 0;
            for (int64_t k = 0; k < 2 * length; ++k) {
              const int w = m.at(batch, (s * segment + code[k / 2]) * 4 + 2 * pair + k % 2, c);
              (w > 0 ? positive : negative) += w;
            }
            REQUIRE((length == 1 || 255 * positive <= INT16_MAX));
            REQUIRE((length == 1 || 255 * negative >= INT16_MIN));
          }
        }
        for (int part = 0; part < length; ++part) ++met[static_cast<size_t>(s * segment + code[part])];
      }
    }
    CHECK(code == end);
  }
  for (const int times : met) CHECK(times == 1);
  return chained;
}

TEST_CASE("chains meet every step once and cannot overflow") {
  for (const int largest : {20, 64, 100, 128}) {
    for (const int64_t k : {70, 390, 600}) {
      const Matrix m = matrix(2, k, 21, largest);
      const ByteChains chains = chain_bytes(*m.data, m.source());
      const int64_t columns = chain_columns(steps_of(m)), groups = (m.n + columns - 1) / columns;
      int64_t chained = 0;
      for (int64_t b = 0; b < m.batch; ++b) {
        for (int64_t group = 0; group < groups; ++group) chained += check_group(m, chains, b, group);
      }
      CHECK(chained > 0);
      CHECK(chains.codes->count() == m.batch * groups * steps_of(m));
      CHECK(chains.counts->count() == m.batch * groups * chain_segments(steps_of(m)) * 2);
    }
  }
}

TEST_CASE("chains join three steps where weights are small, and none where they are large") {
  const Matrix small = matrix(1, 384, 16, 20), large = matrix(1, 384, 16, 128);
  auto largest = TensorData::make(DType::kI8, {1, 384, 16});
  for (int64_t i = 0; i < largest->count(); ++i)
    largest->mutable_as<int8_t>()[i] = large.data->as<int8_t>()[i] < 0 ? -127 : 127;
  const Matrix none{1, 384, 16, std::move(largest)};
  const ByteChains all = chain_bytes(*small.data, small.source()),
                   some = chain_bytes(*large.data, large.source()),
                   no = chain_bytes(*none.data, none.source());
  CHECK(check_group(small, all, 0, 0) == 96);
  CHECK(check_group(none, no, 0, 0) < 96);
  CHECK(all.cycles_a_step < some.cycles_a_step);
  CHECK(some.cycles_a_step < no.cycles_a_step);
  const ByteChains stopped = chain_bytes(*none.data, none.source(), 1.2);
  CHECK(stopped.codes == nullptr);
  CHECK(stopped.cycles_a_step > 1.2);
}

}  // namespace
}  // namespace tern::lower
