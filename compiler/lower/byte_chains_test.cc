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

// Follows the lists of a batch and segment as a kernel does; how many steps are in chains.
int64_t check_segment(const Matrix& m, const ByteChains& chains, int64_t batch, int64_t s) {
  const int64_t steps = steps_of(m), segments = chain_segments(steps), segment = chain_segment_steps(steps),
                columns = chain_columns(steps), lists = (m.n + columns - 1) / columns,
                depth = std::min(segment, steps - s * segment),
                sorted = chain_sorted_columns(steps) / columns;
  const auto* code = chains.codes->as<uint8_t>() + (batch * steps + s * segment) * lists;
  const auto* entry = chains.entries->as<uint8_t>() + (batch * segments + s) * lists * ByteChains::kEntry;
  std::vector<int> met(static_cast<size_t>(lists * depth), 0);
  int64_t chained = 0;
  for (int64_t place = 0; place < lists; ++place, entry += ByteChains::kEntry) {
    const int64_t list = place / sorted * sorted + entry[0];
    REQUIRE(list < lists);
    const auto* end = code + depth;
    for (int length = 3; length > 0; --length) {
      const int64_t count = length > 1 ? entry[4 - length] : end - code;
      if (length > 1) chained += length * count;
      for (int64_t i = 0; i < count; ++i, code += length) {
        for (int64_t c = list * columns; c < (list + 1) * columns; ++c) {
          for (int64_t pair = 0; pair < 2; ++pair) {
            int positive = 0, negative = 0;
            for (int64_t k = 0; k < 2 * length; ++k) {
              const int w = m.at(batch, (s * segment + code[k / 2]) * 4 + 2 * pair + k % 2, c);
              (w > 0 ? positive : negative) += w;
            }
            const bool fits = 255 * positive <= INT16_MAX && 255 * negative >= INT16_MIN;
            if (length > 1 && !fits) FAIL("a sum may leave 16 bits");
          }
        }
        for (int part = 0; part < length; ++part) ++met[static_cast<size_t>(list * depth + code[part])];
      }
    }
    CHECK(code == end);
  }
  CHECK(std::all_of(met.begin(), met.end(), [](int times) { return times == 1; }));
  return chained;
}

TEST_CASE("chains meet every step once and cannot overflow") {
  for (const int largest : {20, 64, 100, 128}) {
    for (const int64_t k : {70, 390, 600}) {
      const Matrix m = matrix(2, k, 37, largest);
      const ByteChains chains = chain_bytes(*m.data, m.source());
      const int64_t columns = chain_columns(steps_of(m)), lists = (m.n + columns - 1) / columns;
      int64_t chained = 0;
      for (int64_t b = 0; b < m.batch; ++b) {
        for (int64_t s = 0; s < chain_segments(steps_of(m)); ++s) chained += check_segment(m, chains, b, s);
      }
      CHECK(chained > 0);
      CHECK(chains.codes->count() == m.batch * lists * steps_of(m));
      CHECK(chains.entries->count() == m.batch * lists * chain_segments(steps_of(m)) * ByteChains::kEntry);
    }
  }
}

TEST_CASE("chains join three steps where weights are small, and none where they are large") {
  const Matrix small = matrix(1, 252, 16, 20), large = matrix(1, 252, 16, 128);
  auto largest = TensorData::make(DType::kI8, {1, 252, 16});
  for (int64_t i = 0; i < largest->count(); ++i)
    largest->mutable_as<int8_t>()[i] = large.data->as<int8_t>()[i] < 0 ? -127 : 127;
  const Matrix none{1, 252, 16, std::move(largest)};
  const ByteChains all = chain_bytes(*small.data, small.source()),
                   some = chain_bytes(*large.data, large.source()),
                   no = chain_bytes(*none.data, none.source());
  CHECK(check_segment(small, all, 0, 0) == 16 * 63);
  CHECK(check_segment(none, no, 0, 0) < 16 * 63);
  CHECK(all.cycles_a_step < some.cycles_a_step);
  CHECK(some.cycles_a_step < no.cycles_a_step);
  const ByteChains stopped = chain_bytes(*none.data, none.source(), 1.2);
  CHECK(stopped.codes == nullptr);
  CHECK(stopped.cycles_a_step > 1.2);
}

// A kernel turns a vector's lanes of steps at once: the segment of one step that is left of 4033 has none.
TEST_CASE("weights whose last segment is shorter than a vector have no chains") {
  for (const int64_t steps : {15, 16, 17, 97, 4033, 4047, 4048, 4097}) {
    const Matrix m = matrix(1, steps * 4 - 1, 1, 20);
    ByteChains chains;
    CHECK(suits_chains(chains, *m.data, m.source()) == (chain_last_segment_steps(steps) >= 16));
  }
  CHECK(chain_last_segment_steps(4033) == 1);
  CHECK(chain_last_segment_steps(4048) == 16);
  CHECK(chain_last_segment_steps(97) == 48);
}

}  // namespace
}  // namespace tern::lower
