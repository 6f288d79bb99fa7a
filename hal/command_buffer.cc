#include "hal/command_buffer.h"

#include <string.h>

#include "hal/base/atomic.h"
#include "hal/base/checked_math.h"
#include "hal/device.h"
#include "hal/internal.h"

namespace {

using CommandBuffer = tern_hal_command_buffer_t;

constexpr uint32_t kMaxCount = 1u << 24;  // commands, bindings, operands of one recording
constexpr uint32_t kAccess = TERN_HAL_ACCESS_READ | TERN_HAL_ACCESS_WRITE;

// Makes room for `more` elements behind `count`.
template <typename T>
tern_status_t reserve(const CommandBuffer* commands, T** data, uint32_t* capacity, uint32_t count,
                      uint32_t more) {
  tern_allocator_t allocator = commands->device->allocator;
  if (more > kMaxCount || count > kMaxCount - more) {
    return tern_status_make(allocator, TERN_STATUS_OUT_OF_RANGE,
                            "The recording has more than (%u) commands, bindings or operands.", kMaxCount);
  }
  if (count + more <= *capacity) return TERN_OK;
  uint32_t grown = *capacity * 2 > count + more ? *capacity * 2 : count + more;
  if (grown < 16) grown = 16;
  T* moved = static_cast<T*>(tern_allocate(allocator, grown * sizeof(T), alignof(T)));
  if (!moved) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  if (count) memcpy(static_cast<void*>(moved), *data, count * sizeof(T));
  tern_release(allocator, *data, *capacity * sizeof(T));
  *data = moved;
  *capacity = grown;
  return TERN_OK;
}

bool is_parameter(const tern_hal_operand_t& operand) {
  return operand.kind == TERN_HAL_OPERAND_PARAMETER;
}

bool is_dynamic(const tern_hal_binding_t& binding) {
  return is_parameter(binding.offset) || is_parameter(binding.length);
}

tern_status_t check_state(const CommandBuffer* commands) {
  if (commands->state == TERN_HAL_STATE_RECORDING) return TERN_OK;
  return tern_status_make(commands->device->allocator, TERN_STATUS_FAILED_PRECONDITION,
                          "The command buffer's recording has ended.");
}

// `what` names the operand in messages; a constant that must not be negative is checked here, a parameter
// when submitted.
tern_status_t check_operand(const CommandBuffer* commands, const tern_hal_operand_t& operand,
                            bool may_be_negative, [[maybe_unused]] const char* what) {
  if (operand.kind == TERN_HAL_OPERAND_CONSTANT) {
    if (may_be_negative || operand.value >= 0) return TERN_OK;
    return tern_status_make(commands->device->allocator, TERN_STATUS_OUT_OF_RANGE,
                            "The %s (%lld) is negative.", what, (long long)operand.value);
  }
  if (!is_parameter(operand)) {
    return tern_status_make(commands->device->allocator, TERN_STATUS_INVALID_ARGUMENT,
                            "The %s has an unknown kind of operand (%u).", what, operand.kind);
  }
  if (operand.value >= 0 && operand.value < commands->param_count) return TERN_OK;
  return tern_status_make(commands->device->allocator, TERN_STATUS_OUT_OF_RANGE,
                          "The %s is the parameter (%lld), which is not below the parameter count (%u).",
                          what, (long long)operand.value, commands->param_count);
}

tern_status_t check_binding(const CommandBuffer* commands, const tern_hal_binding_t& binding) {
  [[maybe_unused]] tern_allocator_t allocator = commands->device->allocator;
  if (binding.slot >= commands->slot_count) {
    return tern_status_make(allocator, TERN_STATUS_OUT_OF_RANGE,
                            "The binding's slot (%u) is not below the slot count (%u).", binding.slot,
                            commands->slot_count);
  }
  if (binding.access == 0 || (binding.access & ~kAccess)) {
    return tern_status_make(allocator, TERN_STATUS_INVALID_ARGUMENT,
                            "The binding's access (%u) is neither read (1), write (2) nor both (3).",
                            binding.access);
  }
  const tern_hal_slot_t& slot = commands->slots[binding.slot];
  if ((binding.access & TERN_HAL_ACCESS_WRITE) && slot.slot_class == TERN_HAL_SLOT_CONSTANT) {
    return tern_status_make(allocator, TERN_STATUS_PERMISSION_DENIED,
                            "The binding writes slot (%u), which is constant.", binding.slot);
  }
  if (slot.range.buffer && (binding.access & TERN_HAL_ACCESS_WRITE) &&
      (slot.range.buffer->memory & TERN_HAL_MEMORY_READ_ONLY)) {
    return tern_status_make(allocator, TERN_STATUS_PERMISSION_DENIED,
                            "The binding writes slot (%u), which is bound to a read-only buffer.",
                            binding.slot);
  }
  TERN_RETURN_IF_ERROR(check_operand(commands, binding.offset, false, "binding's offset"));
  TERN_RETURN_IF_ERROR(check_operand(commands, binding.length, false, "binding's length"));
  if (is_dynamic(binding)) return TERN_OK;
  int64_t end = 0;
  if (!tern_add_i64(binding.offset.value, binding.length.value, &end)) {
    return tern_status_make(allocator, TERN_STATUS_OUT_OF_RANGE,
                            "The binding's offset (%lld) and length (%lld) overflow.",
                            (long long)binding.offset.value, (long long)binding.length.value);
  }
  if (slot.range.buffer && end > slot.range.length) {
    return tern_status_make(
        allocator, TERN_STATUS_OUT_OF_RANGE,
        "The binding at offset (%lld) of length (%lld) does not lie inside slot (%u), which is "
        "bound to (%lld) bytes.",
        (long long)binding.offset.value, (long long)binding.length.value, binding.slot,
        (long long)slot.range.length);
  }
  return TERN_OK;
}

// Room for everything that one command adds, so that appending it cannot fail.
tern_status_t reserve_command(CommandBuffer* commands, uint32_t binding_count, uint32_t operand_count) {
  TERN_RETURN_IF_ERROR(
      reserve(commands, &commands->commands, &commands->command_capacity, commands->command_count, 1));
  TERN_RETURN_IF_ERROR(reserve(commands, &commands->bindings, &commands->binding_capacity,
                               commands->binding_count, binding_count));
  return reserve(commands, &commands->params, &commands->operand_capacity, commands->operand_count,
                 operand_count);
}

// Appends a checked command for which there is room.
void append(CommandBuffer* commands, const tern_hal_command_t& command, const tern_hal_binding_t* bindings,
            const tern_hal_operand_t* params) {
  tern_hal_command_t& added = commands->commands[commands->command_count++] = command;
  added.first_binding = commands->binding_count;
  added.first_param = commands->operand_count;
  for (uint32_t i = 0; i < command.binding_count; ++i) {
    const tern_hal_binding_t& binding = bindings[i];
    commands->bindings[commands->binding_count++] = binding;
    tern_hal_slot_t& slot = commands->slots[binding.slot];
    slot.access |= binding.access;
    if (is_dynamic(binding)) continue;
    const uint64_t end =
        static_cast<uint64_t>(binding.offset.value) + static_cast<uint64_t>(binding.length.value);
    if (end > slot.required) slot.required = end;
  }
  for (uint32_t i = 0; i < command.param_count; ++i) commands->params[commands->operand_count++] = params[i];
}

tern_hal_command_t empty_command(tern_hal_command_kind_t kind, uint32_t binding_count, uint32_t param_count) {
  tern_hal_command_t command = {};
  command.kind = kind;
  command.binding_count = binding_count;
  command.param_count = param_count;
  for (tern_hal_operand_t& dimension : command.grid) dimension = tern_hal_constant(1);
  return command;
}

tern_status_t check_entry(const CommandBuffer* commands, const tern_hal_dispatch_t* dispatch) {
  [[maybe_unused]] tern_allocator_t allocator = commands->device->allocator;
  const tern_hal_executable_t* executable = dispatch->executable;
  if (!executable || executable->device != commands->device) {
    return tern_status_make(allocator, TERN_STATUS_INVALID_ARGUMENT,
                            "The dispatch has no executable, or one of another device.");
  }
  if (dispatch->entry >= executable->entry_count) {
    return tern_status_make(allocator, TERN_STATUS_OUT_OF_RANGE,
                            "The dispatch's entry (%u) is not below the executable's entry count (%u).",
                            dispatch->entry, executable->entry_count);
  }
  const tern_hal_entry_t& entry = executable->entries[dispatch->entry];
  if (dispatch->binding_count != entry.binding_count || dispatch->param_count != entry.param_count) {
    return tern_status_make(
        allocator, TERN_STATUS_INVALID_ARGUMENT,
        "The dispatch brings (%u) bindings and (%u) parameters; the kernel '%.*s' takes (%u) and (%u).",
        dispatch->binding_count, dispatch->param_count, TERN_SV_ARG(entry.name), entry.binding_count,
        entry.param_count);
  }
  if ((dispatch->binding_count && !dispatch->bindings) || (dispatch->param_count && !dispatch->params)) {
    return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  }
  return TERN_OK;
}

tern_status_t check_dispatch(const CommandBuffer* commands, const tern_hal_dispatch_t* dispatch) {
  TERN_RETURN_IF_ERROR(check_entry(commands, dispatch));
  if (dispatch->grid_rank < 1 || dispatch->grid_rank > 3) {
    return tern_status_make(commands->device->allocator, TERN_STATUS_INVALID_ARGUMENT,
                            "The grid's rank (%u) is not 1, 2 or 3.", dispatch->grid_rank);
  }
  int64_t tiles = 1;
  for (uint32_t i = 0; i < dispatch->grid_rank; ++i) {
    TERN_RETURN_IF_ERROR(check_operand(commands, dispatch->grid[i], false, "grid's dimension"));
    if (!is_parameter(dispatch->grid[i]) && !tern_mul_i64(tiles, dispatch->grid[i].value, &tiles)) {
      return tern_status_make(commands->device->allocator, TERN_STATUS_OUT_OF_RANGE,
                              "The grid has too many tiles.");
    }
  }
  TERN_RETURN_IF_ERROR(check_operand(commands, dispatch->scratch, false, "scratch size"));
  for (uint32_t i = 0; i < dispatch->param_count; ++i) {
    TERN_RETURN_IF_ERROR_CONTEXT(check_operand(commands, dispatch->params[i], true, "kernel's parameter"),
                                 "\n - While checking params[%u]", i);
  }
  for (uint32_t i = 0; i < dispatch->binding_count; ++i) {
    TERN_RETURN_IF_ERROR_CONTEXT(check_binding(commands, dispatch->bindings[i]),
                                 "\n - While checking bindings[%u]", i);
  }
  return TERN_OK;
}

bool same_operand(const tern_hal_operand_t& a, const tern_hal_operand_t& b) {
  return a.kind == b.kind && a.value == b.value;
}

// Lists what must be checked with each submission.
tern_status_t list_dynamic(CommandBuffer* commands) {
  uint32_t bindings = 0, dynamic = 0;
  auto command_is_dynamic = [&](const tern_hal_command_t& command) {
    if (command.kind == TERN_HAL_COMMAND_FILL) return is_dynamic(commands->bindings[command.first_binding]);
    return is_parameter(command.grid[0]) || is_parameter(command.grid[1]) || is_parameter(command.grid[2]) ||
           is_parameter(command.scratch);
  };
  for (uint32_t i = 0; i < commands->binding_count; ++i) bindings += is_dynamic(commands->bindings[i]);
  for (uint32_t i = 0; i < commands->command_count; ++i) dynamic += command_is_dynamic(commands->commands[i]);
  if (bindings + dynamic == 0) return TERN_OK;
  commands->dynamic_bindings = static_cast<uint32_t*>(
      tern_allocate(commands->device->allocator, (bindings + dynamic) * sizeof(uint32_t), alignof(uint32_t)));
  if (!commands->dynamic_bindings) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  commands->dynamic_commands = commands->dynamic_bindings + bindings;
  for (uint32_t i = 0; i < commands->binding_count; ++i) {
    if (is_dynamic(commands->bindings[i])) commands->dynamic_bindings[commands->dynamic_binding_count++] = i;
  }
  for (uint32_t i = 0; i < commands->command_count; ++i) {
    if (command_is_dynamic(commands->commands[i]))
      commands->dynamic_commands[commands->dynamic_command_count++] = i;
  }
  return TERN_OK;
}

tern_status_t finish(CommandBuffer* commands) {
  for (uint32_t i = 0; i < commands->slot_count; ++i) {
    const tern_hal_slot_t& slot = commands->slots[i];
    if (slot.slot_class == TERN_HAL_SLOT_EXTERNAL || slot.access == 0 || slot.range.buffer) continue;
    return tern_status_make(commands->device->allocator, TERN_STATUS_FAILED_PRECONDITION,
                            "The slot (%u) is constant or arena and used, but not bound.", i);
  }
  TERN_RETURN_IF_ERROR(list_dynamic(commands));
  return commands->vtable->prepare(commands);
}

}  // namespace

extern "C" tern_status_t tern_hal_command_buffer_create(tern_hal_device_t* device,
                                                        const tern_hal_command_buffer_desc_t* desc,
                                                        tern_hal_command_buffer_t** out_command_buffer) {
  if (!device || !desc || !out_command_buffer || (desc->slot_count && !desc->slot_classes)) {
    return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  }
  *out_command_buffer = nullptr;
  if (tern_atomic_load_i32(&device->lost)) return tern_status_from_code(TERN_STATUS_DEVICE_LOST);
  if (desc->slot_count > kMaxCount || desc->param_count > kMaxCount) {
    return tern_status_make(device->allocator, TERN_STATUS_OUT_OF_RANGE,
                            "The slot count (%u) or the parameter count (%u) is larger than (%u).",
                            desc->slot_count, desc->param_count, kMaxCount);
  }
  for (uint32_t i = 0; i < desc->slot_count; ++i) {
    if (desc->slot_classes[i] <= TERN_HAL_SLOT_CONSTANT) continue;
    return tern_status_make(device->allocator, TERN_STATUS_INVALID_ARGUMENT,
                            "The slot (%u) has an unknown class (%u).", i, desc->slot_classes[i]);
  }
  CommandBuffer* commands = nullptr;
  TERN_RETURN_IF_ERROR(device->vtable->create_command_buffer(device, &commands));
  commands->ref_count = 1;
  commands->device = device;
  tern_hal_device_retain(device);
  const size_t slot_bytes = desc->slot_count * sizeof(tern_hal_slot_t);
  const size_t param_bytes = desc->param_count * sizeof(int64_t);
  commands->slots =
      static_cast<tern_hal_slot_t*>(tern_allocate(device->allocator, slot_bytes, alignof(tern_hal_slot_t)));
  if (commands->slots) {
    memset(static_cast<void*>(commands->slots), 0, slot_bytes);
    for (uint32_t i = 0; i < desc->slot_count; ++i) commands->slots[i].slot_class = desc->slot_classes[i];
    commands->slot_count = desc->slot_count;
  }
  commands->last_params =
      static_cast<int64_t*>(tern_allocate(device->allocator, param_bytes, alignof(int64_t)));
  if (commands->last_params) commands->param_count = desc->param_count;
  if (commands->slot_count != desc->slot_count || commands->param_count != desc->param_count) {
    tern_hal_command_buffer_release(commands);
    return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  }
  *out_command_buffer = commands;
  return TERN_OK;
}

extern "C" void tern_hal_command_buffer_retain(tern_hal_command_buffer_t* command_buffer) {
  tern_ref_retain(&command_buffer->ref_count);
}

extern "C" void tern_hal_command_buffer_release(tern_hal_command_buffer_t* commands) {
  if (!commands || !tern_ref_release(&commands->ref_count)) return;
  tern_hal_device_t* device = commands->device;
  tern_allocator_t allocator = device->allocator;
  for (uint32_t i = 0; i < commands->command_count; ++i) {
    tern_hal_executable_release(commands->commands[i].executable);
  }
  for (uint32_t i = 0; i < commands->slot_count; ++i) {
    if (commands->slots[i].slot_class != TERN_HAL_SLOT_EXTERNAL) {
      tern_hal_buffer_release(commands->slots[i].range.buffer);
    }
  }
  tern_release(allocator, commands->slots, commands->slot_count * sizeof(tern_hal_slot_t));
  tern_release(allocator, commands->last_params, commands->param_count * sizeof(int64_t));
  tern_release(allocator, commands->commands, commands->command_capacity * sizeof(tern_hal_command_t));
  tern_release(allocator, commands->bindings, commands->binding_capacity * sizeof(tern_hal_binding_t));
  tern_release(allocator, commands->params, commands->operand_capacity * sizeof(tern_hal_operand_t));
  tern_release(allocator, commands->dynamic_bindings,
               (commands->dynamic_binding_count + commands->dynamic_command_count) * sizeof(uint32_t));
  commands->vtable->destroy(commands);
  tern_hal_device_release(device);
}

extern "C" tern_status_t tern_hal_command_buffer_bind(tern_hal_command_buffer_t* commands, uint32_t index,
                                                      tern_hal_range_t range) {
  if (!commands) return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  [[maybe_unused]] tern_allocator_t allocator = commands->device->allocator;
  if (index >= commands->slot_count) {
    return tern_status_make(allocator, TERN_STATUS_OUT_OF_RANGE,
                            "The slot (%u) is not below the slot count (%u).", index, commands->slot_count);
  }
  tern_hal_slot_t& slot = commands->slots[index];
  if (slot.slot_class == TERN_HAL_SLOT_EXTERNAL) {
    return tern_status_make(allocator, TERN_STATUS_FAILED_PRECONDITION,
                            "The slot (%u) is external: it is bound by each submission.", index);
  }
  if (tern_atomic_load_i32(&commands->busy)) {
    return tern_status_make(allocator, TERN_STATUS_FAILED_PRECONDITION,
                            "The slot (%u) cannot be bound while a submission runs.", index);
  }
  tern_hal_buffer_t* before = slot.range.buffer;
  TERN_RETURN_IF_ERROR(tern_hal_command_buffer_check_slot(commands, index, range));
  tern_hal_buffer_retain(range.buffer);
  tern_hal_buffer_release(before);
  if (commands->state == TERN_HAL_STATE_READY) commands->state = TERN_HAL_STATE_STALE;
  return TERN_OK;
}

extern "C" tern_status_t tern_hal_command_buffer_dispatch(tern_hal_command_buffer_t* commands,
                                                          const tern_hal_dispatch_t* dispatch) {
  if (!commands || !dispatch) return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  TERN_RETURN_IF_ERROR(check_state(commands));
  TERN_RETURN_IF_ERROR_CONTEXT(check_dispatch(commands, dispatch), "\n - While recording dispatch '%.*s'",
                               TERN_SV_ARG(dispatch->label));
  TERN_RETURN_IF_ERROR(reserve_command(commands, dispatch->binding_count, dispatch->param_count));
  tern_hal_command_t command =
      empty_command(TERN_HAL_COMMAND_DISPATCH, dispatch->binding_count, dispatch->param_count);
  command.entry = dispatch->entry;
  command.executable = dispatch->executable;
  command.grid_rank = dispatch->grid_rank;
  for (uint32_t i = 0; i < dispatch->grid_rank; ++i) command.grid[i] = dispatch->grid[i];
  command.scratch = dispatch->scratch;
  command.label = dispatch->label;
  tern_hal_executable_retain(dispatch->executable);
  append(commands, command, dispatch->bindings, dispatch->params);
  return TERN_OK;
}

extern "C" tern_status_t tern_hal_command_buffer_copy(tern_hal_command_buffer_t* commands,
                                                      const tern_hal_binding_t* source,
                                                      const tern_hal_binding_t* target) {
  if (!commands || !source || !target) return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  TERN_RETURN_IF_ERROR(check_state(commands));
  tern_hal_binding_t bindings[2] = {*source, *target};
  bindings[0].access = TERN_HAL_ACCESS_READ;
  bindings[1].access = TERN_HAL_ACCESS_WRITE;
  if (!same_operand(source->length, target->length)) {
    return tern_status_make(commands->device->allocator, TERN_STATUS_INVALID_ARGUMENT,
                            "The copy's lengths (%lld and %lld) are not the same operand.",
                            (long long)source->length.value, (long long)target->length.value);
  }
  TERN_RETURN_IF_ERROR_CONTEXT(check_binding(commands, bindings[0]), "\n - While recording a copy's source");
  TERN_RETURN_IF_ERROR_CONTEXT(check_binding(commands, bindings[1]), "\n - While recording a copy's target");
  TERN_RETURN_IF_ERROR(reserve_command(commands, 2, 0));
  append(commands, empty_command(TERN_HAL_COMMAND_COPY, 2, 0), bindings, nullptr);
  return TERN_OK;
}

extern "C" tern_status_t tern_hal_command_buffer_fill(tern_hal_command_buffer_t* commands,
                                                      const tern_hal_binding_t* target, uint32_t pattern,
                                                      uint32_t pattern_size) {
  if (!commands || !target) return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  TERN_RETURN_IF_ERROR(check_state(commands));
  tern_hal_binding_t binding = *target;
  binding.access = TERN_HAL_ACCESS_WRITE;
  if (pattern_size != 1 && pattern_size != 2 && pattern_size != 4) {
    return tern_status_make(commands->device->allocator, TERN_STATUS_INVALID_ARGUMENT,
                            "The fill's pattern size (%u) is not 1, 2 or 4.", pattern_size);
  }
  TERN_RETURN_IF_ERROR_CONTEXT(check_binding(commands, binding), "\n - While recording a fill");
  if (!is_dynamic(binding) && ((binding.offset.value | binding.length.value) & (pattern_size - 1))) {
    return tern_status_make(
        commands->device->allocator, TERN_STATUS_INVALID_ARGUMENT,
        "The fill's offset (%lld) and length (%lld) must be multiples of the pattern's size (%u).",
        (long long)binding.offset.value, (long long)binding.length.value, pattern_size);
  }
  TERN_RETURN_IF_ERROR(reserve_command(commands, 1, 0));
  tern_hal_command_t command = empty_command(TERN_HAL_COMMAND_FILL, 1, 0);
  command.pattern = pattern;
  command.pattern_size = pattern_size;
  append(commands, command, &binding, nullptr);
  return TERN_OK;
}

extern "C" tern_status_t tern_hal_command_buffer_barrier(tern_hal_command_buffer_t* commands) {
  if (!commands) return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  TERN_RETURN_IF_ERROR(check_state(commands));
  TERN_RETURN_IF_ERROR(reserve_command(commands, 0, 0));
  append(commands, empty_command(TERN_HAL_COMMAND_BARRIER, 0, 0), nullptr, nullptr);
  return TERN_OK;
}

extern "C" tern_status_t tern_hal_command_buffer_end(tern_hal_command_buffer_t* commands) {
  if (!commands) return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  TERN_RETURN_IF_ERROR(check_state(commands));
  tern_status_t status = finish(commands);
  commands->state = tern_status_is_ok(status) ? TERN_HAL_STATE_READY : TERN_HAL_STATE_FAILED;
  commands->changed = TERN_HAL_CHANGED_BINDINGS | TERN_HAL_CHANGED_PARAMS;
  return status;
}

extern "C" uint32_t tern_hal_command_buffer_command_count(const tern_hal_command_buffer_t* command_buffer) {
  return command_buffer->command_count;
}

[[maybe_unused]] static const char* failure_reason(int32_t code) {
  switch (code) {
    case TERN_KERNEL_INDEX_OUT_OF_RANGE:
      return "an index in the input data lies outside its axis";
    case TERN_KERNEL_SCRATCH_TOO_SMALL:
      return "the scratch memory is too small";
    case TERN_KERNEL_BAD_VALUE:
      return "a value in the input data violates the operator's contract";
    case TERN_KERNEL_LOOP_CUT:
      return "the device ended a loop before its time (lavapipe does so after 65,535 iterations)";
    case TERN_KERNEL_ROW_TOO_LONG:
      return "a row has more elements (2^28) than are sorted on a GPU";
    default:
      return "the kernel reports an unknown failure";
  }
}

extern "C" tern_status_t tern_hal_kernel_failure(const tern_hal_command_buffer_t* commands, int32_t code,
                                                 uint32_t command) {
  tern_status_code_t failed = TERN_STATUS_DATA_ERROR;
  if (code == TERN_KERNEL_LOOP_CUT) failed = TERN_STATUS_INCOMPATIBLE;
  if (code == TERN_KERNEL_SCRATCH_TOO_SMALL) failed = TERN_STATUS_INTERNAL;
  return tern_status_make(commands->device->allocator, failed,
                          "A kernel failed (%d): %s.\n - While dispatching '%.*s' (command %u)", code,
                          failure_reason(code), TERN_SV_ARG(commands->commands[command].label), command);
}
