#include "compiler/lower/byte_chains.h"

#include <algorithm>
#include <array>
#include <functional>

#include "compiler/lower/contraction_schedule.h"
#include "compiler/support/rounding.h"

namespace tern::lower {
namespace {

constexpr int kMaxColumns = 2, kMaxChain = 3;

// A step's weights of the columns that share a list: the sums of each pair's positive and of its negative
// weights, in 16 bits each, a word a column.
struct Part {
  std::array<uint64_t, kMaxColumns> sums{};
  uint32_t weight = 0;
};

constexpr uint64_t every_sum(uint64_t value) {
  return value * 0x0001000100010001u;
}

// Whether no sum of a + b is larger than 128.
bool is_safe(const Part& a, const Part& b) {
  uint64_t beyond = 0;
  for (size_t c = 0; c < kMaxColumns; ++c) beyond |= a.sums[c] + b.sums[c] + every_sum(0x7fff - 128);
  return (beyond & every_sum(0x8000)) == 0;
}

// In a chain already: safe with none.
constexpr Part kUsed = {{every_sum(0x2000), every_sum(0x2000)}, 0};

void add(Part& to, const Part& from) {
  for (size_t c = 0; c < kMaxColumns; ++c) to.sums[c] += from.sums[c];
}

// The steps of one list, of one segment.
struct List {
  uint8_t number = 0;                                 // among those that are sorted together
  std::array<std::vector<uint8_t>, kMaxChain> codes;  // of the chains of one, two and three steps
  int64_t chains(int steps) const {
    return static_cast<int64_t>(codes[static_cast<size_t>(steps - 1)].size()) / steps;
  }
};

// Lists that are sorted together, of one segment.
struct Group {
  int64_t columns = 1;  // of a list
  int64_t batch = 0, first_column = 0, first_step = 0, steps = 0, lists = 0;
};

// [list][step], read as the weights lie in most tensors: the columns of a step are neighbours.
std::vector<Part> parts_of(const int8_t* weights, const PanelSource& s, const Group& g) {
  std::vector<Part> parts(static_cast<size_t>(g.lists * g.steps));
  const int64_t columns = std::min(g.lists * g.columns, s.n - g.first_column),
                first = g.first_step * kByteGroup, end = std::min(s.k, first + g.steps * kByteGroup);
  for (int64_t k = first; k < end; ++k) {
    const int64_t negative = (k - first) % kByteGroup / 2 * 32, positive = negative + 16;
    Part* part = parts.data() + (k - first) / kByteGroup;
    for (int64_t c = 0; c < columns; part += g.steps) {
      for (size_t i = 0; i < static_cast<size_t>(g.columns) && c < columns; ++i, ++c) {
        const int w = weights[s.element(g.batch, k, g.first_column + c)];
        const auto size = static_cast<uint32_t>(std::abs(w));
        part->sums[i] += uint64_t{size} << (w > 0 ? positive : negative);
        part->weight += size;
      }
    }
  }
  return parts;
}

// The largest steps first, each with the largest that still suit it.
List chained(const Part* steps, int64_t count) {
  const auto n = static_cast<size_t>(count);
  std::array<uint32_t, kChainSegment> order{};
  for (size_t i = 0; i < n; ++i) order[i] = steps[i].weight << 8 | (0xff - static_cast<uint32_t>(i));
  std::sort(order.begin(), order.begin() + count, std::greater<>());
  const auto code_of = [&](size_t i) { return static_cast<uint8_t>(0xff - (order[i] & 0xff)); };
  std::array<Part, kChainSegment> parts;
  for (size_t i = 0; i < n; ++i) parts[i] = steps[code_of(i)];
  std::array<bool, kChainSegment> used{};
  List out;
  for (size_t i = 0; i < n; ++i) {
    if (used[i]) continue;
    Part sum = parts[i];
    std::array<uint8_t, kMaxChain> chain{code_of(i)};
    size_t length = 1;
    if (is_safe(sum, Part{})) {
      for (size_t j = i + 1; j < n && length < kMaxChain; ++j) {
        if (!is_safe(sum, parts[j])) continue;
        add(sum, parts[j]);
        parts[j] = kUsed;
        used[j] = true;
        chain[length++] = code_of(j);
      }
    }
    auto& codes = out.codes[length - 1];
    codes.insert(codes.end(), chain.begin(), chain.begin() + static_cast<std::ptrdiff_t>(length));
  }
  return out;
}

TensorDataPtr tensor_of(const std::vector<uint8_t>& values) {
  auto out = TensorData::make(DType::kU8, {static_cast<int64_t>(values.size())});
  std::copy(values.begin(), values.end(), out->mutable_as<uint8_t>());
  return out;
}

// Of a vector of sums (Zen 5, eight of them a tile, random lists).
double cycles_of(const List& list) {
  constexpr double kThree = 2.2, kTwo = 1.6, kOne = 1.65;
  return kThree * static_cast<double>(list.chains(3)) + kTwo * static_cast<double>(list.chains(2)) +
         kOne * static_cast<double>(list.chains(1));
}

}  // namespace

int64_t chain_segments(int64_t steps) {
  return std::max<int64_t>(1, ceil_div(steps, kChainSegment));
}

int64_t chain_segment_steps(int64_t steps) {
  return ceil_div(steps, chain_segments(steps));
}

int64_t chain_last_segment_steps(int64_t steps) {
  return steps - (chain_segments(steps) - 1) * chain_segment_steps(steps);
}

int chain_columns(int64_t steps) {
  constexpr int64_t kShort = 128;
  return steps <= kShort ? 1 : kMaxColumns;
}

int64_t chain_sorted_columns(int64_t steps) {
  constexpr int64_t kShort = 32, kMany = 8 * kPanelColumns, kFew = 2 * kPanelColumns;
  return chain_segment_steps(steps) <= kShort ? kMany : kFew;
}

ByteChains chain_bytes(const TensorData& weights, const PanelSource& s, double most_cycles) {
  const int64_t steps = ceil_div(s.k, kByteGroup), segment = chain_segment_steps(steps),
                columns = chain_columns(steps);
  const int64_t lists = ceil_div(s.n, columns), sorted = chain_sorted_columns(steps) / columns;
  const auto* from = weights.as<int8_t>();
  std::vector<uint8_t> entries, codes;
  double cycles = 0;
  for (int64_t b = 0; b < s.batch; ++b) {
    for (int64_t first = 0; first < steps; first += segment) {
      for (int64_t list0 = 0; list0 < lists; list0 += sorted) {
        const Group group = {columns,
                             b,
                             list0 * columns,
                             first,
                             std::min(segment, steps - first),
                             std::min(sorted, lists - list0)};
        const std::vector<Part> parts = parts_of(from, s, group);
        std::vector<List> some;
        for (int64_t l = 0; l < group.lists; ++l) {
          some.push_back(chained(parts.data() + l * group.steps, group.steps));
          some.back().number = static_cast<uint8_t>(l);
        }
        std::sort(some.begin(), some.end(), [](const List& a, const List& c) {
          if (a.chains(3) != c.chains(3)) return a.chains(3) < c.chains(3);
          return a.chains(2) != c.chains(2) ? a.chains(2) < c.chains(2) : a.number < c.number;
        });
        for (const List& list : some) {
          entries.push_back(list.number);
          for (int chain = kMaxChain; chain > 0; --chain) {
            if (chain > 1) entries.push_back(static_cast<uint8_t>(list.chains(chain)));
            const auto& steps_of = list.codes[static_cast<size_t>(chain - 1)];
            codes.insert(codes.end(), steps_of.begin(), steps_of.end());
          }
          cycles += cycles_of(list);
        }
        if (cycles > most_cycles * static_cast<double>(codes.size()))
          return {nullptr, nullptr, cycles / static_cast<double>(codes.size())};
      }
    }
  }
  const double each = codes.empty() ? 0 : cycles / static_cast<double>(codes.size());
  return {tensor_of(entries), tensor_of(codes), each};
}

bool suits_chains(ByteChains& chains, const TensorData& weights, const PanelSource& source) {
  if (chain_last_segment_steps(ceil_div(source.k, kByteGroup)) < kChainLeastSteps) return false;
  if (!chains.entries && chains.cycles_a_step <= kWidenedCycles)
    chains = chain_bytes(weights, source, kWidenedCycles);
  return chains.entries != nullptr;
}

}  // namespace tern::lower
