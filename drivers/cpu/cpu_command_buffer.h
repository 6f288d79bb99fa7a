// A recording in the form that CPU workers walk: a flat array of calls with their addresses and parameters
// resolved.
//
// Everything that a replay needs is allocated in `prepare`. A submission with the same arguments as the last
// changes nothing here; otherwise `cpu_command_buffer_patch` writes the numbers that depend on them.
#pragma once

#include <atomic>

#include "hal/command_buffer.h"

namespace tern::cpu {

// One call. Copies and fills are calls of built-in kernels; barriers are gone: commands have phases instead.
struct Command {
  tern_kernel_fn_t function;
  tern_kernel_args_t args;
  int64_t tiles;
  int64_t scratch;
  uint32_t index;  // in the recording, for messages and profiles
  uint32_t phase;  // commands of one phase may run at once
};

// Consecutive commands [first, first + count): either a phase that all workers share, or any number of phases
// that worker 0 runs alone because no phase of them has more than one tile.
struct Segment {
  uint32_t first;
  uint32_t count;
  bool serial;
};

// What is written with each submission whose arguments changed.
struct BindingPatch {
  uint32_t pointer;  // index into pointers
  uint32_t slot;
  tern_hal_operand_t offset;
};
struct ParamPatch {
  uint32_t param;      // index into params
  uint32_t parameter;  // index into the parameter block
};

// How far a command has come, for workers that share it. Counts go up over all replays since the last reset.
struct alignas(64) Progress {
  std::atomic<int64_t> done;  // tiles; of a serial segment's first command: replays
};

struct CommandBuffer {
  tern_hal_command_buffer_t head;
  void* block;  // holds all arrays below
  size_t block_size;
  uint32_t command_count;
  uint32_t segment_count;
  uint32_t binding_patch_count;
  uint32_t param_patch_count;
  uint32_t worker_count;
  uint32_t epoch;   // replays since the last reset of progress and claims, the one at hand among them
  int64_t scratch;  // the largest of all commands
  bool dynamic_commands;
  Command* commands;
  void** pointers;
  int64_t* params;
  BindingPatch* binding_patches;
  ParamPatch* param_patches;
  Segment* segments;
  Progress* progress;  // one a command
  std::atomic<uint64_t>*
      claims;  // [worker][command]: epoch in the top 24 bits, then how much of the worker's share is taken
};

constexpr uint32_t kMaxEpoch = (1u << 24) - 1;
constexpr int64_t kMaxTiles = (int64_t{1} << 38) - 1;  // times kMaxEpoch is still an int64

TERN_MUST_USE tern_status_t cpu_command_buffer_create(tern_hal_device_t* device,
                                                      tern_hal_command_buffer_t** out_command_buffer);

// Takes in this submission's arguments; `changed` is TERN_HAL_CHANGED_....
TERN_MUST_USE tern_status_t cpu_command_buffer_patch(CommandBuffer* commands, uint32_t changed);

// Forgets progress and claims: after a replay that was cut short, or when epochs run out.
void cpu_command_buffer_reset_progress(CommandBuffer* commands);

}  // namespace tern::cpu
