// Steps as graph nodes.
#include "drivers/cuda/cuda_command_buffer.h"

namespace tern::cuda {
namespace {

// Phases with more edges between them than this meet in an empty node.
constexpr uint64_t kMostEdges = 16;

const tern_hal_launch_t& launch_of(const CommandBuffer* commands, const Step& step) {
  const tern_hal_command_t& command = commands->head.commands[step.command];
  return command.executable->entries[command.entry].launch;
}

uint32_t threads(uint32_t size) {
  return size ? size : 1;
}

CUDA_KERNEL_NODE_PARAMS kernel_params(const CommandBuffer* commands, const Step& step) {
  const tern_hal_launch_t& launch = launch_of(commands, step);
  CUDA_KERNEL_NODE_PARAMS params = {};
  params.func = step.function;
  params.gridDimX = step.work.grid[0];
  params.gridDimY = step.work.grid[1];
  params.gridDimZ = step.work.grid[2];
  params.blockDimX = threads(launch.workgroup_size[0]);
  params.blockDimY = threads(launch.workgroup_size[1]);
  params.blockDimZ = threads(launch.workgroup_size[2]);
  params.sharedMemBytes = static_cast<unsigned>(step.work.shared);
  params.kernelParams = step.arg_count ? commands->arg_pointers + step.first_arg : nullptr;
  return params;
}

CUDA_MEMCPY3D copy_params(const Step& step) {
  CUDA_MEMCPY3D params = {};
  params.srcMemoryType = params.dstMemoryType = CU_MEMORYTYPE_UNIFIED;
  params.srcDevice = step.work.source;
  params.dstDevice = step.work.target;
  params.WidthInBytes = step.work.length;
  params.Height = params.Depth = 1;
  return params;
}

uint32_t pattern_of(const tern_hal_command_t& command) {
  return command.pattern_size == 4 ? command.pattern
                                   : command.pattern & ((1u << (8 * command.pattern_size)) - 1);
}

CUDA_MEMSET_NODE_PARAMS fill_params(const CommandBuffer* commands, const Step& step) {
  const tern_hal_command_t& command = commands->head.commands[step.command];
  CUDA_MEMSET_NODE_PARAMS params = {};
  params.dst = step.work.target;
  params.value = pattern_of(command);
  params.elementSize = command.pattern_size;
  params.width = step.work.length / command.pattern_size;
  params.height = 1;
  return params;
}

tern_status_t add_node(CommandBuffer* commands, uint32_t index) {
  Device* device = cast_device(commands->head.device);
  const Step& step = commands->steps[index];
  CUgraphNode* node = &commands->nodes[index];
  if (step.kind == TERN_HAL_COMMAND_DISPATCH) {
    const CUDA_KERNEL_NODE_PARAMS params = kernel_params(commands, step);
    TERN_CUDA_TRY(device, GraphAddKernelNode, node, commands->graph, nullptr, 0, &params);
  } else if (step.kind == TERN_HAL_COMMAND_COPY) {
    const CUDA_MEMCPY3D params = copy_params(step);
    TERN_CUDA_TRY(device, GraphAddMemcpyNode, node, commands->graph, nullptr, 0, &params, device->context);
  } else {
    const CUDA_MEMSET_NODE_PARAMS params = fill_params(commands, step);
    TERN_CUDA_TRY(device, GraphAddMemsetNode, node, commands->graph, nullptr, 0, &params, device->context);
  }
  return TERN_OK;
}

// Whether `to` may be started while `from` ends: both are kernels that always run, and `to` waits inside.
bool may_overlap(const CommandBuffer* commands, const Step& from, const Step& to) {
  const Device* device = cast_device(commands->head.device);
  if (device->options.no_dependent_launch || !device->symbols.GraphAddDependencies_v2 ||
      device->limits.major < 9) {
    return false;
  }
  if (from.kind != TERN_HAL_COMMAND_DISPATCH || to.kind != TERN_HAL_COMMAND_DISPATCH) return false;
  if (!(launch_of(commands, to).flags & TERN_HAL_ENTRY_WAITS_FOR_GRID)) return false;
  if (commands->lean) return true;
  const Step* const both[] = {&from, &to};
  for (const Step* step : both) {
    const tern_hal_command_t& command = commands->head.commands[step->command];
    for (const tern_hal_operand_t& dimension : command.grid) {
      if (dimension.kind != TERN_HAL_OPERAND_CONSTANT || dimension.value == 0) return false;
    }
  }
  return true;
}

tern_status_t add_edge(CommandBuffer* commands, CUgraphNode from, CUgraphNode to, bool overlap) {
  Device* device = cast_device(commands->head.device);
  if (!overlap) {
    TERN_CUDA_TRY(device, GraphAddDependencies, commands->graph, &from, &to, 1);
    return TERN_OK;
  }
  CUgraphEdgeData data = {};
  data.from_port = CU_GRAPH_KERNEL_NODE_PORT_PROGRAMMATIC;
  data.type = CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC;
  TERN_CUDA_TRY(device, GraphAddDependencies_v2, commands->graph, &from, &to, &data, 1);
  return TERN_OK;
}

// Steps [begin, end) of one phase, of which `count` have nodes.
struct Phase {
  uint32_t begin, end, count;
};

// Edges from the steps of one phase to those of the next.
tern_status_t connect(CommandBuffer* commands, const Phase& before, const Phase& after) {
  Device* device = cast_device(commands->head.device);
  const uint64_t edges = uint64_t{before.count} * after.count;
  CUgraphNode join = nullptr;
  if (edges > kMostEdges && before.count > 1 && after.count > 1) {
    TERN_CUDA_TRY(device, GraphAddEmptyNode, &join, commands->graph, nullptr, 0);
    for (uint32_t from = before.begin; from < before.end; ++from) {
      if (!commands->nodes[from]) continue;
      TERN_RETURN_IF_ERROR(add_edge(commands, commands->nodes[from], join, false));
    }
  }
  for (uint32_t to = after.begin; to < after.end; ++to) {
    if (!commands->nodes[to]) continue;
    if (join) {
      TERN_RETURN_IF_ERROR(add_edge(commands, join, commands->nodes[to], false));
      continue;
    }
    for (uint32_t from = before.begin; from < before.end; ++from) {
      if (!commands->nodes[from]) continue;
      const bool overlap =
          before.count == 1 && may_overlap(commands, commands->steps[from], commands->steps[to]);
      TERN_RETURN_IF_ERROR(add_edge(commands, commands->nodes[from], commands->nodes[to], overlap));
    }
  }
  return TERN_OK;
}

tern_status_t add_edges(CommandBuffer* commands) {
  Phase before = {};
  for (uint32_t begin = 0, end = 0; begin < commands->step_count; begin = end) {
    Phase phase = {begin, begin, 0};
    for (; end < commands->step_count && commands->steps[end].phase == commands->steps[begin].phase; ++end)
      phase.count += commands->nodes[end] != nullptr;
    phase.end = end;
    if (phase.count == 0) continue;
    if (before.count) TERN_RETURN_IF_ERROR(connect(commands, before, phase));
    before = phase;
  }
  return TERN_OK;
}

}  // namespace

void cuda_graph_destroy(CommandBuffer* commands) {
  const Symbols& symbols = cast_device(commands->head.device)->symbols;
  if (commands->exec) (void)symbols.GraphExecDestroy(commands->exec);  // what runs of it runs to its end
  if (commands->graph) (void)symbols.GraphDestroy(commands->graph);
  commands->exec = nullptr;
  commands->graph = nullptr;
}

tern_status_t cuda_graph_build(CommandBuffer* commands) {
  Device* device = cast_device(commands->head.device);
  cuda_graph_destroy(commands);
  if (commands->step_count == 0) return TERN_OK;
  TERN_CUDA_TRY(device, GraphCreate, &commands->graph, 0);
  for (uint32_t i = 0; i < commands->step_count; ++i) {
    commands->nodes[i] = nullptr;
    if (commands->lean && !commands->steps[i].work.enabled) continue;
    TERN_RETURN_IF_ERROR_CONTEXT(add_node(commands, i), "\n - While making a graph node of command %u",
                                 commands->steps[i].command);
  }
  TERN_RETURN_IF_ERROR(add_edges(commands));
  TERN_CUDA_TRY(device, GraphInstantiate, &commands->exec, commands->graph, 0);
  for (uint32_t i = 0; i < commands->step_count; ++i) {
    if (commands->steps[i].work.enabled || !commands->nodes[i]) continue;
    TERN_CUDA_TRY(device, GraphNodeSetEnabled, commands->exec, commands->nodes[i], 0);
  }
  TERN_CUDA_TRY(device, GraphUpload, commands->exec, device->stream);
  return TERN_OK;
}

tern_status_t cuda_graph_patch(CommandBuffer* commands, uint32_t index, bool was_enabled) {
  Device* device = cast_device(commands->head.device);
  const Step& step = commands->steps[index];
  CUgraphNode node = commands->nodes[index];
  if (step.kind == TERN_HAL_COMMAND_DISPATCH) {
    const CUDA_KERNEL_NODE_PARAMS params = kernel_params(commands, step);
    TERN_CUDA_TRY(device, GraphExecKernelNodeSetParams, commands->exec, node, &params);
  } else if (step.kind == TERN_HAL_COMMAND_COPY) {
    const CUDA_MEMCPY3D params = copy_params(step);
    TERN_CUDA_TRY(device, GraphExecMemcpyNodeSetParams, commands->exec, node, &params, device->context);
  } else {
    const CUDA_MEMSET_NODE_PARAMS params = fill_params(commands, step);
    TERN_CUDA_TRY(device, GraphExecMemsetNodeSetParams, commands->exec, node, &params, device->context);
  }
  if (was_enabled != (step.work.enabled != 0)) {
    TERN_CUDA_TRY(device, GraphNodeSetEnabled, commands->exec, node, step.work.enabled);
  }
  return TERN_OK;
}

tern_status_t cuda_graph_launch_step(CommandBuffer* commands, uint32_t index) {
  Device* device = cast_device(commands->head.device);
  const Step& step = commands->steps[index];
  const Work& work = step.work;
  if (step.kind == TERN_HAL_COMMAND_DISPATCH) {
    const CUDA_KERNEL_NODE_PARAMS params = kernel_params(commands, step);
    TERN_CUDA_TRY(device, LaunchKernel, params.func, params.gridDimX, params.gridDimY, params.gridDimZ,
                  params.blockDimX, params.blockDimY, params.blockDimZ, params.sharedMemBytes, device->stream,
                  params.kernelParams, nullptr);
    return TERN_OK;
  }
  if (step.kind == TERN_HAL_COMMAND_COPY) {
    TERN_CUDA_TRY(device, MemcpyAsync, work.target, work.source, work.length, device->stream);
    return TERN_OK;
  }
  const tern_hal_command_t& command = commands->head.commands[step.command];
  const uint32_t pattern = pattern_of(command);
  if (command.pattern_size == 1) {
    TERN_CUDA_TRY(device, MemsetD8Async, work.target, static_cast<unsigned char>(pattern), work.length,
                  device->stream);
  } else if (command.pattern_size == 2) {
    TERN_CUDA_TRY(device, MemsetD16Async, work.target, static_cast<unsigned short>(pattern), work.length / 2,
                  device->stream);
  } else {
    TERN_CUDA_TRY(device, MemsetD32Async, work.target, pattern, work.length / 4, device->stream);
  }
  return TERN_OK;
}

}  // namespace tern::cuda
