#include "drivers/cpu/cpu_executable.h"

#include "drivers/cpu/elf_loader.h"
#include "hal/device.h"

namespace tern::cpu {
namespace {

struct Executable {
  tern_hal_executable_t head;
  ElfImage image;  // empty for linked functions
};

void destroy(tern_hal_executable_t* base) {
  auto* executable = reinterpret_cast<Executable*>(base);
  elf_unload(&executable->image);
  tern_release(base->device->allocator, executable, sizeof(Executable));
}

constexpr tern_hal_executable_vtable_t kVtable = {destroy};

tern_status_t load(tern_allocator_t allocator, const tern_hal_executable_desc_t* desc, ElfImage* out_image) {
  TERN_RETURN_IF_ERROR(elf_load(allocator, desc->code, out_image));
  for (uint32_t i = 0; i < desc->entry_count; ++i) {
    if (elf_function(out_image, desc->entries[i].offset)) continue;
    elf_unload(out_image);
    return tern_status_make(allocator, TERN_STATUS_MALFORMED,
                            "The kernel '%.*s' at address (%llu) does not lie in the executable's code.",
                            TERN_SV_ARG(desc->entries[i].name), (unsigned long long)desc->entries[i].offset);
  }
  return TERN_OK;
}

tern_status_t check_functions(tern_allocator_t allocator, const tern_hal_executable_desc_t* desc) {
  for (uint32_t i = 0; i < desc->entry_count; ++i) {
    if (desc->entries[i].function) continue;
    return tern_status_make(allocator, TERN_STATUS_INVALID_ARGUMENT, "The kernel '%.*s' has no function.",
                            TERN_SV_ARG(desc->entries[i].name));
  }
  return TERN_OK;
}

}  // namespace

tern_status_t cpu_executable_create(tern_hal_device_t* device, const tern_hal_executable_desc_t* desc,
                                    tern_hal_executable_t** out_executable) {
  ElfImage image = {};
  if (desc->format == TERN_HAL_EXECUTABLE_ELF) {
    TERN_RETURN_IF_ERROR(load(device->allocator, desc, &image));
  } else if (desc->format == TERN_HAL_EXECUTABLE_FUNCTIONS) {
    TERN_RETURN_IF_ERROR(check_functions(device->allocator, desc));
  } else {
    return tern_status_make(device->allocator, TERN_STATUS_INCOMPATIBLE,
                            "The cpu driver does not take executables of the format (%u).", desc->format);
  }
  auto* executable =
      static_cast<Executable*>(tern_allocate(device->allocator, sizeof(Executable), alignof(Executable)));
  if (!executable) {
    elf_unload(&image);
    return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  }
  *executable = {};
  executable->head.vtable = &kVtable;
  executable->image = image;
  *out_executable = &executable->head;
  return TERN_OK;
}

tern_kernel_fn_t cpu_executable_function(const tern_hal_executable_t* base, uint32_t entry) {
  const auto* executable = reinterpret_cast<const Executable*>(base);
  if (!executable->image.base) return base->entries[entry].function;
  return reinterpret_cast<tern_kernel_fn_t>(elf_function(&executable->image, base->entries[entry].offset));
}

}  // namespace tern::cpu
