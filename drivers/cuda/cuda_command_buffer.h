// A recording as a CUDA graph.
//
// `prepare` makes one *step* a command (barriers become edges) and instantiates the graph, with placeholders
// where a number is not known before the submission: addresses of external slots, parameters, grids. A
// submission computes those numbers again if its arguments are new (`changed`), and patches only nodes where
// one differs. Steps of an empty grid or length are disabled. What a node refuses to be patched with makes
// the graph be built again. Where the same steps have run several times, and grids are parameters, it is
// built once more, lean: of those steps alone, which then may overlap as those of constant grids do. The
// first other one ends that.
//
// Steps of one phase (between two barriers) have no edges among them; each waits for all of the phase before.
// One kernel that follows one other may wait for it inside (programmatic dependent launch) if its entry says
// that it does.
#pragma once

#include "drivers/cuda/cuda_device.h"
#include "drivers/cuda/cuda_executable.h"

namespace tern::cuda {

// What a node does: equal values mean that it needs no patch (a kernel's arguments stand apart).
struct Work {
  uint32_t enabled;
  uint32_t grid[3];
  uint64_t shared;          // kernels: dynamic shared memory
  uint64_t source, target;  // copies and fills: device addresses
  uint64_t length;          // bytes
};

struct Step {
  Work work;
  CUfunction function;
  uint32_t command;  // index in the front's list
  uint32_t kind;     // tern_hal_command_kind_t
  uint32_t phase;    // phases are numbered from 0, empty ones left out
  uint32_t first_arg;
  uint32_t arg_count;
  uint32_t fault;          // 1 + index of its fault word; 0: none
  uint32_t dynamic;        // depends on external slots or parameters
  uint32_t first_tensor;   // its tensor maps, which come behind its parameters
  uint32_t tensors_ready;  // they show its arguments
};

struct CommandBuffer {
  tern_hal_command_buffer_t head;  // must be first
  CUgraph graph;
  CUgraphExec exec;
  uint32_t step_count;
  uint32_t arg_count;
  uint32_t fault_count;
  uint32_t event_count;
  Step* steps;
  CUgraphNode* nodes;   // one a step
  uint64_t* args;       // kernels' arguments, 64 bits each
  void** arg_pointers;  // to each of them, or to a tensor map
  uint32_t tensor_count;
  CUtensorMap* tensors;
  int32_t* faults;  // pinned words that kernels write (schemas/abi/kernel_abi.h)
  CUdeviceptr fault_address;
  CUevent* events;  // for profiling: one before each step and one behind the last; made when first wanted
  uint64_t last_serial;  // of its last submission
  bool stale;            // the graph does not show what the steps say: build it again
  bool varies;           // grids or lengths are parameters
  bool lean;             // the graph has nodes for the enabled steps alone
  uint32_t settled;      // submissions since a step was enabled or disabled
};

TERN_MUST_USE tern_status_t cuda_command_buffer_create(tern_hal_device_t* device,
                                                       tern_hal_command_buffer_t** out_command_buffer);

// Counts a submission. Afterwards the graph may be stale.
void cuda_command_buffer_count(CommandBuffer* commands);
// Takes in the arguments of the submission at hand. The context is current.
TERN_MUST_USE tern_status_t cuda_command_buffer_patch(CommandBuffer* commands);

// Puts the work on the stream: as a graph, or (with a log) step by step between events.
TERN_MUST_USE tern_status_t cuda_command_buffer_launch(CommandBuffer* commands, bool profile);

// The times of the last launch that was profiled and has ended.
TERN_MUST_USE tern_status_t cuda_command_buffer_read_log(CommandBuffer* commands, tern_hal_event_log_t* log);

// What a kernel left in its fault word, if anything, as a sentence; clears the words. Touches nothing of the
// front's but the labels.
TERN_MUST_USE tern_status_t cuda_command_buffer_take_fault(CommandBuffer* commands);

// cuda_tensor.cc
// What a kernel sees of a binding at `address`; params: of its dispatch, 64 bits each.
TERN_MUST_USE tern_status_t cuda_tensor_encode(Device* device, const tern_hal_tensor_t& tensor,
                                               CUdeviceptr address, const uint64_t* params, CUtensorMap* out);

// cuda_graph.cc
// Builds the graph of the steps and instantiates it.
TERN_MUST_USE tern_status_t cuda_graph_build(CommandBuffer* commands);
// Makes one node show its step; fails if the node cannot.
TERN_MUST_USE tern_status_t cuda_graph_patch(CommandBuffer* commands, uint32_t step, bool was_enabled);
void cuda_graph_destroy(CommandBuffer* commands);
// The step alone, on the stream.
TERN_MUST_USE tern_status_t cuda_graph_launch_step(CommandBuffer* commands, uint32_t step);

}  // namespace tern::cuda
