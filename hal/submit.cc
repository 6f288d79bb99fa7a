// The checks of a submission: what recording could not know. Arguments that are the same as last time were
// checked last time.
#include <string.h>

#include "hal/base/atomic.h"
#include "hal/base/checked_math.h"
#include "hal/device.h"
#include "hal/internal.h"

extern "C" tern_status_t tern_hal_command_buffer_check_slot(tern_hal_command_buffer_t* commands,
                                                            uint32_t index, tern_hal_range_t range) {
  [[maybe_unused]] tern_allocator_t allocator = commands->device->allocator;
  tern_hal_slot_t& slot = commands->slots[index];
  if (!range.buffer) {
    return tern_status_make(allocator, TERN_STATUS_INVALID_ARGUMENT,
                            "The slot (%u) is not bound to a buffer.", index);
  }
  if (range.buffer->device != commands->device) {
    return tern_status_make(allocator, TERN_STATUS_INVALID_ARGUMENT,
                            "The buffer bound to slot (%u) belongs to another device.", index);
  }
  const uint64_t size = range.buffer->size;
  const int64_t given_length = range.length;
  if (range.length == TERN_HAL_WHOLE && range.offset >= 0 && static_cast<uint64_t>(range.offset) <= size) {
    range.length = static_cast<int64_t>(size) - range.offset;
  }
  if (!tern_range_fits(range.offset, range.length, size)) {
    return tern_status_make(
        allocator, TERN_STATUS_OUT_OF_RANGE,
        "The range at offset (%lld) of length (%lld) bound to slot (%u) does not lie inside "
        "its buffer (%llu bytes).",
        (long long)range.offset, (long long)range.length, index, (unsigned long long)size);
  }
  if (slot.required > static_cast<uint64_t>(range.length)) {
    return tern_status_make(allocator, TERN_STATUS_OUT_OF_RANGE,
                            "The range bound to slot (%u) has (%lld) bytes; the commands need (%llu).", index,
                            (long long)range.length, (unsigned long long)slot.required);
  }
  if ((slot.access & TERN_HAL_ACCESS_WRITE) && (range.buffer->memory & TERN_HAL_MEMORY_READ_ONLY)) {
    return tern_status_make(allocator, TERN_STATUS_PERMISSION_DENIED,
                            "The commands write slot (%u), which is bound to a read-only buffer.", index);
  }
  slot.range = range;
  slot.given_length = given_length;
  slot.buffer_id = range.buffer->id;
  return TERN_OK;
}

namespace {

tern_status_t check_external_slots(tern_hal_command_buffer_t* commands, const tern_hal_submit_t* submit) {
  for (uint32_t i = 0; i < submit->binding_count; ++i) {
    tern_hal_slot_t& slot = commands->slots[i];
    if (slot.slot_class != TERN_HAL_SLOT_EXTERNAL || slot.access == 0) continue;
    const tern_hal_range_t& range = submit->bindings[i];
    if (range.buffer && range.buffer == slot.range.buffer && range.buffer->id == slot.buffer_id &&
        range.offset == slot.range.offset && range.length == slot.given_length) {
      continue;
    }
    commands->changed |= TERN_HAL_CHANGED_BINDINGS;
    slot.buffer_id = 0;  // so that a failed check is made again
    TERN_RETURN_IF_ERROR(tern_hal_command_buffer_check_slot(commands, i, range));
  }
  return TERN_OK;
}

tern_status_t check_dynamic_bindings(tern_hal_command_buffer_t* commands) {
  for (uint32_t i = 0; i < commands->dynamic_binding_count; ++i) {
    const tern_hal_binding_t& binding = commands->bindings[commands->dynamic_bindings[i]];
    const int64_t offset = tern_hal_operand_value(binding.offset, commands->last_params);
    const int64_t length = tern_hal_operand_value(binding.length, commands->last_params);
    const int64_t size = commands->slots[binding.slot].range.length;
    if (tern_range_fits(offset, length, static_cast<uint64_t>(size))) continue;
    if (length < 0) {  // a size like N-3: the sizes come from the inputs' dimensions
      return tern_status_make(
          commands->device->allocator, TERN_STATUS_OUT_OF_RANGE,
          "The sizes of this submission make the length of a binding of slot (%u) negative "
          "(%lld): the inputs are smaller than the model can take.",
          binding.slot, (long long)length);
    }
    return tern_status_make(
        commands->device->allocator, TERN_STATUS_OUT_OF_RANGE,
        "The binding at offset (%lld) of length (%lld) does not lie inside slot (%u), which "
        "is bound to (%lld) bytes.",
        (long long)offset, (long long)length, binding.slot, (long long)size);
  }
  return TERN_OK;
}

tern_status_t check_dynamic_command(tern_hal_command_buffer_t* commands, const tern_hal_command_t& command) {
  [[maybe_unused]] tern_allocator_t allocator = commands->device->allocator;
  const int64_t* params = commands->last_params;
  if (command.kind == TERN_HAL_COMMAND_FILL) {
    const tern_hal_binding_t& target = commands->bindings[command.first_binding];
    const int64_t offset = tern_hal_operand_value(target.offset, params);
    const int64_t length = tern_hal_operand_value(target.length, params);
    if (((offset | length) & (command.pattern_size - 1)) == 0) return TERN_OK;
    return tern_status_make(
        allocator, TERN_STATUS_INVALID_ARGUMENT,
        "The fill's offset (%lld) and length (%lld) must be multiples of the pattern's size (%u).",
        (long long)offset, (long long)length, command.pattern_size);
  }
  int64_t tiles = 1;
  for (const tern_hal_operand_t& operand : command.grid) {
    const int64_t count = tern_hal_operand_value(operand, params);
    if (count < 0 || !tern_mul_i64(tiles, count, &tiles)) {
      return tern_status_make(allocator, TERN_STATUS_OUT_OF_RANGE,
                              "The grid has a dimension (%lld) that is negative or makes too many tiles."
                              "\n - While dispatching '%.*s'",
                              (long long)count, TERN_SV_ARG(command.label));
    }
  }
  const int64_t scratch = tern_hal_operand_value(command.scratch, params);
  if (scratch < 0) {
    return tern_status_make(allocator, TERN_STATUS_OUT_OF_RANGE,
                            "The scratch size (%lld) is negative.\n - While dispatching '%.*s'",
                            (long long)scratch, TERN_SV_ARG(command.label));
  }
  return TERN_OK;
}

tern_status_t check_params(tern_hal_command_buffer_t* commands, const tern_hal_submit_t* submit) {
  const size_t bytes = commands->param_count * sizeof(int64_t);
  const bool same =
      commands->has_params && (!bytes || memcmp(commands->last_params, submit->params, bytes) == 0);
  if (!same) {
    commands->changed |= TERN_HAL_CHANGED_PARAMS;
    commands->has_params = 0;  // until they are checked
    if (bytes) memcpy(commands->last_params, submit->params, bytes);
  }
  if (!commands->changed) return TERN_OK;
  TERN_RETURN_IF_ERROR(check_dynamic_bindings(commands));
  for (uint32_t i = 0; i < commands->dynamic_command_count; ++i) {
    TERN_RETURN_IF_ERROR(check_dynamic_command(commands, commands->commands[commands->dynamic_commands[i]]));
  }
  commands->has_params = 1;
  return TERN_OK;
}

bool has_external_slot(const tern_hal_command_buffer_t* commands) {
  for (uint32_t i = 0; i < commands->slot_count; ++i) {
    if (commands->slots[i].slot_class == TERN_HAL_SLOT_EXTERNAL && commands->slots[i].access) return true;
  }
  return false;
}

tern_status_t check_counts(const tern_hal_command_buffer_t* commands, const tern_hal_submit_t* submit) {
  [[maybe_unused]] tern_allocator_t allocator = commands->device->allocator;
  if (submit->binding_count != commands->slot_count &&
      (submit->binding_count != 0 || has_external_slot(commands))) {
    return tern_status_make(allocator, TERN_STATUS_INVALID_ARGUMENT,
                            "The binding table has (%u) entries; the command buffer has (%u) slots.",
                            submit->binding_count, commands->slot_count);
  }
  if (submit->param_count != commands->param_count) {
    return tern_status_make(allocator, TERN_STATUS_INVALID_ARGUMENT,
                            "The parameter block has (%u) entries; the command buffer takes (%u).",
                            submit->param_count, commands->param_count);
  }
  if ((submit->binding_count && !submit->bindings) || (submit->param_count && !submit->params) ||
      (submit->wait_count && !submit->waits) || (submit->signal_count && !submit->signals)) {
    return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  }
  for (uint32_t i = 0; i < submit->wait_count; ++i) {
    if (!submit->waits[i].semaphore) return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  }
  return TERN_OK;
}

tern_status_t submit_held(tern_hal_device_t* device, const tern_hal_submit_t* submit) {
  tern_hal_command_buffer_t* commands = submit->command_buffer;
  if (commands->state == TERN_HAL_STATE_STALE) {
    TERN_RETURN_IF_ERROR(commands->vtable->prepare(commands));
    commands->state = TERN_HAL_STATE_READY;
    commands->changed = TERN_HAL_CHANGED_BINDINGS | TERN_HAL_CHANGED_PARAMS;
  }
  if (commands->state != TERN_HAL_STATE_READY) {
    return tern_status_make(device->allocator, TERN_STATUS_FAILED_PRECONDITION,
                            "The command buffer's recording has not ended.");
  }
  TERN_RETURN_IF_ERROR(check_counts(commands, submit));
  TERN_RETURN_IF_ERROR(check_external_slots(commands, submit));
  TERN_RETURN_IF_ERROR(check_params(commands, submit));
  const uint32_t changed = commands->changed;
  commands->changed = 0;
  tern_status_t status = device->vtable->submit(device, submit, changed);
  // A driver that failed may not have taken the new arguments in.
  if (!tern_status_is_ok(status)) commands->changed |= changed;
  return status;
}

tern_status_t submit_checked(tern_hal_device_t* device, const tern_hal_submit_t* submit) {
  tern_hal_command_buffer_t* commands = submit->command_buffer;
  if (!commands || commands->device != device) return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  if (tern_atomic_load_i32(&device->lost)) return tern_status_from_code(TERN_STATUS_DEVICE_LOST);
  if (__atomic_exchange_n(&commands->busy, 1, __ATOMIC_ACQUIRE)) {
    return tern_status_make(device->allocator, TERN_STATUS_FAILED_PRECONDITION,
                            "The command buffer is being submitted by another thread.");
  }
  tern_status_t status = submit_held(device, submit);
  tern_atomic_store_i32(&commands->busy, 0);
  return status;
}

}  // namespace

extern "C" tern_status_t tern_hal_device_submit(tern_hal_device_t* device, const tern_hal_submit_t* submit) {
  if (!device || !submit) return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  tern_status_t status = submit_checked(device, submit);
  if (__builtin_expect(!tern_status_is_ok(status), 0)) {
    for (uint32_t i = 0; submit->signals && i < submit->signal_count; ++i) {
      tern_hal_semaphore_fail(submit->signals[i].semaphore, tern_status_code(status));
    }
  }
  return status;
}
