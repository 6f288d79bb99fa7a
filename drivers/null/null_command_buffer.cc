#include <string.h>

#include "drivers/null/null_device.h"

namespace tern::null {
namespace {

// (Skeleton: add the device's own recording: a CUDA graph, a VkCommandBuffer, … .)
struct CommandBuffer {
  tern_hal_command_buffer_t head;  // must be first
};

void destroy(tern_hal_command_buffer_t* base) {
  tern_release(base->device->allocator, base, sizeof(CommandBuffer));
}

void add_operand(Line& line, tern_hal_operand_t operand) {
  if (operand.kind == TERN_HAL_OPERAND_PARAMETER) {
    line.add("p%lld", (long long)operand.value);
  } else {
    line.add("%lld", (long long)operand.value);
  }
}

// "slot 2 [64 +400]": 400 bytes at offset 64.
void add_binding(Line& line, const tern_hal_binding_t& binding) {
  line.add("slot %u [", binding.slot);
  add_operand(line, binding.offset);
  line.add(" +");
  add_operand(line, binding.length);
  line.add("]");
}

void write_dispatch(const Sink& sink, const tern_hal_command_buffer_t* base,
                    const tern_hal_command_t& command) {
  static const char* const kAccess[4] = {"", "read", "write", "read and write"};
  {
    Line line(sink);
    line.add("  dispatch %.*s grid", TERN_SV_ARG(command.executable->entries[command.entry].name));
    for (uint32_t i = 0; i < command.grid_rank; ++i) {
      line.add(i ? " x " : " ");
      add_operand(line, command.grid[i]);
    }
    line.add(" scratch ");
    add_operand(line, command.scratch);
    if (command.param_count) line.add(" params");
    for (uint32_t i = 0; i < command.param_count; ++i) {
      line.add(" ");
      add_operand(line, base->params[command.first_param + i]);
    }
    if (command.label.size) line.add("  ; %.*s", TERN_SV_ARG(command.label));
  }
  for (uint32_t i = 0; i < command.binding_count; ++i) {
    const tern_hal_binding_t& binding = base->bindings[command.first_binding + i];
    Line line(sink);
    line.add("    %s ", kAccess[binding.access]);
    add_binding(line, binding);
  }
}

void write_command(const Sink& sink, const tern_hal_command_buffer_t* base,
                   const tern_hal_command_t& command) {
  if (command.kind == TERN_HAL_COMMAND_DISPATCH) {
    write_dispatch(sink, base, command);
    return;
  }
  Line line(sink);
  const tern_hal_binding_t* bindings = base->bindings + command.first_binding;
  if (command.kind == TERN_HAL_COMMAND_COPY) {
    line.add("  copy ");
    add_binding(line, bindings[0]);
    line.add(" to ");
    add_binding(line, bindings[1]);
  } else if (command.kind == TERN_HAL_COMMAND_FILL) {
    line.add("  fill ");
    add_binding(line, bindings[0]);
    line.add(" with 0x%0*x", static_cast<int>(2 * command.pattern_size), command.pattern);
  } else {
    line.add("  barrier");
  }
}

void write_slot(const Sink& sink, uint32_t index, const tern_hal_slot_t& slot) {
  static const char* const kClass[3] = {"external", "arena", "constant"};
  Line(sink).add("  slot %u: %s buffer %llu [%lld +%lld]", index, kClass[slot.slot_class],
                 (unsigned long long)slot.buffer_id, (long long)slot.range.offset,
                 (long long)slot.range.length);
}

// (Skeleton: here the device's recording is made from the commands, once. Addresses of constant and arena
// slots are known and can be baked in; external ones and parameters are patched in submit. It runs again
// after a re-binding: drop the old recording then.)
tern_status_t prepare(tern_hal_command_buffer_t* base) {
  const Sink& sink = cast_device(base->device)->sink;
  Line(sink).add("record: %u slots, %u params, %u commands", base->slot_count, base->param_count,
                 base->command_count);
  for (uint32_t i = 0; i < base->slot_count; ++i) {
    if (base->slots[i].slot_class != TERN_HAL_SLOT_EXTERNAL && base->slots[i].range.buffer) {
      write_slot(sink, i, base->slots[i]);
    }
  }
  for (uint32_t i = 0; i < base->command_count; ++i) write_command(sink, base, base->commands[i]);
  return TERN_OK;
}

constexpr tern_hal_command_buffer_vtable_t kVtable = {destroy, prepare};

}  // namespace

tern_status_t null_command_buffer_create(tern_hal_device_t* device,
                                         tern_hal_command_buffer_t** out_command_buffer) {
  auto* commands = static_cast<CommandBuffer*>(
      tern_allocate(device->allocator, sizeof(CommandBuffer), alignof(CommandBuffer)));
  if (!commands) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  memset(static_cast<void*>(commands), 0, sizeof(*commands));
  commands->head.vtable = &kVtable;
  *out_command_buffer = &commands->head;
  return TERN_OK;
}

void null_command_buffer_write_arguments(Device* device, const tern_hal_command_buffer_t* commands) {
  for (uint32_t i = 0; i < commands->slot_count; ++i) {
    const tern_hal_slot_t& slot = commands->slots[i];
    if (slot.slot_class == TERN_HAL_SLOT_EXTERNAL && slot.access) write_slot(device->sink, i, slot);
  }
  if (commands->param_count == 0) return;
  Line line(device->sink);
  line.add("  params");
  for (uint32_t i = 0; i < commands->param_count; ++i) line.add(" %lld", (long long)commands->last_params[i]);
}

}  // namespace tern::null
