// The drivers that the suite runs on, and how each comes by the suite's kernels.
#include <stdio.h>
#include <string.h>

#include "drivers/cpu/cpu_driver.h"
#include "drivers/null/null_driver.h"
#include "tests/hal_cts/cts.h"
#include "tests/hal_cts/elf_symbols.h"

namespace tern::cts {
namespace {

tern_status_t create_linked_kernels(tern_hal_device_t* device, tern_hal_executable_t** out_kernels) {
  static const tern_hal_entry_t entries[] = {
#define ROW(name, bindings, params) {tern_string_view(#name), 0, cts_##name, bindings, params},
      CTS_KERNELS(ROW)
#undef ROW
  };
  const tern_hal_executable_desc_t desc = {TERN_HAL_EXECUTABLE_FUNCTIONS, 1, {}, entries, CTS_KERNEL_COUNT};
  return tern_hal_executable_create(device, &desc, out_kernels);
}

// kernels.c as clang and lld make of it.
tern_status_t create_elf_kernels(tern_hal_device_t* device, tern_hal_executable_t** out_kernels) {
  static const std::vector<uint8_t> image = read_file(CTS_KERNELS_ELF);
  tern_hal_entry_t entries[] = {
#define ROW(name, bindings, params) \
  {tern_string_view(#name), elf_symbol(image, "cts_" #name), nullptr, bindings, params},
      CTS_KERNELS(ROW)
#undef ROW
  };
  const tern_hal_executable_desc_t desc = {
      TERN_HAL_EXECUTABLE_ELF, 1, tern_const_bytes(image.data(), image.size()), entries, CTS_KERNEL_COUNT};
  return tern_hal_executable_create(device, &desc, out_kernels);
}

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

std::vector<DriverUnderTest> drivers_under_test() {
  return {
      {"null", "null", tern_null_driver_register, {}, create_linked_kernels},
      {"cpu", "cpu", tern_cpu_driver_register, {}, create_linked_kernels},
      {"cpu-elf", "cpu", tern_cpu_driver_register, {}, create_elf_kernels},
      {"cpu-3-threads", "cpu", tern_cpu_driver_register, threads(3), create_elf_kernels},
      {"cpu-executor", "cpu", tern_cpu_driver_register, host_executor(), create_linked_kernels},
  };
}

}  // namespace tern::cts
