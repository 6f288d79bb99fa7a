// Submitting, waiting, reading back.
#include "hal/base/checked_math.h"
#include "vm/session/session.h"

namespace tern::vm {

tern_status_t submit_list(Session& s, uint32_t list) {
  if (!s.recorded && !s.recordings[list]) {
    if (!s.arena_known) {
      return tern_status_make(s.allocator, TERN_STATUS_MALFORMED,
                              "The program submits commands before it reserves its arena.");
    }
    TERN_RETURN_IF_ERROR(record_lists(s));
  }
  if (!s.recordings[list]) {
    return tern_status_make(
        s.allocator, TERN_STATUS_MALFORMED,
        "Command list (%u) binds what only the program's init has, or init what it has not.", list);
  }
  const tern_hal_semaphore_point_t done = {s.semaphore, s.timeline + 1};
  tern_hal_submit_t submit = {};
  submit.command_buffer = s.recordings[list];
  submit.bindings = s.ranges;
  submit.binding_count = s.program->slots.size;
  submit.params = s.block;
  submit.param_count = s.program->table->block_size();
  submit.signals = &done;
  submit.signal_count = 1;
  submit.cancel = &s.cancel;
  submit.deadline = s.deadline;
  submit.event_log = s.event_log;
  ++s.stats.submissions;
  TERN_RETURN_IF_ERROR(tern_hal_device_submit(s.device, &submit));
  ++s.timeline;
  return TERN_OK;
}

tern_status_t await_all(Session& s) {
  return s.timeline ? tern_hal_semaphore_wait(s.semaphore, s.timeline, TERN_HAL_NEVER) : TERN_OK;
}

tern_status_t read_slot(Session& s, uint32_t slot, int64_t offset, void* out, uint32_t size) {
  const tern_hal_range_t range = s.ranges[slot];
  if (!range.buffer) {
    return tern_status_make(s.allocator, TERN_STATUS_FAILED_PRECONDITION,
                            "The program reads slot (%u), which is empty.", slot);
  }
  const uint64_t length = range.length == TERN_HAL_WHOLE
                              ? tern_hal_buffer_size(range.buffer) - static_cast<uint64_t>(range.offset)
                              : static_cast<uint64_t>(range.length);
  if (!tern_range_fits(offset, size, length)) {
    return tern_status_make(s.allocator, TERN_STATUS_OUT_OF_RANGE,
                            "The program reads byte (%lld) of slot (%u), which has %llu bytes.",
                            static_cast<long long>(offset), slot, static_cast<unsigned long long>(length));
  }
  TERN_RETURN_IF_ERROR(await_all(s));
  return tern_hal_buffer_read(range.buffer, range.offset + offset, out, size);
}

}  // namespace tern::vm
