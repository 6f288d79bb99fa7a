#include "hal/point_semaphore.h"

#include "hal/base/host_sync.h"

namespace {

using tern::MutexLock;

constexpr uint32_t kPoints = 16;

struct Point {
  uint64_t value;
  uint64_t serial;
  tern_hal_device_t* device;  // retained if it is not the semaphore's
  const tern_hal_progress_t* progress;
};

// All behind the head is guarded by the mutex; `version` changes with each signal, failure and new point, and
// sleepers wait on it.
struct Semaphore {
  tern_hal_semaphore_t head;  // must be first
  tern_mutex_t mutex;
  int32_t version;
  uint64_t value;
  tern_status_t failure;
  uint32_t point_count;
  Point points[kPoints];  // values grow
};

Semaphore* cast(const tern_hal_semaphore_t* semaphore) {
  return reinterpret_cast<Semaphore*>(const_cast<tern_hal_semaphore_t*>(semaphore));
}

void drop_first(Semaphore* semaphore) {
  tern_hal_device_t* device = semaphore->points[0].device;
  --semaphore->point_count;
  for (uint32_t i = 0; i < semaphore->point_count; ++i) semaphore->points[i] = semaphore->points[i + 1];
  if (device != semaphore->head.device) tern_hal_device_release(device);
}

void destroy(tern_hal_semaphore_t* base) {
  Semaphore* semaphore = cast(base);
  while (semaphore->point_count) drop_first(semaphore);
  tern_status_free(semaphore->failure);
  tern_release(base->device->allocator, semaphore, sizeof(Semaphore));
}

// Takes in what has come true; the mutex is held.
void settle(Semaphore* semaphore) {
  while (semaphore->point_count && tern_status_is_ok(semaphore->failure)) {
    const Point& point = semaphore->points[0];
    int done = 0;
    tern_status_code_t code = TERN_STATUS_OK;
    tern_status_t status = point.progress->poll(point.device, point.serial, &done, &code);
    if (!tern_status_is_ok(status)) {
      done = 1;
    } else if (done && code != TERN_STATUS_OK) {
      status = point.progress->explain(point.device, point.serial);
      if (tern_status_is_ok(status)) status = tern_status_from_code(code);
    }
    if (!done) return;
    if (!tern_status_is_ok(status)) {
      semaphore->failure = status;
    } else if (point.value > semaphore->value) {
      semaphore->value = point.value;
    }
    drop_first(semaphore);
  }
}

tern_status_t failure_of(Semaphore* semaphore) {
  if (tern_status_is_ok(semaphore->failure)) return TERN_OK;
  const tern_status_code_t code = tern_status_code(semaphore->failure);
  tern_allocator_t allocator = semaphore->head.device->allocator;
  if (semaphore->failure != tern_status_from_code(code))
    return tern_status_clone(allocator, semaphore->failure);
  return tern_status_make(allocator, code,
                          "The semaphore failed (%s): the work that was to signal it did not finish.",
                          tern_status_code_name(code));
}

// The mutex is held: whoever sees the new value or failure, which takes the mutex, may let go of the
// semaphore.
void wake(Semaphore* semaphore) {
  __atomic_fetch_add(&semaphore->version, 1, __ATOMIC_RELEASE);
  tern_host_wake_all(&semaphore->version);
}

tern_status_t query(tern_hal_semaphore_t* base, uint64_t* out_value) {
  Semaphore* semaphore = cast(base);
  MutexLock lock(&semaphore->mutex);
  settle(semaphore);
  TERN_RETURN_IF_ERROR(failure_of(semaphore));
  *out_value = semaphore->value;
  return TERN_OK;
}

// Whether `value` may come next; the mutex is held.
tern_status_t check_next(Semaphore* semaphore, uint64_t value) {
  settle(semaphore);
  TERN_RETURN_IF_ERROR(failure_of(semaphore));
  uint64_t last = semaphore->value;
  for (uint32_t i = 0; i < semaphore->point_count; ++i) {
    if (semaphore->points[i].value > last) last = semaphore->points[i].value;
  }
  if (value > last) return TERN_OK;
  return tern_status_make(semaphore->head.device->allocator, TERN_STATUS_FAILED_PRECONDITION,
                          "The signalled value (%llu) is not larger than the semaphore's (%llu).",
                          (unsigned long long)value, (unsigned long long)last);
}

tern_status_t signal(tern_hal_semaphore_t* base, uint64_t value) {
  Semaphore* semaphore = cast(base);
  MutexLock lock(&semaphore->mutex);
  TERN_RETURN_IF_ERROR(check_next(semaphore, value));
  semaphore->value = value;
  wake(semaphore);
  return TERN_OK;
}

void fail(tern_hal_semaphore_t* base, tern_status_code_t code) {
  Semaphore* semaphore = cast(base);
  MutexLock lock(&semaphore->mutex);
  if (!tern_status_is_ok(semaphore->failure)) return;
  semaphore->failure = tern_status_from_code(code);
  wake(semaphore);
}

// The submission that raises the semaphore to `value`, retained, or a null device. The mutex is held.
Point find_point(Semaphore* semaphore, uint64_t value) {
  for (uint32_t i = 0; i < semaphore->point_count; ++i) {
    if (semaphore->points[i].value < value) continue;
    tern_hal_device_retain(semaphore->points[i].device);
    return semaphore->points[i];
  }
  return {};
}

tern_status_t wait(tern_hal_semaphore_t* base, uint64_t value, int64_t deadline) {
  Semaphore* semaphore = cast(base);
  for (;;) {
    const int32_t version = __atomic_load_n(&semaphore->version, __ATOMIC_ACQUIRE);
    Point point = {};
    uint64_t now = 0;
    {
      MutexLock lock(&semaphore->mutex);
      settle(semaphore);
      TERN_RETURN_IF_ERROR(failure_of(semaphore));
      now = semaphore->value;
      if (now >= value) return TERN_OK;
      point = find_point(semaphore, value);
    }
    int done = 0;
    if (point.device) {
      tern_status_code_t code = TERN_STATUS_OK;
      tern_status_t status = point.progress->wait(point.device, point.serial, deadline, &done, &code);
      tern_hal_device_release(point.device);
      TERN_RETURN_IF_ERROR(status);
    }
    if (done) continue;
    if (deadline != TERN_HAL_NEVER && tern_host_now() >= deadline) {
      return tern_status_make(base->device->allocator, TERN_STATUS_DEADLINE_EXCEEDED,
                              "The semaphore's value (%llu) did not reach (%llu) before the deadline.",
                              (unsigned long long)now, (unsigned long long)value);
    }
    tern_host_wait(&semaphore->version, version, deadline);
  }
}

const tern_hal_semaphore_vtable_t kVtable = {destroy, query, signal, fail, wait};

}  // namespace

extern "C" int tern_hal_point_semaphore_is(const tern_hal_semaphore_t* semaphore) {
  return semaphore->vtable == &kVtable;
}

extern "C" int tern_hal_point_semaphore_pending(const tern_hal_semaphore_point_t* point,
                                                const tern_hal_device_t* device, uint64_t* out_serial) {
  if (!tern_hal_point_semaphore_is(point->semaphore)) return 0;
  Semaphore* semaphore = cast(point->semaphore);
  MutexLock lock(&semaphore->mutex);
  settle(semaphore);
  if (!tern_status_is_ok(semaphore->failure) || semaphore->value >= point->value) return 0;
  for (uint32_t i = 0; i < semaphore->point_count; ++i) {
    const Point& pending = semaphore->points[i];
    if (pending.value < point->value) continue;
    *out_serial = pending.serial;
    return pending.device == device;
  }
  return 0;
}

extern "C" tern_status_t tern_hal_point_semaphore_check(const tern_hal_semaphore_point_t* point) {
  if (!point->semaphore) return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  if (!tern_hal_point_semaphore_is(point->semaphore)) return TERN_OK;
  Semaphore* semaphore = cast(point->semaphore);
  MutexLock lock(&semaphore->mutex);
  return check_next(semaphore, point->value);
}

extern "C" tern_status_t tern_hal_point_semaphore_add(const tern_hal_semaphore_point_t* point,
                                                      tern_hal_device_t* device,
                                                      const tern_hal_progress_t* progress, uint64_t serial) {
  Semaphore* semaphore = cast(point->semaphore);
  for (;;) {
    Point oldest = {};
    {
      MutexLock lock(&semaphore->mutex);
      settle(semaphore);
      if (!tern_status_is_ok(semaphore->failure)) return TERN_OK;  // whoever waits is told that
      if (semaphore->point_count < kPoints) {
        if (device != semaphore->head.device) tern_hal_device_retain(device);
        semaphore->points[semaphore->point_count++] = {point->value, serial, device, progress};
        wake(semaphore);
        return TERN_OK;
      }
      oldest = find_point(semaphore, 0);
    }
    int done = 0;
    tern_status_code_t code = TERN_STATUS_OK;
    tern_status_t status = oldest.progress->wait(oldest.device, oldest.serial, TERN_HAL_NEVER, &done, &code);
    tern_hal_device_release(oldest.device);
    TERN_RETURN_IF_ERROR(status);
  }
}

extern "C" tern_status_t tern_hal_point_semaphore_create(tern_hal_device_t* device, uint64_t initial_value,
                                                         tern_hal_semaphore_t** out_semaphore) {
  auto* semaphore =
      static_cast<Semaphore*>(tern_allocate(device->allocator, sizeof(Semaphore), alignof(Semaphore)));
  if (!semaphore) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  *semaphore = {};
  semaphore->head.vtable = &kVtable;
  semaphore->head.device = device;
  semaphore->value = initial_value;
  *out_semaphore = &semaphore->head;
  return TERN_OK;
}
