// What the driver has to know of a SPIR-V module: that its container is whole, and its compute entry points.
#pragma once

#include "hal/base/status.h"

namespace tern::vulkan {

struct SpirvEntry {
  const char* name;  // inside the module; terminated
  uint32_t local_size[3];
  bool subgroups;  // the module uses operations of subgroups, or their matrices
};

// Finds the entry point `name`, or the only one if none is called so. MALFORMED: the words are no whole
// SPIR-V module, or it has no such entry point; INCOMPATIBLE: it is of a later version than `most_version`
// (word 1 of the module).
TERN_MUST_USE tern_status_t vulkan_spirv_find(tern_allocator_t allocator, const uint32_t* words, size_t count,
                                              uint32_t most_version, tern_string_view_t name,
                                              SpirvEntry* out_entry);

}  // namespace tern::vulkan
