#include "drivers/cpu/cpu_device.h"

#include <new>

#include "drivers/cpu/cpu_command_buffer.h"
#include "drivers/cpu/cpu_executable.h"
#include "drivers/cpu/cpu_features.h"
#include "hal/base/checked_math.h"

namespace tern::cpu {
namespace {

constexpr uint32_t kDefaultSpin =
    50000;  // ns: longer than most serial stretches of a model, far below what a person notices
constexpr int64_t kMaxScratch = int64_t{1} << 30;

void destroy(tern_hal_device_t* base) {
  Device* device = cast_device(base);
  tern_allocator_t allocator = base->allocator;
  device->team.stop();
  while (ScratchBlock* block = device->idle_scratch) {
    device->idle_scratch = block->next;
    tern_release(allocator, block, kScratchOffset + block->size);
  }
  tern_release(allocator, device->team_scratch, device->team_stride * (base->worker_count - 1));
  device->~Device();
  tern_release(allocator, device, sizeof(Device));
}

tern_status_t query_capability(tern_hal_device_t* device, uint32_t id, int64_t* out_value) {
  *out_value = cpu_capability(id, cast_device(device)->options.x86_level_limit);
  return TERN_OK;
}

tern_status_t submit(tern_hal_device_t* device, const tern_hal_submit_t* submit, uint32_t changed) {
  auto* commands = reinterpret_cast<CommandBuffer*>(submit->command_buffer);
  if (submit->wait_count) TERN_RETURN_IF_ERROR(tern_hal_host_wait_all(submit));
  if (changed) TERN_RETURN_IF_ERROR(cpu_command_buffer_patch(commands, changed));
  TERN_RETURN_IF_ERROR(cpu_replay(cast_device(device), submit));
  return submit->signal_count ? tern_hal_host_signal_all(submit) : TERN_OK;
}

// Submissions are done when submit returns.
tern_status_t wait_idle(tern_hal_device_t*) {
  return TERN_OK;
}

constexpr tern_hal_device_vtable_t kVtable = {
    destroy,
    query_capability,
    cpu_buffer_allocate,
    cpu_buffer_import,
    cpu_executable_create,
    cpu_command_buffer_create,
    tern_hal_host_semaphore_create,
    submit,
    wait_idle,
};

ScratchBlock* make_block(Device* device, size_t size) {
  auto* block = static_cast<ScratchBlock*>(tern_allocate(device->head.allocator, kScratchOffset + size, 64));
  if (block) *block = {nullptr, size};
  return block;
}

// Takes a block of at least the size that recordings need; the mutex is held.
ScratchBlock* take_block(Device* device) {
  ScratchBlock* block = device->idle_scratch;
  if (block) {
    device->idle_scratch = block->next;
    if (block->size >= device->scratch_size) return block;
    tern_release(device->head.allocator, block, kScratchOffset + block->size);
  }
  return make_block(device, device->scratch_size);
}

tern_status_t grow_team_scratch(Device* device, size_t stride) {
  tern_allocator_t allocator = device->head.allocator;
  const size_t others = device->head.worker_count - 1;
  device->team.acquire();
  bool grown = true;
  if (device->team_stride < stride) {
    auto* memory = static_cast<uint8_t*>(tern_allocate(allocator, stride * others, 64));
    grown = memory != nullptr;
    if (grown) {
      tern_release(allocator, device->team_scratch, device->team_stride * others);
      device->team_scratch = memory;
      device->team_stride = stride;
    }
  }
  device->team.release();
  return grown ? TERN_OK : tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
}

// The workers' weights: the caller's, the system's, or all the same.
tern_status_t set_shares(Device* device, uint32_t* out_capacities, uint32_t* out_count) {
  const uint32_t workers = device->head.worker_count;
  const tern_cpu_options_t& options = device->options;
  *out_count = 0;
  if (options.worker_weights && options.worker_weight_count)
    return device->shares.set(device->head.allocator, options.worker_weights, options.worker_weight_count,
                              workers);
  device->shares.set_equal(workers);
  if (workers == 1 || device->executor.parallel_for) return TERN_OK;
  *out_count = host_core_capacities(out_capacities, workers, "/sys/devices/system/cpu");
  return *out_count ? device->shares.set(device->head.allocator, out_capacities, *out_count, workers)
                    : TERN_OK;
}

}  // namespace

tern_status_t cpu_device_create(const tern_hal_device_desc_t* desc, tern_allocator_t allocator,
                                tern_hal_device_t** out_device) {
  const uint32_t wanted = desc->executor ? desc->executor->worker_count : desc->thread_count;
  if (wanted > kMaxWorkers) {
    return tern_status_make(allocator, TERN_STATUS_OUT_OF_RANGE,
                            "The number of threads (%u) is larger than the cpu driver takes (%u).", wanted,
                            kMaxWorkers);
  }
  void* memory = tern_allocate(allocator, sizeof(Device), alignof(Device));
  if (!memory) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  auto* device = new (memory) Device{};
  tern_hal_device_initialize(&device->head, &kVtable, allocator, tern_string_view("cpu"), desc);
  if (desc->driver_options) device->options = *static_cast<const tern_cpu_options_t*>(desc->driver_options);
  if (desc->executor) device->executor = *desc->executor;
  device->head.worker_count = wanted ? wanted : 1;
  const uint32_t spin = device->options.spin_ns ? device->options.spin_ns : kDefaultSpin;
  uint32_t capacities[kMaxWorkers], capacity_count;
  tern_status_t status = set_shares(device, capacities, &capacity_count);
  if (tern_status_is_ok(status))
    status = device->team.start(allocator, desc->executor ? 1 : device->head.worker_count, spin);
  for (uint32_t i = 1; tern_status_is_ok(status) && i < capacity_count; ++i) {
    device->team.keep_to_cores_of(i, capacities[i]);
  }
  if (!tern_status_is_ok(status)) {
    destroy(&device->head);
    return status;
  }
  *out_device = &device->head;
  return TERN_OK;
}

tern_status_t cpu_device_reserve_scratch(tern_hal_device_t* base, int64_t bytes) {
  if (bytes == 0) return TERN_OK;
  Device* device = cast_device(base);
  if (bytes > kMaxScratch) {
    return tern_status_make(
        base->allocator, TERN_STATUS_OUT_OF_MEMORY,
        "The kernels need (%lld) bytes of scratch a worker; the cpu driver gives at most (%lld).",
        (long long)bytes, (long long)kMaxScratch);
  }
  const size_t size = tern_align_up(static_cast<uint64_t>(bytes), 64);
  {
    MutexLock lock(&device->scratch_mutex);
    if (size > device->scratch_size) device->scratch_size = size;
    ScratchBlock* block = take_block(device);
    if (!block) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
    block->next = device->idle_scratch;
    device->idle_scratch = block;
  }
  return base->worker_count > 1 ? grow_team_scratch(device, size) : TERN_OK;
}

tern_status_t cpu_device_take_scratch(Device* device, ScratchBlock** out_block) {
  MutexLock lock(&device->scratch_mutex);
  *out_block = take_block(device);
  return *out_block ? TERN_OK : tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
}

void cpu_device_return_scratch(Device* device, ScratchBlock* block) {
  if (!block) return;
  MutexLock lock(&device->scratch_mutex);
  block->next = device->idle_scratch;
  device->idle_scratch = block;
}

}  // namespace tern::cpu
