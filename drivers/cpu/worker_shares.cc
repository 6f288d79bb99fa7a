#include "drivers/cpu/worker_shares.h"

namespace tern::cpu {

void WorkerShares::set_equal(uint32_t workers) {
  for (uint32_t i = 0; i <= workers; ++i) before[i] = i;
}

tern_status_t WorkerShares::set(tern_allocator_t allocator, const uint32_t* weights, uint32_t count,
                                uint32_t workers) {
  before[0] = 0;
  for (uint32_t i = 0; i < workers; ++i) {
    const uint32_t weight = weights[i < count ? i : count - 1];
    if (weight == 0 || weight > kMaxWeight) {
      return tern_status_make(allocator, TERN_STATUS_OUT_OF_RANGE,
                              "The weight (%u) of worker (%u) is not between 1 and (%u).", weight, i,
                              kMaxWeight);
    }
    before[i + 1] = before[i] + weight;
  }
  return TERN_OK;
}

}  // namespace tern::cpu
