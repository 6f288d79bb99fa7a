// The code of a session: the program that the device can run and the executables of its kernels' variants,
// best first. What cannot be loaded after all (an image for other hardware, text too new for the driver) is
// passed over for the next variant, or program.
#include <string.h>

#include "vm/module/verify.h"
#include "vm/session/select.h"
#include "vm/session/session.h"

namespace tern::vm {
namespace {

using namespace module;

constexpr uint32_t kKnownEntryFlags = TERN_HAL_ENTRY_REPORTS_FAULTS | TERN_HAL_ENTRY_WAITS_FOR_GRID |
                                      TERN_HAL_ENTRY_TAKES_TENSORS | TERN_HAL_ENTRY_SUBGROUP_MASK;

// Failures that say that the device cannot take this code. Others (damage, missing trust, no memory) are
// everybody's business.
bool may_pass_over(tern_status_t status) {
  const tern_status_code_t code = tern_status_code(status);
  return code == TERN_STATUS_INCOMPATIBLE || code == TERN_STATUS_NOT_FOUND ||
         code == TERN_STATUS_UNIMPLEMENTED;
}

tern_status_t find_static(Session& s, tern_hal_entry_t& entry) {
  for (uint32_t k = 0; k < s.static_kernel_count && !entry.function; ++k) {
    if (tern_string_view_equal(entry.name, tern_string_view(s.static_kernels[k].name)))
      entry.function = s.static_kernels[k].function;
  }
  if (entry.function) return TERN_OK;
  return tern_status_make(s.allocator, TERN_STATUS_NOT_FOUND,
                          "The module wants the kernel '%.*s' linked into the program; it is not.",
                          TERN_SV_ARG(entry.name));
}

// Entries as the HAL wants them, with the binding and parameter counts of the kernels that use them.
tern_status_t fill_entries(Session& s, uint32_t index, const Executable* executable,
                           tern_hal_entry_t* entries, uint32_t entry_count) {
  const Slice<EntryLaunch> launches = slice(executable->entry_launches());
  for (uint32_t i = 0; i < entry_count; ++i) {
    tern_hal_entry_t& entry = entries[i];
    if (i < count(executable->entry_names())) entry.name = view(executable->entry_names()->Get(i));
    if (i < count(executable->entry_offsets())) entry.offset = executable->entry_offsets()->Get(i);
    if (i < launches.size) {
      const EntryLaunch& launch = launches[i];
      if (launch.flags() & ~kKnownEntryFlags) {
        return tern_status_make(s.allocator, TERN_STATUS_INCOMPATIBLE,
                                "The flags (%u) of entry '%.*s' hold some that this libtern does not know.",
                                launch.flags(), TERN_SV_ARG(entry.name));
      }
      entry.launch = {{launch.workgroup_x(), launch.workgroup_y(), launch.workgroup_z()},
                      launch.workgroup_memory(),
                      launch.flags()};
    }
    if (executable->format() == ExecutableFormat::Static) TERN_RETURN_IF_ERROR(find_static(s, entry));
  }
  const auto* kernels = s.program->table->kernels();
  for (uint32_t i = 0; i < count(kernels); ++i) {
    const Kernel* kernel = kernels->Get(i);
    const Variant& variant = slice(kernel->variants())[s.variants[i]];
    if (variant.executable() != index) continue;
    tern_hal_entry_t& entry = entries[variant.entry()];
    entry.binding_count = count(kernel->bindings());
    entry.param_count = kernel->param_count();
    if (!entry.name.size) entry.name = view(kernel->name());
  }
  return TERN_OK;
}

// Those of entries that the program uses, since of others the bindings are not known. (verify_module.cc
// checked the rest.)
uint32_t fill_tensors(const Executable* executable, const tern_hal_entry_t* entries,
                      tern_hal_tensor_t* tensors) {
  const Slice<TensorAxis> axes = slice(executable->tensor_axes());
  uint32_t filled = 0;
  for (const EntryTensor& from : slice(executable->entry_tensors())) {
    if (entries[from.entry()].binding_count == 0) continue;
    tern_hal_tensor_t& tensor = tensors[filled++];
    tensor = {from.entry(),
              from.binding(),
              from.element_size(),
              from.swizzled(),
              from.offset(),
              from.axis_count(),
              {}};
    for (uint32_t i = 0; i < from.axis_count(); ++i) {
      const TensorAxis& axis = axes[from.first_axis() + i];
      tensor.axes[i] = {axis.size(), axis.stride(), axis.box(), axis.flags()};
    }
  }
  return filled;
}

tern_status_t hal_format(Session& s, const Executable* executable, uint32_t* out_format) {
  switch (executable->format()) {
    case ExecutableFormat::Elf:
      *out_format = TERN_HAL_EXECUTABLE_ELF;
      return TERN_OK;
    case ExecutableFormat::Static:
      *out_format = TERN_HAL_EXECUTABLE_FUNCTIONS;
      return TERN_OK;
    case ExecutableFormat::Cubin:
      *out_format = TERN_HAL_EXECUTABLE_CUBIN;
      return TERN_OK;
    case ExecutableFormat::Ptx:
      *out_format = TERN_HAL_EXECUTABLE_PTX;
      return TERN_OK;
    case ExecutableFormat::Spirv:
      *out_format = TERN_HAL_EXECUTABLE_SPIRV;
      return TERN_OK;
    default:
      return tern_status_make(s.allocator, TERN_STATUS_INCOMPATIBLE,
                              "The format (%u) of executable '%s' is not known to this libtern.",
                              static_cast<unsigned>(executable->format()), text(executable->name()));
  }
}

tern_status_t load_code(Session& s, uint32_t index, const Executable* executable,
                        tern_hal_executable_desc_t* desc) {
  TERN_RETURN_IF_ERROR(hal_format(s, executable, &desc->format));
  if (executable->format() == ExecutableFormat::Static) {
    desc->trusted = 1;  // the program's own code
    return tern_hal_executable_create(s.device, desc, &s.executables[index]);
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
  const uint32_t entries = entry_count(executable);
  const size_t size = entries * sizeof(tern_hal_entry_t);
  tern_hal_entry_t* filled =
      static_cast<tern_hal_entry_t*>(tern_allocate(s.allocator, size, alignof(tern_hal_entry_t)));
  if (size && !filled) return out_of_memory();
  if (size) memset(static_cast<void*>(filled), 0, size);
  const size_t tensor_size = count(executable->entry_tensors()) * sizeof(tern_hal_tensor_t);
  tern_hal_tensor_t* tensors =
      static_cast<tern_hal_tensor_t*>(tern_allocate(s.allocator, tensor_size, alignof(tern_hal_tensor_t)));
  tern_status_t status = tensor_size && !tensors ? out_of_memory() : TERN_OK;
  if (status == TERN_OK) status = fill_entries(s, index, executable, filled, entries);
  tern_hal_executable_desc_t desc = {};
  desc.entries = filled;
  desc.entry_count = entries;
  desc.tensors = tensors;
  if (status == TERN_OK) desc.tensor_count = fill_tensors(executable, filled, tensors);
  if (status == TERN_OK) status = load_code(s, index, executable, &desc);
  tern_release(s.allocator, filled, size);
  tern_release(s.allocator, tensors, tensor_size);
  return status == TERN_OK
             ? status
             : tern_status_annotate(status, "\n - While loading executable '%s'", text(executable->name()));
}

void release_executables(Session& s) {
  for (uint32_t i = 0; i < s.executable_count; ++i) {
    tern_hal_executable_release(s.executables[i]);
    s.executables[i] = nullptr;
  }
}

// Chooses variants and loads their executables; an executable that cannot be loaded is marked unusable, and
// the choice is made anew. *reasons collects why.
tern_status_t load_program(Session& s, const Selector& selector, uint8_t* usable, tern_status_t* reasons) {
  const auto* kernels = s.program->table->kernels();
  for (;;) {
    TERN_RETURN_IF_ERROR(selector.choose(*s.program, s.variants));
    tern_status_t status = TERN_OK;
    for (uint32_t i = 0; status == TERN_OK && i < count(kernels); ++i) {
      const uint32_t executable = slice(kernels->Get(i)->variants())[s.variants[i]].executable();
      if (s.executables[executable]) continue;
      status = load_executable(s, executable);
      if (status != TERN_OK) usable[executable] = Selector::kFailed;
    }
    if (status == TERN_OK) return status;
    release_executables(s);  // entries' counts follow from the choice
    if (!may_pass_over(status)) return status;
    if (*reasons == TERN_OK) {
      *reasons = status;
    } else {
      *reasons = tern_status_annotate(*reasons, "\n%s", tern_status_message(status));
      tern_status_free(status);
    }
  }
}

}  // namespace

tern_status_t select_code(Session& s) {
  size_t most_kernels = 0;
  for (uint32_t i = 0; i < s.module->program_count; ++i) {
    const size_t kernels = count(s.module->programs[i].table->kernels());
    if (kernels > most_kernels) most_kernels = kernels;
  }
  uint8_t* usable = nullptr;
  s.executable_count = count(s.module->root->executables());
  if (!session_array(s, most_kernels, &s.variants) || !session_array(s, s.executable_count, &s.executables) ||
      !session_array(s, s.executable_count, &usable)) {
    return out_of_memory();
  }
  Selector selector(s.allocator, s.module, s.device, usable);
  TERN_RETURN_IF_ERROR(selector.test_executables());
  tern_status_t reasons = TERN_OK;
  tern_status_t status = TERN_OK;
  for (uint32_t i = 0; i < s.module->program_count; ++i) {
    bool fits = false;
    status = selector.fits(s.module->programs[i], &fits);
    if (status != TERN_OK) break;
    if (!fits) continue;
    s.program = &s.module->programs[i];
    status = load_program(s, selector, usable, &reasons);
    if (status == TERN_OK || tern_status_code(status) != TERN_STATUS_INCOMPATIBLE) break;
    // A kernel without a variant. What could not be loaded says more.
    if (reasons == TERN_OK) {
      reasons = status;
    } else {
      tern_status_free(status);
    }
    status = TERN_OK;
    s.program = nullptr;
  }
  if (status == TERN_OK && !s.program) return reasons != TERN_OK ? reasons : selector.no_program();
  tern_status_free(reasons);
  return status;
}

}  // namespace tern::vm
