// How the tiles of a command are split before anybody takes from others: in proportion to the workers'
// weights, which stand for what their cores can do (big and little ones).
#pragma once

#include <stdint.h>

#include "hal/base/status.h"

namespace tern::cpu {

constexpr uint32_t kMaxWorkers = 256;
constexpr uint32_t kMaxWeight = 1024;  // what Linux gives the largest core (cpu_capacity)

struct WorkerShares {
  // Sums of the weights of the workers before each one, and of all: at most 2^18, so tiles (below 2^40) times
  // them fit.
  uint32_t before[kMaxWorkers + 1];

  void set_equal(uint32_t workers);
  // Weights of the first `count` workers; those beyond weigh as much as the last one.
  TERN_MUST_USE tern_status_t set(tern_allocator_t allocator, const uint32_t* weights, uint32_t count,
                                  uint32_t workers);

  // The first tile of a worker's share; that of `workers` is the number of tiles.
  int64_t begin(uint32_t worker, uint32_t workers, int64_t tiles) const {
    const int64_t all = before[workers];
    return (tiles * before[worker] + all - 1) / all;
  }
};

}  // namespace tern::cpu
