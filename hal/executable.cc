#include "hal/executable.h"

#include <string.h>

#include "hal/base/atomic.h"
#include "hal/device.h"

namespace {

tern_status_t check_tensors([[maybe_unused]] tern_allocator_t allocator,
                            const tern_hal_executable_desc_t* desc) {
  if (desc->tensor_count == 0) return TERN_OK;
  if (desc->format != TERN_HAL_EXECUTABLE_CUBIN && desc->format != TERN_HAL_EXECUTABLE_PTX) {
    return tern_status_make(allocator, TERN_STATUS_INCOMPATIBLE,
                            "An executable of the format (%u) declares tensors; CUDA's alone do.",
                            desc->format);
  }
  return TERN_OK;  // the cuda driver looks at them
}

}  // namespace

extern "C" tern_status_t tern_hal_executable_create(tern_hal_device_t* device,
                                                    const tern_hal_executable_desc_t* desc,
                                                    tern_hal_executable_t** out_executable) {
  if (!device || !desc || !out_executable || (desc->entry_count && !desc->entries) ||
      (desc->code.size && !desc->code.data) || (desc->tensor_count && !desc->tensors)) {
    return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  }
  *out_executable = nullptr;
  if (tern_atomic_load_i32(&device->lost)) return tern_status_from_code(TERN_STATUS_DEVICE_LOST);
  if (!desc->trusted) {
    return tern_status_make(device->allocator, TERN_STATUS_PERMISSION_DENIED,
                            "The executable holds machine code, and the caller's policy does not trust it.");
  }
  TERN_RETURN_IF_ERROR(check_tensors(device->allocator, desc));
  tern_hal_executable_t* executable = nullptr;
  TERN_RETURN_IF_ERROR(device->vtable->create_executable(device, desc, &executable));
  executable->ref_count = 1;
  executable->device = device;
  tern_hal_device_retain(device);
  const size_t bytes = desc->entry_count * sizeof(tern_hal_entry_t);
  executable->entries =
      static_cast<tern_hal_entry_t*>(tern_allocate(device->allocator, bytes, alignof(tern_hal_entry_t)));
  if (bytes && !executable->entries) {
    tern_hal_executable_release(executable);
    return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  }
  if (bytes) memcpy(executable->entries, desc->entries, bytes);
  executable->entry_count = desc->entry_count;
  *out_executable = executable;
  return TERN_OK;
}

extern "C" void tern_hal_executable_retain(tern_hal_executable_t* executable) {
  tern_ref_retain(&executable->ref_count);
}

extern "C" void tern_hal_executable_release(tern_hal_executable_t* executable) {
  if (!executable || !tern_ref_release(&executable->ref_count)) return;
  tern_hal_device_t* device = executable->device;
  tern_release(device->allocator, executable->entries, executable->entry_count * sizeof(tern_hal_entry_t));
  executable->vtable->destroy(executable);
  tern_hal_device_release(device);
}

extern "C" uint32_t tern_hal_executable_entry_count(const tern_hal_executable_t* executable) {
  return executable->entry_count;
}
