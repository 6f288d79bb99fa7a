// What is particular to this driver: its options, capabilities, and executables. The rest is tests/hal_cts.
#include "drivers/cpu/cpu_driver.h"

#include "tests/support/status_matchers.h"
#include "tests/support/test_allocator.h"

using namespace tern::test;

namespace {

enum Capability : uint32_t {
#define TERN_CAPABILITY(id, name, meaning) name = id,
#include "schemas/abi/capabilities.def"
#undef TERN_CAPABILITY
};

struct Fixture {
  TestAllocator allocator;
  tern_hal_driver_registry_t registry = {};

  Fixture() { REQUIRE_OK(tern_cpu_driver_register(&registry)); }
  tern_status_t make(const tern_hal_device_desc_t& desc, tern_hal_device_t** out_device) {
    return tern_hal_driver_create_device(registry.drivers[0], &desc, allocator.get(), out_device);
  }
};

int64_t ask(tern_hal_device_t* device, uint32_t id) {
  int64_t value = -1;
  CHECK_OK(tern_hal_device_query_capability(device, id, &value));
  return value;
}

}  // namespace

TEST_CASE("usable cores are at least one") {
  CHECK(tern_cpu_usable_core_count() >= 1);
}

TEST_CASE("capabilities agree with each other and with the compiler's view of this machine") {
  Fixture f;
  tern_hal_device_t* device = nullptr;
  REQUIRE_OK(f.make({}, &device));
#if defined(__x86_64__)
  CHECK(ask(device, cpu_arch) == 1);
  const int64_t level = ask(device, x86_level);
  CHECK(level == (__builtin_cpu_supports("x86-64-v4")   ? 4
                  : __builtin_cpu_supports("x86-64-v3") ? 3
                  : __builtin_cpu_supports("x86-64-v2") ? 2
                                                        : 1));
  CHECK(ask(device, x86_avx512_vnni) == (__builtin_cpu_supports("avx512vnni") ? 1 : 0));
  CHECK(ask(device, x86_avx512_bf16) == (__builtin_cpu_supports("avx512bf16") ? 1 : 0));
  // What the processor says may be more than what the system allows.
  CHECK(ask(device, x86_amx) <=
        (__builtin_cpu_supports("amx-int8") && __builtin_cpu_supports("amx-bf16") ? 1 : 0));
  CHECK(ask(device, arm_dotprod) == 0);
#elif defined(__aarch64__)
  CHECK(ask(device, cpu_arch) == 2);
  CHECK(ask(device, x86_level) == 0);
#endif
  tern_hal_device_release(device);
}

#if defined(__x86_64__)
TEST_CASE("the level can be limited, to test variants for older machines") {
  Fixture f;
  for (uint32_t limit : {1u, 2u, 3u}) {
    tern_cpu_options_t options = {};
    options.x86_level_limit = limit;
    tern_hal_device_desc_t desc = {};
    desc.driver_options = &options;
    tern_hal_device_t* device = nullptr;
    REQUIRE_OK(f.make(desc, &device));
    CHECK(ask(device, x86_level) <= limit);
    CHECK(ask(device, x86_avx512_vnni) == 0);
    CHECK(ask(device, x86_amx) == 0);
    tern_hal_device_release(device);
  }
}
#endif

TEST_CASE("more threads than the driver takes are refused") {
  Fixture f;
  tern_hal_device_desc_t desc = {};
  desc.thread_count = 257;
  tern_hal_device_t* device = nullptr;
  CHECK(take_text(f.make(desc, &device)) ==
        "OUT_OF_RANGE: The number of threads (257) is larger than the cpu driver takes (256).");
  CHECK(device == nullptr);
}

TEST_CASE("executables: an entry outside the code, a missing function") {
  Fixture f;
  tern_hal_device_t* device = nullptr;
  REQUIRE_OK(f.make({}, &device));
  tern_hal_executable_t* executable = nullptr;
  const tern_hal_entry_t entry = {tern_string_view("conv1"), 0, nullptr, 0, 0, {}};
  tern_hal_executable_desc_t desc = {TERN_HAL_EXECUTABLE_FUNCTIONS, 1, {}, &entry, 1, nullptr, 0};
  CHECK(take_text(tern_hal_executable_create(device, &desc, &executable)) ==
        "INVALID_ARGUMENT: The kernel 'conv1' has no function.");
  desc.format = TERN_HAL_EXECUTABLE_ELF;
  CHECK(take_text(tern_hal_executable_create(device, &desc, &executable)) ==
        "MALFORMED: The executable (0 bytes) is shorter than an ELF header (64).");
  desc.format = 77;
  CHECK(take_text(tern_hal_executable_create(device, &desc, &executable)) ==
        "INCOMPATIBLE: The cpu driver does not take executables of the format (77).");
  CHECK(executable == nullptr);
  tern_hal_device_release(device);
}
