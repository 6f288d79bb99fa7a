// Kernels of vulkan_driver_test (schemas/abi/kernel_abi.h). tests/support/make_spirv.py makes test_kernels.spv.inc of this.
#version 450

#if defined(KERNEL_sizes)
#extension GL_KHR_shader_subgroup_basic : require
layout(local_size_x = 64) in;
#else
layout(local_size_x = 1) in;
#endif
layout(push_constant) uniform Push {
  uint tiles;
  uint reserved;
  uvec2 pushed[1];
};
#define TILE (gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x)

#if defined(KERNEL_twenty)
// Twenty parameters are too many to push: target[i] = params[i]. Reports a negative first one.
layout(set = 0, binding = 0) buffer Buffer0 { uvec2 target[]; };
layout(set = 0, binding = 1) readonly buffer Parameters { uvec2 params[]; };
layout(set = 0, binding = 2) buffer Fault { int fault; };
void kernel(uint tile) {
  for (int i = 0; i < 20; ++i) target[i] = params[i];
  if (int(params[0].y) < 0) fault = 3;
}

#elif defined(KERNEL_count)
// target[0] counts tiles, target[1] is the largest.
layout(set = 0, binding = 0) buffer Buffer0 { uint target[]; };
void kernel(uint tile) {
  atomicAdd(target[0], 1);
  atomicMax(target[1], tile);
}

#elif defined(KERNEL_far)
// target[pushed[0]] = 7.
layout(set = 0, binding = 0) buffer Buffer0 { uint target[]; };
void kernel(uint tile) {
  target[pushed[0].x] = 7;
}

#elif defined(KERNEL_append)
// Not commutative, so that order shows: target[0] = 3 * target[0] + pushed[0].
layout(set = 0, binding = 0) buffer Buffer0 { uint target[]; };
void kernel(uint tile) {
  target[0] = 3 * target[0] + pushed[0].x;
}

#elif defined(KERNEL_sizes)
// How many invocations a subgroup has, and how many subgroups the workgroup; then where each invocation is.
layout(set = 0, binding = 0) buffer Buffer0 { uint target[]; };
void kernel(uint tile) {
  if (gl_LocalInvocationIndex == 0) {
    target[0] = gl_SubgroupSize;
    target[1] = gl_NumSubgroups;
  }
  target[2 + gl_LocalInvocationIndex] = gl_SubgroupID * gl_SubgroupSize + gl_SubgroupInvocationID;
}
#endif

void main() {
  if (TILE < tiles) kernel(TILE);
}
