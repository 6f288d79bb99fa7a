// The numbers of steps: where bindings are, how many tiles, which parameters; and what descriptors show of
// them.
#include <string.h>

#include "drivers/vulkan/vulkan_command_buffer.h"

namespace tern::vulkan {
namespace {

constexpr uint64_t kMostGroups = 65535;  // in a dimension: every device takes as many
constexpr uint64_t kWord = 16;           // bindings begin and end at multiples of it
constexpr uint32_t kMostBindings = 64;   // of a layout

uint64_t round_up(uint64_t value, uint64_t to) {
  return (value + to - 1) / to * to;
}

class Resolver {
 public:
  Resolver(CommandBuffer* commands, bool dynamic, uint32_t replica)
      : commands_(commands),
        device_(cast_device(commands->head.device)),
        dynamic_(dynamic),
        replica_(replica) {}

  tern_status_t run() {
    commands_->bounce_bytes[dynamic_] = 0;
    for (uint32_t i = 0; i < commands_->step_count; ++i) {
      Step& step = commands_->steps[i];
      if (step.dynamic == dynamic_) TERN_RETURN_IF_ERROR(resolve(step));
    }
    TERN_RETURN_IF_ERROR(make_bounces());
    for (uint32_t i = 0; i < commands_->step_count; ++i) {
      Step& step = commands_->steps[i];
      if (step.dynamic == dynamic_ && step.layout) show(step);
    }
    return TERN_OK;
  }

 private:
  tern_status_t resolve(Step& step) {
    const tern_hal_command_t& command = commands_->head.commands[step.command];
    if (command.kind != TERN_HAL_COMMAND_DISPATCH) {
      transfer(command, step);
      return TERN_OK;
    }
    TERN_RETURN_IF_ERROR_CONTEXT(grid(command, step), "\n - While dispatching '%.*s' (command %u)",
                                 TERN_SV_ARG(command.label), step.command);
    for (uint32_t i = 0; i < command.binding_count; ++i) {
      TERN_RETURN_IF_ERROR_CONTEXT(bind(command, step, i), "\n - While binding (%u) of '%.*s' (command %u)",
                                   i, TERN_SV_ARG(command.label), step.command);
    }
    for (uint32_t i = 0; i < command.param_count; ++i) {
      commands_->values[step.first_value + i] = value(commands_->head.params[command.first_param + i]);
    }
    extras(command, step);
    return TERN_OK;
  }

  int64_t value(const tern_hal_operand_t& operand) const {
    return tern_hal_operand_value(operand, commands_->head.last_params);
  }

  Place place(const tern_hal_binding_t& binding) const {
    const tern_hal_range_t& range = commands_->head.slots[binding.slot].range;
    return vulkan_buffer_place(range.buffer, static_cast<uint64_t>(range.offset + value(binding.offset)));
  }

  tern_status_t grid(const tern_hal_command_t& command, Step& step) {
    // The front has checked that the product is no overflow.
    uint64_t tiles = 1;
    for (const tern_hal_operand_t& dimension : command.grid) tiles *= static_cast<uint64_t>(value(dimension));
    if (tiles > kMostGroups * kMostGroups) {
      return tern_status_make(device_->head.allocator, TERN_STATUS_OUT_OF_RANGE,
                              "The grid's tiles (%llu) are more than the device takes (%llu).",
                              (unsigned long long)tiles, (unsigned long long)(kMostGroups * kMostGroups));
    }
    step.enabled = tiles != 0;
    step.tiles = static_cast<uint32_t>(tiles);
    // As few groups too many as can be.
    const uint64_t rows = tiles ? (tiles + kMostGroups - 1) / kMostGroups : 1;
    step.groups[0] = static_cast<uint32_t>((tiles + rows - 1) / rows);
    step.groups[1] = static_cast<uint32_t>(rows);
    return vulkan_executable_pipeline(command.executable, command.entry,
                                      static_cast<uint64_t>(value(command.scratch)), &step.pipeline);
  }

  tern_status_t bind(const tern_hal_command_t& command, Step& step, uint32_t index) {
    const tern_hal_binding_t& given = commands_->head.bindings[command.first_binding + index];
    Binding& binding = commands_->bindings[step.first_binding + index];
    binding = {};
    binding.length = static_cast<uint64_t>(value(given.length));
    binding.written = given.access & TERN_HAL_ACCESS_WRITE;
    if (binding.length == 0) {
      const Chunk* nothing = device_->placeholders[kLocalPool];
      binding.place = vulkan_chunk_place(nothing, 0);
      return TERN_OK;
    }
    if (binding.length > device_->limits.storage_range) {
      return tern_status_make(
          device_->head.allocator, TERN_STATUS_OUT_OF_RANGE,
          "The binding's length (%llu) is larger than what the device shows a kernel (%llu).",
          (unsigned long long)binding.length, (unsigned long long)device_->limits.storage_range);
    }
    binding.place = place(given);
    const uint64_t shown = round_up(binding.length, kWord);
    if (vulkan_region(binding.place, shown).length < shown && binding.length > binding.place.span->stride) {
      return tern_status_make(
          device_->head.allocator, TERN_STATUS_OUT_OF_RANGE,
          "The binding's length (%llu) is larger than what a range of memory that needs several "
          "of the device's buffers may have (%llu).",
          (unsigned long long)binding.length, (unsigned long long)binding.place.span->stride);
    }
    if (binding.place.offset % device_->limits.storage_alignment == 0) return TERN_OK;
    uint64_t& bytes = commands_->bounce_bytes[dynamic_];
    binding.bounced = true;
    binding.real = binding.place;
    binding.bounce = bytes;
    bytes += round_up(binding.length, 256);
    return TERN_OK;
  }

  // The parameter block and the fault word.
  void extras(const tern_hal_command_t& command, const Step& step) {
    Binding* next = commands_->bindings + step.first_binding + command.binding_count;
    const Chunk* control = commands_->control;
    if (step.block) {
      const uint64_t offset = step.block + replica_ * commands_->block_bytes;
      *next = {};
      next->place = vulkan_chunk_place(control, offset);
      next->length = uint64_t{8} * command.param_count;
      memcpy(vulkan_chunk_pointer(control) + offset, commands_->values + step.first_value, next->length);
      ++next;
    }
    if (step.fault) {
      *next = {};
      next->place =
          vulkan_chunk_place(control, (step.fault - 1) * uint64_t{device_->limits.storage_alignment});
      next->length = sizeof(int32_t);
    }
  }

  void transfer(const tern_hal_command_t& command, Step& step) {
    const tern_hal_binding_t* bindings = commands_->head.bindings + command.first_binding;
    const bool copy = command.kind == TERN_HAL_COMMAND_COPY;
    const tern_hal_binding_t& target = bindings[copy ? 1 : 0];
    step.length = static_cast<uint64_t>(value(target.length));
    step.enabled = step.length != 0;
    if (!step.enabled) return;
    step.target = place(target);
    if (!copy) return;
    step.source = place(bindings[0]);
    // What a copy onto itself leaves is undefined, and Vulkan forbids to ask for it.
    const uint64_t from = step.source.offset, to = step.target.offset;
    const uint64_t apart = from < to ? to - from : from - to;
    if (step.source.span == step.target.span && apart < step.length) step.enabled = false;
  }

  tern_status_t make_bounces() {
    const uint64_t needed = commands_->bounce_bytes[dynamic_];
    Chunk*& memory = commands_->bounces[dynamic_];
    if (memory && memory->size >= needed) return TERN_OK;
    vulkan_memory_free(device_, kLocalPool, memory);
    memory = nullptr;
    return needed ? vulkan_memory_allocate(device_, kLocalPool, needed, &memory) : TERN_OK;
  }

  // Makes the step's descriptor set show its bindings.
  void show(Step& step) {
    VkDescriptorBufferInfo infos[kMostBindings];
    const uint32_t count = step.layout->bindings;
    if (count == 0) return;
    for (uint32_t i = 0; i < count; ++i) {
      Binding& binding = commands_->bindings[step.first_binding + i];
      if (binding.bounced) {
        const Chunk* memory = commands_->bounces[dynamic_];
        binding.place = vulkan_chunk_place(memory, binding.bounce);
      }
      const Region region =
          vulkan_region(binding.place, binding.length ? round_up(binding.length, kWord) : kWord);
      const uint64_t most = device_->limits.storage_range;
      infos[i] = {region.buffer, region.offset, region.length < most ? region.length : most};
    }
    VkWriteDescriptorSet write = {};
    write.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET;
    write.dstSet = step.sets[dynamic_ ? replica_ : 0];
    write.descriptorCount = count;
    write.descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
    write.pBufferInfo = infos;
    device_->symbols.UpdateDescriptorSets(device_->handle, 1, &write, 0, nullptr);
  }

  CommandBuffer* commands_;
  Device* device_;
  bool dynamic_;
  uint32_t replica_;
};

}  // namespace

tern_status_t vulkan_resolve(CommandBuffer* commands, bool dynamic, uint32_t replica) {
  return Resolver(commands, dynamic, replica).run();
}

}  // namespace tern::vulkan
