// The weights of Winograd's algorithm (winograd_transform.h), computed in each run: a dispatch before the
// convolution's transforms the panels of packing.h, which the direct way reads too, into memory of the arena.
// Stored, they would be up to four times as many, in the file and in memory; to transform them takes about as
// long as it would to read them from there (docs/lowering.md).
//
//   to[((panel * weights()^2 + point) * pitch + c) * 16 + column]     c runs over (plane of the window,
//   channel)
#pragma once

#include "compiler/lower/contraction_body.h"
#include "compiler/lower/winograd_transform.h"

namespace tern::lower {

struct WinogradWeights {
  const WinogradTransform* transform = nullptr;
  int64_t columns = 0, planes = 1, channels = 0;

  // Points lie a row more apart than they have channels: stores to all of a filter's points meet other sets
  // of the caches.
  static int64_t pitch(int64_t depth) { return depth + 1; }
  int64_t elements() const;
};

// `from`: panels (f32 or narrower) whose steps are (plane, tap, channel); `to`: elements() of f32.
ContractionBody build_winograd_weights(const WinogradWeights& weights, const MachineModel& machine,
                                       const kernel::Buffer& from, const kernel::Buffer& to);

}  // namespace tern::lower
