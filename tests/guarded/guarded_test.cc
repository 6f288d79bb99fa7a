// Kernels that do what none may do, and what is said of each; and one that does all that one may.
#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <vector>

#include "drivers/cpu/cpu_driver.h"
#include "tests/guarded/guarded_memory.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_allocator.h"

using namespace tern::test;

namespace {

constexpr int64_t kCount = 24, kBytes = kCount * 4, kScratch = 96;
enum Deed : int64_t {
  kGood,
  kStoreBehind,
  kStoreBefore,
  kLoadBehind,
  kStoreToSource,
  kScratchBehind,
  kScratchUnset,
  kResultUnset,
  kBySplit,
};

// target[i] = source[i] + 1 for i of the tiles' parity, of 4 elements each, and what the deed says. Elements
// of the last two tiles are not written.
int32_t kernel(const tern_kernel_args_t* args, int64_t begin, int64_t end, void* scratch, int64_t) {
  auto* source = static_cast<volatile int32_t*>(args->bindings[0]);
  auto* target = static_cast<volatile int32_t*>(args->bindings[1]);
  auto* own = static_cast<volatile int32_t*>(scratch);
  const int64_t deed = args->params[0], offset = args->params[1];
  for (int64_t i = begin * 4; i < end * 4 && i < kCount - 8; ++i) {
    own[i] = source[i];
    target[i] = own[i] + 1;
  }
  if (deed == kStoreBehind) target[kCount + offset] = 1;
  if (deed == kStoreBefore) target[-1 - offset] = 1;
  if (deed == kLoadBehind) target[0] = source[kCount + offset];
  if (deed == kStoreToSource) source[offset] = 1;
  if (deed == kScratchBehind) own[kScratch / 4 + offset] = 1;
  if (deed == kScratchUnset && begin == 0) target[0] = own[kScratch / 4 - 1];
  if (deed == kResultUnset && begin == 0) target[0] = target[kCount - 1] + 1;
  if (deed == kBySplit) target[begin * 4] = static_cast<int32_t>(end - begin);
  return deed < 0 ? TERN_KERNEL_BAD_VALUE : TERN_KERNEL_OK;
}

// What the guarded driver says of a dispatch of 6 tiles; `memory` gets the arena's 256 elements: source at 0,
// target at 64.
std::string dispatch(int64_t deed, int64_t offset, std::vector<int32_t>& memory) {
  TestAllocator allocator;
  tern_hal_driver_registry_t registry = {};
  REQUIRE_OK(tern_cpu_driver_register(&registry));
  tern_hal_device_t* device = nullptr;
  REQUIRE_OK(tern_hal_driver_create_device(registry.drivers[0], nullptr, allocator.get(), &device));
  const tern_hal_entry_t entry = {tern_string_view("deeds"), 0, kernel, 2, 2, {}};
  const tern_hal_executable_desc_t code = {TERN_HAL_EXECUTABLE_FUNCTIONS, 1, {}, &entry, 1, nullptr, 0};
  tern_hal_executable_t* kernels = nullptr;
  REQUIRE_OK(tern_hal_executable_create(device, &code, &kernels));
  tern_hal_buffer_t* arena = nullptr;
  REQUIRE_OK(tern_hal_device_allocate_buffer(device, 0, 1024, &arena));
  REQUIRE_OK(tern_hal_buffer_write(arena, 0, memory.data(), 1024));
  const uint8_t arena_class = TERN_HAL_SLOT_ARENA;
  const tern_hal_command_buffer_desc_t desc = {&arena_class, 1, 0};
  tern_hal_command_buffer_t* commands = nullptr;
  REQUIRE_OK(tern_hal_command_buffer_create(device, &desc, &commands));
  REQUIRE_OK(tern_hal_command_buffer_bind(commands, 0, {arena, 0, TERN_HAL_WHOLE}));
  const tern_hal_binding_t bindings[2] = {
      {0, TERN_HAL_ACCESS_READ, tern_hal_constant(0), tern_hal_constant(kBytes)},
      {0, TERN_HAL_ACCESS_WRITE, tern_hal_constant(256), tern_hal_constant(kBytes)}};
  const tern_hal_operand_t params[2] = {tern_hal_constant(deed), tern_hal_constant(offset)};
  const tern_hal_dispatch_t d = {kernels,
                                 0,
                                 2,
                                 bindings,
                                 params,
                                 2,
                                 1,
                                 {tern_hal_constant(6), tern_hal_constant(1), tern_hal_constant(1)},
                                 tern_hal_constant(kScratch),
                                 tern_string_view("node")};
  REQUIRE_OK(tern_hal_command_buffer_dispatch(commands, &d));
  REQUIRE_OK(tern_hal_command_buffer_end(commands));
  tern_hal_submit_t submit = {};
  submit.command_buffer = commands;
  const std::string text = take_text(tern_hal_device_submit(device, &submit));
  REQUIRE_OK(tern_hal_buffer_read(arena, 0, memory.data(), 1024));
  tern_hal_command_buffer_release(commands);
  tern_hal_buffer_release(arena);
  tern_hal_executable_release(kernels);
  tern_hal_device_release(device);
  return text;
}

std::string said(int64_t deed, int64_t offset = 0) {
  std::vector<int32_t> memory(256, 5);
  std::string text = dispatch(deed, offset, memory);
  const std::string head = "INTERNAL: Guarded memory: the kernel 'deeds' makes ";
  return text.starts_with(head) ? text.substr(head.size(), text.find('\n') - head.size()) : text;
}

}  // namespace

TEST_CASE("a kernel that keeps to its bindings gives its results, and leaves the rest alone") {
  std::vector<int32_t> memory(256);
  for (int32_t i = 0; i < 256; ++i) memory[static_cast<size_t>(i)] = i;
  std::vector<int32_t> wanted = memory;
  for (size_t i = 0; i < kCount - 8; ++i) wanted[64 + i] = memory[i] + 1;
  CHECK(dispatch(kGood, 0, memory) == "");
  CHECK(memory == wanted);
  CHECK(said(-1).starts_with("DATA_ERROR"));
}

TEST_CASE("what a kernel must not touch") {
  CHECK(said(kStoreBehind) == "a store 0 bytes behind its end of binding 1 of 96 bytes (tiles 0 to 6).");
  CHECK(said(kStoreBehind, 1000) ==
        "a store 4000 bytes behind its end of binding 1 of 96 bytes (tiles 0 to 6).");
  CHECK(said(kStoreBefore, 2) == "a store 9 bytes before its begin of binding 1 of 96 bytes.");
  CHECK(said(kLoadBehind) == "a load 0 bytes behind its end of binding 0 of 96 bytes (tiles 0 to 6).");
  CHECK(said(kStoreToSource, 3) ==
        "a store 12 bytes behind its begin of binding 0 of 96 bytes (tiles 0 to 6).");
  CHECK(said(kScratchBehind) == "a store 0 bytes behind its end of its scratch of 96 bytes (tiles 0 to 6).");
}

TEST_CASE("what a result must not depend on") {
  CHECK(
      said(kScratchUnset).starts_with("byte 0 of binding 1 of 96 bytes depends on memory that nobody wrote"));
  CHECK(
      said(kResultUnset).starts_with("byte 0 of binding 1 of 96 bytes depends on memory that nobody wrote"));
  CHECK(said(kBySplit).starts_with("byte 0 of binding 1 of 96 bytes depends on memory that nobody wrote"));
}
