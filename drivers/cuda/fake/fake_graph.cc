// Graphs: nodes with what they do and what they wait for. A launch takes a snapshot of the executable graph.
#include <memory>
#include <set>

#include "drivers/cuda/fake/fake_cuda.h"

using Kinds = std::pair<tern::cuda::fake::Memory, tern::cuda::fake::Memory>;
struct tern::cuda::CUgraphNode_st {
  std::function<void()> work;  // none: an empty node
  Kinds kinds;
  std::set<CUgraphNode_st*> after;
};
struct tern::cuda::CUgraph_st {
  std::vector<std::unique_ptr<CUgraphNode_st>> nodes;
};
struct tern::cuda::CUgraphExec_st {
  struct Node {
    std::function<void()> work;
    Kinds kinds;
    std::vector<size_t> after;
    bool enabled = true;
  };
  std::vector<Node> nodes;
  std::map<CUgraphNode_st*, size_t> index;
};

namespace tern::cuda {
namespace fake {
namespace {

int programmatic_edges = 0;

CUresult work_of(const CUDA_KERNEL_NODE_PARAMS* p, std::function<void()>* out) {
  const Launch launch = make_launch(p->func, p->gridDimX, p->gridDimY, p->gridDimZ, p->blockDimX,
                                    p->blockDimY, p->blockDimZ, p->sharedMemBytes, p->kernelParams);
  *out = [launch] { run(launch); };
  return check_launch(launch);
}
CUresult work_of(const CUDA_MEMCPY3D* p, std::function<void()>* out) {
  const CUdeviceptr target = p->dstDevice, source = p->srcDevice;
  const size_t bytes = p->WidthInBytes;
  if (!bytes || p->Height != 1 || p->Depth != 1 || p->srcMemoryType != CU_MEMORYTYPE_UNIFIED ||
      p->dstMemoryType != CU_MEMORYTYPE_UNIFIED || !is_known(target, bytes) || !is_known(source, bytes)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  *out = [=] { copy(target, source, bytes); };
  return CUDA_SUCCESS;
}
CUresult work_of(const CUDA_MEMSET_NODE_PARAMS* p, std::function<void()>* out) {
  const CUDA_MEMSET_NODE_PARAMS params = *p;
  if (!p->width || p->height != 1 || p->dst % p->elementSize ||
      !is_known(p->dst, p->width * p->elementSize) ||
      (p->elementSize < 4 && p->value >> (8 * p->elementSize))) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  *out = [params] { fill(params.dst, params.value, params.elementSize, params.width); };
  return CUDA_SUCCESS;
}

// The memory that a node was made for.
Kinds kinds_of(const CUDA_KERNEL_NODE_PARAMS*) {
  return {};
}
Kinds kinds_of(const CUDA_MEMCPY3D* p) {
  return {kind_of(p->srcDevice), kind_of(p->dstDevice)};
}
Kinds kinds_of(const CUDA_MEMSET_NODE_PARAMS* p) {
  return {kind_of(p->dst), {}};
}

template <typename Params>
CUresult add(CUgraphNode* node, CUgraph graph, const CUgraphNode* after, size_t count, const Params* params) {
  auto made = std::make_unique<CUgraphNode_st>();
  const CUresult result = work_of(params, &made->work);
  if (result != CUDA_SUCCESS) return result;
  made->kinds = kinds_of(params);
  made->after.insert(after, after + count);
  *node = made.get();
  graph->nodes.push_back(std::move(made));
  return CUDA_SUCCESS;
}

template <typename Params>
CUresult set(CUgraphExec exec, CUgraphNode node, const Params* params) {
  const auto found = exec->index.find(node);
  if (found == exec->index.end() || kinds_of(params) != exec->nodes[found->second].kinds) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  return work_of(params, &exec->nodes[found->second].work);
}

// What is ready runs, the last recorded first.
void run_all(const std::vector<CUgraphExec_st::Node>& nodes) {
  std::vector<bool> done(nodes.size());
  for (size_t left = nodes.size(); left > 0; --left) {
    for (size_t i = nodes.size(); i-- > 0;) {
      bool ready = !done[i];
      for (size_t before : nodes[i].after) ready = ready && done[before];
      if (!ready) continue;
      if (nodes[i].enabled && nodes[i].work) nodes[i].work();
      done[i] = true;
      break;
    }
  }
}

}  // namespace

long long live_graphs = 0;

}  // namespace fake

using namespace fake;

int fake_cuda_programmatic_edges() {
  return programmatic_edges;
}

CUresult cuGraphCreate(CUgraph* graph, unsigned) {
  FAKE_ENTER("cuGraphCreate");
  ++live_graphs;
  *graph = new CUgraph_st;
  return CUDA_SUCCESS;
}
CUresult cuGraphDestroy(CUgraph graph) {
  FAKE_ENTER("cuGraphDestroy");
  --live_graphs;
  delete graph;
  return CUDA_SUCCESS;
}
CUresult cuGraphAddKernelNode_v2(CUgraphNode* node, CUgraph graph, const CUgraphNode* after, size_t count,
                                 const CUDA_KERNEL_NODE_PARAMS* params) {
  FAKE_ENTER("cuGraphAddKernelNode");
  return add(node, graph, after, count, params);
}
CUresult cuGraphAddMemcpyNode(CUgraphNode* node, CUgraph graph, const CUgraphNode* after, size_t count,
                              const CUDA_MEMCPY3D* params, CUcontext) {
  FAKE_ENTER("cuGraphAddMemcpyNode");
  return add(node, graph, after, count, params);
}
CUresult cuGraphAddMemsetNode(CUgraphNode* node, CUgraph graph, const CUgraphNode* after, size_t count,
                              const CUDA_MEMSET_NODE_PARAMS* params, CUcontext) {
  FAKE_ENTER("cuGraphAddMemsetNode");
  return add(node, graph, after, count, params);
}
CUresult cuGraphAddEmptyNode(CUgraphNode* node, CUgraph graph, const CUgraphNode* after, size_t count) {
  FAKE_ENTER("cuGraphAddEmptyNode");
  auto made = std::make_unique<CUgraphNode_st>();
  made->after.insert(after, after + count);
  *node = made.get();
  graph->nodes.push_back(std::move(made));
  return CUDA_SUCCESS;
}
CUresult cuGraphAddDependencies(CUgraph, const CUgraphNode* from, const CUgraphNode* to, size_t count) {
  FAKE_ENTER("cuGraphAddDependencies");
  for (size_t i = 0; i < count; ++i) to[i]->after.insert(from[i]);
  return CUDA_SUCCESS;
}
CUresult cuGraphAddDependencies_v2(CUgraph graph, const CUgraphNode* from, const CUgraphNode* to,
                                   const CUgraphEdgeData* data, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    programmatic_edges += data[i].type == CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC &&
                          data[i].from_port == CU_GRAPH_KERNEL_NODE_PORT_PROGRAMMATIC;
  }
  return cuGraphAddDependencies(graph, from, to, count);
}
CUresult cuGraphInstantiateWithFlags(CUgraphExec* exec, CUgraph graph, unsigned long long) {
  FAKE_ENTER("cuGraphInstantiate");
  ++live_graphs;
  *exec = new CUgraphExec_st;
  for (const auto& node : graph->nodes) {
    (*exec)->index[node.get()] = (*exec)->nodes.size();
    (*exec)->nodes.push_back({node->work, node->kinds, {}, true});
  }
  for (const auto& node : graph->nodes) {
    for (CUgraphNode_st* before : node->after) {
      (*exec)->nodes[(*exec)->index[node.get()]].after.push_back((*exec)->index[before]);
    }
  }
  return CUDA_SUCCESS;
}
CUresult cuGraphUpload(CUgraphExec, CUstream) {
  FAKE_ENTER("cuGraphUpload");
  return CUDA_SUCCESS;
}
CUresult cuGraphLaunch(CUgraphExec exec, CUstream) {
  FAKE_ENTER("cuGraphLaunch");
  enqueue([nodes = exec->nodes] { run_all(nodes); });
  return CUDA_SUCCESS;
}
CUresult cuGraphExecDestroy(CUgraphExec exec) {
  FAKE_ENTER("cuGraphExecDestroy");
  --live_graphs;
  delete exec;
  return CUDA_SUCCESS;
}
CUresult cuGraphExecKernelNodeSetParams_v2(CUgraphExec exec, CUgraphNode node,
                                           const CUDA_KERNEL_NODE_PARAMS* params) {
  FAKE_ENTER("cuGraphExecKernelNodeSetParams");
  return set(exec, node, params);
}
CUresult cuGraphExecMemcpyNodeSetParams(CUgraphExec exec, CUgraphNode node, const CUDA_MEMCPY3D* params,
                                        CUcontext) {
  FAKE_ENTER("cuGraphExecMemcpyNodeSetParams");
  return set(exec, node, params);
}
CUresult cuGraphExecMemsetNodeSetParams(CUgraphExec exec, CUgraphNode node,
                                        const CUDA_MEMSET_NODE_PARAMS* params, CUcontext) {
  FAKE_ENTER("cuGraphExecMemsetNodeSetParams");
  return set(exec, node, params);
}
CUresult cuGraphNodeSetEnabled(CUgraphExec exec, CUgraphNode node, unsigned enabled) {
  FAKE_ENTER("cuGraphNodeSetEnabled");
  exec->nodes[exec->index[node]].enabled = enabled != 0;
  return CUDA_SUCCESS;
}

}  // namespace tern::cuda
