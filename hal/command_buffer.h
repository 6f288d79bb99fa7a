// Commands recorded once and replayed with each submission.
//
//   create(slots, parameter count) → dispatch / copy / fill / barrier … → end → submit, submit, submit …
//
// Between two barriers commands may run in any order or at once; a barrier makes everything before it visible
// to everything after. Submissions to one device run in order. Recording checks what is constant; submitting
// checks what depends on the parameter block or on external bindings, so that no replay can touch memory
// outside its slots.
//
// A slot has a class. *Constant* and *arena* slots are bound once, before `end`, so that drivers can bake
// addresses into their recordings; re-binding them later is allowed and costs about as much as recording.
// *External* slots are bound by each submission.
#pragma once

#include "hal/buffer.h"
#include "hal/executable.h"
#include "hal/types.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tern_hal_slot_class_e {
  TERN_HAL_SLOT_EXTERNAL = 0,
  TERN_HAL_SLOT_ARENA = 1,
  TERN_HAL_SLOT_CONSTANT = 2,  // read only
} tern_hal_slot_class_t;

typedef struct tern_hal_command_buffer_desc_t {
  const uint8_t* slot_classes;  // tern_hal_slot_class_t of each slot; copied
  uint32_t slot_count;
  uint32_t param_count;  // size of the parameter block
} tern_hal_command_buffer_desc_t;

// One binding of a dispatch, or one side of a copy: `length` bytes at `offset` inside the slot's range.
typedef struct tern_hal_binding_t {
  uint32_t slot;
  uint32_t access;            // TERN_HAL_ACCESS_...
  tern_hal_operand_t offset;  // bytes
  tern_hal_operand_t length;  // bytes the kernel may touch, for the check
} tern_hal_binding_t;

typedef struct tern_hal_dispatch_t {
  tern_hal_executable_t* executable;  // retained by the recording
  uint32_t entry;
  uint32_t binding_count;  // must be the entry's
  const tern_hal_binding_t* bindings;
  const tern_hal_operand_t* params;
  uint32_t param_count;  // must be the entry's
  uint32_t grid_rank;    // 1 to 3; a CPU's tile count is the product
  tern_hal_operand_t grid[3];
  tern_hal_operand_t scratch;  // bytes for each worker
  tern_string_view_t label;  // source nodes, for messages and profiles; borrowed: must outlive the recording
} tern_hal_dispatch_t;

TERN_MUST_USE tern_status_t tern_hal_command_buffer_create(tern_hal_device_t* device,
                                                           const tern_hal_command_buffer_desc_t* desc,
                                                           tern_hal_command_buffer_t** out_command_buffer);
void tern_hal_command_buffer_retain(tern_hal_command_buffer_t* command_buffer);
void tern_hal_command_buffer_release(tern_hal_command_buffer_t* command_buffer);  // null is fine

// Binds a constant or arena slot; the recording retains the buffer. Before `end` each such slot that a
// command uses must be bound. After `end` (and not while a submission runs) it replaces the binding. On
// failure the old binding stays.
TERN_MUST_USE tern_status_t tern_hal_command_buffer_bind(tern_hal_command_buffer_t* command_buffer,
                                                         uint32_t slot, tern_hal_range_t range);

// Recording. A failed call records nothing. Data pointed to is copied, labels are not.
TERN_MUST_USE tern_status_t tern_hal_command_buffer_dispatch(tern_hal_command_buffer_t* command_buffer,
                                                             const tern_hal_dispatch_t* dispatch);
// Both lengths must be the same operand. Ranges that overlap leave undefined bytes in the target.
TERN_MUST_USE tern_status_t tern_hal_command_buffer_copy(tern_hal_command_buffer_t* command_buffer,
                                                         const tern_hal_binding_t* source,
                                                         const tern_hal_binding_t* target);
// Repeats the low pattern_size (1, 2 or 4) bytes of pattern; offset and length must be multiples of it.
TERN_MUST_USE tern_status_t tern_hal_command_buffer_fill(tern_hal_command_buffer_t* command_buffer,
                                                         const tern_hal_binding_t* target, uint32_t pattern,
                                                         uint32_t pattern_size);
TERN_MUST_USE tern_status_t tern_hal_command_buffer_barrier(tern_hal_command_buffer_t* command_buffer);

// Ends recording: the driver makes its own recording. Nothing may be recorded after it.
TERN_MUST_USE tern_status_t tern_hal_command_buffer_end(tern_hal_command_buffer_t* command_buffer);

uint32_t tern_hal_command_buffer_command_count(const tern_hal_command_buffer_t* command_buffer);

// ---- For drivers
// -------------------------------------------------------------------------------------------------------------
// The front keeps the commands in one form for all drivers; a driver turns them into its own in `prepare`.

typedef enum tern_hal_command_kind_e {
  TERN_HAL_COMMAND_DISPATCH = 0,
  TERN_HAL_COMMAND_COPY = 1,  // binding 0 is the source, 1 the target
  TERN_HAL_COMMAND_FILL = 2,  // binding 0 is the target
  TERN_HAL_COMMAND_BARRIER = 3,
} tern_hal_command_kind_t;

typedef struct tern_hal_command_t {
  uint32_t kind;
  uint32_t entry;
  tern_hal_executable_t* executable;
  uint32_t first_binding;  // into command_buffer->bindings
  uint32_t binding_count;
  uint32_t first_param;  // into command_buffer->params
  uint32_t param_count;
  uint32_t grid_rank;
  uint32_t pattern;
  uint32_t pattern_size;
  tern_hal_operand_t grid[3];  // dimensions at and above grid_rank are the constant 1
  tern_hal_operand_t scratch;
  tern_string_view_t label;
} tern_hal_command_t;

// What changed since the driver last saw this recording, so that a replay with the same arguments resolves
// nothing.
enum {
  TERN_HAL_CHANGED_BINDINGS = 1,
  TERN_HAL_CHANGED_PARAMS = 2,
};

typedef struct tern_hal_command_buffer_vtable_t {
  void (*destroy)(tern_hal_command_buffer_t* command_buffer);
  // Called by `end`, and again after a constant or arena slot was re-bound: makes the device's recording from
  // commands, bindings, params and the bound ranges. Failing leaves the command buffer unusable but
  // destroyable.
  tern_status_t (*prepare)(tern_hal_command_buffer_t* command_buffer);
} tern_hal_command_buffer_vtable_t;

typedef struct tern_hal_slot_t {
  uint32_t slot_class;
  uint32_t access;         // of all commands on this slot
  tern_hal_range_t range;  // bound range; of external slots: that of the last submission (not retained)
  int64_t given_length;    // as it was given: TERN_HAL_WHOLE stays so here
  uint64_t buffer_id;      // of range.buffer
  uint64_t required;       // bytes that bindings with constant offset and length need
} tern_hal_slot_t;

// The head of every driver's command buffer. The driver fills vtable; the front owns the rest.
struct tern_hal_command_buffer_t {
  int32_t ref_count;
  int32_t busy;  // 1 while a submission runs
  const tern_hal_command_buffer_vtable_t* vtable;
  tern_hal_device_t* device;
  uint32_t state;  // tern_hal_recording_state_t
  uint32_t slot_count;
  uint32_t param_count;
  uint32_t command_count;
  uint32_t binding_count;
  uint32_t operand_count;
  uint32_t dynamic_binding_count;
  uint32_t dynamic_command_count;
  uint32_t command_capacity;
  uint32_t binding_capacity;
  uint32_t operand_capacity;
  uint32_t has_params;  // whether last_params holds those of a submission
  uint32_t changed;     // TERN_HAL_CHANGED_... that the driver has not seen yet
  tern_hal_slot_t* slots;
  tern_hal_command_t* commands;
  tern_hal_binding_t* bindings;
  tern_hal_operand_t* params;
  uint32_t* dynamic_bindings;  // indices of bindings whose offset or length is a parameter
  uint32_t* dynamic_commands;  // indices of commands whose grid, scratch or fill range is a parameter
  int64_t* last_params;        // the parameter block of the last submission: drivers read it here
};

typedef enum tern_hal_recording_state_e {
  TERN_HAL_STATE_RECORDING = 0,
  TERN_HAL_STATE_READY = 1,
  TERN_HAL_STATE_STALE = 2,  // re-bound: prepare runs with the next submission
  TERN_HAL_STATE_FAILED = 3,
} tern_hal_recording_state_t;

// The value of an operand in the submission at hand.
static inline int64_t tern_hal_operand_value(tern_hal_operand_t operand, const int64_t* params) {
  return operand.kind == TERN_HAL_OPERAND_PARAMETER ? params[operand.value] : operand.value;
}

// What a driver reports when a kernel of this command stored a TERN_KERNEL_... (schemas/abi/kernel_abi.h).
TERN_MUST_USE tern_status_t tern_hal_kernel_failure(const tern_hal_command_buffer_t* command_buffer,
                                                    int32_t code, uint32_t command);

#ifdef __cplusplus
}  // extern "C"
#endif
