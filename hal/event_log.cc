#include "hal/event_log.h"

struct tern_hal_event_log_t {
  tern_allocator_t allocator;
  uint32_t capacity;
  uint32_t count;
  uint64_t dropped;
  tern_hal_event_t* events;
};

extern "C" tern_status_t tern_hal_event_log_create(tern_allocator_t allocator, uint32_t capacity,
                                                   tern_hal_event_log_t** out_log) {
  *out_log = nullptr;
  auto* log = static_cast<tern_hal_event_log_t*>(
      tern_allocate(allocator, sizeof(tern_hal_event_log_t), alignof(tern_hal_event_log_t)));
  if (!log) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  *log = {allocator, capacity, 0, 0, nullptr};
  if (capacity) {
    log->events = static_cast<tern_hal_event_t*>(
        tern_allocate(allocator, capacity * sizeof(tern_hal_event_t), alignof(tern_hal_event_t)));
    if (!log->events) {
      tern_hal_event_log_destroy(log);
      return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
    }
  }
  *out_log = log;
  return TERN_OK;
}

extern "C" void tern_hal_event_log_destroy(tern_hal_event_log_t* log) {
  if (!log) return;
  tern_release(log->allocator, log->events, log->capacity * sizeof(tern_hal_event_t));
  tern_release(log->allocator, log, sizeof(*log));
}

extern "C" void tern_hal_event_log_clear(tern_hal_event_log_t* log) {
  log->count = 0;
  log->dropped = 0;
}

extern "C" uint32_t tern_hal_event_log_count(const tern_hal_event_log_t* log) {
  return log->count;
}
extern "C" uint64_t tern_hal_event_log_dropped(const tern_hal_event_log_t* log) {
  return log->dropped;
}
extern "C" const tern_hal_event_t* tern_hal_event_log_events(const tern_hal_event_log_t* log) {
  return log->events;
}

extern "C" void tern_hal_event_log_append(tern_hal_event_log_t* log, const tern_hal_event_t* event) {
  if (log->count == log->capacity) {
    ++log->dropped;
    return;
  }
  log->events[log->count++] = *event;
}
