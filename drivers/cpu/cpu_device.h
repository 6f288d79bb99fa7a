// The CPU device: memory from the host allocator, workers, and their scratch.
#pragma once

#include "drivers/cpu/cpu_driver.h"
#include "drivers/cpu/thread_pool.h"
#include "drivers/cpu/worker_shares.h"
#include "hal/device.h"

namespace tern::cpu {

// One submitting thread's scratch; a list of those not in use hangs on the device.
struct ScratchBlock {
  ScratchBlock* next;
  size_t size;  // of the memory behind this header (at kScratchOffset)
};
constexpr size_t kScratchOffset = 64;

struct Device {
  tern_hal_device_t head;
  tern_cpu_options_t options;
  tern_hal_host_executor_t executor;  // parallel_for is null when the device has own threads, or none
  ThreadPool team;
  WorkerShares shares;
  tern_mutex_t scratch_mutex;
  ScratchBlock* idle_scratch;
  size_t scratch_size;    // what any recording needs so far
  uint8_t* team_scratch;  // of workers 1, 2, …; belongs to who has acquired the team
  size_t team_stride;
};

inline Device* cast_device(tern_hal_device_t* device) {
  return reinterpret_cast<Device*>(device);
}

TERN_MUST_USE tern_status_t cpu_device_create(const tern_hal_device_desc_t* desc, tern_allocator_t allocator,
                                              tern_hal_device_t** out_device);

// Makes sure that replays that need `bytes` of scratch a worker find it without allocating.
TERN_MUST_USE tern_status_t cpu_device_reserve_scratch(tern_hal_device_t* device, int64_t bytes);

// Scratch for a submitting thread: null with TERN_OK if no recording needs any.
TERN_MUST_USE tern_status_t cpu_device_take_scratch(Device* device, ScratchBlock** out_block);
void cpu_device_return_scratch(Device* device, ScratchBlock* block);

// Runs a command buffer whose arguments are patched in (cpu_replay.cc).
TERN_MUST_USE tern_status_t cpu_replay(Device* device, const tern_hal_submit_t* submit);

// Buffers (cpu_buffer.cc).
TERN_MUST_USE tern_status_t cpu_buffer_allocate(tern_hal_device_t* device, uint32_t memory, uint64_t size,
                                                tern_hal_buffer_t** out_buffer);
TERN_MUST_USE tern_status_t cpu_buffer_import(tern_hal_device_t* device, const tern_hal_import_t* import,
                                              tern_hal_buffer_t** out_buffer);

}  // namespace tern::cpu
