// What the HAL's objects have in common: their names, operands, and ranges of buffers.
//
// The HAL in one page. A *driver* (a folder in drivers/, registered by name) makes *devices*. A device makes
// *buffers*, *executables* (code), *semaphores* (timelines) and *command buffers*. A command buffer is
// recorded once and submitted many times: its commands name *slots*, and each number in them is an *operand*:
// a constant, or an index into the int64 *parameter block* that comes with each submission. Slots are bound
// once (constants, arena) or with each submission (external).
//
// hal/ functions check their arguments and the driver behind its vtable may assume them valid. Objects are
// reference-counted; each keeps its device alive. Functions on different objects may be called from different
// threads; a command buffer is recorded and submitted by one thread at a time.
#pragma once

#include <stdint.h>

#include "hal/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tern_hal_driver_t tern_hal_driver_t;
typedef struct tern_hal_device_t tern_hal_device_t;
typedef struct tern_hal_buffer_t tern_hal_buffer_t;
typedef struct tern_hal_executable_t tern_hal_executable_t;
typedef struct tern_hal_command_buffer_t tern_hal_command_buffer_t;
typedef struct tern_hal_semaphore_t tern_hal_semaphore_t;
typedef struct tern_hal_event_log_t tern_hal_event_log_t;

// A number in a recorded command: known when recorded, or read from the parameter block of each submission.
typedef enum tern_hal_operand_kind_e {
  TERN_HAL_OPERAND_CONSTANT = 0,   // value is the number
  TERN_HAL_OPERAND_PARAMETER = 1,  // value is an index into the parameter block
} tern_hal_operand_kind_t;

typedef struct tern_hal_operand_t {
  int64_t value;
  uint32_t kind;  // tern_hal_operand_kind_t
} tern_hal_operand_t;

static inline tern_hal_operand_t tern_hal_constant(int64_t value) {
  tern_hal_operand_t operand = {value, TERN_HAL_OPERAND_CONSTANT};
  return operand;
}

static inline tern_hal_operand_t tern_hal_parameter(uint32_t index) {
  tern_hal_operand_t operand = {index, TERN_HAL_OPERAND_PARAMETER};
  return operand;
}

// Bytes [offset, offset + length) of a buffer. Length TERN_HAL_WHOLE: to the buffer's end.
#define TERN_HAL_WHOLE INT64_MAX
typedef struct tern_hal_range_t {
  tern_hal_buffer_t* buffer;
  int64_t offset;
  int64_t length;
} tern_hal_range_t;

// How a command touches a binding. Reading an uninitialised buffer is allowed; writing a read-only buffer is
// not.
enum {
  TERN_HAL_ACCESS_READ = 1,
  TERN_HAL_ACCESS_WRITE = 2,
};

// Absolute times are nanoseconds of tern_hal_now(); this one never comes.
#define TERN_HAL_NEVER INT64_MAX

// The host's monotonic clock, in nanoseconds.
int64_t tern_hal_now(void);

#ifdef __cplusplus
}  // extern "C"
#endif
