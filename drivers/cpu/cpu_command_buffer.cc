#include "drivers/cpu/cpu_command_buffer.h"

#include <string.h>

#include "drivers/cpu/builtin_kernels.h"
#include "drivers/cpu/cpu_device.h"
#include "drivers/cpu/cpu_executable.h"
#include "hal/base/checked_math.h"

namespace tern::cpu {
namespace {

// A recording is shared from so many tiles on that others than its submitting thread could run, or from so
// many bytes under the phases with several tiles.
constexpr int64_t kLeastSpared = 4, kMuchData = 1 << 20;

CommandBuffer* cast(tern_hal_command_buffer_t* base) {
  return reinterpret_cast<CommandBuffer*>(base);
}

void destroy(tern_hal_command_buffer_t* base) {
  CommandBuffer* commands = cast(base);
  tern_allocator_t allocator = base->device->allocator;
  tern_release(allocator, commands->block, commands->block_size);
  tern_release(allocator, commands, sizeof(CommandBuffer));
}

// Parameters that a command's call takes, its own ones of built-in kernels included.
uint32_t call_param_count(const tern_hal_command_t& command) {
  switch (command.kind) {
    case TERN_HAL_COMMAND_COPY:
      return 1;
    case TERN_HAL_COMMAND_FILL:
      return 3;
    default:
      return command.param_count;
  }
}

// Lays the arrays out one behind the other: called once with a null base to count bytes, then to place.
class Layout {
 public:
  explicit Layout(void* base) : base_(static_cast<char*>(base)) {}
  template <typename T>
  void place(T** array, size_t count) {
    size_ = tern_align_up(size_, alignof(T));
    *array = base_ ? reinterpret_cast<T*>(base_ + size_) : nullptr;
    size_ += count * sizeof(T);
  }
  size_t size() const { return size_; }

 private:
  char* base_;
  size_t size_ = 0;
};

size_t place_arrays(CommandBuffer* commands, void* base) {
  const tern_hal_command_buffer_t& head = commands->head;
  size_t calls = 0, params = 0;
  for (uint32_t i = 0; i < head.command_count; ++i) {
    calls += head.commands[i].kind != TERN_HAL_COMMAND_BARRIER;
    params += call_param_count(head.commands[i]);
  }
  const size_t shared = commands->worker_count > 1 ? calls : 0;
  Layout layout(base);
  layout.place(&commands->progress, shared);
  layout.place(&commands->claims, tern_align_up(shared, 8) * commands->worker_count);
  layout.place(&commands->commands, calls);
  layout.place(&commands->pointers, head.binding_count);
  layout.place(&commands->params, params);
  layout.place(&commands->binding_patches, head.binding_count);
  layout.place(&commands->param_patches, head.operand_count);
  layout.place(&commands->segments, calls);
  return layout.size();
}

tern_kernel_fn_t function_of(const tern_hal_command_t& command) {
  if (command.kind == TERN_HAL_COMMAND_COPY) return copy_kernel;
  if (command.kind == TERN_HAL_COMMAND_FILL) return fill_kernel;
  return cpu_executable_function(command.executable, command.entry);
}

void* slot_base(const tern_hal_slot_t& slot) {
  return static_cast<char*>(slot.range.buffer->host_pointer) + slot.range.offset;
}

// The addresses that do not depend on the submission, and a list of those that do.
void resolve_bindings(CommandBuffer* commands, const tern_hal_command_t& command) {
  const tern_hal_command_buffer_t& head = commands->head;
  for (uint32_t i = 0; i < command.binding_count; ++i) {
    const uint32_t index = command.first_binding + i;
    const tern_hal_binding_t& binding = head.bindings[index];
    const tern_hal_slot_t& slot = head.slots[binding.slot];
    if (slot.slot_class == TERN_HAL_SLOT_EXTERNAL || binding.offset.kind == TERN_HAL_OPERAND_PARAMETER) {
      commands->binding_patches[commands->binding_patch_count++] = {index, binding.slot, binding.offset};
      commands->pointers[index] = nullptr;
    } else {
      commands->pointers[index] = static_cast<char*>(slot_base(slot)) + binding.offset.value;
    }
  }
}

void resolve_params(CommandBuffer* commands, const tern_hal_command_t& command, int64_t* params) {
  if (command.kind == TERN_HAL_COMMAND_FILL) {
    params[1] = command.pattern;
    params[2] = command.pattern_size;
    return;
  }
  for (uint32_t i = 0; i < command.param_count; ++i) {
    const tern_hal_operand_t& operand = commands->head.params[command.first_param + i];
    if (operand.kind == TERN_HAL_OPERAND_PARAMETER) {
      commands->param_patches[commands->param_patch_count++] = {
          static_cast<uint32_t>(params - commands->params) + i, static_cast<uint32_t>(operand.value)};
    } else {
      params[i] = operand.value;
    }
  }
}

// Tile counts, scratch, lengths: all that a call has of `dynamic_commands` kind. Constants take the same way.
tern_status_t resolve_sizes(CommandBuffer* commands, Command& call) {
  const tern_hal_command_buffer_t& head = commands->head;
  const tern_hal_command_t& command = head.commands[call.index];
  if (command.kind == TERN_HAL_COMMAND_DISPATCH) {
    call.tiles = 1;
    for (const tern_hal_operand_t& dimension : command.grid) {
      call.tiles *= tern_hal_operand_value(dimension, head.last_params);
    }
    call.scratch = tern_hal_operand_value(command.scratch, head.last_params);
  } else {
    const tern_hal_binding_t& binding = head.bindings[command.first_binding];
    const int64_t length = tern_hal_operand_value(binding.length, head.last_params);
    const_cast<int64_t*>(call.args.params)[0] = length;
    call.tiles = length / kTileBytes + (length % kTileBytes != 0);
    call.scratch = 0;
  }
  if (call.tiles <= kMaxTiles) return TERN_OK;
  return tern_status_make(
      head.device->allocator, TERN_STATUS_OUT_OF_RANGE,
      "The grid has (%lld) tiles; the cpu driver takes (%lld).\n - While dispatching '%.*s'",
      (long long)call.tiles, (long long)kMaxTiles, TERN_SV_ARG(command.label));
}

bool sizes_are_dynamic(const tern_hal_command_buffer_t& head, const tern_hal_command_t& command) {
  if (command.kind != TERN_HAL_COMMAND_DISPATCH) {
    return head.bindings[command.first_binding].length.kind == TERN_HAL_OPERAND_PARAMETER;
  }
  bool dynamic = command.scratch.kind == TERN_HAL_OPERAND_PARAMETER;
  for (const tern_hal_operand_t& dimension : command.grid)
    dynamic |= dimension.kind == TERN_HAL_OPERAND_PARAMETER;
  return dynamic;
}

// Tiles of the phase of commands [first, end), up to a limit that cannot overflow.
int64_t tiles_of(const CommandBuffer* commands, uint32_t first, uint32_t end) {
  int64_t tiles = 0;
  for (uint32_t i = first; i < end && tiles <= kMaxTiles; ++i) tiles += commands->commands[i].tiles;
  return tiles;
}

uint32_t phase_end(const CommandBuffer* commands, uint32_t first) {
  uint32_t end = first + 1;
  while (end < commands->command_count && commands->commands[end].phase == commands->commands[first].phase)
    ++end;
  return end;
}

int64_t bytes_of(const CommandBuffer* commands, uint32_t first, uint32_t end) {
  const tern_hal_command_buffer_t& head = commands->head;
  int64_t bytes = 0;
  for (uint32_t i = first; i < end; ++i) {
    const tern_hal_command_t& command = head.commands[commands->commands[i].index];
    for (uint32_t b = 0; b < command.binding_count && bytes < kMuchData; ++b) {
      const tern_hal_operand_t& length = head.bindings[command.first_binding + b].length;
      // Before the first submission a parameter is not known: it counts as much.
      const bool known = commands->dynamic_commands || length.kind != TERN_HAL_OPERAND_PARAMETER;
      bytes += known ? tern_hal_operand_value(length, head.last_params) : kMuchData;
    }
  }
  return bytes;
}

// Whether a recording is worth a team: waking it costs more than a few tiles, unless they are large. Tiles
// are of a few microseconds where work can be divided, so that much work in few tiles has much data.
bool worth_sharing(const CommandBuffer* commands) {
  if (commands->worker_count == 1) return false;
  int64_t spared = 0, bytes = 0;
  for (uint32_t first = 0, end; first < commands->command_count; first = end) {
    end = phase_end(commands, first);
    const int64_t tiles = tiles_of(commands, first, end);
    if (tiles < 2) continue;
    spared += tiles - 1;
    bytes += bytes_of(commands, first, end);
    if (spared >= kLeastSpared || bytes >= kMuchData) return true;
  }
  return false;
}

void build_segments(CommandBuffer* commands) {
  commands->segment_count = 0;
  const bool shares = worth_sharing(commands);
  for (uint32_t first = 0, end; first < commands->command_count; first = end) {
    end = phase_end(commands, first);
    const bool serial = !shares || tiles_of(commands, first, end) < 2;
    Segment* last = commands->segment_count ? &commands->segments[commands->segment_count - 1] : nullptr;
    if (serial && last && last->serial) {
      last->count += end - first;
    } else {
      commands->segments[commands->segment_count++] = {first, end - first, serial};
    }
  }
  cpu_command_buffer_reset_progress(commands);
}

// All sizes anew, the scratch they need, and what can be shared.
tern_status_t resolve_all_sizes(CommandBuffer* commands) {
  int64_t scratch = 0;
  for (uint32_t i = 0; i < commands->command_count; ++i) {
    Command& call = commands->commands[i];
    TERN_RETURN_IF_ERROR(resolve_sizes(commands, call));
    if (call.scratch > scratch) scratch = call.scratch;
  }
  commands->scratch = scratch;
  build_segments(commands);
  return cpu_device_reserve_scratch(commands->head.device, scratch);
}

tern_status_t prepare(tern_hal_command_buffer_t* base) {
  CommandBuffer* commands = cast(base);
  if (!commands->block) {
    const size_t size = place_arrays(commands, nullptr);
    commands->block = tern_allocate(base->device->allocator, size, alignof(Progress));
    if (size && !commands->block) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
    commands->block_size = size;
    place_arrays(commands, commands->block);
  }
  commands->command_count = commands->binding_patch_count = commands->param_patch_count = 0;
  commands->dynamic_commands = false;
  uint32_t phase = 0, param = 0;
  for (uint32_t i = 0; i < base->command_count; ++i) {
    const tern_hal_command_t& command = base->commands[i];
    if (command.kind == TERN_HAL_COMMAND_BARRIER) {
      ++phase;
      continue;
    }
    Command& call = commands->commands[commands->command_count++];
    call = {function_of(command),
            {commands->pointers + command.first_binding, commands->params + param},
            0,
            0,
            i,
            phase};
    resolve_bindings(commands, command);
    resolve_params(commands, command, commands->params + param);
    param += call_param_count(command);
    commands->dynamic_commands |= sizes_are_dynamic(*base, command);
  }
  // Sizes that are parameters are known with the first submission.
  return commands->dynamic_commands ? TERN_OK : resolve_all_sizes(commands);
}

constexpr tern_hal_command_buffer_vtable_t kVtable = {destroy, prepare};

}  // namespace

tern_status_t cpu_command_buffer_create(tern_hal_device_t* device,
                                        tern_hal_command_buffer_t** out_command_buffer) {
  auto* commands = static_cast<CommandBuffer*>(
      tern_allocate(device->allocator, sizeof(CommandBuffer), alignof(CommandBuffer)));
  if (!commands) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  memset(static_cast<void*>(commands), 0, sizeof(*commands));
  commands->head.vtable = &kVtable;
  commands->worker_count = device->worker_count;
  *out_command_buffer = &commands->head;
  return TERN_OK;
}

tern_status_t cpu_command_buffer_patch(CommandBuffer* commands, uint32_t changed) {
  const tern_hal_command_buffer_t& head = commands->head;
  for (uint32_t i = 0; i < commands->binding_patch_count; ++i) {
    const BindingPatch& patch = commands->binding_patches[i];
    const int64_t offset = tern_hal_operand_value(patch.offset, head.last_params);
    commands->pointers[patch.pointer] = static_cast<char*>(slot_base(head.slots[patch.slot])) + offset;
  }
  if (!(changed & TERN_HAL_CHANGED_PARAMS)) return TERN_OK;
  for (uint32_t i = 0; i < commands->param_patch_count; ++i) {
    const ParamPatch& patch = commands->param_patches[i];
    commands->params[patch.param] = head.last_params[patch.parameter];
  }
  return commands->dynamic_commands ? resolve_all_sizes(commands) : TERN_OK;
}

void cpu_command_buffer_reset_progress(CommandBuffer* commands) {
  commands->epoch = 0;
  if (commands->worker_count == 1) return;
  for (uint32_t i = 0; i < commands->command_count; ++i) {
    commands->progress[i].done.store(0, std::memory_order_relaxed);
  }
  // Claims of epoch 0 are never current.
  const size_t claims = tern_align_up(commands->command_count, 8) * commands->worker_count;
  for (size_t i = 0; i < claims; ++i) commands->claims[i].store(0, std::memory_order_relaxed);
}

}  // namespace tern::cpu
