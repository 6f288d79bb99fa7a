#include "hal/executable.h"
#include "schemas/abi/dtypes.h"
#include "schemas/module/file_header.h"
#include "vm/module/verify.h"

namespace tern::vm {
namespace {

using namespace module;

struct ModuleVerifier {
  tern_allocator_t allocator;
  const Module* module;
  uint64_t bulk_size;

  tern_status_t symbols() {
    for (uint32_t i = 0; i < count(module->symbols()); ++i) {
      const Symbol* symbol = module->symbols()->Get(i);
      if (!symbol->name()) return MALFORMED("Symbol (%u) has no name.", i);
      if (symbol->min() < 0 || symbol->min() > symbol->max() || symbol->multiple_of() < 1) {
        return MALFORMED("Symbol '%s' has impossible bounds (%lld to %lld).", text(symbol->name()),
                         static_cast<long long>(symbol->min()), static_cast<long long>(symbol->max()));
      }
    }
    return TERN_OK;
  }

  tern_status_t argument(const Function* function, const Argument* argument, bool output) {
    [[maybe_unused]] const char* name = text(argument->name(), "?");
    if (!argument->name())
      return MALFORMED("An argument of function '%s' has no name.", text(function->name()));
    if (tern_dtype_bits(argument->dtype()) == 0 && argument->dtype() != TERN_DTYPE_String) {
      return MALFORMED("The type (%u) of '%s' is no element type.", argument->dtype(), name);
    }
    const Slice<Dim> dims = slice(argument->dims());
    if (dims.size > TERN_MAX_RANK) {
      return MALFORMED("The rank (%u) of '%s' is larger than %d.", dims.size, name, TERN_MAX_RANK);
    }
    for (const Dim& dim : dims) {
      const bool good = dim.kind() == DimKind::Static ? dim.value() >= 0
                        : dim.kind() == DimKind::Symbol
                            ? dim.value() >= 0 && dim.value() < count(module->symbols())
                        : dim.kind() == DimKind::Computed ? output && dim.value() >= -1
                                                          : false;
      if (!good) return MALFORMED("A dimension of '%s' is impossible.", name);
    }
    if (argument->donor() < -1 || (argument->donor() >= 0 && !output) ||
        argument->donor() >= static_cast<int64_t>(count(function->inputs()))) {
      return MALFORMED("The donor (%d) of '%s' is no input.", argument->donor(), name);
    }
    return TERN_OK;
  }

  tern_status_t functions() {
    for (uint32_t i = 0; i < count(module->functions()); ++i) {
      const Function* function = module->functions()->Get(i);
      if (!function->name()) return MALFORMED("Function (%u) has no name.", i);
      for (uint32_t k = 0; k < count(function->inputs()); ++k) {
        TERN_RETURN_IF_ERROR(argument(function, function->inputs()->Get(k), false));
      }
      for (uint32_t k = 0; k < count(function->outputs()); ++k) {
        TERN_RETURN_IF_ERROR(argument(function, function->outputs()->Get(k), true));
      }
    }
    return TERN_OK;
  }

  tern_status_t segments() {
    const Slice<Segment> all = slice(module->segments());
    for (uint32_t i = 0; i < all.size; ++i) {
      const Segment& segment = all[i];
      const uint64_t alignment =
          segment.kind() == SegmentKind::Constants ? TERN_CONSTANTS_ALIGNMENT : TERN_SEGMENT_ALIGNMENT;
      if (segment.offset() % alignment || segment.offset() > bulk_size ||
          segment.length() > bulk_size - segment.offset()) {
        return MALFORMED(
            "Segment (%u) at offset %llu with length %llu lies outside the file's %llu bytes of segments or "
            "is misaligned.",
            i, static_cast<unsigned long long>(segment.offset()),
            static_cast<unsigned long long>(segment.length()), static_cast<unsigned long long>(bulk_size));
      }
    }
    return TERN_OK;
  }

  // CUDA's formats have them; of formats that this reader does not know nothing is known.
  static bool has_no_tensors(ExecutableFormat format) {
    return format == ExecutableFormat::None || format == ExecutableFormat::Static ||
           format == ExecutableFormat::Elf || format == ExecutableFormat::Spirv;
  }

  tern_status_t tensors(const Executable* executable) {
    const Slice<EntryLaunch> launches = slice(executable->entry_launches());
    const Slice<TensorAxis> axes = slice(executable->tensor_axes());
    uint32_t entry = 0;
    for (const EntryTensor& tensor : slice(executable->entry_tensors())) {
      const bool good = tensor.entry() >= entry && tensor.entry() < launches.size &&
                        tensor.binding() < kMaxBindings && tensor.axis_count() >= 1 &&
                        tensor.axis_count() <= TERN_HAL_TENSOR_AXES &&
                        axes.holds(tensor.first_axis(), tensor.axis_count()) &&
                        launches[tensor.entry()].flags() & TERN_HAL_ENTRY_TAKES_TENSORS;
      if (!good)
        return MALFORMED("A tensor of an entry of executable '%s' is impossible.", text(executable->name()));
      entry = tensor.entry();
    }
    const Slice<EntryTensor> declared = slice(executable->entry_tensors());
    for (uint32_t i = 0, next = 0; i < launches.size; ++i) {
      const uint32_t first = next;
      while (next < declared.size && declared[next].entry() == i) ++next;
      if (launches[i].flags() & TERN_HAL_ENTRY_TAKES_TENSORS && next == first)
        return MALFORMED("Entry (%u) of executable '%s' takes tensors and declares none.", i,
                         text(executable->name()));
    }
    return TERN_OK;
  }

  // What a GPU's entries are found and run by. Formats that this reader does not know are taken for a GPU's.
  tern_status_t gpu_entries(const Executable* executable, uint64_t segment_length) {
    [[maybe_unused]] const char* name = text(executable->name());
    const uint32_t entries = entry_count(executable);
    const Slice<EntryLaunch> launches = slice(executable->entry_launches());
    if (launches.size != entries) {
      return MALFORMED("Executable '%s' has %u entries and says of %u how they run.", name, entries,
                       launches.size);
    }
    for (const EntryLaunch& launch : launches) {
      uint64_t threads = 1;
      const uint32_t sizes[] = {launch.workgroup_x(), launch.workgroup_y(), launch.workgroup_z()};
      for (uint32_t size : sizes) threads = size <= kMaxThreads ? threads * size : 0;
      if (threads == 0 || threads > kMaxThreads || launch.workgroup_memory() > kMaxWorkgroupMemory) {
        return MALFORMED("An entry of executable '%s' has an impossible workgroup (%u x %u x %u, %u bytes).",
                         name, launch.workgroup_x(), launch.workgroup_y(), launch.workgroup_z(),
                         launch.workgroup_memory());
      }
    }
    TERN_RETURN_IF_ERROR(tensors(executable));
    if (executable->format() != ExecutableFormat::Spirv) return TERN_OK;
    if (count(executable->entry_offsets()) != entries)
      return MALFORMED("Executable '%s' has %u entries and %u offsets.", name, entries,
                       count(executable->entry_offsets()));
    uint64_t end = 0;
    for (uint32_t i = 0; i < entries; ++i) {
      const uint64_t offset = executable->entry_offsets()->Get(i);
      if (offset % 4 || offset < end || offset >= segment_length)
        return MALFORMED("Entry (%u) of executable '%s' begins at an impossible offset.", i, name);
      end = offset + 4;
    }
    return TERN_OK;
  }

  tern_status_t executables() {
    const Slice<Segment> all = slice(module->segments());
    for (uint32_t i = 0; i < count(module->executables()); ++i) {
      const Executable* executable = module->executables()->Get(i);
      if (count(executable->conditions()) > kMaxConditions)
        return MALFORMED("Executable '%s' has too many conditions.", text(executable->name()));
      if (has_no_tensors(executable->format()) &&
          (count(executable->entry_tensors()) || count(executable->tensor_axes())))
        return MALFORMED("Executable '%s' declares tensors, which its format does not have.",
                         text(executable->name()));
      if (executable->format() == ExecutableFormat::None || executable->format() == ExecutableFormat::Static)
        continue;
      if (executable->segment() >= all.size || all[executable->segment()].kind() != SegmentKind::Code) {
        return MALFORMED("Executable '%s' has no code segment.", text(executable->name()));
      }
      if (executable->format() == ExecutableFormat::Elf) continue;
      TERN_RETURN_IF_ERROR(gpu_entries(executable, all[executable->segment()].length()));
    }
    return TERN_OK;
  }

  tern_status_t constants() {
    const Slice<Segment> all = slice(module->segments());
    for (uint32_t i = 0; i < count(module->constants()); ++i) {
      const Constant* constant = module->constants()->Get(i);
      if (constant->segment() >= all.size || constant->offset() > all[constant->segment()].length() ||
          constant->length() > all[constant->segment()].length() - constant->offset()) {
        return MALFORMED("Constant '%s' lies outside its segment.", text(constant->name()));
      }
    }
    return TERN_OK;
  }
};

}  // namespace

tern_status_t verify_module(tern_allocator_t allocator, const Module* module, uint64_t bulk_size) {
  ModuleVerifier verifier{allocator, module, bulk_size};
  TERN_RETURN_IF_ERROR(verifier.symbols());
  TERN_RETURN_IF_ERROR(verifier.functions());
  TERN_RETURN_IF_ERROR(verifier.segments());
  TERN_RETURN_IF_ERROR(verifier.executables());
  return verifier.constants();
}

}  // namespace tern::vm
