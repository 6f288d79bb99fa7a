// What the cuda driver's tests share: the fake libcuda (drivers/cuda/fake), and a device on it with an
// executable of three kernels. TERN_FAKE_CUDA is the library's path.
#pragma once

#include <dlfcn.h>
#include <string.h>

#include <vector>

#include "drivers/cuda/cuda_driver.h"
#include "drivers/cuda/cuda_symbols.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_allocator.h"

namespace tern::test {

// The fake's own functions. Keeps the library loaded, so that its counts outlive devices.
struct FakeCuda {
  void* library;
  int (*calls)(const char*);
  void (*fail)(const char*, int, int);
  void (*attribute)(int, int);
  int (*programmatic_edges)();
  long long (*live)();
  void (*reset)();
  FakeCuda() {
    library = dlopen(TERN_FAKE_CUDA, RTLD_NOW | RTLD_LOCAL);
    const char* reason = library ? "" : dlerror();
    REQUIRE_MESSAGE(library != nullptr, "the tests' libcuda cannot be opened: ", reason);
    find(calls, "fake_cuda_calls");
    find(fail, "fake_cuda_fail");
    find(attribute, "fake_cuda_attribute");
    find(programmatic_edges, "fake_cuda_programmatic_edges");
    find(live, "fake_cuda_live");
    find(reset, "fake_cuda_reset");
    reset();
  }
  FakeCuda(const FakeCuda&) = delete;
  ~FakeCuda() { dlclose(library); }

  template <typename Function>
  void find(Function*& out, const char* name) {
    out = reinterpret_cast<Function*>(dlsym(library, name));
    const bool found = out != nullptr;  // doctest cannot print functions
    REQUIRE_MESSAGE(found, "the tests' libcuda has no function ", name);
  }
};

inline constexpr char kPtx[] = ".version 7.5\n.entry mark(\n.entry fail(\n.entry mark_clusters(\n";
inline constexpr uint32_t kMark = 0, kFail = 1, kMarkClusters = 2;

inline tern_hal_driver_registry_t registry_of(const char* library) {
  cuda::cuda_symbols_set_library(library);
  tern_hal_driver_registry_t registry = {};
  REQUIRE_OK(tern_cuda_driver_register(&registry));
  return registry;
}

inline tern_status_t make_executable(tern_hal_device_t* device, const char* code,
                                     tern_hal_executable_t** out) {
  tern_hal_entry_t entries[3] = {{tern_string_view("mark"), 0, nullptr, 1, 0, {}},
                                 {tern_string_view("fail"), 0, nullptr, 0, 2, {}},
                                 {tern_string_view("mark_clusters"), 0, nullptr, 1, 0, {}}};
  entries[kMark].launch.flags = TERN_HAL_ENTRY_WAITS_FOR_GRID;
  entries[kFail].launch.flags = TERN_HAL_ENTRY_REPORTS_FAULTS;
  const tern_hal_executable_desc_t desc = {
      TERN_HAL_EXECUTABLE_PTX, 1, tern_const_bytes(code, strlen(code)), entries, 3, nullptr, 0};
  return tern_hal_executable_create(device, &desc, out);
}

struct CudaFixture {
  FakeCuda fake;
  TestAllocator allocator;
  tern_hal_device_t* device = nullptr;
  tern_hal_executable_t* executable = nullptr;

  explicit CudaFixture(tern_cuda_options_t options = {}, int pools = 1, int minor = 0) {
    if (!options.cache_dir) options.cache_dir = "";
    fake.attribute(cuda::CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, pools);
    fake.attribute(cuda::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, minor);
    const tern_hal_driver_registry_t registry = registry_of(TERN_FAKE_CUDA);
    tern_hal_device_desc_t desc = {};
    desc.driver_options = &options;
    REQUIRE_OK(tern_hal_driver_create_device(registry.drivers[0], &desc, allocator.get(), &device));
    REQUIRE_OK(make_executable(device, kPtx, &executable));
  }
  ~CudaFixture() {
    tern_hal_executable_release(executable);
    tern_hal_device_release(device);
  }

  tern_hal_buffer_t* buffer(int64_t size) {
    tern_hal_buffer_t* made = nullptr;
    REQUIRE_OK(tern_hal_device_allocate_buffer(device, 0, size, &made));
    const std::vector<char> zeros(static_cast<size_t>(size));
    REQUIRE_OK(tern_hal_buffer_write(made, 0, zeros.data(), size));
    return made;
  }

  // Marks in slot 0 (arena), slot 1 (external) and slot 0 again, one after the other.
  tern_hal_command_buffer_t* chain(tern_hal_buffer_t* arena) {
    const uint8_t classes[2] = {TERN_HAL_SLOT_ARENA, TERN_HAL_SLOT_EXTERNAL};
    const tern_hal_command_buffer_desc_t desc = {classes, 2, 0};
    tern_hal_command_buffer_t* commands = nullptr;
    REQUIRE_OK(tern_hal_command_buffer_create(device, &desc, &commands));
    REQUIRE_OK(tern_hal_command_buffer_bind(commands, 0, {arena, 0, TERN_HAL_WHOLE}));
    for (uint32_t slot : {0u, 1u, 0u}) {
      REQUIRE_OK(mark(commands, slot));
      REQUIRE_OK(tern_hal_command_buffer_barrier(commands));
    }
    REQUIRE_OK(tern_hal_command_buffer_end(commands));
    return commands;
  }

  tern_status_t mark(tern_hal_command_buffer_t* commands, uint32_t slot,
                     tern_hal_operand_t grid = tern_hal_constant(4), uint32_t entry = kMark) {
    const tern_hal_binding_t binding = {slot, TERN_HAL_ACCESS_READ | TERN_HAL_ACCESS_WRITE,
                                        tern_hal_constant(0), tern_hal_constant(4)};
    tern_hal_dispatch_t dispatch = {};
    dispatch.executable = executable;
    dispatch.entry = entry;
    dispatch.bindings = &binding;
    dispatch.binding_count = 1;
    dispatch.grid_rank = 1;
    dispatch.grid[0] = grid;
    return tern_hal_command_buffer_dispatch(commands, &dispatch);
  }

  // Fails when parameter 0 is 0.
  tern_hal_command_buffer_t* failing() {
    const tern_hal_command_buffer_desc_t desc = {nullptr, 0, 1};
    tern_hal_command_buffer_t* commands = nullptr;
    REQUIRE_OK(tern_hal_command_buffer_create(device, &desc, &commands));
    const tern_hal_operand_t params[2] = {tern_hal_parameter(0),
                                          tern_hal_constant(TERN_KERNEL_INDEX_OUT_OF_RANGE)};
    tern_hal_dispatch_t dispatch = {};
    dispatch.executable = executable;
    dispatch.entry = kFail;
    dispatch.params = params;
    dispatch.param_count = 2;
    dispatch.grid_rank = 1;
    dispatch.grid[0] = tern_hal_constant(1);
    dispatch.label = tern_string_view("Gather_3");
    REQUIRE_OK(tern_hal_command_buffer_dispatch(commands, &dispatch));
    REQUIRE_OK(tern_hal_command_buffer_end(commands));
    return commands;
  }
};

}  // namespace tern::test
