#include "drivers/null/null_device.h"

#include <string.h>

#include "hal/base/atomic.h"

namespace tern::null {
namespace {

void destroy(tern_hal_device_t* base) {
  Device* device = cast_device(base);
  tern_allocator_t allocator = base->allocator;
  Line(device->sink).add("device destroyed");
  tern_release(allocator, device->capabilities, device->capability_count * sizeof(tern_null_capability_t));
  tern_release(allocator, device, sizeof(Device));
}

// (Skeleton: one case a row of schemas/abi/capabilities.def that means anything for this kind of device; 0
// for the others.)
tern_status_t query_capability(tern_hal_device_t* base, uint32_t id, int64_t* out_value) {
  const Device* device = cast_device(base);
  for (uint32_t i = 0; i < device->capability_count; ++i) {
    if (device->capabilities[i].id == id) *out_value = device->capabilities[i].value;
  }
  return TERN_OK;
}

// (Skeleton: a real driver queues the waits, the recording and the signals, and returns. It keeps alive what
// the submission uses until the device is done with it, and fails the signals if the work fails later.
// `changed` says what of slots[].range and last_params is new: only nodes of the recording that depend on
// those need patching.)
tern_status_t submit(tern_hal_device_t* base, const tern_hal_submit_t* submit, uint32_t changed) {
  Device* device = cast_device(base);
  TERN_RETURN_IF_ERROR(tern_hal_host_wait_all(submit));
  const uint32_t number = __atomic_add_fetch(&device->submission_count, 1, __ATOMIC_RELAXED);
  if (number == device->lose_at_submission) {
    tern_atomic_store_i32(&base->lost, 1);
    Line(device->sink).add("submit %u: device lost", number);
    return tern_status_make(base->allocator, TERN_STATUS_DEVICE_LOST,
                            "The device is lost with submission (%u).", number);
  }
  if (submit->cancel && tern_atomic_load_i32(&submit->cancel->requested)) {
    Line(device->sink).add("submit %u: cancelled", number);
    return tern_status_make(base->allocator, TERN_STATUS_CANCELLED, "The caller cancelled the submission.");
  }
  if (submit->deadline && tern_hal_now() >= submit->deadline) {
    Line(device->sink).add("submit %u: deadline passed", number);
    return tern_status_make(base->allocator, TERN_STATUS_DEADLINE_EXCEEDED,
                            "The submission's deadline has passed.");
  }
  Line(device->sink)
      .add("submit %u: %u commands%s%s", number, submit->command_buffer->command_count,
           changed & TERN_HAL_CHANGED_BINDINGS ? ", new bindings" : "",
           changed & TERN_HAL_CHANGED_PARAMS ? ", new params" : "");
  if (changed) null_command_buffer_write_arguments(device, submit->command_buffer);
  for (uint32_t i = 0; submit->event_log && i < submit->command_buffer->command_count; ++i) {
    const tern_hal_command_t& command = submit->command_buffer->commands[i];
    if (command.kind == TERN_HAL_COMMAND_BARRIER) continue;
    const tern_hal_event_t event = {0, 0, i, 0, command.label};
    tern_hal_event_log_append(submit->event_log, &event);
  }
  return tern_hal_host_signal_all(submit);
}

tern_status_t wait_idle(tern_hal_device_t* device) {
  Line(cast_device(device)->sink).add("wait idle");
  return TERN_OK;
}

constexpr tern_hal_device_vtable_t kVtable = {
    destroy,
    query_capability,
    null_buffer_allocate,
    null_buffer_import,
    null_executable_create,
    null_command_buffer_create,
    tern_hal_host_semaphore_create,  // (Skeleton: fine for drivers that run on the calling thread; others
                                     // bring their own.)
    submit,
    wait_idle,
};

}  // namespace

tern_status_t null_device_create(const tern_hal_device_desc_t* desc, tern_allocator_t allocator,
                                 tern_hal_device_t** out_device) {
  auto* device = static_cast<Device*>(tern_allocate(allocator, sizeof(Device), alignof(Device)));
  if (!device) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  memset(static_cast<void*>(device), 0, sizeof(*device));
  tern_hal_device_initialize(&device->head, &kVtable, allocator, tern_string_view("null"), desc);
  const auto* options = static_cast<const tern_null_options_t*>(desc->driver_options);
  if (options) {
    device->sink = {options->write, options->self};
    device->lose_at_submission = options->lose_at_submission;
    const size_t bytes = options->capability_count * sizeof(tern_null_capability_t);
    device->capabilities = static_cast<tern_null_capability_t*>(
        tern_allocate(allocator, bytes, alignof(tern_null_capability_t)));
    if (bytes && !device->capabilities) {
      tern_release(allocator, device, sizeof(Device));
      return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
    }
    if (bytes) memcpy(device->capabilities, options->capabilities, bytes);
    device->capability_count = options->capability_count;
  }
  Line(device->sink).add("device created");
  *out_device = &device->head;
  return TERN_OK;
}

}  // namespace tern::null
