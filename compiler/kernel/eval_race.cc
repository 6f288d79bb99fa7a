#include "compiler/kernel/eval_race.h"

#include <fmt/format.h>

namespace tern::kernel {

std::string RaceTracker::conflict(const Party& earlier, int thread, int64_t group, int64_t epoch) {
  if (earlier.group == -1) return "";
  if (earlier.group == kSeveral) return "several workgroups";
  if (earlier.group != group) return fmt::format("workgroups {} and {}", earlier.group, group);
  if (earlier.epoch != epoch || (earlier.thread == thread && thread != kSeveral)) return "";
  if (earlier.thread == kSeveral || thread == kSeveral) return "several threads of a workgroup";
  return fmt::format("threads {} and {} of a workgroup", earlier.thread, thread);
}

std::string RaceTracker::touch(int64_t unit, bool write, int thread, int64_t group, int64_t epoch,
                               int64_t cluster) {
  Unit& u = units_[static_cast<size_t>(unit)];
  std::string problem = conflict(u.writer, thread, group, epoch);
  if (write) {
    if (problem.empty()) problem = conflict(u.reader, thread, group, epoch);
    if (problem.empty() && u.peer_read == cluster) problem = "workgroups of a cluster";
    u.writer = {group, epoch, thread};
    u.written = cluster;
    return problem;
  }
  if (u.reader.group != -1 && u.reader.group != group) {
    u.reader.group = kSeveral;
  } else if (u.reader.epoch != epoch || u.reader.group == -1) {
    u.reader = {group, epoch, thread};
  } else if (u.reader.thread != thread) {
    u.reader.thread = kSeveral;
  }
  return problem;
}

std::string RaceTracker::peer_read(int64_t unit, int64_t cluster) {
  Unit& u = units_[static_cast<size_t>(unit)];
  u.peer_read = cluster;
  return u.written == cluster ? "workgroups of a cluster" : "";
}

}  // namespace tern::kernel
