// How the runtime calls a CPU kernel, and (at the end) a CUDA kernel. C11, freestanding: compiled kernels include no
// header, this text is their contract.
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
};

// ---- CUDA
//
// A kernel is an entry (`extern "C" __global__`) of a cubin, fatbin or PTX text, found by its name. Its parameters are
// all 64 bits wide, in this order:
//
//   1. one device pointer a binding, in declared order, already offset. Arena, constant memory and buffers that the
//      runtime allocated begin at 256-byte boundaries; a buffer imported from the host has its element's alignment.
//   2. one int64 a scalar parameter, in declared order.
//   3. of entries with TERN_HAL_ENTRY_REPORTS_FAULTS: a pointer to an int32 *fault word* in host memory, 0 at the start.
//      A kernel whose data violates a contract stores a TERN_KERNEL_... there (any thread, plain store) and
//      returns without touching memory out of bounds. This is what a CPU kernel's result is.
//
// A tile is a block: the dispatch's grid is gridDim (x at most 2^31 - 1, y and z at most 65,535), and a grid of which a
// dimension is 0 runs nothing. Blocks are independent of each other. blockDim is the entry's workgroup size. *Scratch*
// is a block's own memory, so it is dynamic shared memory: a launch gets the entry's workgroup_memory plus the
// dispatch's scratch bytes of it.
//
// A kernel with TERN_HAL_ENTRY_WAITS_FOR_GRID executes griddepcontrol.wait in every thread before its first access to
// memory that another command may write or read; it may be started while the kernel before it ends.
