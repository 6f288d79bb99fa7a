// Which program of the module, which variant of each kernel, and loading the code of those.
#include <string.h>

#include "vm/module/verify.h"
#include "vm/session/session.h"

namespace tern::vm {
namespace {

using namespace module;

tern_status_t conditions_hold(Session& s, Slice<Condition> conditions, bool* out_hold) {
  *out_hold = false;
  for (const Condition& condition : conditions) {
    int64_t value = 0;
    TERN_RETURN_IF_ERROR(tern_hal_device_query_capability(s.device, condition.capability(), &value));
    const bool holds = condition.op() == ConditionOp::AtLeast ? value >= condition.value()
                       : condition.op() == ConditionOp::Equal ? value == condition.value()
                                                              : false;
    if (!holds) return TERN_OK;
  }
  *out_hold = true;
  return TERN_OK;
}

// The null driver computes nothing, so it takes any program and the baseline (last) variant of each kernel.
bool takes_anything(const Session& s) {
  return tern_string_view_equal(tern_hal_device_driver_name(s.device), tern_string_view("null"));
}

bool target_fits(const Session& s, TargetClass target, int64_t cpu_arch) {
  if (target == TargetClass::Any || takes_anything(s)) return true;
  const tern_string_view_t driver = tern_hal_device_driver_name(s.device);
  if (target == TargetClass::Cuda) return tern_string_view_equal(driver, tern_string_view("cuda"));
  if (target == TargetClass::Vulkan) return tern_string_view_equal(driver, tern_string_view("vulkan"));
  return cpu_arch != 0 && static_cast<int64_t>(target) == cpu_arch;
}

#if !TERN_STATUS_NO_MESSAGES
const char* target_name(TargetClass target) {
  return EnumNameTargetClass(target);
}
#endif

tern_status_t no_program([[maybe_unused]] Session& s) {
#if TERN_STATUS_NO_MESSAGES
  return tern_status_from_code(TERN_STATUS_INCOMPATIBLE);
#else
  const tern_string_view_t driver = tern_hal_device_driver_name(s.device);
  tern_status_t status =
      tern_status_make(s.allocator, TERN_STATUS_INCOMPATIBLE,
                       "The module has no program for this device (driver '%.*s').", TERN_SV_ARG(driver));
  for (uint32_t i = 0; i < s.module->program_count; ++i) {
    const ProgramView& program = s.module->programs[i];
    status = tern_status_annotate(status, "\n - It has one for %s%s", target_name(program.table->target()),
                                  program.unusable != TERN_STATUS_OK ? " that needs a newer libtern" : "");
  }
  return status;
#endif
}

// Entries as the HAL wants them, with the binding and parameter counts of the kernels that use them.
tern_status_t fill_entries(Session& s, uint32_t index, const Executable* executable,
                           tern_hal_entry_t* entries, uint32_t entry_count) {
  for (uint32_t i = 0; i < entry_count; ++i) {
    if (i < count(executable->entry_names())) entries[i].name = view(executable->entry_names()->Get(i));
    if (i < count(executable->entry_offsets())) entries[i].offset = executable->entry_offsets()->Get(i);
    if (executable->format() != ExecutableFormat::Static) continue;
    for (uint32_t k = 0; k < s.static_kernel_count && !entries[i].function; ++k) {
      if (tern_string_view_equal(entries[i].name, tern_string_view(s.static_kernels[k].name))) {
        entries[i].function = s.static_kernels[k].function;
      }
    }
    if (!entries[i].function) {
      return tern_status_make(s.allocator, TERN_STATUS_NOT_FOUND,
                              "The module wants the kernel '%.*s' linked into the program; it is not.",
                              TERN_SV_ARG(entries[i].name));
    }
  }
  const auto* kernels = s.program->table->kernels();
  for (uint32_t i = 0; i < count(kernels); ++i) {
    const Kernel* kernel = kernels->Get(i);
    const Variant& variant = slice(kernel->variants())[s.variants[i]];
    if (variant.executable() != index) continue;
    entries[variant.entry()].binding_count = count(kernel->bindings());
    entries[variant.entry()].param_count = kernel->param_count();
    if (!entries[variant.entry()].name.size) entries[variant.entry()].name = view(kernel->name());
  }
  return TERN_OK;
}

tern_status_t load_code(Session& s, uint32_t index, const Executable* executable,
                        tern_hal_executable_desc_t* desc) {
  switch (executable->format()) {
    case ExecutableFormat::Elf:
      desc->format = TERN_HAL_EXECUTABLE_ELF;
      break;
    case ExecutableFormat::Static:
      desc->format = TERN_HAL_EXECUTABLE_FUNCTIONS;
      desc->trusted = 1;  // the program's own code
      return tern_hal_executable_create(s.device, desc, &s.executables[index]);
    default:
      return tern_status_make(s.allocator, TERN_STATUS_INCOMPATIBLE,
                              "The format (%u) of executable '%s' is not known to this libtern.",
                              static_cast<unsigned>(executable->format()), text(executable->name()));
  }
  desc->trusted = s.module->trusted;
  // Checked and loaded from private memory: the file under the mapping may change meanwhile.
  const tern_const_bytes_t mapped = segment_bytes(s.module, executable->segment());
  uint8_t* copy = static_cast<uint8_t*>(tern_allocate(s.allocator, mapped.size, 64));
  if (mapped.size && !copy) return out_of_memory();
  if (mapped.size) memcpy(copy, mapped.data, mapped.size);
  desc->code = {copy, mapped.size};
  tern_status_t status = check_segment(s.module, executable->segment(), desc->code);
  if (status == TERN_OK) status = tern_hal_executable_create(s.device, desc, &s.executables[index]);
  tern_release(s.allocator, copy, mapped.size);
  return status;
}

tern_status_t load_executable(Session& s, uint32_t index) {
  const Executable* executable = s.module->root->executables()->Get(index);
  const uint32_t entry_count =
      executable->entry_offsets() ? count(executable->entry_offsets()) : count(executable->entry_names());
  const size_t size = entry_count * sizeof(tern_hal_entry_t);
  tern_hal_entry_t* entries =
      static_cast<tern_hal_entry_t*>(tern_allocate(s.allocator, size, alignof(tern_hal_entry_t)));
  if (size && !entries) return out_of_memory();
  if (size) memset(static_cast<void*>(entries), 0, size);
  tern_status_t status = fill_entries(s, index, executable, entries, entry_count);
  tern_hal_executable_desc_t desc = {};
  desc.entries = entries;
  desc.entry_count = entry_count;
  if (status == TERN_OK) status = load_code(s, index, executable, &desc);
  tern_release(s.allocator, entries, size);
  return status == TERN_OK
             ? status
             : tern_status_annotate(status, "\n - While loading executable '%s'", text(executable->name()));
}

}  // namespace

tern_status_t select_program(Session& s) {
  int64_t cpu_arch = 0;
  TERN_RETURN_IF_ERROR(tern_hal_device_query_capability(s.device, 0, &cpu_arch));
  for (uint32_t i = 0; i < s.module->program_count; ++i) {
    const ProgramView& program = s.module->programs[i];
    bool holds = false;
    if (program.unusable != TERN_STATUS_OK || !target_fits(s, program.table->target(), cpu_arch)) continue;
    TERN_RETURN_IF_ERROR(conditions_hold(s, slice(program.table->conditions()), &holds));
    if (!holds && !takes_anything(s)) continue;
    s.program = &program;
    return TERN_OK;
  }
  return no_program(s);
}

tern_status_t select_variants(Session& s) {
  const auto* kernels = s.program->table->kernels();
  s.executable_count = count(s.module->root->executables());
  uint8_t* fits = nullptr;  // each executable: 1 its conditions hold
  if (!session_array(s, count(kernels), &s.variants) ||
      !session_array(s, s.executable_count, &s.executables) || !session_array(s, s.executable_count, &fits)) {
    return out_of_memory();
  }
  for (uint32_t i = 0; i < s.executable_count; ++i) {
    bool holds = false;
    TERN_RETURN_IF_ERROR(
        conditions_hold(s, slice(s.module->root->executables()->Get(i)->conditions()), &holds));
    fits[i] = holds;
  }
  for (uint32_t i = 0; i < count(kernels); ++i) {
    const Slice<Variant> variants = slice(kernels->Get(i)->variants());
    uint32_t chosen = 0;
    while (chosen < variants.size && !fits[variants[chosen].executable()]) ++chosen;
    if (chosen == variants.size && takes_anything(s)) chosen = variants.size - 1;
    if (chosen == variants.size) {
      return tern_status_make(s.allocator, TERN_STATUS_INCOMPATIBLE,
                              "Kernel '%s' has no variant that this device can run.",
                              text(kernels->Get(i)->name()));
    }
    s.variants[i] = static_cast<uint8_t>(chosen);
  }
  return TERN_OK;
}

tern_status_t load_executables(Session& s) {
  const auto* kernels = s.program->table->kernels();
  for (uint32_t i = 0; i < count(kernels); ++i) {
    const uint32_t executable = slice(kernels->Get(i)->variants())[s.variants[i]].executable();
    if (!s.executables[executable]) TERN_RETURN_IF_ERROR(load_executable(s, executable));
  }
  return TERN_OK;
}

}  // namespace tern::vm
