#include "drivers/cuda/cuda_executable.h"

#include <string.h>

#include "drivers/cuda/cuda_cache.h"
#include "drivers/cuda/cuda_container.h"

namespace tern::cuda {
namespace {

constexpr size_t kLongestName = 1024;

struct Executable {
  tern_hal_executable_t head;  // must be first
  Device* device;              // the front sets head.device only after creation
  CUmodule module;
  Function* functions;
  uint32_t function_count;
  tern_hal_tensor_t* tensors;
  uint32_t tensor_count;
};

// Work that runs the code may be under way.
void destroy_parts(Executable* executable) {
  Device* device = executable->device;
  tern_allocator_t allocator = device->head.allocator;
  if (executable->module) {
    ContextScope scope(device);
    (void)device->symbols.StreamSynchronize(device->stream);
    (void)device->symbols.ModuleUnload(executable->module);
  }
  tern_release(allocator, executable->functions, executable->function_count * sizeof(Function));
  tern_release(allocator, executable->tensors, executable->tensor_count * sizeof(tern_hal_tensor_t));
  tern_release(allocator, executable, sizeof(Executable));
}

void destroy(tern_hal_executable_t* base) {
  destroy_parts(reinterpret_cast<Executable*>(base));
}

constexpr tern_hal_executable_vtable_t kVtable = {destroy};

// `image`: a checked container, or terminated text.
tern_status_t load_module(Device* device, const void* image, CUmodule* out_module) {
  char log[2048] = "";
  int options[2] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
  void* values[2] = {log, reinterpret_cast<void*>(sizeof(log) - 1)};
  const CUresult result = device->symbols.ModuleLoadDataEx(out_module, image, 2, options, values);
  tern_status_t status = cuda_device_status(device, result, "cuModuleLoadDataEx");
  if (!tern_status_is_ok(status) && log[0]) status = tern_status_annotate(status, "\n%s", log);
  return status;
}

tern_status_t load_text(Device* device, tern_const_bytes_t code, CUmodule* out_module) {
  tern_allocator_t allocator = device->head.allocator;
  auto* text = static_cast<char*>(tern_allocate(allocator, code.size + 1, 1));
  if (!text) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  if (code.size) memcpy(text, code.data, code.size);
  text[code.size] = 0;
  tern_status_t status = TERN_OK;
  if (!cuda_cache_load(device, text, code.size, out_module)) status = load_module(device, text, out_module);
  tern_release(allocator, text, code.size + 1);
  return status;
}

tern_status_t find_function(Device* device, CUmodule module, const tern_hal_entry_t& entry,
                            Function* out_function) {
  [[maybe_unused]] tern_allocator_t allocator = device->head.allocator;
  char name[kLongestName];
  if (entry.name.size >= sizeof(name)) {
    return tern_status_make(allocator, TERN_STATUS_OUT_OF_RANGE,
                            "The kernel's name has (%zu) letters; (%zu) is the most.", entry.name.size,
                            sizeof(name) - 1);
  }
  if (entry.name.size) memcpy(name, entry.name.data, entry.name.size);
  name[entry.name.size] = 0;
  TERN_CUDA_TRY(device, ModuleGetFunction, &out_function->handle, module, name);
  int threads = 0, shared = 0;
  TERN_CUDA_TRY(device, FuncGetAttribute, &threads, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK,
                out_function->handle);
  TERN_CUDA_TRY(device, FuncGetAttribute, &shared, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, out_function->handle);
  uint64_t wanted = 1;
  for (uint32_t size : entry.launch.workgroup_size) wanted *= size && wanted <= UINT32_MAX ? size : 1;
  if (wanted > static_cast<uint64_t>(threads)) {
    return tern_status_make(allocator, TERN_STATUS_INCOMPATIBLE,
                            "The kernel wants blocks of (%llu) threads; the device runs (%d) of it at most.",
                            (unsigned long long)wanted, threads);
  }
  const int limit = device->limits.shared_memory - shared;
  out_function->dynamic_limit = limit > 0 ? static_cast<uint32_t>(limit) : 0;
  if (entry.launch.workgroup_memory > out_function->dynamic_limit) {
    return tern_status_make(
        allocator, TERN_STATUS_INCOMPATIBLE,
        "The kernel wants (%u) bytes of dynamic workgroup memory; the device has (%u) for it.",
        entry.launch.workgroup_memory, out_function->dynamic_limit);
  }
  if (limit > 0) {
    TERN_CUDA_TRY(device, FuncSetAttribute, out_function->handle,
                  CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, limit);
  }
  return TERN_OK;
}

bool is_good(const tern_hal_executable_desc_t* desc, const tern_hal_tensor_t& tensor) {
  if (tensor.entry >= desc->entry_count || tensor.rank < 1 || tensor.rank > TERN_HAL_TENSOR_AXES)
    return false;
  const tern_hal_entry_t& entry = desc->entries[tensor.entry];
  const uint32_t size = tensor.element_size;
  bool good = tensor.binding < entry.binding_count && (size == 1 || size == 2 || size == 4 || size == 8);
  if (!good) return false;
  const uint32_t piece = 16 / size;  // elements of the 16 bytes whose multiples addresses and boxes' rows are
  good &= tensor.offset % piece == 0;
  for (uint32_t i = 0; i < tensor.rank; ++i) {
    const tern_hal_tensor_axis_t& axis = tensor.axes[i];
    const auto is_param = [&](int64_t number) { return number >= 0 && number < entry.param_count; };
    good &= axis.flags & TERN_HAL_TENSOR_SIZE_PARAM ? is_param(axis.size) : axis.size > 0;
    good &= axis.flags & TERN_HAL_TENSOR_STRIDE_PARAM ? is_param(axis.stride) : axis.stride > 0;
    good &= axis.box >= 1 && axis.box <= 256;
    const bool fixed = !(axis.flags & TERN_HAL_TENSOR_STRIDE_PARAM);
    good &= i + 1 == tensor.rank ? fixed && axis.stride == 1 && axis.box % piece == 0
                                 : !fixed || axis.stride % piece == 0;
  }
  return good && (entry.launch.flags & TERN_HAL_ENTRY_TAKES_TENSORS);
}

// The tensors of each entry, which follow each other.
tern_status_t copy_tensors(Executable* executable, const tern_hal_executable_desc_t* desc) {
  if (desc->tensor_count == 0) return TERN_OK;
  Device* device = executable->device;
  [[maybe_unused]] tern_allocator_t allocator = device->head.allocator;
  for (uint32_t i = 0; i < desc->tensor_count; ++i) {
    const bool ascends = i == 0 || desc->tensors[i - 1].entry <= desc->tensors[i].entry;
    if (ascends && is_good(desc, desc->tensors[i])) continue;
    return tern_status_make(allocator, TERN_STATUS_INVALID_ARGUMENT,
                            "Tensor (%u) of the executable, of its entry (%u), is impossible.", i,
                            desc->tensors[i].entry);
  }
  if (!device->symbols.TensorMapEncodeTiled) {
    return tern_status_make(
        allocator, TERN_STATUS_INCOMPATIBLE,
        "The executable's kernels take tensor maps, and the NVIDIA driver has no entry point "
        "'cuTensorMapEncodeTiled'.");
  }
  const size_t bytes = desc->tensor_count * sizeof(tern_hal_tensor_t);
  executable->tensors =
      static_cast<tern_hal_tensor_t*>(tern_allocate(allocator, bytes, alignof(tern_hal_tensor_t)));
  if (!executable->tensors) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  memcpy(executable->tensors, desc->tensors, bytes);
  executable->tensor_count = desc->tensor_count;
  for (uint32_t i = desc->tensor_count; i-- > 0;) {
    Function& function = executable->functions[executable->tensors[i].entry];
    function.tensors = &executable->tensors[i];
    ++function.tensor_count;
  }
  return TERN_OK;
}

tern_status_t load(Executable* executable, const tern_hal_executable_desc_t* desc) {
  Device* device = executable->device;
  tern_allocator_t allocator = device->head.allocator;
  ContextScope scope(device);
  if (desc->format == TERN_HAL_EXECUTABLE_PTX) {
    TERN_RETURN_IF_ERROR(load_text(device, desc->code, &executable->module));
  } else {
    TERN_RETURN_IF_ERROR(cuda_container_check(allocator, desc->code));
    TERN_RETURN_IF_ERROR(load_module(device, desc->code.data, &executable->module));
  }
  executable->functions = static_cast<Function*>(
      tern_allocate(allocator, desc->entry_count * sizeof(Function), alignof(Function)));
  if (desc->entry_count && !executable->functions) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  for (uint32_t i = 0; i < desc->entry_count; ++i) executable->functions[i] = {};
  executable->function_count = desc->entry_count;
  for (uint32_t i = 0; i < desc->entry_count; ++i) {
    TERN_RETURN_IF_ERROR_CONTEXT(
        find_function(device, executable->module, desc->entries[i], &executable->functions[i]),
        "\n - While looking up the kernel '%.*s'", TERN_SV_ARG(desc->entries[i].name));
  }
  return copy_tensors(executable, desc);
}

}  // namespace

tern_status_t cuda_executable_create(tern_hal_device_t* device, const tern_hal_executable_desc_t* desc,
                                     tern_hal_executable_t** out_executable) {
  if (desc->format != TERN_HAL_EXECUTABLE_CUBIN && desc->format != TERN_HAL_EXECUTABLE_PTX) {
    return tern_status_make(device->allocator, TERN_STATUS_INCOMPATIBLE,
                            "The cuda driver does not take executables of the format (%u).", desc->format);
  }
  auto* executable =
      static_cast<Executable*>(tern_allocate(device->allocator, sizeof(Executable), alignof(Executable)));
  if (!executable) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  *executable = {};
  executable->head.vtable = &kVtable;
  executable->device = cast_device(device);
  tern_status_t status = load(executable, desc);
  if (!tern_status_is_ok(status)) {
    destroy_parts(executable);
    return status;
  }
  *out_executable = &executable->head;
  return TERN_OK;
}

const Function& cuda_executable_function(const tern_hal_executable_t* executable, uint32_t entry) {
  return reinterpret_cast<const Executable*>(executable)->functions[entry];
}

}  // namespace tern::cuda
