// Profiling: when each command of a submission began and ended. Pass a log with a submission; without one
// nothing is measured.
#pragma once

#include "hal/types.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tern_hal_event_t {
  int64_t begin_ns;  // the device's clock: differences mean something, the origin does not
  int64_t end_ns;
  uint32_t command;          // index in the command buffer
  uint32_t workers;          // threads that took part (0: not known)
  tern_string_view_t label;  // the command's, borrowed
} tern_hal_event_t;

// Room for `capacity` events; later ones are counted and dropped.
TERN_MUST_USE tern_status_t tern_hal_event_log_create(tern_allocator_t allocator, uint32_t capacity,
                                                      tern_hal_event_log_t** out_log);
void tern_hal_event_log_destroy(tern_hal_event_log_t* log);  // null is fine

void tern_hal_event_log_clear(tern_hal_event_log_t* log);
uint32_t tern_hal_event_log_count(const tern_hal_event_log_t* log);
uint64_t tern_hal_event_log_dropped(const tern_hal_event_log_t* log);
const tern_hal_event_t* tern_hal_event_log_events(const tern_hal_event_log_t* log);

// For drivers: appends one event. One submission at a time writes a log.
void tern_hal_event_log_append(tern_hal_event_log_t* log, const tern_hal_event_t* event);

#ifdef __cplusplus
}  // extern "C"
#endif
