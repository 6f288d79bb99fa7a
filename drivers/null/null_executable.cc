#include "drivers/null/null_device.h"

namespace tern::null {
namespace {

// (Skeleton: add the loaded module and one function handle an entry.)
struct Executable {
  tern_hal_executable_t head;  // must be first; the front copies the entries into it
};

void destroy(tern_hal_executable_t* base) {
  Line(cast_device(base->device)->sink).add("executable destroyed");
  tern_release(base->device->allocator, base, sizeof(Executable));
}

constexpr tern_hal_executable_vtable_t kVtable = {destroy};

}  // namespace

// Takes any format and does not look at the code.
// (Skeleton: refuse formats of other drivers with TERN_STATUS_INCOMPATIBLE, and treat the container as
// hostile.)
tern_status_t null_executable_create(tern_hal_device_t* device, const tern_hal_executable_desc_t* desc,
                                     tern_hal_executable_t** out_executable) {
  auto* executable =
      static_cast<Executable*>(tern_allocate(device->allocator, sizeof(Executable), alignof(Executable)));
  if (!executable) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  *executable = {};
  executable->head.vtable = &kVtable;
  Line line(cast_device(device)->sink);
  line.add("executable created: format %u, %zu bytes, entries", desc->format, desc->code.size);
  for (uint32_t i = 0; i < desc->entry_count; ++i) line.add(" %.*s", TERN_SV_ARG(desc->entries[i].name));
  *out_executable = &executable->head;
  return TERN_OK;
}

}  // namespace tern::null
