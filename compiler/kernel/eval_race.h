// Who touched what since the last barrier: finds data races of the threads of a GPU kernel, whatever order
// the evaluator runs them in. A unit is the least that a thread writes on its own: an element, or a byte of
// sub-byte elements.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tern::kernel {

class RaceTracker {
 public:
  static constexpr int kSeveral = -2;  // threads or workgroups: more than one, which read

  explicit RaceTracker(int64_t units) : units_(static_cast<size_t>(units)) {}
  // Who: a thread in interval `epoch` (between barriers, or arrivals) of workgroup `group`, and in one of its
  // subgroup.
  struct Party {
    int64_t group = -1, epoch = -1;
    int64_t ordered = -1;  // accesses of epochs until then came before
    int thread = -1, subgroup = -1;
    int64_t subgroup_epoch = 0;
  };
  // One access. "" or the other party: "threads 1 and 2 of a workgroup". `cluster`: the barrier interval of
  // its cluster.
  std::string touch(int64_t unit, bool write, const Party& party, int64_t cluster);
  // A read by another workgroup of the cluster.
  std::string peer_read(int64_t unit, int64_t cluster);

 private:
  struct Unit {
    Party writer, reader;
    int64_t written = -1, peer_read = -1;  // the cluster's intervals
  };
  static std::string conflict(const Party& earlier, const Party& now);
  std::vector<Unit> units_;
};

}  // namespace tern::kernel
