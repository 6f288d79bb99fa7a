// The suite's kernels (kernels.c) for Vulkan (schemas/abi/kernel_abi.h). One invocation a workgroup does the work, as plainly
// as on the CPU; words are all that the floor can store, so bytes are added by atomics on words.
//
// vulkan_kernels.spv.inc is this file as SPIR-V, one module a kernel: tests/support/make_spirv.py makes it.
#version 450

#if defined(KERNEL_add) || defined(KERNEL_affine)
layout(local_size_x = 64) in;
#else
layout(local_size_x = 1) in;
#endif

layout(push_constant) uniform Push {
  uint tiles;
  uint reserved;
  uvec2 params[4];  // the largest of the kernels'
};
#define TILE (gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x)
#define BUFFER(index, name) \
  layout(set = 0, binding = index) buffer Buffer##index { int name[]; }
#define WORDS(index, name) \
  layout(set = 0, binding = index) buffer Buffer##index { uint name[]; }

#if defined(KERNEL_add)
BUFFER(0, a);
BUFFER(1, b);
BUFFER(2, target);
void kernel(uint tile) {
  const uint i = tile * 64 + gl_LocalInvocationID.x;
  if (i < params[0].x) target[i] = a[i] + b[i];
}

#elif defined(KERNEL_affine)
BUFFER(0, source);
BUFFER(1, target);
void kernel(uint tile) {
  const uint i = tile * 64 + gl_LocalInvocationID.x;
  if (i < params[0].x) target[i] = source[i] * int(params[1].x) + int(params[2].x);
}

#elif defined(KERNEL_fail)
BUFFER(0, fault);
void kernel(uint tile) {
  if (params[0].y == 0 && tile == params[0].x) fault[0] = int(params[1].x);
}

#elif defined(KERNEL_scratch)
layout(constant_id = 0) const uint SCRATCH_WORDS = 1;
shared uint words[SCRATCH_WORDS];
BUFFER(0, target);
void kernel(uint tile) {
  const uint size = params[0].x;
  int sum = 0;
  for (uint i = 0; i < size; ++i) words[i / 4] = bitfieldInsert(words[i / 4], (i + tile) % 251, int(i % 4 * 8), 8);
  for (uint i = 0; i < size; ++i) sum += int(bitfieldExtract(words[i / 4], int(i % 4 * 8), 8));
  target[tile] = sum;
}

#elif defined(KERNEL_store_params)
layout(set = 0, binding = 0) buffer Buffer0 { uvec2 target[]; };
void kernel(uint tile) {
  for (int i = 0; i < 4; ++i) target[i] = params[i];
}

#elif defined(KERNEL_mark)
WORDS(0, target);
void kernel(uint tile) {
  atomicAdd(target[tile / 4], 1u << (tile % 4 * 8));  // no byte overflows in the suite
}
#endif

void main() {
  if (TILE < tiles) kernel(TILE);
}
