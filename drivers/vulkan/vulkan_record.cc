// Steps as Vulkan commands.
#include "drivers/vulkan/vulkan_command_buffer.h"

namespace tern::vulkan {
namespace {

constexpr VkPipelineStageFlags kWork = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;

VkAccessFlags writes_of(VkPipelineStageFlags stages) {
  VkAccessFlags access = 0;
  if (stages & VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT) access |= VK_ACCESS_SHADER_WRITE_BIT;
  if (stages & VK_PIPELINE_STAGE_TRANSFER_BIT) access |= VK_ACCESS_TRANSFER_WRITE_BIT;
  return access;
}

VkAccessFlags accesses_of(VkPipelineStageFlags stages) {
  VkAccessFlags access = writes_of(stages);
  if (stages & VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT) access |= VK_ACCESS_SHADER_READ_BIT;
  if (stages & VK_PIPELINE_STAGE_TRANSFER_BIT) access |= VK_ACCESS_TRANSFER_READ_BIT;
  if (stages & VK_PIPELINE_STAGE_HOST_BIT) access |= VK_ACCESS_HOST_READ_BIT;
  return access;
}

class Recorder {
 public:
  Recorder(CommandBuffer* commands, VkCommandBuffer target, uint32_t replica)
      : commands_(commands),
        device_(cast_device(commands->head.device)),
        vk_(device_->symbols),
        target_(target),
        replica_(replica) {}

  tern_status_t begin(VkCommandBufferUsageFlags flags) {
    VkCommandBufferBeginInfo info = {};
    info.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO;
    info.flags = flags;
    TERN_VULKAN_TRY(device_, BeginCommandBuffer, target_, &info);
    return TERN_OK;
  }

  tern_status_t end() {
    TERN_VULKAN_TRY(device_, EndCommandBuffer, target_);
    return TERN_OK;
  }

  void barrier(VkPipelineStageFlags from, VkPipelineStageFlags to) {
    VkMemoryBarrier memory = {};
    memory.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER;
    memory.srcAccessMask = writes_of(from);
    memory.dstAccessMask = accesses_of(to);
    vk_.CmdPipelineBarrier(target_, from, to, 0, 1, &memory, 0, nullptr, 0, nullptr);
  }

  // Steps of one phase.
  void run(uint32_t begin, uint32_t end) {
    if (copy_bounces(begin, end, false))
      barrier(VK_PIPELINE_STAGE_TRANSFER_BIT, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT);
    for (uint32_t i = begin; i < end; ++i) {
      const Step& step = commands_->steps[i];
      if (!step.enabled) continue;
      if (step.kind == TERN_HAL_COMMAND_DISPATCH) {
        dispatch(step);
      } else if (step.kind == TERN_HAL_COMMAND_COPY) {
        copy(step.source, step.target, step.length);
      } else {
        fill(step);
      }
    }
    if (!has_written_bounces(begin, end)) return;
    barrier(VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_PIPELINE_STAGE_TRANSFER_BIT);
    (void)copy_bounces(begin, end, true);
  }

  // The host reads fault words, and buffers where it sees them.
  void end_of_recording() {
    if (device_->unified || commands_->fault_count) barrier(kWork, VK_PIPELINE_STAGE_HOST_BIT);
  }

  void timestamp(uint32_t index) {
    vk_.CmdWriteTimestamp(target_, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, commands_->queries, index);
  }
  void reset_timestamps() {
    vk_.CmdResetQueryPool(target_, commands_->queries, 0, commands_->step_count + 1);
  }

 private:
  template <typename Body>
  void for_each_bounce(uint32_t begin, uint32_t end, Body body) {
    for (uint32_t i = begin; i < end; ++i) {
      const Step& step = commands_->steps[i];
      if (!step.enabled || step.kind != TERN_HAL_COMMAND_DISPATCH) continue;
      for (uint32_t b = 0; b < step.layout->bindings; ++b) {
        const Binding& binding = commands_->bindings[step.first_binding + b];
        if (binding.bounced) body(binding);
      }
    }
  }

  // Whether there were any. What is only written is copied in as well: kernels need not write all of it.
  bool copy_bounces(uint32_t begin, uint32_t end, bool out) {
    bool any = false;
    for_each_bounce(begin, end, [&](const Binding& binding) {
      if (out && !binding.written) return;
      any = true;
      copy(out ? binding.place : binding.real, out ? binding.real : binding.place, binding.length);
    });
    return any;
  }

  bool has_written_bounces(uint32_t begin, uint32_t end) {
    bool any = false;
    for_each_bounce(begin, end, [&](const Binding& binding) { any |= binding.written; });
    return any;
  }

  void dispatch(const Step& step) {
    const tern_hal_command_t& command = commands_->head.commands[step.command];
    if (step.pipeline != bound_) {
      vk_.CmdBindPipeline(target_, VK_PIPELINE_BIND_POINT_COMPUTE, step.pipeline);
      bound_ = step.pipeline;
    }
    const Layout& layout = *step.layout;
    if (layout.bindings) {
      vk_.CmdBindDescriptorSets(target_, VK_PIPELINE_BIND_POINT_COMPUTE, layout.pipeline, 0, 1,
                                &step.sets[step.dynamic ? replica_ : 0], 0, nullptr);
    }
    Push push = {step.tiles, 0, {}};
    if (!step.block) {
      for (uint32_t i = 0; i < command.param_count; ++i)
        push.params[i] = commands_->values[step.first_value + i];
    }
    vk_.CmdPushConstants(target_, layout.pipeline, VK_SHADER_STAGE_COMPUTE_BIT, 0, layout.push_bytes, &push);
    vk_.CmdDispatch(target_, step.groups[0], step.groups[1], 1);
  }

  void copy(const Place& from, const Place& to, uint64_t length) {
    vulkan_record_copy(device_, target_, from, to, length);
  }

  // Vulkan fills words. The bytes before the first whole one and after the last are copied from the pattern.
  void fill(const Step& step) {
    const tern_hal_command_t& command = commands_->head.commands[step.command];
    const Place pattern = vulkan_chunk_place(commands_->control, step.block);
    uint64_t head = (0 - step.target.offset) & 3;
    if (head > step.length) head = step.length;
    const uint64_t whole = (step.length - head) & ~uint64_t{3}, tail = step.length - head - whole;
    if (head) copy(pattern, step.target, head);
    uint32_t word = 0;
    for (uint32_t b = 0; b < 4; ++b) {
      word |= (command.pattern >> ((head + b) % command.pattern_size * 8) & 255) << (8 * b);
    }
    for (uint64_t done = 0; done < whole;) {
      const Region region = vulkan_region({step.target.span, step.target.offset + head + done}, whole - done);
      vk_.CmdFillBuffer(target_, region.buffer, region.offset, region.length, word);
      done += region.length;
    }
    if (tail) {
      const uint64_t at = head + whole;
      copy({pattern.span, pattern.offset + at % command.pattern_size},
           {step.target.span, step.target.offset + at}, tail);
    }
  }

  CommandBuffer* commands_;
  Device* device_;
  const Symbols& vk_;
  VkCommandBuffer target_;
  uint32_t replica_;
  VkPipeline bound_ = nullptr;
};

tern_status_t make_command_buffer(CommandBuffer* commands, VkCommandBuffer* out) {
  Device* device = cast_device(commands->head.device);
  VkCommandBufferAllocateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO;
  info.commandPool = commands->pool;
  info.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY;
  info.commandBufferCount = 1;
  TERN_VULKAN_TRY(device, AllocateCommandBuffers, device->handle, &info, out);
  return TERN_OK;
}

tern_status_t make_profile(CommandBuffer* commands) {
  Device* device = cast_device(commands->head.device);
  if (!device->limits.timestamp_bits) {
    return tern_status_make(device->head.allocator, TERN_STATUS_INCOMPATIBLE,
                            "The device's queue has no timestamps: it cannot tell how long commands take.");
  }
  if (!commands->queries) {
    VkQueryPoolCreateInfo info = {};
    info.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO;
    info.queryType = VK_QUERY_TYPE_TIMESTAMP;
    info.queryCount = commands->step_count + 1;
    TERN_VULKAN_TRY(device, CreateQueryPool, device->handle, &info, nullptr, &commands->queries);
  }
  return commands->profile ? TERN_OK : make_command_buffer(commands, &commands->profile);
}

// Barriers where a phase begins: a segment's first one counts from what the segment before it did.
tern_status_t record_steps(CommandBuffer* commands, VkCommandBuffer target, uint32_t replica, uint32_t first,
                           uint32_t last) {
  Recorder recorder(commands, target, replica);
  TERN_RETURN_IF_ERROR(recorder.begin(VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT));
  for (uint32_t begin = first, end; begin < last; begin = end) {
    const uint32_t phase = commands->steps[begin].phase;
    for (end = begin; end < last && commands->steps[end].phase == phase;) ++end;
    if (begin == 0) {
      recorder.barrier(kWork, commands->stages[phase]);  // submissions run in order
    } else if (const uint32_t before = commands->steps[begin - 1].phase; before != phase) {
      recorder.barrier(commands->stages[before], commands->stages[phase]);
    }
    recorder.run(begin, end);
  }
  if (last == commands->step_count) recorder.end_of_recording();
  return recorder.end();
}

}  // namespace

void vulkan_record_copy(Device* device, VkCommandBuffer commands, const Place& from, const Place& to,
                        uint64_t length) {
  for (uint64_t done = 0; done < length;) {
    const Region source = vulkan_region({from.span, from.offset + done}, length - done);
    const Region target = vulkan_region({to.span, to.offset + done}, source.length);
    const VkBufferCopy region = {source.offset, target.offset, target.length};
    device->symbols.CmdCopyBuffer(commands, source.buffer, target.buffer, 1, &region);
    done += target.length;
  }
}

tern_status_t vulkan_record_segment(CommandBuffer* commands, const Segment& segment, uint32_t replica) {
  return record_steps(commands, segment.commands[segment.dynamic ? replica : 0], replica, segment.begin,
                      segment.end);
}

tern_status_t vulkan_record_whole(CommandBuffer* commands) {
  VkCommandBuffer* target = &commands->whole[commands->replica];
  if (!*target) TERN_RETURN_IF_ERROR(make_command_buffer(commands, target));
  return record_steps(commands, *target, commands->replica, 0, commands->step_count);
}

tern_status_t vulkan_record_profile(CommandBuffer* commands) {
  TERN_RETURN_IF_ERROR(make_profile(commands));
  if (commands->last_serial) vulkan_queue_settle(cast_device(commands->head.device), commands->last_serial);
  Recorder recorder(commands, commands->profile, commands->replica);
  TERN_RETURN_IF_ERROR(recorder.begin(VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT));
  recorder.reset_timestamps();
  recorder.barrier(kWork, kWork);
  recorder.timestamp(0);
  for (uint32_t i = 0; i < commands->step_count; ++i) {
    recorder.run(i, i + 1);
    recorder.barrier(kWork, kWork);
    recorder.timestamp(i + 1);
  }
  recorder.end_of_recording();
  TERN_RETURN_IF_ERROR(recorder.end());
  commands->to_submit[0] = commands->profile;
  commands->to_submit_count = 1;
  return TERN_OK;
}

}  // namespace tern::vulkan
