#include "drivers/vulkan/vulkan_queue.h"

#include "drivers/vulkan/vulkan_command_buffer.h"
#include "hal/base/atomic.h"
#include "hal/point_semaphore.h"

namespace tern::vulkan {
namespace {

InFlight& entry_of(Queue& queue, uint64_t serial) {
  return queue.in_flight[serial % kInFlight];
}

// Borrowed. The mutex is held.
tern_status_t failure_of(const Queue& queue, uint64_t serial) {
  const uint64_t first = queue.failure_count > kFailures ? queue.failure_count - kFailures : 0;
  for (uint64_t i = first; i < queue.failure_count; ++i) {
    if (queue.failures[i % kFailures].serial == serial) return queue.failures[i % kFailures].status;
  }
  return TERN_OK;
}

// The submission has ended: did it do what it should?
void retire(Device* device, uint64_t serial) {
  Queue& queue = device->queue;
  InFlight& entry = entry_of(queue, serial);
  tern_status_t status = TERN_OK;
  if (entry.recording) status = vulkan_command_buffer_take_fault(entry.recording);
  for (uint32_t i = 0; i < entry.depends_count && tern_status_is_ok(status); ++i) {
    status = tern_status_clone(device->head.allocator, failure_of(queue, entry.depends[i]));
  }
  entry.recording = nullptr;
  --entry.fence->users;
  entry.fence = nullptr;
  if (tern_status_is_ok(status)) return;
  Failure& failure = queue.failures[queue.failure_count++ % kFailures];
  tern_status_free(failure.status);
  failure = {serial, status};
}

// Moves `completed` on as far as the device is. The mutex is held.
tern_status_t advance(Device* device) {
  Queue& queue = device->queue;
  while (queue.completed < queue.submitted) {
    const VkResult result =
        device->symbols.GetFenceStatus(device->handle, entry_of(queue, queue.completed + 1).fence->handle);
    if (result == VK_NOT_READY) return TERN_OK;
    TERN_RETURN_IF_ERROR(vulkan_device_status(device, result, "Running the submitted commands"));
    retire(device, ++queue.completed);
  }
  return TERN_OK;
}

// A fence that nobody waits on, reset. The mutex is held.
tern_status_t take_fence(Device* device, Fence** out_fence) {
  for (Fence& fence : device->queue.fences) {
    if (fence.users) continue;
    if (!fence.handle) {
      VkFenceCreateInfo info = {};
      info.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO;
      TERN_VULKAN_TRY(device, CreateFence, device->handle, &info, nullptr, &fence.handle);
    } else {
      TERN_VULKAN_TRY(device, ResetFences, device->handle, 1, &fence.handle);
    }
    *out_fence = &fence;
    return TERN_OK;
  }
  return tern_status_make(device->head.allocator, TERN_STATUS_OUT_OF_MEMORY,
                          "More than (%u) threads wait for submissions to one device.", kFences - kInFlight);
}

// Room for one more in flight. The mutex is held.
tern_status_t make_room(Device* device) {
  Queue& queue = device->queue;
  TERN_RETURN_IF_ERROR(advance(device));
  while (queue.submitted - queue.completed >= kInFlight) {
    TERN_VULKAN_TRY(device, WaitForFences, device->handle, 1,
                    &entry_of(queue, queue.completed + 1).fence->handle, VK_TRUE, UINT64_MAX);
    TERN_RETURN_IF_ERROR(advance(device));
  }
  return TERN_OK;
}

// Puts work on the queue; its serial is queue.submitted then. The mutex is held.
tern_status_t put(Device* device, const VkCommandBuffer* commands, uint32_t count, InFlight** out_entry) {
  Queue& queue = device->queue;
  TERN_RETURN_IF_ERROR(make_room(device));
  Fence* fence = nullptr;
  TERN_RETURN_IF_ERROR(take_fence(device, &fence));
  VkSubmitInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO;
  info.commandBufferCount = count;
  info.pCommandBuffers = commands;
  TERN_VULKAN_TRY(device, QueueSubmit, device->queue_handle, 1, &info, fence->handle);
  fence->users = 1;
  InFlight& entry = entry_of(queue, ++queue.submitted);
  entry = {};
  entry.fence = fence;
  *out_entry = &entry;
  return TERN_OK;
}

struct Waits {
  uint64_t serials[kDependencies];
  uint32_t count;
};

// What this device will signal itself is in order already; for the rest the host waits.
tern_status_t wait_for(Device* device, const tern_hal_submit_t* submit, Waits* waits) {
  const int64_t deadline = submit->deadline ? submit->deadline : TERN_HAL_NEVER;
  for (uint32_t i = 0; i < submit->wait_count; ++i) {
    const tern_hal_semaphore_point_t& point = submit->waits[i];
    uint64_t serial = 0;
    if (waits->count < kDependencies && tern_hal_point_semaphore_pending(&point, &device->head, &serial)) {
      waits->serials[waits->count++] = serial;
      continue;
    }
    TERN_RETURN_IF_ERROR(tern_hal_semaphore_wait(point.semaphore, point.value, deadline));
  }
  return TERN_OK;
}

tern_status_t check_interruptions(Device* device, const tern_hal_submit_t* submit) {
  if (submit->cancel && tern_atomic_load_i32(&submit->cancel->requested)) {
    return tern_status_make(device->head.allocator, TERN_STATUS_CANCELLED,
                            "The caller cancelled the submission.");
  }
  if (submit->deadline && tern_hal_now() >= submit->deadline) {
    return tern_status_make(device->head.allocator, TERN_STATUS_DEADLINE_EXCEEDED,
                            "The submission's deadline has passed.");
  }
  return TERN_OK;
}

tern_status_t enqueue(Device* device, CommandBuffer* commands, const Waits& waits) {
  MutexLock lock(&device->queue.mutex);
  InFlight* entry = nullptr;
  TERN_RETURN_IF_ERROR(put(device, commands->to_submit, commands->to_submit_count, &entry));
  entry->recording = commands->fault_count ? commands : nullptr;
  entry->depends_count = waits.count;
  for (uint32_t i = 0; i < waits.count; ++i) entry->depends[i] = waits.serials[i];
  vulkan_command_buffer_submitted(commands, device->queue.submitted);
  return TERN_OK;
}

tern_status_t wait_for_end(Device* device, uint64_t serial, tern_status_code_t* out_code) {
  bool done = false;
  return vulkan_queue_wait(device, serial, TERN_HAL_NEVER, &done, out_code);
}

tern_status_t explain(tern_hal_device_t* base, uint64_t serial) {
  Device* device = cast_device(base);
  MutexLock lock(&device->queue.mutex);
  return tern_status_clone(device->head.allocator, failure_of(device->queue, serial));
}

// Where nobody could be told later (no signal, a log to fill, another driver's semaphore), the end is waited
// for here.
tern_status_t finish(Device* device, CommandBuffer* commands, const tern_hal_submit_t* submit) {
  tern_status_code_t code = TERN_STATUS_OK;
  TERN_RETURN_IF_ERROR(wait_for_end(device, commands->last_serial, &code));
  if (code != TERN_STATUS_OK) {
    tern_status_t status = explain(&device->head, commands->last_serial);
    return tern_status_is_ok(status) ? tern_status_from_code(code) : status;
  }
  return submit->event_log ? vulkan_command_buffer_read_log(commands, submit->event_log) : TERN_OK;
}

tern_status_t poll(tern_hal_device_t* device, uint64_t serial, int* out_done, tern_status_code_t* out_code) {
  bool done = false;
  tern_status_t status = vulkan_queue_poll(cast_device(device), serial, &done, out_code);
  *out_done = done;
  return status;
}

tern_status_t wait(tern_hal_device_t* device, uint64_t serial, int64_t deadline, int* out_done,
                   tern_status_code_t* out_code) {
  bool done = false;
  tern_status_t status = vulkan_queue_wait(cast_device(device), serial, deadline, &done, out_code);
  *out_done = done;
  return status;
}

constexpr tern_hal_progress_t kProgress = {poll, wait, explain};

// Hands the signals over; *out_foreign counts those that the host has to raise.
tern_status_t add_signals(Device* device, const tern_hal_submit_t* submit, uint64_t serial,
                          uint32_t* out_foreign) {
  for (uint32_t i = 0; i < submit->signal_count; ++i) {
    if (!tern_hal_point_semaphore_is(submit->signals[i].semaphore)) {
      ++*out_foreign;
      continue;
    }
    TERN_RETURN_IF_ERROR(
        tern_hal_point_semaphore_add(&submit->signals[i], &device->head, &kProgress, serial));
  }
  return TERN_OK;
}

tern_status_t signal_foreign(const tern_hal_submit_t* submit) {
  for (uint32_t i = 0; i < submit->signal_count; ++i) {
    if (tern_hal_point_semaphore_is(submit->signals[i].semaphore)) continue;
    TERN_RETURN_IF_ERROR(tern_hal_semaphore_signal(submit->signals[i].semaphore, submit->signals[i].value));
  }
  return TERN_OK;
}

// The fence of a submission under way, kept from being reset until given back; null if it has ended.
Fence* hold_fence(Device* device, uint64_t serial) {
  MutexLock lock(&device->queue.mutex);
  if (serial <= device->queue.completed) return nullptr;
  Fence* fence = entry_of(device->queue, serial).fence;
  ++fence->users;
  return fence;
}

void give_back(Device* device, Fence* fence) {
  MutexLock lock(&device->queue.mutex);
  --fence->users;
}

// Sleeps until the submission ends or the deadline comes.
tern_status_t sleep_until(Device* device, uint64_t serial, int64_t deadline, int64_t now) {
  Fence* fence = hold_fence(device, serial);
  if (!fence) return TERN_OK;
  const uint64_t timeout = deadline == TERN_HAL_NEVER ? UINT64_MAX : static_cast<uint64_t>(deadline - now);
  const VkResult result = device->symbols.WaitForFences(device->handle, 1, &fence->handle, VK_TRUE, timeout);
  give_back(device, fence);
  return vulkan_device_status(device, result, "Waiting for submitted commands");
}

}  // namespace

tern_status_t vulkan_queue_create(Device* device) {
  device->symbols.GetDeviceQueue(device->handle, device->queue_family, 0, &device->queue_handle);
  return TERN_OK;
}

void vulkan_queue_destroy(Device* device) {
  for (Failure& failure : device->queue.failures) tern_status_free(failure.status);
  for (Fence& fence : device->queue.fences) {
    if (fence.handle) device->symbols.DestroyFence(device->handle, fence.handle, nullptr);
  }
}

tern_status_t vulkan_queue_run(Device* device, VkCommandBuffer commands, uint64_t* out_serial) {
  MutexLock lock(&device->queue.mutex);
  InFlight* entry = nullptr;
  TERN_RETURN_IF_ERROR(put(device, &commands, 1, &entry));
  *out_serial = device->queue.submitted;
  return TERN_OK;
}

tern_status_t vulkan_queue_submit(tern_hal_device_t* base, const tern_hal_submit_t* submit,
                                  uint32_t changed) {
  Device* device = cast_device(base);
  auto* commands = reinterpret_cast<CommandBuffer*>(submit->command_buffer);
  Waits waits = {};
  TERN_RETURN_IF_ERROR(wait_for(device, submit, &waits));
  TERN_RETURN_IF_ERROR(check_interruptions(device, submit));
  for (uint32_t i = 0; i < submit->signal_count; ++i)
    TERN_RETURN_IF_ERROR(tern_hal_point_semaphore_check(&submit->signals[i]));
  // Fault words serve one submission at a time.
  if (commands->fault_count && commands->last_serial) {
    tern_status_code_t before = TERN_STATUS_OK;
    TERN_RETURN_IF_ERROR(wait_for_end(device, commands->last_serial, &before));
  }
  vulkan_pipeline_cache_save(device);
  TERN_RETURN_IF_ERROR(vulkan_command_buffer_ready(commands, changed, submit->event_log != nullptr));
  TERN_RETURN_IF_ERROR(enqueue(device, commands, waits));
  uint32_t foreign = 0;
  TERN_RETURN_IF_ERROR(add_signals(device, submit, commands->last_serial, &foreign));
  const bool nobody_told = submit->signal_count == 0 && (commands->fault_count || waits.count);
  if (!submit->event_log && !foreign && !nobody_told) return TERN_OK;
  TERN_RETURN_IF_ERROR(finish(device, commands, submit));
  return foreign ? signal_foreign(submit) : TERN_OK;
}

tern_status_t vulkan_queue_poll(Device* device, uint64_t serial, bool* out_done,
                                tern_status_code_t* out_code) {
  Queue& queue = device->queue;
  *out_done = false;
  if (tern_atomic_load_i32(&device->head.lost)) return tern_status_from_code(TERN_STATUS_DEVICE_LOST);
  MutexLock lock(&queue.mutex);
  if (queue.completed < serial) TERN_RETURN_IF_ERROR(advance(device));
  if (queue.completed < serial) return TERN_OK;
  *out_done = true;
  *out_code = tern_status_code(failure_of(queue, serial));
  return TERN_OK;
}

tern_status_t vulkan_queue_wait(Device* device, uint64_t serial, int64_t deadline, bool* out_done,
                                tern_status_code_t* out_code) {
  const int64_t begin = tern_hal_now();
  for (;;) {
    TERN_RETURN_IF_ERROR(vulkan_queue_poll(device, serial, out_done, out_code));
    if (*out_done) return TERN_OK;
    const int64_t now = tern_hal_now();
    if (deadline != TERN_HAL_NEVER && now >= deadline) return TERN_OK;
    if (now - begin < static_cast<int64_t>(device->options.spin_ns)) continue;
    TERN_RETURN_IF_ERROR(sleep_until(device, serial, deadline, now));
  }
}

void vulkan_queue_settle(Device* device, uint64_t serial) {
  tern_status_code_t code = TERN_STATUS_OK;
  tern_status_free(wait_for_end(device, serial, &code));
}

void vulkan_queue_forget(Device* device, CommandBuffer* commands) {
  if (commands->last_serial) vulkan_queue_settle(device, commands->last_serial);
  MutexLock lock(&device->queue.mutex);  // a lost device has not retired it
  for (InFlight& entry : device->queue.in_flight) {
    if (entry.recording == commands) entry.recording = nullptr;
  }
}

tern_status_t vulkan_queue_drain(Device* device) {
  tern_status_code_t code = TERN_STATUS_OK;
  return wait_for_end(device, vulkan_queue_submitted(device), &code);
}

uint64_t vulkan_queue_submitted(Device* device) {
  MutexLock lock(&device->queue.mutex);
  return device->queue.submitted;
}

uint64_t vulkan_queue_completed(Device* device) {
  MutexLock lock(&device->queue.mutex);
  tern_status_free(advance(device));
  return device->queue.completed;
}

}  // namespace tern::vulkan
