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
} tern_hal_executable_format_t;

typedef struct tern_hal_entry_t {
  tern_string_view_t name;    // for messages and profiles; borrowed: must outlive the executable
  uint64_t offset;            // ELF: virtual address of the function inside the image
  tern_kernel_fn_t function;  // FUNCTIONS: the kernel
  uint32_t binding_count;     // what each dispatch must bring
  uint32_t param_count;
} tern_hal_entry_t;

typedef struct tern_hal_executable_desc_t {
  uint32_t format;                  // tern_hal_executable_format_t
  uint32_t trusted;                 // the caller vouches for the code
  tern_const_bytes_t code;          // copied: may go after creation
  const tern_hal_entry_t* entries;  // copied
  uint32_t entry_count;
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
