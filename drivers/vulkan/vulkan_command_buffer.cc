#include "drivers/vulkan/vulkan_command_buffer.h"

#include <string.h>

namespace tern::vulkan {
namespace {

// Static runs shorter than this between dynamic ones are recorded with them: a segment costs more than a few
// commands.
constexpr uint32_t kShortRun = 6;
constexpr uint64_t kPatternBytes = 8;  // a fill's pattern, twice

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
  const Symbols& symbols = device->symbols;
  tern_allocator_t allocator = base->device->allocator;
  vulkan_queue_forget(device, commands);
  if (commands->queries) symbols.DestroyQueryPool(device->handle, commands->queries, nullptr);
  if (commands->pool) symbols.DestroyCommandPool(device->handle, commands->pool, nullptr);
  if (commands->sets) symbols.DestroyDescriptorPool(device->handle, commands->sets, nullptr);
  vulkan_memory_free(device, kHostPool, commands->control);
  for (Chunk* memory : commands->bounces) vulkan_memory_free(device, kLocalPool, memory);
  tern_release(allocator, commands->steps, commands->step_count * sizeof(Step));
  tern_release(allocator, commands->bindings, commands->binding_count * sizeof(Binding));
  tern_release(allocator, commands->values, commands->value_count * sizeof(int64_t));
  tern_release(allocator, commands->segments, commands->step_count * sizeof(Segment));
  tern_release(allocator, commands->to_submit, (commands->step_count + 1) * sizeof(VkCommandBuffer));
  tern_release(allocator, commands->stages, commands->step_count * sizeof(VkPipelineStageFlags));
  tern_release(allocator, commands, sizeof(CommandBuffer));
}

bool reports_faults(const tern_hal_command_t& command) {
  return command.executable->entries[command.entry].launch.flags & TERN_HAL_ENTRY_REPORTS_FAULTS;
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
  uint32_t steps = 0, bindings = 0, values = 0;
  for (uint32_t i = 0; i < head.command_count; ++i) {
    const tern_hal_command_t& command = head.commands[i];
    steps += command.kind != TERN_HAL_COMMAND_BARRIER;
    if (command.kind != TERN_HAL_COMMAND_DISPATCH) continue;
    bindings += vulkan_executable_layout(command.executable, command.entry)->bindings;
    values += command.param_count;
  }
  tern_allocator_t allocator = head.device->allocator;
  const bool steps_made =
      allocate(allocator, steps, &commands->steps) && allocate(allocator, steps, &commands->segments) &&
      allocate(allocator, steps + 1, &commands->to_submit) && allocate(allocator, steps, &commands->stages);
  commands->step_count = steps;
  const bool bindings_made = steps_made && allocate(allocator, bindings, &commands->bindings);
  commands->binding_count = bindings;
  const bool values_made = bindings_made && allocate(allocator, values, &commands->values);
  commands->value_count = values;
  return values_made ? TERN_OK : tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
}

// The parts of the control memory, as they are handed out.
struct ControlSizes {
  uint64_t faults, patterns, blocks;
};

void fill_dispatch(CommandBuffer* commands, const tern_hal_command_t& command, Step* step,
                   uint32_t* next_binding, uint32_t* next_value, ControlSizes* sizes) {
  const uint64_t alignment = cast_device(commands->head.device)->limits.storage_alignment;
  step->layout = vulkan_executable_layout(command.executable, command.entry);
  step->first_binding = *next_binding;
  step->first_value = *next_value;
  *next_binding += step->layout->bindings;
  *next_value += command.param_count;
  if (reports_faults(command)) {
    step->fault = ++commands->fault_count;
    sizes->faults += alignment;
  }
  if (command.param_count > TERN_VULKAN_PUSHED_PARAMS) {
    step->block = 1 + sizes->blocks;  // made an offset below
    sizes->blocks += (uint64_t{8} * command.param_count + alignment - 1) / alignment * alignment;
  }
}

void fill_steps(CommandBuffer* commands, ControlSizes* sizes) {
  const tern_hal_command_buffer_t& head = commands->head;
  uint32_t next = 0, next_binding = 0, next_value = 0, phase = 0;
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
    if (command.kind == TERN_HAL_COMMAND_DISPATCH) {
      fill_dispatch(commands, command, &step, &next_binding, &next_value, sizes);
    } else if (command.kind == TERN_HAL_COMMAND_FILL) {
      step.block = 1 + sizes->patterns;
      sizes->patterns += kPatternBytes;
    }
  }
}

uint32_t pattern_byte(const tern_hal_command_t& command, uint64_t index) {
  return command.pattern >> (index % command.pattern_size * 8) & 255;
}

tern_status_t make_control(CommandBuffer* commands, const ControlSizes& sizes) {
  Device* device = cast_device(commands->head.device);
  const uint64_t alignment = device->limits.storage_alignment;
  // Never at 0, so that an offset of 0 says that there is none.
  const uint64_t fault_offset = 0, after_faults = fault_offset + sizes.faults + alignment;
  commands->block_offset = after_faults;
  commands->block_bytes = sizes.blocks;
  commands->pattern_offset = commands->block_offset + kReplicas * sizes.blocks;
  const uint64_t size = commands->pattern_offset + sizes.patterns;
  if (!(sizes.faults | sizes.patterns | sizes.blocks)) return TERN_OK;
  TERN_RETURN_IF_ERROR(vulkan_memory_allocate(device, kHostPool, size, &commands->control));
  char* memory = vulkan_chunk_pointer(commands->control);
  memset(memory, 0, size);
  for (uint32_t i = 0; i < commands->step_count; ++i) {
    Step& step = commands->steps[i];
    if (!step.block) continue;
    step.block +=
        (step.kind == TERN_HAL_COMMAND_FILL ? commands->pattern_offset : commands->block_offset) - 1;
    if (step.kind != TERN_HAL_COMMAND_FILL) continue;
    const tern_hal_command_t& command = commands->head.commands[step.command];
    for (uint64_t b = 0; b < kPatternBytes; ++b)
      memory[step.block + b] = static_cast<char>(pattern_byte(command, b));
  }
  return TERN_OK;
}

void make_segments(CommandBuffer* commands) {
  uint32_t begin = 0;
  while (begin < commands->step_count) {
    uint32_t end = begin;
    const bool dynamic = commands->steps[begin].dynamic;
    while (end < commands->step_count && commands->steps[end].dynamic == dynamic) ++end;
    Segment* last = commands->segment_count ? &commands->segments[commands->segment_count - 1] : nullptr;
    const bool short_run = !dynamic && end - begin < kShortRun && (last || end < commands->step_count);
    if (last && last->dynamic && (dynamic || short_run)) {
      last->end = end;
    } else {
      commands->segments[commands->segment_count++] = {begin, end, dynamic || short_run, {}};
    }
    begin = end;
  }
}

// Where the work of each phase is. Dispatches that may be bounced are transfers too.
void find_stages(CommandBuffer* commands) {
  for (uint32_t i = 0; i < commands->step_count; ++i) commands->stages[i] = 0;
  for (uint32_t i = 0; i < commands->step_count; ++i) {
    const Step& step = commands->steps[i];
    VkPipelineStageFlags stages = VK_PIPELINE_STAGE_TRANSFER_BIT;
    if (step.kind == TERN_HAL_COMMAND_DISPATCH) {
      stages = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT;
      bool bounced = step.dynamic;
      for (uint32_t b = 0; b < step.layout->bindings; ++b)
        bounced |= commands->bindings[step.first_binding + b].bounced;
      if (bounced) stages |= VK_PIPELINE_STAGE_TRANSFER_BIT;
    }
    commands->stages[step.phase] |= stages;
    commands->phase_count = step.phase + 1;
  }
}

tern_status_t make_command_buffers(CommandBuffer* commands) {
  Device* device = cast_device(commands->head.device);
  VkCommandPoolCreateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO;
  info.flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT;
  info.queueFamilyIndex = device->queue_family;
  TERN_VULKAN_TRY(device, CreateCommandPool, device->handle, &info, nullptr, &commands->pool);
  for (uint32_t i = 0; i < commands->segment_count; ++i) {
    Segment& segment = commands->segments[i];
    VkCommandBufferAllocateInfo buffers = {};
    buffers.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO;
    buffers.commandPool = commands->pool;
    buffers.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY;
    buffers.commandBufferCount = segment.dynamic ? kReplicas : 1;
    TERN_VULKAN_TRY(device, AllocateCommandBuffers, device->handle, &buffers, segment.commands);
  }
  return TERN_OK;
}

tern_status_t make_sets(CommandBuffer* commands) {
  Device* device = cast_device(commands->head.device);
  uint32_t sets = 0, descriptors = 0;
  for (uint32_t i = 0; i < commands->step_count; ++i) {
    const Step& step = commands->steps[i];
    if (!step.layout || !step.layout->bindings) continue;
    const uint32_t copies = step.dynamic ? kReplicas : 1;
    sets += copies;
    descriptors += copies * step.layout->bindings;
  }
  if (!sets) return TERN_OK;
  const VkDescriptorPoolSize size = {VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, descriptors};
  VkDescriptorPoolCreateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO;
  info.maxSets = sets;
  info.poolSizeCount = 1;
  info.pPoolSizes = &size;
  TERN_VULKAN_TRY(device, CreateDescriptorPool, device->handle, &info, nullptr, &commands->sets);
  for (uint32_t i = 0; i < commands->step_count; ++i) {
    Step& step = commands->steps[i];
    if (!step.layout || !step.layout->bindings) continue;
    VkDescriptorSetLayout layouts[kReplicas];
    for (VkDescriptorSetLayout& layout : layouts) layout = step.layout->set;
    VkDescriptorSetAllocateInfo set = {};
    set.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO;
    set.descriptorPool = commands->sets;
    set.descriptorSetCount = step.dynamic ? kReplicas : 1;
    set.pSetLayouts = layouts;
    TERN_VULKAN_TRY(device, AllocateDescriptorSets, device->handle, &set, step.sets);
  }
  return TERN_OK;
}

tern_status_t make_parts(CommandBuffer* commands) {
  ControlSizes sizes = {};
  TERN_RETURN_IF_ERROR(make_steps(commands));
  fill_steps(commands, &sizes);
  TERN_RETURN_IF_ERROR(make_control(commands, sizes));
  make_segments(commands);
  TERN_RETURN_IF_ERROR(make_command_buffers(commands));
  return make_sets(commands);
}

tern_status_t prepare(tern_hal_command_buffer_t* base) {
  CommandBuffer* commands = cast(base);
  Device* device = cast_device(base->device);
  if (!commands->pool) TERN_RETURN_IF_ERROR(make_parts(commands));
  if (commands->last_serial) vulkan_queue_settle(device, commands->last_serial);
  TERN_RETURN_IF_ERROR(vulkan_resolve(commands, false, 0));
  find_stages(commands);
  for (uint32_t i = 0; i < commands->segment_count; ++i) {
    if (commands->segments[i].dynamic) continue;
    TERN_RETURN_IF_ERROR(vulkan_record_segment(commands, commands->segments[i], 0));
  }
  commands->stale = true;
  return TERN_OK;
}

constexpr tern_hal_command_buffer_vtable_t kVtable = {destroy, prepare};

// Takes the arguments of the submission at hand into the other replica.
tern_status_t patch(CommandBuffer* commands) {
  Device* device = cast_device(commands->head.device);
  commands->stale = true;  // until all is in
  const uint32_t replica = (commands->replica + 1) % kReplicas;
  if (commands->replica_serials[replica]) vulkan_queue_settle(device, commands->replica_serials[replica]);
  TERN_RETURN_IF_ERROR(vulkan_resolve(commands, true, replica));
  for (uint32_t i = 0; i < commands->segment_count; ++i) {
    if (!commands->segments[i].dynamic) continue;
    TERN_RETURN_IF_ERROR(vulkan_record_segment(commands, commands->segments[i], replica));
  }
  commands->replica = replica;
  commands->repeats = 0;
  commands->whole_is_recorded[replica] = false;
  commands->stale = false;
  return TERN_OK;
}

// Whether the submission is to be one command buffer; it is recorded then.
tern_status_t take_whole(CommandBuffer* commands, bool* out_taken) {
  *out_taken = commands->segment_count > 1 && ++commands->repeats >= kSteady;
  if (!*out_taken) return TERN_OK;
  if (!commands->whole_is_recorded[commands->replica]) TERN_RETURN_IF_ERROR(vulkan_record_whole(commands));
  commands->whole_is_recorded[commands->replica] = true;
  commands->to_submit[0] = commands->whole[commands->replica];
  commands->to_submit_count = 1;
  return TERN_OK;
}

}  // namespace

tern_status_t vulkan_command_buffer_create(tern_hal_device_t* device,
                                           tern_hal_command_buffer_t** out_command_buffer) {
  auto* commands = static_cast<CommandBuffer*>(
      tern_allocate(device->allocator, sizeof(CommandBuffer), alignof(CommandBuffer)));
  if (!commands) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  memset(static_cast<void*>(commands), 0, sizeof(*commands));
  commands->head.vtable = &kVtable;
  *out_command_buffer = &commands->head;
  return TERN_OK;
}

tern_status_t vulkan_command_buffer_ready(CommandBuffer* commands, uint32_t changed, bool profile) {
  if (changed || commands->stale) TERN_RETURN_IF_ERROR(patch(commands));
  if (profile) return vulkan_record_profile(commands);
  bool whole = false;
  TERN_RETURN_IF_ERROR(take_whole(commands, &whole));
  if (whole) return TERN_OK;
  commands->to_submit_count = commands->segment_count;
  for (uint32_t i = 0; i < commands->segment_count; ++i) {
    const Segment& segment = commands->segments[i];
    commands->to_submit[i] = segment.commands[segment.dynamic ? commands->replica : 0];
  }
  return TERN_OK;
}

void vulkan_command_buffer_submitted(CommandBuffer* commands, uint64_t serial) {
  commands->last_serial = commands->replica_serials[commands->replica] = serial;
}

tern_status_t vulkan_command_buffer_read_log(CommandBuffer* commands, tern_hal_event_log_t* log) {
  Device* device = cast_device(commands->head.device);
  const Limits& limits = device->limits;
  const uint64_t mask = limits.timestamp_bits >= 64 ? UINT64_MAX : (uint64_t{1} << limits.timestamp_bits) - 1;
  uint64_t first = 0;
  int64_t begin = 0;
  for (uint32_t i = 0; i <= commands->step_count; ++i) {
    uint64_t ticks = 0;
    TERN_VULKAN_TRY(device, GetQueryPoolResults, device->handle, commands->queries, i, 1, sizeof(ticks),
                    &ticks, sizeof(ticks), VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT);
    if (i == 0) {
      first = ticks;
      continue;
    }
    const auto elapsed =
        static_cast<double>((ticks - first) & mask) * static_cast<double>(limits.timestamp_ns);
    const auto end = static_cast<int64_t>(elapsed);
    const uint32_t command = commands->steps[i - 1].command;
    const tern_hal_event_t event = {begin, end > begin ? end : begin, command, 0,
                                    commands->head.commands[command].label};
    tern_hal_event_log_append(log, &event);
    begin = event.end_ns;
  }
  return TERN_OK;
}

tern_status_t vulkan_command_buffer_take_fault(CommandBuffer* commands) {
  const uint64_t stride = cast_device(commands->head.device)->limits.storage_alignment;
  char* words = vulkan_chunk_pointer(commands->control);
  int32_t found = 0;
  uint32_t command = 0;
  for (uint32_t i = 0; i < commands->step_count; ++i) {
    const Step& step = commands->steps[i];
    if (!step.fault) continue;
    auto* word = reinterpret_cast<int32_t*>(words + (step.fault - 1) * stride);
    const int32_t code = __atomic_exchange_n(word, 0, __ATOMIC_ACQUIRE);
    if (!code || found) continue;
    found = code;
    command = step.command;
  }
  return found ? tern_hal_kernel_failure(&commands->head, found, command) : TERN_OK;
}

}  // namespace tern::vulkan
