#include "compiler/lower/byte_chains.h"

#include <algorithm>
#include <array>

#include "compiler/lower/contraction_schedule.h"

namespace tern::lower {
namespace {

// The weights of one step and of kChainColumns columns: half the sums of each pair's positive and of its
// negative weights, rounded up, a byte each.
constexpr int kPairs = 2 * kChainColumns, kWords = 2 * kPairs / 8;
constexpr int kSafe = 128 / 2;
struct Part {
  std::array<uint64_t, kWords> halves{};
  uint16_t code = 0;
  int weight = 0;
};

constexpr uint64_t every_byte(uint64_t value) {
  return value * 0x0101010101010101u;
}

// Whether no byte of a + b is larger than kSafe; none of a and b is larger than 127.
bool is_safe(const Part& a, const Part& b) {
  uint64_t beyond = 0;
  for (int i = 0; i < kWords; ++i)
    beyond |= a.halves[static_cast<size_t>(i)] + b.halves[static_cast<size_t>(i)] + every_byte(127 - kSafe);
  return (beyond & every_byte(128)) == 0;
}

using Step = std::array<std::array<int8_t, kByteGroup>, kChainColumns>;

Part part_of(const Step& step, int64_t number, int kind) {
  Part out;
  out.code = static_cast<uint16_t>(number * 4 + kind);
  for (int c = 0; c < kChainColumns; ++c) {
    for (int pair = 0; pair < 2; ++pair) {
      int positive = 0, negative = 0;
      for (int odd = 0; odd < 2; ++odd) {
        const int w = step[static_cast<size_t>(c)][static_cast<size_t>(2 * pair + odd)];
        const bool is_there = kind & (odd ? ByteChains::kOdd : ByteChains::kEven);
        if (is_there) (w > 0 ? positive : negative) += w > 0 ? w : -w;
      }
      const int at = 2 * (2 * c + pair);
      for (int i = 0; i < 2; ++i) {
        const int half = ((i == 0 ? positive : negative) + 1) / 2;
        out.halves[static_cast<size_t>((at + i) / 8)] |= static_cast<uint64_t>(half) << ((at + i) % 8 * 8);
        out.weight += half;
      }
    }
  }
  return out;
}

bool is_safe_alone(const Part& part) {
  for (int i = 0; i < 8 * kWords; ++i) {
    if ((part.halves[static_cast<size_t>(i / 8)] >> (i % 8 * 8) & 255) > kSafe) return false;
  }
  return true;
}

// Units, two codes each: the largest parts first, each with the largest that still suits it. What stays alone
// is left in `parts` if its step is `waits` or later; units come in the order of their steps.
void pair_up(std::vector<Part>& parts, int64_t waits, std::vector<uint16_t>& codes) {
  std::sort(parts.begin(), parts.end(), [](const Part& a, const Part& b) {
    return a.weight != b.weight ? a.weight > b.weight : a.code < b.code;
  });
  std::vector<bool> used(parts.size());
  std::vector<std::array<uint16_t, 2>> units;
  std::vector<Part> alone;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (used[i]) continue;
    size_t with = i + 1;
    while (with < parts.size() && (used[with] || !is_safe(parts[i], parts[with]))) ++with;
    if (with < parts.size()) {
      used[with] = true;
      units.push_back({std::min(parts[i].code, parts[with].code), std::max(parts[i].code, parts[with].code)});
    } else if (parts[i].code / 4 < waits) {
      units.push_back({static_cast<uint16_t>(parts[i].code & ~3), parts[i].code});  // kNone of the same step
    } else {
      alone.push_back(parts[i]);
    }
  }
  std::sort(units.begin(), units.end());
  for (const auto& unit : units) codes.insert(codes.end(), unit.begin(), unit.end());
  parts = std::move(alone);
}

template <typename T>
TensorDataPtr tensor_of(const std::vector<T>& values, DType type) {
  auto out = TensorData::make(type, {static_cast<int64_t>(values.size())});
  std::copy(values.begin(), values.end(), out->template mutable_as<T>());
  return out;
}

}  // namespace

ByteChains chain_bytes(const TensorData& weights, const PanelSource& s, double most_units) {
  const int64_t steps = (s.k + kByteGroup - 1) / kByteGroup,
                columns = (s.n + kPanelColumns - 1) / kPanelColumns * kPanelColumns;
  TERN_CHECK(steps <= ByteChains::kMaxSteps, "{} steps are too many to be numbered", steps);
  const auto* from = weights.as<int8_t>();
  std::vector<uint16_t> codes;
  const double all = static_cast<double>(s.batch * steps * (columns / kChainColumns));
  const auto units_a_step = [&] { return all == 0 ? 0 : static_cast<double>(codes.size()) / 2 / all; };
  std::vector<uint32_t> table{0, 0x00ff00ffu, 0xff00ff00u, 0xffffffffu};
  std::vector<Part> parts;
  for (int64_t b = 0; b < s.batch; ++b) {
    for (int64_t n0 = 0; n0 < columns; n0 += kChainColumns) {
      if (units_a_step() > most_units) return {nullptr, nullptr, units_a_step()};
      table.push_back(static_cast<uint32_t>(codes.size() / 2));
      parts.clear();
      for (int64_t number = 0; number < steps; ++number) {
        Step step{};
        const int64_t left = std::min<int64_t>(kByteGroup, s.k - number * kByteGroup);
        for (int64_t c = 0; c < std::min<int64_t>(kChainColumns, s.n - n0); ++c) {
          for (int64_t i = 0; i < left; ++i)
            step[static_cast<size_t>(c)][static_cast<size_t>(i)] =
                from[s.element(b, number * kByteGroup + i, n0 + c)];
        }
        const Part whole = part_of(step, number, ByteChains::kAll);
        if (is_safe_alone(whole)) {
          if (whole.weight > 0) parts.push_back(whole);
        } else {
          parts.push_back(part_of(step, number, ByteChains::kEven));
          parts.push_back(part_of(step, number, ByteChains::kOdd));
        }
        // What found no partner in its segment waits for one in the next, and no longer.
        const int64_t done = number + 1;
        if (done == steps) {
          pair_up(parts, steps, codes);
        } else if (done % kChainSegment == 0) {
          pair_up(parts, done - kChainSegment, codes);
        }
      }
    }
  }
  table.push_back(static_cast<uint32_t>(codes.size() / 2));
  const double units = units_a_step();
  if (codes.empty()) codes.push_back(0);
  return {tensor_of(table, DType::kU32), tensor_of(codes, DType::kU16), units};
}

}  // namespace tern::lower
