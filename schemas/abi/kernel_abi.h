// How the runtime calls a CPU kernel, and (at the end) a CUDA and a Vulkan kernel. C11, freestanding:
// compiled kernels include no header, this text is their contract.
//
// A kernel is one function of an executable (a position-independent ELF image without imports). It computes
// the tiles [tile_begin, tile_end) of a grid whose size the command names; tiles are independent of each
// other, write disjoint bytes, and give the same bytes in whatever split or order the runtime hands them out.
#pragma once

#include <stdint.h>

// bindings: one base address a binding, in the kernel's declared order, already offset. Read bindings are
// only read. Alignment: 64
//   bytes for arena and constant memory; external buffers (the caller's) have at least their element's
//   alignment, so kernels use unaligned vector loads and stores.
// params: the kernel's scalar parameters (dimensions, offsets, strides), 64-bit signed, in declared order.
typedef struct tern_kernel_args_t {
  void* const* bindings;
  const int64_t* params;
} tern_kernel_args_t;

// scratch: this worker's own memory, 64-byte aligned, at least the bytes that the kernel declares (0: may be
// null). Contents are
//   undefined at entry and lost at return.
// Returns 0, or TERN_KERNEL_... when data violates a contract that can only be checked inside (an index out
// of range).
typedef int32_t (*tern_kernel_fn_t)(const tern_kernel_args_t* args, int64_t tile_begin, int64_t tile_end,
                                    void* scratch, int64_t scratch_size);

enum {
  TERN_KERNEL_OK = 0,
  TERN_KERNEL_INDEX_OUT_OF_RANGE = 1,  // a gather/scatter index lies outside its axis
  TERN_KERNEL_SCRATCH_TOO_SMALL = 2,
  TERN_KERNEL_BAD_VALUE = 3,  // another data-dependent contract (negative repeat count, unsorted list, …)
  TERN_KERNEL_LOOP_CUT = 4,  // the device ended a loop before its time (lavapipe: 65,535 iterations a thread)
  TERN_KERNEL_ROW_TOO_LONG = 5,  // a row has more elements (2^28) than are sorted on a GPU
};

// ---- CUDA
//
// A kernel is an entry (`extern "C" __global__`) of a cubin, fatbin or PTX text, found by its name. Its
// parameters are all 64 bits wide, in this order:
//
//   1. one device pointer a binding, in declared order, already offset, and a multiple of 16: kernels access
//   up to 16
//      bytes at once. Arena, constant memory and buffers that the runtime allocated begin at 256-byte
//      boundaries; host memory that begins elsewhere than at a multiple of 16 is not imported.
//   2. one int64 a scalar parameter, in declared order.
//   3. of entries with TERN_HAL_ENTRY_TAKES_TENSORS: one tensor map a tensor that the executable declares for
//   the
//      entry (tern_hal_tensor_t), in that order: `const __grid_constant__ CUtensorMap`, 128 bytes, tiled,
//      without interleaving, zeros outside. These alone are not 64 bits wide.
//   4. of entries with TERN_HAL_ENTRY_REPORTS_FAULTS: a pointer to an int32 *fault word* in host memory, 0 at
//   the start.
//      A kernel whose data violates a contract stores a TERN_KERNEL_... there (any thread, plain store) and
//      returns without touching memory out of bounds. This is what a CPU kernel's result is.
//
// A tile is a block: the dispatch's grid is gridDim (x at most 2^31 - 1, y and z at most 65,535), and a grid
// of which a dimension is 0 runs nothing. Blocks are independent of each other. blockDim is the entry's
// workgroup size. *Scratch* is a block's own memory, so it is dynamic shared memory: a launch gets the
// entry's workgroup_memory plus the dispatch's scratch bytes of it.
//
// A kernel with TERN_HAL_ENTRY_WAITS_FOR_GRID executes griddepcontrol.wait in every thread before its first
// access to memory that another command may write or read; it may be started while the kernel before it ends.

// ---- Vulkan
//
// A kernel is a compute entry point of a SPIR-V module (1.3 or earlier unless the device's Vulkan version
// takes more). An executable's code is one module or several, one after the other; an entry's `offset` is
// where its module begins in the code (a multiple of 4), and a module ends where the next one begins. The
// entry point is the one with the entry's name, or else the module's only one (GLSL's `main`). LocalSize is
// fixed in the module and must be the entry's workgroup_size (0 counts as 1).
//
// Descriptors: all in set 0, all storage buffers, visible to the compute stage.
//
//   binding i < n   binding i of the dispatch, in declared order. The descriptor's first byte is the
//   binding's first byte: no
//                   offset is to be added. It is at a multiple of 16 bytes, so that uint, uvec2, uvec4,
//                   float, … views of one binding are all legal. Its size is the dispatch's length rounded up
//                   to a multiple of 16 (at least 16): bytes behind the length may be read (contents
//                   undefined) but not changed, since they may be a neighbour's; a kernel that stores less
//                   than a word without 8/16-bit storage does so by atomics on words that leave the other
//                   bits as they are.
//   binding n       the parameters, if they do not fit the push constants; absent otherwise
//   next binding    of entries with TERN_HAL_ENTRY_REPORTS_FAULTS: the *fault word*, one int32, 0 at the
//   start. A kernel
//                   whose data violates a contract stores a TERN_KERNEL_... there (any invocation, plain
//                   store) and returns without touching memory out of bounds.
//
// Push constants, at offset 0, 8 + 8 * parameters bytes where the entry has at most TERN_VULKAN_PUSHED_PARAMS
// parameters, else 8 bytes:
//
//   uint  tiles;        // the number of tiles of the dispatch
//   uint  reserved;     // 0
//   uvec2 params[];     // one int64 a scalar parameter, little-endian: x is the low half (or int64_t with
//   shaderInt64)
//
// With more parameters, `params` is the content of the storage buffer at binding n instead, from its offset
// 0.
//
// A tile is a workgroup. The driver folds a dispatch's grid (the product of its dimensions, at most 65,535 *
// 65,535) into two dimensions of its own choice, z = 1, with x * y >= tiles:
//
//   uint tile = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
//   if (tile >= tiles) return;      // the same in the whole workgroup
//
// Workgroup memory is what the module declares (`shared`); the entry's workgroup_memory says how much, and a
// device that has less refuses the executable. *Scratch* (a dispatch's operand; kernels of ternc use none) is
// a `shared uint[]` whose length in words is the specialisation constant TERN_VULKAN_SCRATCH_WORDS.
//
// Offsets of bindings: multiples of the device's minStorageBufferOffsetAlignment (capability row
// vulkan_storage_alignment, at most 256; 16 on most) cost nothing. Other offsets work: the driver runs the
// dispatch on an aligned copy of the range, copied in before and (if written) out after it. So ternc places
// what Vulkan programs bind at multiples of 256. A range must not be longer than the device's
// maxStorageBufferRange (row vulkan_storage_range; at least 128 MiB).
enum {
  TERN_VULKAN_PUSHED_PARAMS = 15,  // 8 + 15 * 8 = 128 bytes, which every device has
  TERN_VULKAN_SCRATCH_WORDS = 0,   // a specialisation constant's id
};
