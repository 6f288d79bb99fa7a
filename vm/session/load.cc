// Modules from memory; files stand in load_file.cc, so that a program without files links without mmap.
#include "vm/module/module.h"
#include "vm/session/instance.h"

tern_status_t tern_module_load_memory(tern_instance_t* instance, const void* data, size_t size,
                                      const tern_module_desc_t* desc, tern_module_t** out_module) {
  const tern_module_desc_t defaults = {};
  if (!desc) desc = &defaults;
  if (!instance || !data || !out_module) {
    if (out_module) *out_module = nullptr;
    if (desc->release) desc->release(desc->release_self, data, size);
    return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  }
  return tern::vm::load_module(instance->allocator, data, size, desc->code_policy, desc->verify_weights != 0,
                               desc->release, desc->release_self, out_module);
}
