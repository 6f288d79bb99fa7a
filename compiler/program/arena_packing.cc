#include "compiler/program/arena_packing.h"

#include <algorithm>
#include <functional>
#include <numeric>

namespace tern::program {
namespace {

using Order = std::vector<size_t>;

// Places items one after the other, each in a gap between those placed before that live at the same time.
Packing place_in_order(const std::vector<PackItem>& items, const Order& order, bool tightest) {
  Packing packing;
  packing.offsets.assign(items.size(), 0);
  Order placed;  // by offset
  for (size_t index : order) {
    const PackItem& item = items[index];
    int64_t cursor = 0, best = -1, best_gap = INT64_MAX;
    for (size_t other : placed) {
      if (!items[other].range.meets(item.range)) continue;
      const int64_t gap = packing.offsets[other] - cursor;
      if (gap >= item.bytes && gap < best_gap) {
        best = cursor;
        best_gap = gap;
        if (!tightest) break;
      }
      cursor = std::max(cursor, packing.offsets[other] + items[other].bytes);
    }
    if (best < 0) best = cursor;
    packing.offsets[index] = best;
    packing.bytes = std::max(packing.bytes, best + item.bytes);
    const auto position = std::upper_bound(placed.begin(), placed.end(), best, [&](int64_t value, size_t i) {
      return value < packing.offsets[i];
    });
    placed.insert(position, index);
  }
  return packing;
}

int64_t length(const PackItem& item) {
  return item.range.end - item.range.begin + 1;
}

}  // namespace

int64_t packing_lower_bound(const std::vector<PackItem>& items, int ticks) {
  std::vector<int64_t> change(static_cast<size_t>(ticks) + 2);
  for (const PackItem& item : items) {
    change[static_cast<size_t>(item.range.begin)] += item.bytes;
    change[static_cast<size_t>(item.range.end) + 1] -= item.bytes;
  }
  int64_t alive = 0, most = 0;
  for (int64_t delta : change) most = std::max(most, alive += delta);
  return most;
}

Packing pack_items(const std::vector<PackItem>& items, int ticks) {
  using Before = std::function<bool(const PackItem&, const PackItem&)>;
  const std::pair<std::string_view, Before> orders[] = {
      {"by size", [](const PackItem& a, const PackItem& b) { return a.bytes > b.bytes; }},
      {"by size and length",
       [](const PackItem& a, const PackItem& b) {
         return static_cast<double>(a.bytes) * static_cast<double>(length(a)) >
                static_cast<double>(b.bytes) * static_cast<double>(length(b));
       }},
      {"by start", [](const PackItem& a, const PackItem& b) { return a.range.begin < b.range.begin; }},
      {"by length", [](const PackItem& a, const PackItem& b) { return length(a) > length(b); }},
      {"by end", [](const PackItem& a, const PackItem& b) { return a.range.end > b.range.end; }},
  };
  const int64_t bound = packing_lower_bound(items, ticks);
  Packing best;
  best.bytes = INT64_MAX;
  for (const auto& [name, before] : orders) {
    Order order(items.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::sort(order.begin(), order.end(), [&items, &precedes = before](size_t a, size_t b) {
      if (precedes(items[a], items[b])) return true;
      return !precedes(items[b], items[a]) && a < b;
    });
    for (bool tightest : {false, true}) {
      Packing packing = place_in_order(items, order, tightest);
      packing.name = name;
      if (packing.bytes < best.bytes) best = std::move(packing);
      if (best.bytes == bound) return best;
    }
  }
  return best;
}

}  // namespace tern::program
