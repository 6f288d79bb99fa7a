// What the HAL's suite cannot see: containers, and how recordings behave when arguments
// change under way. Cases that need a device say so and pass where there is none (lavapipe is one).
#include "drivers/vulkan/vulkan_driver.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "drivers/vulkan/vulkan_command_buffer.h"
#include "drivers/vulkan/vulkan_executable.h"
#include "drivers/vulkan/vulkan_spirv.h"
#include "drivers/vulkan/vulkan_status.h"
#include "tests/support/vulkan_fixture.h"

using namespace tern;
using namespace tern::test;

namespace {

using Fixture = VulkanFixture;

constexpr size_t kWords = sizeof(spirv_count) / 4;
constexpr uint32_t kSubgroupSize = 15;  // its capability's row

tern_status_code_t find(const std::vector<uint32_t>& words, const char* name = "count") {
  TestAllocator allocator;
  vulkan::SpirvEntry entry;
  return take_code(vulkan::vulkan_spirv_find(allocator.get(), words.data(), words.size(), 0x10300,
                                             tern_string_view(name), &entry));
}

bool uses_subgroups(const std::vector<uint32_t>& words) {
  TestAllocator allocator;
  vulkan::SpirvEntry entry;
  REQUIRE_OK(vulkan::vulkan_spirv_find(allocator.get(), words.data(), words.size(), 0x10300,
                                       tern_string_view("main"), &entry));
  return entry.subgroups;
}

}  // namespace

// For the leak sanitizer: the Vulkan loader and its drivers leak. What is ours the fixtures' allocator
// counts.
extern "C" int __lsan_is_turned_off();
extern "C" int __lsan_is_turned_off() {
  return 1;
}

TEST_CASE("a SPIR-V container is checked, whatever its words") {
  const std::vector<uint32_t> whole_module(std::begin(spirv_count), std::end(spirv_count));
  CHECK_EQ(find(whole_module), TERN_STATUS_OK);
  CHECK_EQ(find(whole_module, "any name will do for the only entry point"), TERN_STATUS_OK);
  for (size_t size = 0; size < 20; ++size) {
    CHECK_EQ(find({whole_module.begin(), whole_module.begin() + static_cast<long>(size)}),
             TERN_STATUS_MALFORMED);
  }
  for (size_t i = 0; i < kWords; ++i) {  // none may read outside (sanitizers watch)
    for (const uint32_t value : {0u, 0xffffffffu, 0xffff000fu, 0x0002000fu, 0x00060010u}) {
      std::vector<uint32_t> damaged = whole_module;
      damaged[i] = value;
      (void)find(damaged);
      damaged.resize(i + 1);
      (void)find(damaged);
    }
  }
  CHECK_FALSE(uses_subgroups(whole_module));
  CHECK(uses_subgroups({std::begin(spirv_sizes), std::end(spirv_sizes)}));
  std::vector<uint32_t> matrices = whole_module;
  REQUIRE_EQ(matrices[5], 0x00020011);  // OpCapability
  matrices[6] = 6022;                   // CooperativeMatrixKHR
  CHECK(uses_subgroups(matrices));
  std::vector<uint32_t> later = whole_module;
  later[1] = 0x00010600;
  CHECK_EQ(find(later), TERN_STATUS_INCOMPATIBLE);
}

TEST_CASE("results are statuses with sentences") {
  TestAllocator allocator;
  CHECK_OK(vulkan::vulkan_status(allocator.get(), VK_INCOMPLETE, "vkCall"));
  CHECK_EQ(take_text(vulkan::vulkan_status(allocator.get(), VK_ERROR_DEVICE_LOST, "vkCall")),
           "DEVICE_LOST: vkCall failed with VK_ERROR_DEVICE_LOST (-4): the device was lost.");
  CHECK_CODE(vulkan::vulkan_status(allocator.get(), static_cast<VkResult>(-12345), "vkCall"), INTERNAL);
}

TEST_CASE("entries that the module contradicts are refused") {
  Fixture f;
  if (!f.device) return;
  tern_hal_executable_t* made = nullptr;
  CHECK_CODE(f.make_executable({64, 1, 1}, &made), MALFORMED);
  CHECK_CODE(f.make_executable({1 << 20, 1 << 20, 1 << 20}, &made), MALFORMED);
}

TEST_CASE(
    "entries that bind nothing, as those that the program has other variants of, are compiled when asked "
    "for") {
  Fixture f;
  if (!f.device) return;
  const uint32_t compiled = vulkan::cast_device(f.device)->pipelines.compiled;
  tern_hal_executable_t* used = f.executable;
  REQUIRE_OK(f.make_executable({1, 1, 1}, &f.executable, 0));
  const uint32_t& now = vulkan::cast_device(f.device)->pipelines.compiled;
  CHECK_EQ(now, compiled);
  VkPipeline pipeline = VK_NULL_HANDLE, again = VK_NULL_HANDLE;
  REQUIRE_OK(vulkan::vulkan_executable_pipeline(f.executable, kTwenty, 0, &pipeline));
  REQUIRE_OK(vulkan::vulkan_executable_pipeline(f.executable, kTwenty, 0, &again));
  CHECK(pipeline != VK_NULL_HANDLE);
  CHECK_EQ(pipeline, again);
  CHECK_EQ(now, compiled + 1);
  tern_hal_executable_release(used);
}

TEST_CASE("parameters that are too many to push arrive in a buffer, each submission's own") {
  Fixture f;
  if (!f.device) return;
  auto* commands = f.recording({TERN_HAL_SLOT_EXTERNAL}, 1);
  std::vector<tern_hal_operand_t> params = {tern_hal_parameter(0)};
  for (int i = 1; i < 20; ++i) params.push_back(tern_hal_constant(i * 1000));
  REQUIRE_OK(f.dispatch(commands, kTwenty, 0, 160, params));
  REQUIRE_OK(tern_hal_command_buffer_end(commands));
  tern_hal_buffer_t* target = f.buffer(std::vector<uint32_t>(40));
  for (int64_t first : {7, 8, 1 << 30}) {
    REQUIRE_OK(f.submit(commands, {whole(target)}, {first}));
    const std::vector<uint32_t> values = f.values(target);
    CHECK_EQ(values[0], static_cast<uint32_t>(first));
    CHECK_EQ(values[38], 19000);
    CHECK_EQ(values[39], 0);
  }
  CHECK_CODE(f.submit(commands, {whole(target)}, {-1}), DATA_ERROR);
  CHECK_OK(f.submit(commands, {whole(target)}, {1}));
}

TEST_CASE("subgroups are whole, as large as the device says, and in the order of the threads") {
  Fixture f;
  if (!f.device) return;
  constexpr uint32_t kThreads = 64;
  int64_t told = 0;
  REQUIRE_OK(tern_hal_device_query_capability(f.device, kSubgroupSize, &told));
  REQUIRE_GT(told, 0);
  const auto size = static_cast<uint32_t>(told);
  tern_hal_entry_t entry = {tern_string_view("sizes"), 0, nullptr, 1, 0, {}};
  entry.launch.workgroup_size[0] = kThreads;
  const tern_hal_executable_desc_t desc = {TERN_HAL_EXECUTABLE_SPIRV,
                                           1,
                                           tern_const_bytes(spirv_sizes, sizeof(spirv_sizes)),
                                           &entry,
                                           1,
                                           nullptr,
                                           0};
  // The size that kernels rely on, and the same as an entry's flags say it.
  for (const uint32_t flags : {0u, size << TERN_HAL_ENTRY_SUBGROUP_SHIFT}) {
    entry.launch.flags = flags;
    tern_hal_executable_release(f.executable);
    f.executable = nullptr;
    REQUIRE_OK(tern_hal_executable_create(f.device, &desc, &f.executable));
    auto* commands = f.recording({TERN_HAL_SLOT_EXTERNAL}, 0);
    REQUIRE_OK(f.dispatch(commands, 0, 0, (2 + kThreads) * 4, {}));
    REQUIRE_OK(tern_hal_command_buffer_end(commands));
    tern_hal_buffer_t* target = f.buffer(std::vector<uint32_t>(2 + kThreads));
    REQUIRE_OK(f.submit(commands, {whole(target)}, {}));
    const std::vector<uint32_t> values = f.values(target);
    CHECK_EQ(values[0], size);
    CHECK_EQ(values[1], (kThreads + size - 1) / size);
    for (uint32_t i = 0; i < kThreads; ++i) CHECK_EQ(values[2 + i], i);
  }
  entry.launch.flags = 3u << TERN_HAL_ENTRY_SUBGROUP_SHIFT;
  tern_hal_executable_t* none = nullptr;
  CHECK_CODE(tern_hal_executable_create(f.device, &desc, &none), INCOMPATIBLE);
}

TEST_CASE("grids larger than a dimension are folded; each tile runs once") {
  Fixture f;
  if (!f.device) return;
  for (uint32_t tiles : {65535u, 65536u, 65537u, 200001u}) {
    auto* commands = f.recording({TERN_HAL_SLOT_EXTERNAL}, 0);
    REQUIRE_OK(f.dispatch(commands, kCount, 0, 8, {}, tiles));
    REQUIRE_OK(tern_hal_command_buffer_end(commands));
    tern_hal_buffer_t* target = f.buffer({0, 0});
    REQUIRE_OK(f.submit(commands, {whole(target)}, {}));
    CHECK_EQ(f.values(target), std::vector<uint32_t>{tiles, tiles - 1});
  }
  auto* commands = f.recording({TERN_HAL_SLOT_EXTERNAL}, 0);
  REQUIRE_OK(f.dispatch(commands, kCount, 0, 8, {}, int64_t{1} << 33));
  REQUIRE_OK(tern_hal_command_buffer_end(commands));
  CHECK_CODE(f.submit(commands, {whole(f.buffer({0, 0}))}, {}), OUT_OF_RANGE);
}

TEST_CASE("kernels reach the end of the longest range, and longer ones are refused") {
  Fixture f;
  if (!f.device) return;
  const uint64_t longest = vulkan::cast_device(f.device)->limits.storage_range;
  const auto words = static_cast<int64_t>((longest < (1u << 30) ? longest : 1u << 30) / 4);
  tern_hal_buffer_t* target = nullptr;
  REQUIRE_OK(tern_hal_device_allocate_buffer(f.device, 0, words * 4 + 64, &target));
  f.buffers.push_back(target);
  auto* commands = f.recording({TERN_HAL_SLOT_EXTERNAL}, 1);
  REQUIRE_OK(f.dispatch(commands, kFar, 0, words * 4, {tern_hal_parameter(0)}));
  REQUIRE_OK(tern_hal_command_buffer_end(commands));
  for (int64_t at : {int64_t{0}, words / 2, words - 1}) {
    REQUIRE_OK(f.submit(commands, {{target, 0, words * 4}}, {at}));
    uint32_t value = 0;
    REQUIRE_OK(tern_hal_buffer_read(target, at * 4, &value, 4));
    CHECK_EQ(value, 7);
  }
  if (static_cast<uint64_t>(words) * 4 < longest) return;
  auto* longer = f.recording({TERN_HAL_SLOT_EXTERNAL}, 1);
  REQUIRE_OK(f.dispatch(longer, kFar, 0, words * 4 + 4, {tern_hal_parameter(0)}));
  REQUIRE_OK(tern_hal_command_buffer_end(longer));
  CHECK_CODE(f.submit(longer, {whole(target)}, {0}), OUT_OF_RANGE);
}

TEST_CASE("kernels and transfers reach what lies beyond 4 GiB: several buffers, each at its end") {
  Fixture f;
  if (!f.device) return;
  constexpr int64_t kSize = int64_t{1} << 30, kLength = 4096, kAt = kSize - kLength;
  std::vector<tern_hal_buffer_t*> targets;
  for (uint32_t i = 0; i < 5; ++i) {
    tern_hal_buffer_t* target = nullptr;
    const tern_status_t made = tern_hal_device_allocate_buffer(f.device, 0, kSize, &target);
    if (!tern_status_is_ok(made)) {  // the device has not so much
      CHECK_CODE(made, OUT_OF_MEMORY);
      return;
    }
    f.buffers.push_back(target);
    targets.push_back(target);
  }
  auto* commands = f.recording({TERN_HAL_SLOT_EXTERNAL}, 1);
  REQUIRE_OK(f.dispatch(commands, kFar, 0, kLength, {tern_hal_parameter(0)}));
  REQUIRE_OK(tern_hal_command_buffer_end(commands));
  for (uint32_t i = 0; i < 5; ++i) {
    REQUIRE_OK(tern_hal_buffer_write(targets[i], kAt + 8, &i, 4));
    REQUIRE_OK(f.submit(commands, {{targets[i], kAt, kLength}}, {3}));
  }
  for (uint32_t i = 0; i < 5; ++i) {
    uint32_t values[2] = {};
    REQUIRE_OK(tern_hal_buffer_read(targets[i], kAt + 8, values, 8));
    CHECK_EQ(values[0], i);
    CHECK_EQ(values[1], 7);
  }
}

TEST_CASE("submissions with ever new arguments overtake nothing and lose nothing") {
  Fixture f;
  if (!f.device) return;
  // Long static runs between dynamic commands: segments of both kinds.
  auto* commands = f.recording({TERN_HAL_SLOT_EXTERNAL, TERN_HAL_SLOT_ARENA}, 1);
  tern_hal_buffer_t *arena = f.buffer({1}), *first = f.buffer({1}), *second = f.buffer({1});
  REQUIRE_OK(tern_hal_command_buffer_bind(commands, 1, whole(arena)));
  auto step = [&](uint32_t slot, tern_hal_operand_t param) {
    REQUIRE_OK(f.dispatch(commands, kAppend, slot, 4, {param}));
    REQUIRE_OK(tern_hal_command_buffer_barrier(commands));
  };
  for (int i = 0; i < 10; ++i) step(1, tern_hal_constant(i));
  step(0, tern_hal_parameter(0));
  step(1, tern_hal_parameter(0));
  for (int i = 0; i < 10; ++i) step(1, tern_hal_constant(i));
  step(0, tern_hal_parameter(0));
  REQUIRE_OK(tern_hal_command_buffer_end(commands));
  const auto* inside = reinterpret_cast<vulkan::CommandBuffer*>(commands);
  CHECK_EQ(inside->segment_count, 4);
  uint32_t in_arena = 1, in[2] = {1, 1};
  uint32_t in_one = 0;  // submissions that were one command buffer
  for (uint32_t run = 0; run < 150; ++run) {
    // From the hundredth on arguments stay for five submissions each.
    const uint32_t which = run < 100 ? run / 3 % 2 : run / 10 % 2;
    const uint32_t argument = run < 100 ? run / 2 : run / 5;
    REQUIRE_OK(f.submit(commands, {whole(which ? second : first), {}}, {argument}));
    for (uint32_t i = 0; i < 10; ++i) in_arena = 3 * in_arena + i;
    in_arena = 3 * in_arena + argument;
    for (uint32_t i = 0; i < 10; ++i) in_arena = 3 * in_arena + i;
    in[which] = 3 * (3 * in[which] + argument) + argument;
    in_one += inside->to_submit_count == 1;
  }
  CHECK_EQ(in_one, 30);  // from the third of each on
  CHECK_EQ(f.values(arena)[0], in_arena);
  CHECK_EQ(f.values(first)[0], in[0]);
  CHECK_EQ(f.values(second)[0], in[1]);
}

TEST_CASE("integer dot products count as fast where the device says so, or the quirk does") {
  const auto row = [](uint32_t off, uint32_t on) -> int64_t {
    tern_vulkan_options_t options = {};
    options.quirks_off = off;
    options.quirks_on = on;
    const Fixture f(options);
    int64_t value = -1;
    constexpr uint32_t kDotProducts = 26;
    if (f.device) REQUIRE_OK(tern_hal_device_query_capability(f.device, kDotProducts, &value));
    return value;
  };
  constexpr uint32_t kQuirk = TERN_VULKAN_QUIRK_emulated_dot_products;
  const int64_t own = row(kQuirk, 0), with = row(0, kQuirk);
  CHECK(with == (own > 0 ? 3 : own));
}

TEST_CASE("a lost device is a status, from then on everywhere, and goes without waiting") {
  const PFN_vkQueueSubmit refuse = [](VkQueue, uint32_t, const VkSubmitInfo*, VkFence) {
    return VK_ERROR_DEVICE_LOST;
  };
  const PFN_vkGetFenceStatus lose = [](VkDevice, VkFence) { return VK_ERROR_DEVICE_LOST; };
  for (const bool when_submitted : {true, false}) {
    Fixture f;
    if (!f.device) return;
    auto* commands = f.recording({TERN_HAL_SLOT_EXTERNAL}, 0);
    REQUIRE_OK(f.dispatch(commands, kCount, 0, 8, {}));
    REQUIRE_OK(tern_hal_command_buffer_end(commands));
    tern_hal_buffer_t* target = f.buffer({0, 0});
    tern_hal_semaphore_t* semaphore = nullptr;
    REQUIRE_OK(tern_hal_semaphore_create(f.device, 0, &semaphore));
    REQUIRE_OK(f.submit(commands, {whole(target)}, {}));
    REQUIRE_OK(tern_hal_device_wait_idle(f.device));
    vulkan::Symbols& symbols = vulkan::cast_device(f.device)->symbols;
    if (when_submitted) {
      symbols.QueueSubmit = refuse;
    } else {
      symbols.GetFenceStatus = lose;
    }
    const tern_hal_range_t range = whole(target);
    const tern_hal_semaphore_point_t signal = {semaphore, 1};
    tern_hal_submit_t submission = {};
    submission.command_buffer = commands;
    submission.bindings = &range;
    submission.binding_count = 1;
    submission.signals = &signal;
    submission.signal_count = 1;
    tern_status_t status = tern_hal_device_submit(f.device, &submission);
    if (when_submitted) {
      CHECK_CODE(status, DEVICE_LOST);
    } else {
      CHECK_OK(status);
    }
    CHECK_CODE(tern_hal_semaphore_wait(semaphore, 1, TERN_HAL_NEVER), DEVICE_LOST);
    CHECK_CODE(f.submit(commands, {range}, {}), DEVICE_LOST);
    CHECK_CODE(tern_hal_device_wait_idle(f.device), DEVICE_LOST);
    uint32_t read = 0;
    CHECK_CODE(tern_hal_buffer_read(target, 0, &read, 4), DEVICE_LOST);
    // A device that is really lost runs nothing; this one may still be at the last submission.
    (void)symbols.DeviceWaitIdle(vulkan::cast_device(f.device)->handle);
    tern_hal_semaphore_release(semaphore);
  }
}

TEST_CASE("devices come and go as often as one likes") {
  for (int i = 0; i < 50; ++i) {
    Fixture f;
    if (i > 0) REQUIRE(f.device);
    if (!f.device) return;
  }
}

TEST_CASE("a forked process finds the devices too") {
  if (const Fixture f; !f.device) return;
  const pid_t child = fork();
  if (child == 0) {
    tern_hal_driver_registry_t registry = {};
    TestAllocator allocator;
    uint32_t count = 0;
    bool found = tern_status_is_ok(tern_vulkan_driver_register(&registry));
    found = found && tern_status_is_ok(registry.drivers[0]->enumerate(allocator.get(), nullptr, 0, &count));
    _exit(found && count > 0 ? 0 : 1);
  }
  int status = 0;
  REQUIRE_EQ(waitpid(child, &status, 0), child);
  CHECK_EQ(status, 0);
}

TEST_CASE("buffers of many sizes come from few blocks and do not overlap") {
  Fixture f;
  if (!f.device) return;
  std::vector<tern_hal_buffer_t*> made;
  uint32_t random = 1;
  for (uint32_t i = 0; i < 300; ++i) {
    random = random * 1664525 + 1013904223;
    made.push_back(f.buffer(std::vector<uint32_t>(1 + random % 5000, i)));
    if (i % 3 == 2) {  // a hole
      tern_hal_buffer_release(f.buffers[f.buffers.size() - 2]);
      f.buffers.erase(f.buffers.end() - 2);
      made.erase(made.end() - 2);
    }
  }
  uint32_t blocks = 0;
  for (auto* block = vulkan::cast_device(f.device)->memory.blocks[0]; block; block = block->next) ++blocks;
  CHECK(blocks < 8);
  for (auto* buffer : made) {
    const std::vector<uint32_t> values = f.values(buffer);
    CHECK_EQ(values, std::vector<uint32_t>(values.size(), values[0]));
  }
}
