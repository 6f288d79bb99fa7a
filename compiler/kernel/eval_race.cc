#include "compiler/kernel/eval_race.h"

#include <fmt/format.h>

#include <algorithm>

namespace tern::kernel {

bool RaceTracker::is_before(const Party& earlier, const Clock& now) {
  if (earlier.epoch <= now.start) return true;
  if (earlier.subgroup <= kCopies)
    return earlier.epoch <= Clock::value(now.copies, kCopies - earlier.subgroup);
  if (earlier.subgroup >= 0) return earlier.epoch <= now.subgroups[static_cast<size_t>(earlier.subgroup)];
  for (size_t k = 0; k < now.subgroups.size(); ++k) {
    const bool took_part = earlier.subgroups == 0 || (k < 64 && (earlier.subgroups >> k & 1) != 0);
    if (took_part && earlier.epoch > now.subgroups[k]) return false;
  }
  return true;
}

uint64_t RaceTracker::subgroups_of(const Party& party) {
  if (party.subgroup == kSeveral) return party.subgroups;
  return party.subgroup >= 0 && party.subgroup < 64 ? uint64_t{1} << party.subgroup : 0;
}

std::string RaceTracker::conflict(const Party& earlier, const Party& now, const Clock& clock) {
  if (earlier.group == -1) return "";
  if (earlier.group == kSeveral) return "several workgroups";
  if (earlier.group != now.group) return fmt::format("workgroups {} and {}", earlier.group, now.group);
  if (is_before(earlier, clock) || (earlier.thread == now.thread && now.thread != kSeveral)) return "";
  if (earlier.subgroup >= 0 && earlier.subgroup == now.subgroup &&
      earlier.subgroup_epoch != now.subgroup_epoch)
    return "";
  if (earlier.thread == kSeveral || now.thread == kSeveral) return "several threads of a workgroup";
  if (earlier.thread <= kCopies || now.thread <= kCopies) return "a copy and a thread of a workgroup";
  return fmt::format("threads {} and {} of a workgroup", earlier.thread, now.thread);
}

std::string RaceTracker::touch(int64_t unit, bool write, const Party& party, const Clock& clock,
                               int64_t cluster) {
  Unit& u = units_[static_cast<size_t>(unit)];
  std::string problem = conflict(u.writer, party, clock);
  if (write) {
    if (problem.empty()) problem = conflict(u.reader, party, clock);
    if (problem.empty() && u.peer_read == cluster) problem = "workgroups of a cluster";
    u.writer = party;
    u.written = cluster;
    return problem;
  }
  if (u.reader.group != -1 && u.reader.group != party.group) {
    u.reader.group = kSeveral;
  } else if (u.reader.group == -1 || is_before(u.reader, clock)) {
    u.reader = party;
  } else if (u.reader.subgroup != party.subgroup) {
    const uint64_t before = subgroups_of(u.reader), now = subgroups_of(party);
    u.reader.subgroups = before != 0 && now != 0 ? before | now : 0;
    u.reader.thread = u.reader.subgroup = kSeveral;
  } else if (u.reader.subgroup >= 0 && u.reader.subgroup_epoch != party.subgroup_epoch) {
    u.reader = party;
  } else if (u.reader.thread != party.thread) {
    u.reader.thread = kSeveral;
  }
  u.reader.epoch = std::max(u.reader.epoch, party.epoch);
  return problem;
}

std::string RaceTracker::peer_read(int64_t unit, int64_t cluster) {
  Unit& u = units_[static_cast<size_t>(unit)];
  u.peer_read = cluster;
  return u.written == cluster ? "workgroups of a cluster" : "";
}

}  // namespace tern::kernel
