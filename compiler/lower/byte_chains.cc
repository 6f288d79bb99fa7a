#include "compiler/lower/byte_chains.h"

#include <algorithm>
#include <array>

#include "compiler/lower/contraction_schedule.h"
#include "compiler/support/rounding.h"

namespace tern::lower {
namespace {

constexpr int kMaxColumns = 2, kMaxChain = 3;

// A step's weights of the columns that share a list: the sums of each pair's positive and of its negative
// weights, in 16 bits each, a word a column.
struct Part {
  std::array<uint64_t, kMaxColumns> sums{};
  int weight = 0;
  uint8_t code = 0;
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

Part part_of(const int8_t* weights, const PanelSource& s, int64_t batch, int64_t n0, int64_t step) {
  Part part;
  const int64_t columns = chain_columns(ceil_div(s.k, kByteGroup));
  for (int64_t c = 0; c < std::min(columns, s.n - n0); ++c) {
    for (int64_t i = 0; i < std::min<int64_t>(kByteGroup, s.k - step * kByteGroup); ++i) {
      const int w = weights[s.element(batch, step * kByteGroup + i, n0 + c)];
      const int64_t sum = 2 * (i / 2) + (w > 0 ? 1 : 0);
      part.sums[static_cast<size_t>(c)] += static_cast<uint64_t>(std::abs(w)) << (16 * sum);
      part.weight += std::abs(w);
    }
  }
  return part;
}

// The largest steps first, each with the largest that still suit it.
List chained(std::vector<Part> parts) {
  std::sort(parts.begin(), parts.end(), [](const Part& a, const Part& b) {
    return a.weight != b.weight ? a.weight > b.weight : a.code < b.code;
  });
  std::vector<bool> used(parts.size());
  List out;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (used[i]) continue;
    Part sum = parts[i];
    std::vector<uint8_t> chain{sum.code};
    for (size_t j = i + 1; j < parts.size() && chain.size() < kMaxChain && is_safe(sum, Part{}); ++j) {
      if (used[j] || !is_safe(sum, parts[j])) continue;
      used[j] = true;
      add(sum, parts[j]);
      chain.push_back(parts[j].code);
    }
    auto& codes = out.codes[chain.size() - 1];
    codes.insert(codes.end(), chain.begin(), chain.end());
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
  const auto list_of = [&](int64_t b, int64_t n0, int64_t first, int64_t count) {
    std::vector<Part> parts;
    for (int64_t i = 0; i < count; ++i) {
      parts.push_back(part_of(from, s, b, n0, first + i));
      parts.back().code = static_cast<uint8_t>(i);
    }
    return chained(std::move(parts));
  };
  for (int64_t b = 0; b < s.batch; ++b) {
    for (int64_t first = 0; first < steps; first += segment) {
      for (int64_t list0 = 0; list0 < lists; list0 += sorted) {
        std::vector<List> some;
        for (int64_t l = list0; l < std::min(lists, list0 + sorted); ++l) {
          some.push_back(list_of(b, l * columns, first, std::min(segment, steps - first)));
          some.back().number = static_cast<uint8_t>(l - list0);
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
  if (!chains.entries && chains.cycles_a_step <= kWidenedCycles)
    chains = chain_bytes(weights, source, kWidenedCycles);
  return chains.entries != nullptr;
}

}  // namespace tern::lower
