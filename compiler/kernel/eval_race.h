// Who touched what since the last barrier: finds data races of the threads of a GPU kernel, whatever order
// the evaluator runs them in. A unit is the least that a thread writes on its own: an element, or a byte of
// sub-byte elements.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace tern::kernel {

// What comes before what a subgroup does next: accesses of each subgroup until an epoch (an interval between
// barriers, or arrivals), those of copies that a counter of arrivals counts, and ended phases of counters.
struct Clock {
  std::vector<int64_t> subgroups;
  std::map<int, int64_t> copies, phases;
  int64_t start = -1;  // all accesses until that epoch come before: those of other tiles

  void join(const Clock& other) {
    for (size_t k = 0; k < subgroups.size() && k < other.subgroups.size(); ++k)
      subgroups[k] = std::max(subgroups[k], other.subgroups[k]);
    for (const auto& [counter, epoch] : other.copies) raise(copies, counter, epoch);
    for (const auto& [counter, phase] : other.phases) raise(phases, counter, phase);
  }
  static void raise(std::map<int, int64_t>& of, int counter, int64_t to) {
    const auto [at, added] = of.try_emplace(counter, to);
    at->second = std::max(at->second, to);
  }
  static int64_t value(const std::map<int, int64_t>& of, int counter) {
    const auto at = of.find(counter);
    return at == of.end() ? -1 : at->second;
  }
};

class RaceTracker {
 public:
  static constexpr int kSeveral = -2;  // threads or workgroups: more than one, which read
  static constexpr int kCopies = -3;   // copies that counter c counts are of thread and subgroup kCopies - c

  explicit RaceTracker(int64_t units) : units_(static_cast<size_t>(units)) {}
  // Who: a thread in interval `epoch` (between barriers, or arrivals) of workgroup `group`, and in one of its
  // subgroup.
  struct Party {
    int64_t group = -1, epoch = -1;
    int thread = -1, subgroup = -1;
    int64_t subgroup_epoch = 0;
    uint64_t subgroups = 0;  // of kSeveral: a bit each of the first 64; 0: any
  };
  // One access. "" or the other party: "threads 1 and 2 of a workgroup". `cluster`: the barrier interval of
  // its cluster.
  std::string touch(int64_t unit, bool write, const Party& party, const Clock& clock, int64_t cluster);
  // A read by another workgroup of the cluster.
  std::string peer_read(int64_t unit, int64_t cluster);

 private:
  struct Unit {
    Party writer, reader;
    int64_t written = -1, peer_read = -1;  // the cluster's intervals
  };
  static bool is_before(const Party& earlier, const Clock& now);
  static uint64_t subgroups_of(const Party& party);
  static std::string conflict(const Party& earlier, const Party& now, const Clock& clock);
  std::vector<Unit> units_;
};

}  // namespace tern::kernel
