// Device code with entry points that dispatches call by index.
//
// Code is trusted or refused: the HAL takes the caller's word (`trusted`), the policy lives above it. Even so
// the *container* is treated as hostile: a damaged one gives TERN_STATUS_MALFORMED, never a crash.
#pragma once

#include "hal/types.h"
#include "schemas/abi/kernel_abi.h"

#ifdef __cplusplus
extern "C" {
#endif

// Append-only; a driver refuses what it does not take with TERN_STATUS_INCOMPATIBLE.
typedef enum tern_hal_executable_format_e {
  TERN_HAL_EXECUTABLE_ELF =
      1,  // CPU: `code` is an ELF64 shared image without imports or relocations; entries give offsets
  TERN_HAL_EXECUTABLE_FUNCTIONS = 2,  // CPU: kernels linked into the program; entries give functions
  TERN_HAL_EXECUTABLE_CUBIN = 3,      // CUDA: a cubin or fatbin; entries give names
  TERN_HAL_EXECUTABLE_PTX = 4,        // CUDA: PTX text, compiled when loaded; entries give names
  TERN_HAL_EXECUTABLE_SPIRV = 5,      // Vulkan: SPIR-V modules; entries give names and offsets (kernel_abi.h)
} tern_hal_executable_format_t;

// What an entry says of itself (tern_hal_launch_t::flags).
enum {
  TERN_HAL_ENTRY_REPORTS_FAULTS = 1,  // takes the fault word behind its parameters (schemas/abi/kernel_abi.h)
  TERN_HAL_ENTRY_WAITS_FOR_GRID = 2,  // CUDA: waits (griddepcontrol.wait) before it touches memory, so that
                                      // it may start while what it depends on ends
  TERN_HAL_ENTRY_TAKES_TENSORS = 4,   // CUDA: takes its tensors behind its parameters
  // Vulkan: bits 8 to 15 are the invocations of a subgroup that the kernel relies on; 0: 32, or none.
  TERN_HAL_ENTRY_SUBGROUP_SHIFT = 8,
  TERN_HAL_ENTRY_SUBGROUP_MASK = 0xff00,
};

// A binding of a CUDA entry as a tensor: the driver makes a tensor map (CUtensorMap, tiled) of it for each
// dispatch, for the addresses and parameters that the dispatch brings. Reads outside give zero.
enum {
  TERN_HAL_TENSOR_AXES = 5,          // at most
  TERN_HAL_TENSOR_SIZE_PARAM = 1,    // flags of an axis: `size` is the number of the parameter that has it
  TERN_HAL_TENSOR_STRIDE_PARAM = 2,  // the same of `stride`
};
typedef struct tern_hal_tensor_axis_t {
  int64_t size, stride;  // elements; strides but the last, which is 1, are multiples of 16 bytes
  uint32_t box;          // elements of a box: 1 to 256
  uint32_t flags;
} tern_hal_tensor_axis_t;
typedef struct tern_hal_tensor_t {
  uint32_t entry, binding;
  uint32_t element_size;  // bytes: 1, 2, 4 or 8
  uint32_t swizzled;  // 1: rows of 128 bytes in workgroup memory, their 16-byte pieces swizzled over eight
  uint64_t offset;    // elements from the binding's first byte to the tensor's; a multiple of 16 bytes
  uint32_t rank;      // 1 to TERN_HAL_TENSOR_AXES
  tern_hal_tensor_axis_t axes[TERN_HAL_TENSOR_AXES];  // outermost first
} tern_hal_tensor_t;

// How a GPU runs an entry; zero on CPUs.
typedef struct tern_hal_launch_t {
  uint32_t workgroup_size[3];  // threads of a block; 0 counts as 1
  uint32_t workgroup_memory;   // bytes; CUDA: dynamic, a dispatch's scratch is added. Vulkan: what the module
                               // declares
  uint32_t flags;              // TERN_HAL_ENTRY_...
} tern_hal_launch_t;

typedef struct tern_hal_entry_t {
  tern_string_view_t name;  // for messages and profiles, and what GPUs find it by; borrowed: must outlive the
                            // executable
  uint64_t offset;          // ELF: virtual address of the function; SPIR-V: where its module begins
  tern_kernel_fn_t function;  // FUNCTIONS: the kernel
  uint32_t binding_count;     // what each dispatch must bring
  uint32_t param_count;
  tern_hal_launch_t launch;
} tern_hal_entry_t;

typedef struct tern_hal_executable_desc_t {
  uint32_t format;                  // tern_hal_executable_format_t
  uint32_t trusted;                 // the caller vouches for the code
  tern_const_bytes_t code;          // copied: may go after creation
  const tern_hal_entry_t* entries;  // copied
  uint32_t entry_count;
  const tern_hal_tensor_t* tensors;  // copied; of CUDA's entries, ascending by entry
  uint32_t tensor_count;
} tern_hal_executable_desc_t;

TERN_MUST_USE tern_status_t tern_hal_executable_create(tern_hal_device_t* device,
                                                       const tern_hal_executable_desc_t* desc,
                                                       tern_hal_executable_t** out_executable);
void tern_hal_executable_retain(tern_hal_executable_t* executable);
void tern_hal_executable_release(tern_hal_executable_t* executable);  // null is fine

uint32_t tern_hal_executable_entry_count(const tern_hal_executable_t* executable);

// ---- For drivers
// -------------------------------------------------------------------------------------------------------------

typedef struct tern_hal_executable_vtable_t {
  void (*destroy)(tern_hal_executable_t* executable);
} tern_hal_executable_vtable_t;

// The head of every driver's executable. The driver fills vtable; the front copies the entries.
struct tern_hal_executable_t {
  int32_t ref_count;
  uint32_t entry_count;
  const tern_hal_executable_vtable_t* vtable;
  tern_hal_device_t* device;
  tern_hal_entry_t* entries;
};

#ifdef __cplusplus
}  // extern "C"
#endif
