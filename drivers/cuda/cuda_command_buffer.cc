#include "drivers/cuda/cuda_command_buffer.h"

#include <string.h>

namespace tern::cuda {
namespace {

constexpr uint32_t kSettled = 8;  // submissions with the same steps, before the graph is made for them
// Of a node that is disabled, in place of nothing: a multiple of clusters of any size up to eight.
constexpr uint32_t kEmptyGrid[3] = {840, 1, 1};
constexpr int64_t kMaxGrid[3] = {INT32_MAX, 65535, 65535};

CommandBuffer* cast(tern_hal_command_buffer_t* commands) {
  return reinterpret_cast<CommandBuffer*>(commands);
}

template <typename T>
bool allocate(tern_allocator_t allocator, size_t count, T** out) {
  *out = static_cast<T*>(tern_allocate(allocator, count * sizeof(T), alignof(T)));
  if (*out) memset(static_cast<void*>(*out), 0, count * sizeof(T));
  return *out || count == 0;
}

void destroy(tern_hal_command_buffer_t* base) {
  CommandBuffer* commands = cast(base);
  Device* device = cast_device(base->device);
  tern_allocator_t allocator = base->device->allocator;
  cuda_queue_forget(device, commands);
  {
    ContextScope scope(device);
    cuda_graph_destroy(commands);
    for (uint32_t i = 0; i < commands->event_count; ++i)
      (void)device->symbols.EventDestroy(commands->events[i]);
    if (commands->faults) (void)device->symbols.MemFreeHost(commands->faults);
  }
  tern_release(allocator, commands->events, (commands->step_count + 1) * sizeof(CUevent));
  tern_release(allocator, commands->steps, commands->step_count * sizeof(Step));
  tern_release(allocator, commands->nodes, commands->step_count * sizeof(CUgraphNode));
  tern_release(allocator, commands->args, commands->arg_count * sizeof(uint64_t));
  tern_release(allocator, commands->arg_pointers, commands->arg_count * sizeof(void*));
  tern_release(allocator, commands->tensors, commands->tensor_count * sizeof(CUtensorMap));
  tern_release(allocator, commands, sizeof(CommandBuffer));
}

const tern_hal_launch_t& launch_of(const tern_hal_command_t& command) {
  return command.executable->entries[command.entry].launch;
}

const Function& function_of(const tern_hal_command_t& command) {
  return cuda_executable_function(command.executable, command.entry);
}

bool is_parameter(const tern_hal_operand_t& operand) {
  return operand.kind == TERN_HAL_OPERAND_PARAMETER;
}

bool is_dynamic(const CommandBuffer* commands, const tern_hal_command_t& command) {
  const tern_hal_command_buffer_t& head = commands->head;
  for (uint32_t i = 0; i < command.binding_count; ++i) {
    const tern_hal_binding_t& binding = head.bindings[command.first_binding + i];
    if (head.slots[binding.slot].slot_class == TERN_HAL_SLOT_EXTERNAL) return true;
    if (is_parameter(binding.offset) || is_parameter(binding.length)) return true;
  }
  for (uint32_t i = 0; i < command.param_count; ++i) {
    if (is_parameter(head.params[command.first_param + i])) return true;
  }
  return is_parameter(command.grid[0]) || is_parameter(command.grid[1]) || is_parameter(command.grid[2]) ||
         is_parameter(command.scratch);
}

// Counts and lists the steps. The commands do not change after `end`, so this is done once.
tern_status_t make_steps(CommandBuffer* commands) {
  const tern_hal_command_buffer_t& head = commands->head;
  uint32_t steps = 0, args = 0, faults = 0, tensors = 0;
  for (uint32_t i = 0; i < head.command_count; ++i) {
    const tern_hal_command_t& command = head.commands[i];
    steps += command.kind != TERN_HAL_COMMAND_BARRIER;
    if (command.kind != TERN_HAL_COMMAND_DISPATCH) continue;
    const bool reports = launch_of(command).flags & TERN_HAL_ENTRY_REPORTS_FAULTS;
    args += command.binding_count + command.param_count + function_of(command).tensor_count + reports;
    faults += reports;
    tensors += function_of(command).tensor_count;
  }
  tern_allocator_t allocator = head.device->allocator;
  const bool allocated =
      allocate(allocator, steps, &commands->steps) && allocate(allocator, steps, &commands->nodes);
  commands->step_count = steps;
  const bool args_allocated =
      allocate(allocator, args, &commands->args) && allocate(allocator, args, &commands->arg_pointers);
  commands->arg_count = args;
  const bool tensors_allocated = allocate(allocator, tensors, &commands->tensors);
  commands->tensor_count = tensors;
  if (!allocated || !args_allocated || !tensors_allocated)
    return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  for (uint32_t i = 0; i < args; ++i) commands->arg_pointers[i] = &commands->args[i];
  commands->fault_count = faults;
  return TERN_OK;
}

void fill_steps(CommandBuffer* commands) {
  const tern_hal_command_buffer_t& head = commands->head;
  uint32_t next = 0, next_arg = 0, next_fault = 0, next_tensor = 0, phase = 0;
  bool phase_is_empty = true;
  for (uint32_t i = 0; i < head.command_count; ++i) {
    const tern_hal_command_t& command = head.commands[i];
    if (command.kind == TERN_HAL_COMMAND_BARRIER) {
      phase += !phase_is_empty;
      phase_is_empty = true;
      continue;
    }
    phase_is_empty = false;
    Step& step = commands->steps[next++];
    step.command = i;
    step.kind = command.kind;
    step.phase = phase;
    step.dynamic = is_dynamic(commands, command);
    for (const tern_hal_operand_t& dimension : command.grid) commands->varies |= is_parameter(dimension);
    if (command.kind != TERN_HAL_COMMAND_DISPATCH) continue;
    const bool reports = launch_of(command).flags & TERN_HAL_ENTRY_REPORTS_FAULTS;
    const Function& function = function_of(command);
    step.function = function.handle;
    step.first_arg = next_arg;
    step.first_tensor = next_tensor;
    step.arg_count = command.binding_count + command.param_count + function.tensor_count + reports;
    const uint32_t behind = next_arg + command.binding_count + command.param_count;
    for (uint32_t k = 0; k < function.tensor_count; ++k)
      commands->arg_pointers[behind + k] = &commands->tensors[next_tensor++];
    step.fault = reports ? ++next_fault : 0;
    next_arg += step.arg_count;
  }
}

tern_status_t make_faults(CommandBuffer* commands) {
  Device* device = cast_device(commands->head.device);
  const size_t bytes = commands->fault_count * sizeof(int32_t);
  if (!bytes || commands->faults) return TERN_OK;
  void* words = nullptr;
  TERN_CUDA_TRY(device, MemHostAlloc, &words, bytes, CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP);
  commands->faults = static_cast<int32_t*>(words);
  memset(words, 0, bytes);
  TERN_CUDA_TRY(device, MemHostGetDevicePointer, &commands->fault_address, words, 0);
  return TERN_OK;
}

// ---- The numbers of a step. `known`: there is a submission; without one, what it would bring is a
// placeholder.

class Resolver {
 public:
  Resolver(CommandBuffer* commands, bool known)
      : commands_(commands), device_(cast_device(commands->head.device)), known_(known) {}

  // Computes the step's work and arguments; *out_changed says whether any differs.
  tern_status_t resolve(Step& step, bool* out_changed) {
    const tern_hal_command_t& command = commands_->head.commands[step.command];
    Work work = {};
    changed_ = false;
    if (command.kind == TERN_HAL_COMMAND_DISPATCH) {
      TERN_RETURN_IF_ERROR_CONTEXT(grid(command, &work), "\n - While dispatching '%.*s' (command %u)",
                                   TERN_SV_ARG(command.label), step.command);
      arguments(command, step);
      TERN_RETURN_IF_ERROR_CONTEXT(tensors(command, step, work.enabled),
                                   "\n - While dispatching '%.*s' (command %u)", TERN_SV_ARG(command.label),
                                   step.command);
    } else {
      TERN_RETURN_IF_ERROR_CONTEXT(transfer(command, &work), "\n - While preparing command %u", step.command);
    }
    changed_ |= memcmp(&work, &step.work, sizeof(work)) != 0;
    step.work = work;
    *out_changed = changed_;
    return TERN_OK;
  }

 private:
  int64_t value(const tern_hal_operand_t& operand) const {
    if (known_) return tern_hal_operand_value(operand, commands_->head.last_params);
    return is_parameter(operand) ? 0 : operand.value;
  }

  uint64_t address(const tern_hal_binding_t& binding) const {
    const tern_hal_slot_t& slot = commands_->head.slots[binding.slot];
    if (!known_ && slot.slot_class == TERN_HAL_SLOT_EXTERNAL) return device_->placeholder;
    return cuda_buffer_address(slot.range.buffer) +
           static_cast<uint64_t>(slot.range.offset + value(binding.offset));
  }

  tern_status_t grid(const tern_hal_command_t& command, Work* work) {
    [[maybe_unused]] tern_allocator_t allocator = device_->head.allocator;
    bool empty = false;
    for (int i = 0; i < 3; ++i) empty |= value(command.grid[i]) == 0;
    for (int i = 0; i < 3; ++i) {
      const int64_t count = value(command.grid[i]);
      if (!empty && count > kMaxGrid[i]) {
        return tern_status_make(allocator, TERN_STATUS_OUT_OF_RANGE,
                                "The grid's dimension %d (%lld) is larger than the device takes (%lld).", i,
                                (long long)count, (long long)kMaxGrid[i]);
      }
      work->grid[i] = empty ? kEmptyGrid[i] : static_cast<uint32_t>(count);
    }
    work->enabled = !empty;
    const Function& function = function_of(command);
    const uint64_t shared =
        launch_of(command).workgroup_memory + static_cast<uint64_t>(value(command.scratch));
    if (shared > function.dynamic_limit) {
      return tern_status_make(
          allocator, TERN_STATUS_OUT_OF_MEMORY,
          "The kernel's workgroup memory and scratch (%llu bytes) are more than the device has for "
          "it (%u).",
          (unsigned long long)shared, function.dynamic_limit);
    }
    work->shared = shared;
    return TERN_OK;
  }

  void set(uint32_t index, uint64_t to) {
    changed_ |= commands_->args[index] != to;
    commands_->args[index] = to;
  }

  void arguments(const tern_hal_command_t& command, const Step& step) {
    const tern_hal_command_buffer_t& head = commands_->head;
    uint32_t next = step.first_arg;
    for (uint32_t i = 0; i < command.binding_count; ++i)
      set(next++, address(head.bindings[command.first_binding + i]));
    for (uint32_t i = 0; i < command.param_count; ++i) {
      set(next++, static_cast<uint64_t>(value(head.params[command.first_param + i])));
    }
    next += function_of(command).tensor_count;
    if (step.fault) set(next, commands_->fault_address + (step.fault - 1) * sizeof(int32_t));
  }

  // Made anew where an argument differs; of what is not known yet, or does not run, there are none.
  tern_status_t tensors(const tern_hal_command_t& command, Step& step, bool enabled) {
    const Function& function = function_of(command);
    if (function.tensor_count == 0 || (step.tensors_ready && !changed_)) return TERN_OK;
    step.tensors_ready = 0;  // until all are
    if (!enabled || (!known_ && step.dynamic)) return TERN_OK;
    const uint64_t* args = commands_->args + step.first_arg;
    for (uint32_t k = 0; k < function.tensor_count; ++k) {
      const tern_hal_tensor_t& tensor = function.tensors[k];
      TERN_RETURN_IF_ERROR(cuda_tensor_encode(device_, tensor, args[tensor.binding],
                                              args + command.binding_count,
                                              &commands_->tensors[step.first_tensor + k]));
    }
    step.tensors_ready = 1;
    changed_ = true;
    return TERN_OK;
  }

  tern_status_t transfer(const tern_hal_command_t& command, Work* work) {
    const tern_hal_binding_t* bindings = commands_->head.bindings + command.first_binding;
    const bool copy = command.kind == TERN_HAL_COMMAND_COPY;
    const tern_hal_binding_t& target = bindings[copy ? 1 : 0];
    work->length = static_cast<uint64_t>(value(target.length));
    work->enabled = work->length != 0;
    work->grid[0] = work->grid[1] = work->grid[2] = 1;
    if (!work->enabled || (!known_ && step_is_external(command))) {  // bytes that a node can name
      work->source = device_->placeholder;
      work->target = device_->placeholder + 128;
      work->length = copy ? 1 : command.pattern_size;
      return TERN_OK;
    }
    work->target = address(target);
    if (copy) {
      work->source = address(bindings[0]);
    } else if (work->target % command.pattern_size) {
      return tern_status_make(device_->head.allocator, TERN_STATUS_INVALID_ARGUMENT,
                              "The fill's address (%llx) is not a multiple of the pattern's size (%u).",
                              (unsigned long long)work->target, command.pattern_size);
    }
    return TERN_OK;
  }

  bool step_is_external(const tern_hal_command_t& command) const {
    for (uint32_t i = 0; i < command.binding_count; ++i) {
      const tern_hal_binding_t& binding = commands_->head.bindings[command.first_binding + i];
      if (commands_->head.slots[binding.slot].slot_class == TERN_HAL_SLOT_EXTERNAL) return true;
    }
    return false;
  }

  CommandBuffer* commands_;
  Device* device_;
  bool known_;
  bool changed_ = false;
};

tern_status_t prepare(tern_hal_command_buffer_t* base) {
  CommandBuffer* commands = cast(base);
  ContextScope scope(cast_device(base->device));
  if (!commands->steps) {
    TERN_RETURN_IF_ERROR(make_steps(commands));
    TERN_RETURN_IF_ERROR(make_faults(commands));
    fill_steps(commands);
  }
  Resolver resolver(commands, false);
  for (uint32_t i = 0; i < commands->step_count; ++i) {
    bool changed = false;
    TERN_RETURN_IF_ERROR(resolver.resolve(commands->steps[i], &changed));
  }
  return cuda_graph_build(commands);
}

constexpr tern_hal_command_buffer_vtable_t kVtable = {destroy, prepare};

// One event before each step and one behind the last.
tern_status_t make_events(CommandBuffer* commands) {
  Device* device = cast_device(commands->head.device);
  const uint32_t count = commands->step_count + 1;
  if (!commands->events && !allocate(device->head.allocator, count, &commands->events)) {
    return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  }
  while (commands->event_count < count) {
    TERN_CUDA_TRY(device, EventCreate, &commands->events[commands->event_count], 0);
    ++commands->event_count;
  }
  return TERN_OK;
}

}  // namespace

tern_status_t cuda_command_buffer_create(tern_hal_device_t* device,
                                         tern_hal_command_buffer_t** out_command_buffer) {
  auto* commands = static_cast<CommandBuffer*>(
      tern_allocate(device->allocator, sizeof(CommandBuffer), alignof(CommandBuffer)));
  if (!commands) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  memset(static_cast<void*>(commands), 0, sizeof(*commands));
  commands->head.vtable = &kVtable;
  *out_command_buffer = &commands->head;
  return TERN_OK;
}

void cuda_command_buffer_count(CommandBuffer* commands) {
  if (commands->lean || !commands->varies || ++commands->settled < kSettled) return;
  commands->lean = true;
  commands->stale = true;
}

tern_status_t cuda_command_buffer_patch(CommandBuffer* commands) {
  Resolver resolver(commands, true);
  bool rebuild = commands->stale;
  commands->stale = true;  // until all steps are in
  for (uint32_t i = 0; i < commands->step_count; ++i) {
    Step& step = commands->steps[i];
    if (!step.dynamic) continue;
    const bool was_enabled = step.work.enabled;
    bool changed = false;
    TERN_RETURN_IF_ERROR(resolver.resolve(step, &changed));
    if (was_enabled != (step.work.enabled != 0)) {
      commands->settled = 0;
      rebuild |= commands->lean;
      commands->lean = false;
    }
    if (!changed || rebuild || (commands->lean && !step.work.enabled)) continue;
    tern_status_t status = cuda_graph_patch(commands, i, was_enabled);
    if (tern_status_code(status) == TERN_STATUS_DEVICE_LOST) return status;
    rebuild |= !tern_status_is_ok(status);  // the node cannot become that; a new one can
    tern_status_free(status);
  }
  if (rebuild) TERN_RETURN_IF_ERROR(cuda_graph_build(commands));
  commands->stale = false;
  return TERN_OK;
}

tern_status_t cuda_command_buffer_launch(CommandBuffer* commands, bool profile) {
  Device* device = cast_device(commands->head.device);
  if (!profile) {
    if (commands->exec) TERN_CUDA_TRY(device, GraphLaunch, commands->exec, device->stream);
    return TERN_OK;
  }
  TERN_RETURN_IF_ERROR(make_events(commands));
  for (uint32_t i = 0; i < commands->step_count; ++i) {
    TERN_CUDA_TRY(device, EventRecord, commands->events[i], device->stream);
    if (commands->steps[i].work.enabled) TERN_RETURN_IF_ERROR(cuda_graph_launch_step(commands, i));
  }
  TERN_CUDA_TRY(device, EventRecord, commands->events[commands->step_count], device->stream);
  return TERN_OK;
}

tern_status_t cuda_command_buffer_read_log(CommandBuffer* commands, tern_hal_event_log_t* log) {
  Device* device = cast_device(commands->head.device);
  ContextScope scope(device);
  int64_t begin = 0;
  for (uint32_t i = 0; i < commands->step_count; ++i) {
    float milliseconds = 0;
    TERN_CUDA_TRY(device, EventElapsedTime, &milliseconds, commands->events[0], commands->events[i + 1]);
    const auto end = static_cast<int64_t>(static_cast<double>(milliseconds) * 1e6);
    const uint32_t command = commands->steps[i].command;
    const tern_hal_event_t event = {begin, end > begin ? end : begin, command, 0,
                                    commands->head.commands[command].label};
    tern_hal_event_log_append(log, &event);
    begin = event.end_ns;
  }
  return TERN_OK;
}

tern_status_t cuda_command_buffer_take_fault(CommandBuffer* commands) {
  int32_t found = 0;
  uint32_t command = 0;
  for (uint32_t i = 0; i < commands->step_count; ++i) {
    const Step& step = commands->steps[i];
    if (!step.fault) continue;
    const int32_t code = __atomic_exchange_n(&commands->faults[step.fault - 1], 0, __ATOMIC_ACQUIRE);
    if (!code || found) continue;
    found = code;
    command = step.command;
  }
  return found ? tern_hal_kernel_failure(&commands->head, found, command) : TERN_OK;
}

}  // namespace tern::cuda
