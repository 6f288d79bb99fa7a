// A device: one queue, one allocator, one loader of executables. Caches live with what they cache, not here.
#pragma once

#include "hal/allocator.h"
#include "hal/command_buffer.h"
#include "hal/event_log.h"
#include "hal/executable.h"
#include "hal/semaphore.h"

#ifdef __cplusplus
extern "C" {
#endif

// The host's own thread pool, for CPU devices. `parallel_for` must call body(body_self, i) once for each i in
// [0, count), on any threads, at once or one after the other, and return when all have returned.
typedef struct tern_hal_host_executor_t {
  void* self;
  void (*parallel_for)(void* self, uint32_t count, void (*body)(void* body_self, uint32_t index),
                       void* body_self);
  uint32_t worker_count;  // how many bodies are worth asking for
} tern_hal_host_executor_t;

// Zero is the default of every field.
typedef struct tern_hal_device_desc_t {
  uint32_t ordinal;       // which of the driver's devices
  uint32_t thread_count;  // CPU: threads that run commands, the submitting one among them; 0 or 1: only that
                          // one, no thread is made
  const tern_hal_host_executor_t* executor;  // CPU: used instead of own threads; copied
  uint64_t memory_limit;                     // most bytes that buffers may take; 0: no limit
  const void* driver_options;                // the driver's own struct (drivers/*/*_driver.h)
} tern_hal_device_desc_t;

void tern_hal_device_retain(tern_hal_device_t* device);
void tern_hal_device_release(tern_hal_device_t* device);  // null is fine

tern_string_view_t tern_hal_device_driver_name(const tern_hal_device_t* device);
tern_allocator_t tern_hal_device_host_allocator(const tern_hal_device_t* device);

// The number of threads that run commands; 1 for devices that are no CPU.
uint32_t tern_hal_device_worker_count(const tern_hal_device_t* device);

// The device's answer to a row of schemas/abi/capabilities.def: 0 when absent. Rows that this build does not
// know are 0 too, so that a variant for later hardware is passed over.
TERN_MUST_USE tern_status_t tern_hal_device_query_capability(tern_hal_device_t* device, uint32_t id,
                                                             int64_t* out_value);

// A flag that another thread may raise to stop submissions at the next dispatch boundary.
typedef struct tern_hal_cancel_t {
  int32_t requested;
} tern_hal_cancel_t;
static inline void tern_hal_cancel_request(tern_hal_cancel_t* cancel) {
  __atomic_store_n(&cancel->requested, 1, __ATOMIC_RELEASE);
}
static inline void tern_hal_cancel_reset(tern_hal_cancel_t* cancel) {
  __atomic_store_n(&cancel->requested, 0, __ATOMIC_RELEASE);
}

typedef struct tern_hal_submit_t {
  tern_hal_command_buffer_t* command_buffer;
  const tern_hal_range_t* bindings;  // one a slot; those of constant and arena slots are ignored
  uint32_t binding_count;            // the command buffer's slot count, or 0 if it has no external slot
  uint32_t param_count;              // the command buffer's
  const int64_t* params;             // the parameter block; copied
  const tern_hal_semaphore_point_t* waits;
  const tern_hal_semaphore_point_t* signals;
  uint32_t wait_count;
  uint32_t signal_count;
  const tern_hal_cancel_t* cancel;  // may be null
  int64_t deadline;                 // tern_hal_now's clock; 0: none
  tern_hal_event_log_t* event_log;  // may be null
} tern_hal_submit_t;

// Runs a command buffer after its waits, then raises its signals. CPU and null devices run it before
// returning; others return early, keep what the submission uses alive, and report failures through the
// signalled semaphores. A submission that fails here fails its signals too. Cancellation, deadline and kernel
// failures (TERN_STATUS_DATA_ERROR, naming the dispatch) leave the contents of what would have been written
// undefined; the command buffer can be submitted again.
TERN_MUST_USE tern_status_t tern_hal_device_submit(tern_hal_device_t* device,
                                                   const tern_hal_submit_t* submit);

// Waits until all submissions are done.
TERN_MUST_USE tern_status_t tern_hal_device_wait_idle(tern_hal_device_t* device);

// ---- For drivers
// -------------------------------------------------------------------------------------------------------------

typedef struct tern_hal_device_vtable_t {
  void (*destroy)(tern_hal_device_t* device);
  tern_status_t (*query_capability)(tern_hal_device_t* device, uint32_t id, int64_t* out_value);
  // Buffers: the driver allocates its struct and memory and sets vtable and host_pointer.
  tern_status_t (*allocate_buffer)(tern_hal_device_t* device, uint32_t memory, uint64_t size,
                                   tern_hal_buffer_t** out_buffer);
  tern_status_t (*import_buffer)(tern_hal_device_t* device, const tern_hal_import_t* import,
                                 tern_hal_buffer_t** out_buffer);
  tern_status_t (*create_executable)(tern_hal_device_t* device, const tern_hal_executable_desc_t* desc,
                                     tern_hal_executable_t** out_executable);
  // The driver allocates its struct, zeroed, and sets vtable.
  tern_status_t (*create_command_buffer)(tern_hal_device_t* device,
                                         tern_hal_command_buffer_t** out_command_buffer);
  tern_status_t (*create_semaphore)(tern_hal_device_t* device, uint64_t initial_value,
                                    tern_hal_semaphore_t** out_semaphore);
  // Everything is checked; slots[i].range and last_params hold this submission's arguments, `changed`
  // (TERN_HAL_CHANGED_...) what differs from the last. Waits and signals are the driver's to do; on failure
  // the front fails the signals.
  tern_status_t (*submit)(tern_hal_device_t* device, const tern_hal_submit_t* submit, uint32_t changed);
  tern_status_t (*wait_idle)(tern_hal_device_t* device);
} tern_hal_device_vtable_t;

// The head of every driver's device: tern_hal_device_initialize fills it.
struct tern_hal_device_t {
  int32_t ref_count;
  int32_t lost;  // set by a driver for good: the front then answers every call with TERN_STATUS_DEVICE_LOST
  const tern_hal_device_vtable_t* vtable;
  tern_allocator_t allocator;
  tern_string_view_t driver_name;
  uint32_t worker_count;
  uint64_t memory_limit;
  uint64_t next_buffer_id;
  tern_hal_allocator_stats_t stats;
};

void tern_hal_device_initialize(tern_hal_device_t* device, const tern_hal_device_vtable_t* vtable,
                                tern_allocator_t allocator, tern_string_view_t driver_name,
                                const tern_hal_device_desc_t* desc);

// The waits and signals of a submission, for drivers that run it on the calling thread.
TERN_MUST_USE tern_status_t tern_hal_host_wait_all(const tern_hal_submit_t* submit);
TERN_MUST_USE tern_status_t tern_hal_host_signal_all(const tern_hal_submit_t* submit);

#ifdef __cplusplus
}  // extern "C"
#endif
