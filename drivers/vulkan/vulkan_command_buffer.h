// A recording as Vulkan command buffers.
//
// `prepare` makes one *step* a command (barriers become phases) and cuts the steps into *segments*: runs that
// depend on nothing that submissions bring are recorded once, for good; the others are recorded again when
// their arguments change. A submission is one vkQueueSubmit of all segments in order.
//
// Where arguments stay the same for some submissions, all segments are recorded once more as one command
// buffer: each end of one costs the device 2.5 to 5 us (an H100).
//
// What changes with arguments (descriptor sets and command buffers of dynamic segments, large parameter
// blocks) is there kReplicas times, so that new arguments can be taken in while the submission before still
// runs.
//
// Steps of one phase (between two barriers) run in any order; between phases there is one memory barrier. A
// binding whose offset the device cannot take is *bounced*: copied to aligned memory before its phase and, if
// written, back after it.
#pragma once

#include "drivers/vulkan/vulkan_device.h"
#include "drivers/vulkan/vulkan_executable.h"

namespace tern::vulkan {

constexpr uint32_t kReplicas = 2;
constexpr uint32_t kSteady = 3;  // the third submission in a row with the same arguments takes them to stay

// What a descriptor shows: a binding, the parameter block, the fault word.
struct Binding {
  Place place;      // of what is shown
  uint64_t length;  // of the binding, in bytes
  Place real;       // bounced ones: where the bytes belong
  uint64_t bounce;  // bounced ones: offset in the memory for copies
  bool bounced;
  bool written;
};

struct Step {
  uint32_t command;  // index in the front's list
  uint32_t kind;     // tern_hal_command_kind_t
  uint32_t phase;    // phases are numbered from 0, empty ones left out
  bool dynamic;      // depends on external slots or parameters
  bool enabled;      // there is something to do
  // Dispatches.
  const Layout* layout;
  VkPipeline pipeline;
  VkDescriptorSet sets[kReplicas];  // static steps have the first
  uint32_t first_binding;           // layout->bindings of them
  uint32_t first_value;             // of the parameters
  uint32_t fault;                   // 1 + index of its fault word; 0: none
  uint64_t block;                   // offset of the parameter block in the control memory; 0: they are pushed
  uint32_t tiles, groups[2];
  // Copies and fills.
  Place source, target;
  uint64_t length;
};

struct Segment {
  uint32_t begin, end;  // steps
  bool dynamic;
  VkCommandBuffer commands[kReplicas];  // static segments have the first
};

// Pushed with each dispatch (schemas/abi/kernel_abi.h).
struct Push {
  uint32_t tiles;
  uint32_t reserved;
  int64_t params[TERN_VULKAN_PUSHED_PARAMS];
};

struct CommandBuffer {
  tern_hal_command_buffer_t head;  // must be first
  uint32_t step_count;
  uint32_t binding_count;
  uint32_t value_count;
  uint32_t fault_count;
  uint32_t segment_count;
  uint32_t phase_count;
  Step* steps;
  Binding* bindings;
  int64_t* values;  // kernels' parameters
  Segment* segments;
  VkPipelineStageFlags* stages;  // of each phase: where its work is
  VkDescriptorPool sets;
  VkCommandPool pool;
  // Host memory that the device reads and writes: fault words, fills' patterns, parameter blocks. Each
  // replica of the blocks is block_bytes long.
  Chunk* control;
  uint64_t pattern_offset, block_offset, block_bytes;
  Chunk* bounces[2];                    // memory for copies: of static steps, of dynamic ones
  uint64_t bounce_bytes[2];             // needed of it
  uint32_t replica;                     // the one in use
  uint64_t replica_serials[kReplicas];  // of their last submissions
  uint64_t last_serial;
  uint32_t repeats;                  // submissions in a row with the current replica's arguments
  VkCommandBuffer whole[kReplicas];  // all segments in one; made when first wanted
  bool whole_is_recorded[kReplicas];
  bool stale;  // the current replica does not show the arguments of the submission at hand
  VkCommandBuffer* to_submit;
  uint32_t to_submit_count;
  VkCommandBuffer profile;  // everything in one, between timestamps; made when first wanted
  VkQueryPool queries;
};

TERN_MUST_USE tern_status_t vulkan_command_buffer_create(tern_hal_device_t* device,
                                                         tern_hal_command_buffer_t** out_command_buffer);

// Makes to_submit show the submission at hand.
TERN_MUST_USE tern_status_t vulkan_command_buffer_ready(CommandBuffer* commands, uint32_t changed,
                                                        bool profile);
// It was submitted.
void vulkan_command_buffer_submitted(CommandBuffer* commands, uint64_t serial);

// The times of the last submission that was profiled and has ended.
TERN_MUST_USE tern_status_t vulkan_command_buffer_read_log(CommandBuffer* commands,
                                                           tern_hal_event_log_t* log);

// What a kernel left in its fault word, if anything, as a sentence; clears the words. Touches nothing of the
// front's but the labels.
TERN_MUST_USE tern_status_t vulkan_command_buffer_take_fault(CommandBuffer* commands);

// vulkan_resolve.cc: computes what the static or the dynamic steps do, and makes the memory for their
// bounces.
TERN_MUST_USE tern_status_t vulkan_resolve(CommandBuffer* commands, bool dynamic, uint32_t replica);

// vulkan_record.cc
TERN_MUST_USE tern_status_t vulkan_record_segment(CommandBuffer* commands, const Segment& segment,
                                                  uint32_t replica);
// All steps with the current replica's arguments, as commands->whole[replica].
TERN_MUST_USE tern_status_t vulkan_record_whole(CommandBuffer* commands);
TERN_MUST_USE tern_status_t vulkan_record_profile(CommandBuffer* commands);

inline bool is_parameter(const tern_hal_operand_t& operand) {
  return operand.kind == TERN_HAL_OPERAND_PARAMETER;
}

}  // namespace tern::vulkan
