// The drivers that the suite runs on, and how each comes by the suite's kernels.
#include <stdio.h>
#include <string.h>

#include "drivers/cpu/cpu_driver.h"
#include "drivers/cuda/cuda_driver.h"
#include "drivers/cuda/cuda_symbols.h"
#include "drivers/null/null_driver.h"
#if CTS_HAS_VULKAN
#include "drivers/vulkan/vulkan_device.h"
#endif
#include "tests/hal_cts/cts.h"
#include "tests/hal_cts/elf_symbols.h"

namespace tern::cts {
namespace {

tern_status_t create_linked_kernels(tern_hal_device_t* device, tern_hal_executable_t** out_kernels) {
  static const tern_hal_entry_t entries[] = {
#define ROW(name, bindings, params) {tern_string_view(#name), 0, cts_##name, bindings, params, {}},
      CTS_KERNELS(ROW)
#undef ROW
  };
  const tern_hal_executable_desc_t desc = {
      TERN_HAL_EXECUTABLE_FUNCTIONS, 1, {}, entries, CTS_KERNEL_COUNT, nullptr, 0};
  return tern_hal_executable_create(device, &desc, out_kernels);
}

// kernels.c as clang and lld make of it.
tern_status_t create_elf_kernels(tern_hal_device_t* device, tern_hal_executable_t** out_kernels) {
  static const std::vector<uint8_t> image = read_file(CTS_KERNELS_ELF);
  tern_hal_entry_t entries[] = {
#define ROW(name, bindings, params) \
  {tern_string_view(#name), elf_symbol(image, "cts_" #name), nullptr, bindings, params, {}},
      CTS_KERNELS(ROW)
#undef ROW
  };
  const tern_hal_executable_desc_t desc = {TERN_HAL_EXECUTABLE_ELF,
                                           1,
                                           tern_const_bytes(image.data(), image.size()),
                                           entries,
                                           CTS_KERNEL_COUNT,
                                           nullptr,
                                           0};
  return tern_hal_executable_create(device, &desc, out_kernels);
}

// cuda_kernels.cu as NVRTC makes of it.
tern_status_t create_ptx_kernels(tern_hal_device_t* device, tern_hal_executable_t** out_kernels) {
  static const char text[] =
#include "tests/hal_cts/cuda_kernels.ptx.inc"
      ;
  tern_hal_entry_t entries[] = {
#define ROW(name, bindings, params) {tern_string_view(#name), 0, nullptr, bindings, params, {}},
      CTS_KERNELS(ROW)
#undef ROW
  };
  entries[CTS_KERNEL_add].launch.workgroup_size[0] = 64;
  entries[CTS_KERNEL_affine].launch.workgroup_size[0] = 64;
  entries[CTS_KERNEL_fail].launch.flags = TERN_HAL_ENTRY_REPORTS_FAULTS;
  const tern_hal_executable_desc_t desc = {TERN_HAL_EXECUTABLE_PTX,
                                           1,
                                           tern_const_bytes(text, sizeof(text) - 1),
                                           entries,
                                           CTS_KERNEL_COUNT,
                                           nullptr,
                                           0};
  return tern_hal_executable_create(device, &desc, out_kernels);
}

tern_status_t register_cuda(tern_hal_driver_registry_t* registry) {
  cuda::cuda_symbols_set_library(nullptr);
  return tern_cuda_driver_register(registry);
}

// The same driver on the tests' own libcuda.
tern_status_t register_fake_cuda(tern_hal_driver_registry_t* registry) {
  cuda::cuda_symbols_set_library(CTS_FAKE_CUDA);
  return tern_cuda_driver_register(registry);
}

// No files: the fake's code is for nobody else.
tern_hal_device_desc_t without_cache() {
  static const tern_cuda_options_t options = [] {
    tern_cuda_options_t none = {};
    none.cache_dir = "";
    return none;
  }();
  tern_hal_device_desc_t desc = {};
  desc.driver_options = &options;
  return desc;
}

bool has_cuda_device() {
  tern_hal_driver_registry_t registry = {};
  uint32_t count = 0;
  test::TestAllocator allocator;
  return tern_status_is_ok(register_cuda(&registry)) &&
         tern_status_is_ok(registry.drivers[0]->enumerate(allocator.get(), nullptr, 0, &count)) && count > 0;
}

#if CTS_HAS_VULKAN
#include "tests/hal_cts/vulkan_kernels.spv.inc"

// vulkan_kernels.comp as glslang makes of it: one module a kernel, one after the other.
tern_status_t create_spirv_kernels(tern_hal_device_t* device, tern_hal_executable_t** out_kernels) {
  std::vector<uint32_t> code;
  tern_hal_entry_t entries[] = {
#define ROW(name, bindings, params) {tern_string_view(#name), 0, nullptr, bindings, params, {}},
      CTS_KERNELS(ROW)
#undef ROW
  };
#define ROW(name, bindings, params)                    \
  entries[CTS_KERNEL_##name].offset = code.size() * 4; \
  code.insert(code.end(), std::begin(spirv_##name), std::end(spirv_##name));
  CTS_KERNELS(ROW)
#undef ROW
  entries[CTS_KERNEL_add].launch.workgroup_size[0] = 64;
  entries[CTS_KERNEL_affine].launch.workgroup_size[0] = 64;
  entries[CTS_KERNEL_fail].launch.flags = TERN_HAL_ENTRY_REPORTS_FAULTS;
  const tern_hal_executable_desc_t desc = {TERN_HAL_EXECUTABLE_SPIRV,
                                           1,
                                           tern_const_bytes(code.data(), code.size() * 4),
                                           entries,
                                           CTS_KERNEL_COUNT,
                                           nullptr,
                                           0};
  return tern_hal_executable_create(device, &desc, out_kernels);
}

// A device that stays, so that the driver's libraries are loaded once; null: there is none.
tern_hal_device_t* keep_vulkan_device() {
  static test::TestAllocator& allocator = *new test::TestAllocator;
  static tern_hal_driver_registry_t registry = {};
  tern_hal_device_t* device = nullptr;
  uint32_t count = 0;
  if (registry.count || !tern_status_is_ok(tern_vulkan_driver_register(&registry)) ||
      !tern_status_is_ok(registry.drivers[0]->enumerate(allocator.get(), nullptr, 0, &count)) || count == 0) {
    return nullptr;
  }
  const std::string failure =
      text_of(tern_hal_driver_create_device(registry.drivers[0], nullptr, allocator.get(), &device));
  if (!failure.empty()) fprintf(stderr, "vulkan: %s\n", failure.c_str());
  return device;
}

bool vulkan_is_loaded = false;

// The driver as it is here, and with each quirk of drivers/vulkan/quirks.def the other way.
void add_vulkan(std::vector<DriverUnderTest>& rows) {
  static tern_hal_device_t* const kept = keep_vulkan_device();
  if (!kept) return;
  vulkan_is_loaded = true;
  static tern_vulkan_options_t options[33] = {};
  auto add = [&](const std::string& name, tern_vulkan_options_t* with) {
    tern_hal_device_desc_t desc = {};
    with->cache_dir = "";
    desc.driver_options = with;
    rows.push_back({name, "vulkan", tern_vulkan_driver_register, desc, create_spirv_kernels});
  };
  add("vulkan", &options[32]);
  const uint32_t own = vulkan::cast_device(kept)->quirks;
  auto add_other_way = [&](uint32_t bit, const std::string& name) {
    const bool is_on = own >> bit & 1;
    (is_on ? options[bit].quirks_off : options[bit].quirks_on) = 1u << bit;
    add((is_on ? "vulkan-without_" : "vulkan-") + name, &options[bit]);
  };
#define TERN_VULKAN_QUIRK(bit, name, condition, reason) add_other_way(bit, #name);
#include "drivers/vulkan/quirks.def"
#undef TERN_VULKAN_QUIRK
}
#endif

void reverse_executor(void*, uint32_t count, void (*body)(void*, uint32_t), void* self) {
  for (uint32_t i = count; i-- > 0;) body(self, i);
}

tern_hal_device_desc_t threads(uint32_t count) {
  tern_hal_device_desc_t desc = {};
  desc.thread_count = count;
  return desc;
}

tern_hal_device_desc_t host_executor() {
  static const tern_hal_host_executor_t executor = {nullptr, reverse_executor, 3};
  tern_hal_device_desc_t desc = {};
  desc.executor = &executor;
  return desc;
}

}  // namespace

#if CTS_HAS_VULKAN
// For the leak sanitizer: the Vulkan loader and its drivers leak. What is ours the suite's allocator counts.
extern "C" int __lsan_is_turned_off();
extern "C" int __lsan_is_turned_off() {
  return vulkan_is_loaded;
}
#endif

std::vector<DriverUnderTest> drivers_under_test() {
  std::vector<DriverUnderTest> rows = {
      {"null", "null", tern_null_driver_register, {}, create_linked_kernels},
      {"cpu", "cpu", tern_cpu_driver_register, {}, create_linked_kernels},
      {"cpu-elf", "cpu", tern_cpu_driver_register, {}, create_elf_kernels},
      {"cpu-3-threads", "cpu", tern_cpu_driver_register, threads(3), create_elf_kernels},
      {"cpu-executor", "cpu", tern_cpu_driver_register, host_executor(), create_linked_kernels},
      {"cuda-fake", "cuda", register_fake_cuda, without_cache(), create_ptx_kernels},
  };
  if (has_cuda_device()) rows.push_back({"cuda", "cuda", register_cuda, {}, create_ptx_kernels});
#if CTS_HAS_VULKAN
  add_vulkan(rows);
#endif
  return rows;
}

}  // namespace tern::cts
