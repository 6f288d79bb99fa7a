// The null driver: checks and records commands as text and computes nothing. Command streams can so be tested
// on any machine; the folder is also the skeleton that a new driver copies (docs/hal.md).
#pragma once

#include "hal/driver_registry.h"

#ifdef __cplusplus
extern "C" {
#endif

// A row of schemas/abi/capabilities.def and the answer to give.
typedef struct tern_null_capability_t {
  uint32_t id;
  int64_t value;
} tern_null_capability_t;

// tern_hal_device_desc_t::driver_options of this driver. Zero is the default.
typedef struct tern_null_options_t {
  // Receives each line of the record, without its newline. Null: nothing is recorded.
  void (*write)(void* self, tern_string_view_t line);
  void* self;
  // The device is lost with the n-th submission (1 is the first), to test that callers cope. 0: never.
  uint32_t lose_at_submission;
  // What the device says it can do, so that modules for any target can be loaded on it. Other rows are 0.
  // Copied.
  const tern_null_capability_t* capabilities;
  uint32_t capability_count;
} tern_null_options_t;

TERN_PUBLIC TERN_MUST_USE tern_status_t tern_null_driver_register(tern_hal_driver_registry_t* registry);

#ifdef __cplusplus
}  // extern "C"
#endif
