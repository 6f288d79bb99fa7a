#include "hal/base/host_sync.h"
#include "hal/device.h"
#include "hal/semaphore.h"

namespace {

// The value is guarded by the mutex, and so is the number of sleepers: without any, nobody asks the system to
// wake them, which would cost a small model a tenth of its time. `version` changes with each signal and
// failure, and sleepers wait on it.
struct HostSemaphore {
  tern_hal_semaphore_t head;
  tern_mutex_t mutex;
  int32_t version;
  int32_t sleepers;
  uint64_t value;
  tern_status_code_t failure;
};

HostSemaphore* cast(tern_hal_semaphore_t* semaphore) {
  return reinterpret_cast<HostSemaphore*>(semaphore);
}

void destroy(tern_hal_semaphore_t* semaphore) {
  tern_release(semaphore->device->allocator, semaphore, sizeof(HostSemaphore));
}

tern_status_t failure_of(HostSemaphore* semaphore) {
  if (semaphore->failure == TERN_STATUS_OK) return TERN_OK;
  return tern_status_make(semaphore->head.device->allocator, semaphore->failure,
                          "The semaphore failed (%s): the work that was to signal it did not finish.",
                          tern_status_code_name(semaphore->failure));
}

tern_status_t query(tern_hal_semaphore_t* base, uint64_t* out_value) {
  HostSemaphore* semaphore = cast(base);
  tern::MutexLock lock(&semaphore->mutex);
  TERN_RETURN_IF_ERROR(failure_of(semaphore));
  *out_value = semaphore->value;
  return TERN_OK;
}

// The mutex is held: whoever sees the new value or failure, which takes the mutex, may let go of the
// semaphore.
void wake(HostSemaphore* semaphore) {
  __atomic_fetch_add(&semaphore->version, 1, __ATOMIC_RELEASE);
  if (semaphore->sleepers != 0) tern_host_wake_all(&semaphore->version);
}

tern_status_t signal(tern_hal_semaphore_t* base, uint64_t value) {
  HostSemaphore* semaphore = cast(base);
  tern::MutexLock lock(&semaphore->mutex);
  TERN_RETURN_IF_ERROR(failure_of(semaphore));
  if (value <= semaphore->value) {
    return tern_status_make(base->device->allocator, TERN_STATUS_FAILED_PRECONDITION,
                            "The signalled value (%llu) is not larger than the semaphore's (%llu).",
                            (unsigned long long)value, (unsigned long long)semaphore->value);
  }
  semaphore->value = value;
  wake(semaphore);
  return TERN_OK;
}

void fail(tern_hal_semaphore_t* base, tern_status_code_t code) {
  HostSemaphore* semaphore = cast(base);
  tern::MutexLock lock(&semaphore->mutex);
  if (semaphore->failure != TERN_STATUS_OK) return;
  semaphore->failure = code;
  wake(semaphore);
}

tern_status_t wait(tern_hal_semaphore_t* base, uint64_t value, int64_t deadline) {
  HostSemaphore* semaphore = cast(base);
  for (int32_t slept = 0;; slept = 1) {
    const int32_t version = __atomic_load_n(&semaphore->version, __ATOMIC_ACQUIRE);
    {
      tern::MutexLock lock(&semaphore->mutex);
      semaphore->sleepers -= slept;
      TERN_RETURN_IF_ERROR(failure_of(semaphore));
      if (semaphore->value >= value) return TERN_OK;
      if (deadline != TERN_HAL_NEVER && tern_host_now() >= deadline) {
        return tern_status_make(base->device->allocator, TERN_STATUS_DEADLINE_EXCEEDED,
                                "The semaphore's value (%llu) did not reach (%llu) before the deadline.",
                                (unsigned long long)semaphore->value, (unsigned long long)value);
      }
      ++semaphore->sleepers;
    }
    tern_host_wait(&semaphore->version, version, deadline);
  }
}

constexpr tern_hal_semaphore_vtable_t kVtable = {destroy, query, signal, fail, wait};

}  // namespace

extern "C" tern_status_t tern_hal_host_semaphore_create(tern_hal_device_t* device, uint64_t initial_value,
                                                        tern_hal_semaphore_t** out_semaphore) {
  auto* semaphore = static_cast<HostSemaphore*>(
      tern_allocate(device->allocator, sizeof(HostSemaphore), alignof(HostSemaphore)));
  if (!semaphore) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  *semaphore = {};
  semaphore->head.vtable = &kVtable;
  semaphore->head.device = device;
  semaphore->value = initial_value;
  *out_semaphore = &semaphore->head;
  return TERN_OK;
}

extern "C" tern_status_t tern_hal_host_wait_all(const tern_hal_submit_t* submit) {
  const int64_t deadline = submit->deadline ? submit->deadline : TERN_HAL_NEVER;
  for (uint32_t i = 0; i < submit->wait_count; ++i) {
    const tern_hal_semaphore_point_t& point = submit->waits[i];
    TERN_RETURN_IF_ERROR(tern_hal_semaphore_wait(point.semaphore, point.value, deadline));
  }
  return TERN_OK;
}

extern "C" tern_status_t tern_hal_host_signal_all(const tern_hal_submit_t* submit) {
  for (uint32_t i = 0; i < submit->signal_count; ++i) {
    const tern_hal_semaphore_point_t& point = submit->signals[i];
    TERN_RETURN_IF_ERROR(tern_hal_semaphore_signal(point.semaphore, point.value));
  }
  return TERN_OK;
}
