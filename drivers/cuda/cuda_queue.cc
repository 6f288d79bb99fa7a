#include "drivers/cuda/cuda_queue.h"

#include "drivers/cuda/cuda_command_buffer.h"
#include "hal/base/atomic.h"
#include "hal/point_semaphore.h"

namespace tern::cuda {
namespace {

constexpr int64_t kNap = 50000;  // ns between looks of a wait that has a deadline

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
  if (entry.recording) status = cuda_command_buffer_take_fault(entry.recording);
  for (uint32_t i = 0; i < entry.depends_count && tern_status_is_ok(status); ++i) {
    status = tern_status_clone(device->head.allocator, failure_of(queue, entry.depends[i]));
  }
  entry.recording = nullptr;
  if (tern_status_is_ok(status)) return;
  Failure& failure = queue.failures[queue.failure_count++ % kFailures];
  tern_status_free(failure.status);
  failure = {serial, status};
}

// Moves `completed` on as far as the device is. The mutex is held, the context is current.
tern_status_t advance(Device* device) {
  Queue& queue = device->queue;
  while (queue.completed < queue.submitted) {
    const CUresult result = device->symbols.EventQuery(entry_of(queue, queue.completed + 1).event);
    if (result == CUDA_ERROR_NOT_READY) return TERN_OK;
    TERN_RETURN_IF_ERROR(cuda_device_status(device, result, "Running the submitted commands"));
    retire(device, ++queue.completed);
  }
  return TERN_OK;
}

// Room for one more on the stream. The mutex is held.
tern_status_t make_room(Device* device) {
  Queue& queue = device->queue;
  TERN_RETURN_IF_ERROR(advance(device));
  while (queue.submitted - queue.completed >= kInFlight) {
    TERN_CUDA_TRY(device, EventSynchronize, entry_of(queue, queue.completed + 1).event);
    TERN_RETURN_IF_ERROR(advance(device));
  }
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

tern_status_t enqueue(Device* device, CommandBuffer* commands, bool profile, const Waits& waits) {
  Queue& queue = device->queue;
  MutexLock lock(&queue.mutex);
  TERN_RETURN_IF_ERROR(make_room(device));
  TERN_RETURN_IF_ERROR(cuda_command_buffer_launch(commands, profile));
  InFlight& entry = entry_of(queue, queue.submitted + 1);
  entry.event = tern_atomic_load_i32(&queue.sleeps) ? entry.slept_on : entry.polled;
  TERN_CUDA_TRY(device, EventRecord, entry.event, device->stream);
  entry.recording = commands->fault_count ? commands : nullptr;
  entry.depends_count = waits.count;
  for (uint32_t i = 0; i < waits.count; ++i) entry.depends[i] = waits.serials[i];
  commands->last_serial = ++queue.submitted;
  return TERN_OK;
}

tern_status_t wait_for_end(Device* device, uint64_t serial, tern_status_code_t* out_code) {
  bool done = false;
  return cuda_queue_wait(device, serial, TERN_HAL_NEVER, &done, out_code);
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
  return submit->event_log ? cuda_command_buffer_read_log(commands, submit->event_log) : TERN_OK;
}

tern_status_t poll(tern_hal_device_t* device, uint64_t serial, int* out_done, tern_status_code_t* out_code) {
  bool done = false;
  tern_status_t status = cuda_queue_poll(cast_device(device), serial, &done, out_code);
  *out_done = done;
  return status;
}

tern_status_t wait(tern_hal_device_t* device, uint64_t serial, int64_t deadline, int* out_done,
                   tern_status_code_t* out_code) {
  bool done = false;
  tern_status_t status = cuda_queue_wait(cast_device(device), serial, deadline, &done, out_code);
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

}  // namespace

tern_status_t cuda_queue_create(Device* device) {
  for (InFlight& entry : device->queue.in_flight) {
    TERN_CUDA_TRY(device, EventCreate, &entry.polled, CU_EVENT_DISABLE_TIMING);
    TERN_CUDA_TRY(device, EventCreate, &entry.slept_on, CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING);
  }
  return TERN_OK;
}

void cuda_queue_destroy(Device* device) {
  for (Failure& failure : device->queue.failures) tern_status_free(failure.status);
  for (InFlight& entry : device->queue.in_flight) {
    if (entry.polled) (void)device->symbols.EventDestroy(entry.polled);
    if (entry.slept_on) (void)device->symbols.EventDestroy(entry.slept_on);
  }
}

tern_status_t cuda_queue_submit(tern_hal_device_t* base, const tern_hal_submit_t* submit, uint32_t changed) {
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
  ContextScope scope(device);
  cuda_command_buffer_count(commands);
  if (changed || commands->stale) TERN_RETURN_IF_ERROR(cuda_command_buffer_patch(commands));
  TERN_RETURN_IF_ERROR(enqueue(device, commands, submit->event_log != nullptr, waits));
  uint32_t foreign = 0;
  TERN_RETURN_IF_ERROR(add_signals(device, submit, commands->last_serial, &foreign));
  const bool nobody_told = submit->signal_count == 0 && (commands->fault_count || waits.count);
  if (!submit->event_log && !foreign && !nobody_told) return TERN_OK;
  TERN_RETURN_IF_ERROR(finish(device, commands, submit));
  return foreign ? signal_foreign(submit) : TERN_OK;
}

tern_status_t cuda_queue_poll(Device* device, uint64_t serial, bool* out_done, tern_status_code_t* out_code) {
  Queue& queue = device->queue;
  *out_done = false;
  if (tern_atomic_load_i32(&device->head.lost)) return tern_status_from_code(TERN_STATUS_DEVICE_LOST);
  ContextScope scope(device);
  MutexLock lock(&queue.mutex);
  if (queue.completed < serial) TERN_RETURN_IF_ERROR(advance(device));
  if (queue.completed < serial) return TERN_OK;
  *out_done = true;
  *out_code = tern_status_code(failure_of(queue, serial));
  return TERN_OK;
}

namespace {

CUevent event_of(Queue& queue, uint64_t serial) {
  MutexLock lock(&queue.mutex);
  return entry_of(queue, serial).event;
}

}  // namespace

tern_status_t cuda_queue_wait(Device* device, uint64_t serial, int64_t deadline, bool* out_done,
                              tern_status_code_t* out_code) {
  const int64_t begin = tern_hal_now();
  for (;;) {
    TERN_RETURN_IF_ERROR(cuda_queue_poll(device, serial, out_done, out_code));
    const int64_t now = tern_hal_now();
    const bool spins = now - begin < static_cast<int64_t>(device->options.spin_ns);
    tern_atomic_store_i32(&device->queue.sleeps, !spins);
    if (*out_done) return TERN_OK;
    if (deadline != TERN_HAL_NEVER && now >= deadline) return TERN_OK;
    if (spins) continue;
    if (deadline == TERN_HAL_NEVER) {
      ContextScope scope(device);
      // Its entry may have been taken by a later submission meanwhile: that one's end is this one's too.
      TERN_CUDA_TRY(device, EventSynchronize, event_of(device->queue, serial));
    } else {
      const int32_t nobody = 0;
      tern_host_wait(&nobody, 0, deadline - now < kNap ? deadline : now + kNap);
    }
  }
}

void cuda_queue_forget(Device* device, CommandBuffer* commands) {
  if (commands->last_serial) {
    tern_status_code_t code = TERN_STATUS_OK;
    tern_status_free(wait_for_end(device, commands->last_serial, &code));
  }
  MutexLock lock(&device->queue.mutex);  // a lost device has not retired it
  for (InFlight& entry : device->queue.in_flight) {
    if (entry.recording == commands) entry.recording = nullptr;
  }
}

tern_status_t cuda_queue_drain(Device* device) {
  ContextScope scope(device);
  TERN_CUDA_TRY(device, StreamSynchronize, device->stream);
  MutexLock lock(&device->queue.mutex);
  return advance(device);
}

}  // namespace tern::cuda
