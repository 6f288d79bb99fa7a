// What the vulkan driver's tests share: a device, if there is one here, with an executable of four kernels.
#pragma once

#include <string>
#include <vector>

#include "drivers/vulkan/testdata/test_kernels.spv.inc"
#include "drivers/vulkan/vulkan_device.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_allocator.h"

namespace tern::test {

inline constexpr uint32_t kTwenty = 0, kCount = 1, kAppend = 2, kFar = 3;

struct VulkanFixture {
  TestAllocator allocator;
  tern_hal_driver_registry_t registry = {};
  tern_hal_device_t* device = nullptr;  // null: there is none here
  tern_hal_executable_t* executable = nullptr;
  std::vector<tern_hal_buffer_t*> buffers;
  std::vector<tern_hal_command_buffer_t*> recordings;

  explicit VulkanFixture(tern_vulkan_options_t options = {}) {
    if (!options.cache_dir) options.cache_dir = "";
    REQUIRE_OK(tern_vulkan_driver_register(&registry));
    uint32_t count = 0;
    REQUIRE_OK(registry.drivers[0]->enumerate(allocator.get(), nullptr, 0, &count));
    if (count == 0) {
      MESSAGE("there is no Vulkan device on this machine");
      return;
    }
    tern_hal_device_desc_t desc = {};
    desc.driver_options = &options;
    REQUIRE_OK(tern_hal_driver_create_device(registry.drivers[0], &desc, allocator.get(), &device));
    REQUIRE_OK(make_executable({1, 1, 1}, &executable));
  }
  ~VulkanFixture() {
    for (auto* recording : recordings) tern_hal_command_buffer_release(recording);
    for (auto* buffer : buffers) tern_hal_buffer_release(buffer);
    tern_hal_executable_release(executable);
    tern_hal_device_release(device);
  }

  tern_status_t make_executable(std::vector<uint32_t> size, tern_hal_executable_t** out,
                                uint32_t bindings = 1) {
    std::vector<uint32_t> code(std::begin(spirv_twenty), std::end(spirv_twenty));
    tern_hal_entry_t entries[4] = {{tern_string_view("twenty"), 0, nullptr, 1, 20, {}},
                                   {tern_string_view("count"), 0, nullptr, 1, 0, {}},
                                   {tern_string_view("append"), 0, nullptr, 1, 1, {}},
                                   {tern_string_view("far"), 0, nullptr, 1, 1, {}}};
    entries[kTwenty].launch.flags = TERN_HAL_ENTRY_REPORTS_FAULTS;
    entries[kCount].offset = code.size() * 4;
    code.insert(code.end(), std::begin(spirv_count), std::end(spirv_count));
    entries[kAppend].offset = code.size() * 4;
    code.insert(code.end(), std::begin(spirv_append), std::end(spirv_append));
    entries[kFar].offset = code.size() * 4;
    code.insert(code.end(), std::begin(spirv_far), std::end(spirv_far));
    for (auto& entry : entries) {
      entry.binding_count = bindings;
      for (size_t i = 0; i < 3; ++i) entry.launch.workgroup_size[i] = size[i];
    }
    const tern_hal_executable_desc_t desc = {
        TERN_HAL_EXECUTABLE_SPIRV, 1, tern_const_bytes(code.data(), code.size() * 4), entries, 4, nullptr, 0};
    return tern_hal_executable_create(device, &desc, out);
  }

  tern_hal_buffer_t* buffer(std::vector<uint32_t> values) {
    const auto size = static_cast<int64_t>(values.size() * 4);
    tern_hal_buffer_t* made = nullptr;
    REQUIRE_OK(tern_hal_device_allocate_buffer(device, 0, size, &made));
    buffers.push_back(made);
    REQUIRE_OK(tern_hal_buffer_write(made, 0, values.data(), size));
    return made;
  }
  std::vector<uint32_t> values(tern_hal_buffer_t* buffer) {
    std::vector<uint32_t> read(tern_hal_buffer_size(buffer) / 4);
    REQUIRE_OK(tern_hal_buffer_read(buffer, 0, read.data(), static_cast<int64_t>(read.size() * 4)));
    return read;
  }
  tern_hal_command_buffer_t* recording(std::vector<uint8_t> classes, uint32_t params) {
    const tern_hal_command_buffer_desc_t desc = {classes.data(), static_cast<uint32_t>(classes.size()),
                                                 params};
    tern_hal_command_buffer_t* made = nullptr;
    REQUIRE_OK(tern_hal_command_buffer_create(device, &desc, &made));
    recordings.push_back(made);
    return made;
  }
  tern_status_t dispatch(tern_hal_command_buffer_t* commands, uint32_t entry, uint32_t slot, int64_t length,
                         std::vector<tern_hal_operand_t> params, int64_t grid = 1) {
    const tern_hal_binding_t binding = {slot, TERN_HAL_ACCESS_READ | TERN_HAL_ACCESS_WRITE,
                                        tern_hal_constant(0), tern_hal_constant(length)};
    tern_hal_dispatch_t dispatch = {};
    dispatch.executable = executable;
    dispatch.entry = entry;
    dispatch.binding_count = 1;
    dispatch.bindings = &binding;
    dispatch.params = params.data();
    dispatch.param_count = static_cast<uint32_t>(params.size());
    dispatch.grid_rank = 1;
    dispatch.grid[0] = tern_hal_constant(grid);
    return tern_hal_command_buffer_dispatch(commands, &dispatch);
  }
  tern_status_t submit(tern_hal_command_buffer_t* commands, std::vector<tern_hal_range_t> bindings,
                       std::vector<int64_t> params) {
    tern_hal_submit_t submission = {};
    submission.command_buffer = commands;
    submission.bindings = bindings.data();
    submission.binding_count = static_cast<uint32_t>(bindings.size());
    submission.params = params.data();
    submission.param_count = static_cast<uint32_t>(params.size());
    return tern_hal_device_submit(device, &submission);
  }
};

inline tern_hal_range_t whole(tern_hal_buffer_t* buffer) {
  return {buffer, 0, TERN_HAL_WHOLE};
}

}  // namespace tern::test
