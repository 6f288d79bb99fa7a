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
  // One access in barrier interval `epoch` of workgroup `group`. "" or the other party: "threads 1 and 2 of a
  // workgroup".
  // `cluster`: the barrier interval of its cluster.
  std::string touch(int64_t unit, bool write, int thread, int64_t group, int64_t epoch, int64_t cluster);
  // A read by another workgroup of the cluster.
  std::string peer_read(int64_t unit, int64_t cluster);

 private:
  struct Party {
    int64_t group = -1, epoch = -1;
    int thread = -1;
  };
  struct Unit {
    Party writer, reader;
    int64_t written = -1, peer_read = -1;  // the cluster's intervals
  };
  static std::string conflict(const Party& earlier, int thread, int64_t group, int64_t epoch);
  std::vector<Unit> units_;
};

}  // namespace tern::kernel
