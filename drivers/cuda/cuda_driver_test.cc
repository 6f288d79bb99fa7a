// The driver's logic on the fake libcuda (drivers/cuda/fake): what it asks of the API, and what it does when
// that fails.
#include "drivers/cuda/cuda_driver.h"

#include <string.h>

#include <vector>

#include "drivers/cuda/cuda_container.h"
#include "tests/support/cuda_fixture.h"

using namespace tern;
using namespace tern::test;

namespace {

using Fake = FakeCuda;
using Fixture = CudaFixture;

tern_status_t submit(tern_hal_command_buffer_t* commands, tern_hal_buffer_t* external) {
  const tern_hal_range_t table[2] = {{}, {external, 0, TERN_HAL_WHOLE}};
  tern_hal_submit_t submission = {};
  submission.command_buffer = commands;
  submission.bindings = table;
  submission.binding_count = 2;
  return tern_hal_device_submit(commands->device, &submission);
}

tern_status_t submit_failing(tern_hal_command_buffer_t* commands, int64_t tile,
                             std::vector<tern_hal_semaphore_point_t> waits,
                             std::vector<tern_hal_semaphore_point_t> signals) {
  tern_hal_submit_t submission = {};
  submission.command_buffer = commands;
  submission.params = &tile;
  submission.param_count = 1;
  submission.waits = waits.data();
  submission.wait_count = static_cast<uint32_t>(waits.size());
  submission.signals = signals.data();
  submission.signal_count = static_cast<uint32_t>(signals.size());
  return tern_hal_device_submit(commands->device, &submission);
}

}  // namespace

TEST_CASE("a replay patches the nodes whose bindings are new, and nothing else") {
  Fixture f;
  tern_hal_buffer_t *arena = f.buffer(4), *first = f.buffer(4), *second = f.buffer(4);
  tern_hal_command_buffer_t* commands = f.chain(arena);
  CHECK(f.fake.calls("cuGraphInstantiate") == 1);
  REQUIRE_OK(submit(commands, first));
  REQUIRE_OK(submit(commands, first));
  CHECK(f.fake.calls("cuGraphExecKernelNodeSetParams") == 1);  // one of three kernels has an external binding
  REQUIRE_OK(submit(commands, second));
  CHECK(f.fake.calls("cuGraphExecKernelNodeSetParams") == 2);
  CHECK(f.fake.calls("cuGraphLaunch") == 3);
  CHECK(f.fake.calls("cuGraphInstantiate") == 1);
  CHECK(f.fake.calls("cuStreamSynchronize") == 0);
  int32_t values[3] = {};
  REQUIRE_OK(tern_hal_buffer_read(arena, 0, &values[0], 4));
  REQUIRE_OK(tern_hal_buffer_read(first, 0, &values[1], 4));
  REQUIRE_OK(tern_hal_buffer_read(second, 0, &values[2], 4));
  CHECK(values[0] == 0x06060606);
  CHECK(values[1] == 0x02020202);
  CHECK(values[2] == 0x01010101);
  tern_hal_command_buffer_release(commands);
  for (auto* buffer : {arena, first, second}) tern_hal_buffer_release(buffer);
}

TEST_CASE("copies and fills are patched, also to and from nothing") {
  for (int pools : {0, 1}) {
    Fixture f({}, pools);
    CHECK((f.fake.calls("cuMemPoolCreate") == pools));
    const uint8_t classes[2] = {TERN_HAL_SLOT_EXTERNAL, TERN_HAL_SLOT_EXTERNAL};
    const tern_hal_command_buffer_desc_t desc = {classes, 2, 1};
    tern_hal_command_buffer_t* commands = nullptr;
    REQUIRE_OK(tern_hal_command_buffer_create(f.device, &desc, &commands));
    const tern_hal_binding_t source = {0, 0, tern_hal_constant(0), tern_hal_parameter(0)};
    const tern_hal_binding_t target = {1, 0, tern_hal_constant(0), tern_hal_parameter(0)};
    REQUIRE_OK(tern_hal_command_buffer_fill(commands, &source, 9, 4));
    REQUIRE_OK(tern_hal_command_buffer_barrier(commands));
    REQUIRE_OK(tern_hal_command_buffer_copy(commands, &source, &target));
    REQUIRE_OK(tern_hal_command_buffer_end(commands));
    tern_hal_buffer_t* buffers[4] = {f.buffer(64), f.buffer(64), f.buffer(64), f.buffer(64)};
    int64_t copied = 0;
    for (int64_t length : {0, 8, 64, 0, 4}) {
      for (int first : {0, 2}) {
        const tern_hal_range_t table[2] = {{buffers[first], 0, 64}, {buffers[first + 1], 0, 64}};
        tern_hal_submit_t submission = {};
        submission.command_buffer = commands;
        submission.bindings = table;
        submission.binding_count = 2;
        submission.params = &length;
        submission.param_count = 1;
        REQUIRE_OK(tern_hal_device_submit(f.device, &submission));
      }
      int32_t values[16];
      REQUIRE_OK(tern_hal_buffer_read(buffers[3], 0, values, 64));
      if (length > copied) copied = length;
      for (int64_t i = 0; i < 16; ++i) CHECK(values[i] == (i * 4 < copied ? 9 : 0));
    }
    CHECK(f.fake.calls("cuGraphInstantiate") == 1);
    tern_hal_command_buffer_release(commands);
    for (auto* buffer : buffers) tern_hal_buffer_release(buffer);
  }
}

TEST_CASE("a node that cannot be patched makes the graph be built again") {
  Fixture f;
  tern_hal_buffer_t *arena = f.buffer(4), *external = f.buffer(4);
  tern_hal_command_buffer_t* commands = f.chain(arena);
  f.fake.fail("cuGraphExecKernelNodeSetParams", 1, cuda::CUDA_ERROR_INVALID_VALUE);
  REQUIRE_OK(submit(commands, external));
  CHECK(f.fake.calls("cuGraphInstantiate") == 2);
  int32_t value = 0;
  REQUIRE_OK(tern_hal_buffer_read(external, 0, &value, 4));
  CHECK(value == 0x01010101);
  tern_hal_command_buffer_release(commands);
  tern_hal_buffer_release(arena);
  tern_hal_buffer_release(external);
}

TEST_CASE("a kernel that waits inside follows its forerunner by a programmatic edge, unless that is off") {
  int before = 0;
  {
    Fixture f;
    tern_hal_buffer_t* arena = f.buffer(4);
    before = f.fake.programmatic_edges();
    tern_hal_command_buffer_release(f.chain(arena));
    CHECK(f.fake.programmatic_edges() - before == 2);
    before = f.fake.programmatic_edges();
    tern_hal_buffer_release(arena);
  }
  tern_cuda_options_t options = {};
  options.no_dependent_launch = 1;
  Fixture f(options);
  tern_hal_buffer_t* arena = f.buffer(4);
  before = f.fake.programmatic_edges();
  tern_hal_command_buffer_release(f.chain(arena));
  CHECK(f.fake.programmatic_edges() == before);
  tern_hal_buffer_release(arena);
}

TEST_CASE("a kernel of clusters may have an empty grid, or one that is not known yet") {
  Fixture f;
  tern_hal_buffer_t* arena = f.buffer(4);
  const uint8_t slot = TERN_HAL_SLOT_ARENA;
  const tern_hal_command_buffer_desc_t desc = {&slot, 1, 1};
  tern_hal_command_buffer_t* commands = nullptr;
  REQUIRE_OK(tern_hal_command_buffer_create(f.device, &desc, &commands));
  REQUIRE_OK(tern_hal_command_buffer_bind(commands, 0, {arena, 0, TERN_HAL_WHOLE}));
  REQUIRE_OK(f.mark(commands, 0, tern_hal_parameter(0), kMarkClusters));
  REQUIRE_OK(tern_hal_command_buffer_end(commands));
  for (const int64_t grid : {0, 4, 0}) {
    tern_hal_submit_t submission = {};
    submission.command_buffer = commands;
    submission.params = &grid;
    submission.param_count = 1;
    REQUIRE_OK(tern_hal_device_submit(f.device, &submission));
  }
  int32_t value = 0;
  REQUIRE_OK(tern_hal_buffer_read(arena, 0, &value, 4));
  CHECK(value == 0x01010101);
  tern_hal_command_buffer_release(commands);
  tern_hal_buffer_release(arena);
}

TEST_CASE(
    "where the same steps run again and again, the graph is made of them alone, until another one runs") {
  Fixture f;
  tern_hal_buffer_t* buffers[3] = {f.buffer(4), f.buffer(4), f.buffer(4)};
  const uint8_t classes[3] = {TERN_HAL_SLOT_ARENA, TERN_HAL_SLOT_ARENA, TERN_HAL_SLOT_ARENA};
  const tern_hal_command_buffer_desc_t desc = {classes, 3, 2};
  tern_hal_command_buffer_t* commands = nullptr;
  REQUIRE_OK(tern_hal_command_buffer_create(f.device, &desc, &commands));
  // Two of which one has work, and what waits for them.
  for (uint32_t slot = 0; slot < 3; ++slot) {
    REQUIRE_OK(tern_hal_command_buffer_bind(commands, slot, {buffers[slot], 0, TERN_HAL_WHOLE}));
    REQUIRE_OK(f.mark(commands, slot, slot < 2 ? tern_hal_parameter(slot) : tern_hal_constant(4)));
    REQUIRE_OK(tern_hal_command_buffer_barrier(commands));
  }
  REQUIRE_OK(tern_hal_command_buffer_end(commands));
  const auto run = [&](int64_t first, int64_t second) {
    const int64_t grids[2] = {first, second};
    tern_hal_submit_t submission = {};
    submission.command_buffer = commands;
    submission.params = grids;
    submission.param_count = 2;
    REQUIRE_OK(tern_hal_device_submit(f.device, &submission));
  };
  const auto marks = [&](int i) {
    int32_t value = 0;
    REQUIRE_OK(tern_hal_buffer_read(buffers[i], 0, &value, 4));
    return value & 0xff;
  };
  const int edges = f.fake.programmatic_edges();
  for (int i = 0; i < 7; ++i) run(4, 0);
  CHECK(f.fake.calls("cuGraphInstantiate") == 1);
  CHECK(f.fake.programmatic_edges() - edges == 0);
  for (int i = 0; i < 7; ++i) run(i == 6 ? 3 : 4, 0);  // another grid of the same step is a patch
  CHECK(f.fake.calls("cuGraphInstantiate") == 2);
  CHECK(f.fake.programmatic_edges() - edges == 1);
  const int32_t first = marks(0), second = marks(1), third = marks(2);
  CHECK(first != 0);
  CHECK(second == 0);
  run(0, 4);
  CHECK(f.fake.calls("cuGraphInstantiate") == 3);
  CHECK(f.fake.programmatic_edges() - edges == 1);
  CHECK(marks(0) == first);
  CHECK(marks(1) != 0);
  CHECK(marks(2) != third);
  for (int i = 0; i < 20; ++i) run(i % 2, (i + 1) % 2);  // never the same twice: patches
  CHECK(f.fake.calls("cuGraphInstantiate") == 3);
  for (int i = 0; i < 20; ++i) run(1, 1);
  CHECK(f.fake.calls("cuGraphInstantiate") == 4);
  CHECK(f.fake.programmatic_edges() - edges == 3);
  tern_hal_command_buffer_release(commands);
  for (auto* buffer : buffers) tern_hal_buffer_release(buffer);
}

TEST_CASE("a kernel's fault reaches the signals of its submission and of those that wait for it") {
  Fixture f;
  tern_hal_command_buffer_t *bad = f.failing(), *good = f.failing();
  tern_hal_semaphore_t *first = nullptr, *second = nullptr;
  REQUIRE_OK(tern_hal_semaphore_create(f.device, 0, &first));
  REQUIRE_OK(tern_hal_semaphore_create(f.device, 0, &second));
  REQUIRE_OK(submit_failing(bad, 0, {}, {{first, 1}}));
  REQUIRE_OK(submit_failing(good, 1, {{first, 1}}, {{second, 1}}));  // already ordered: no waiting
  const std::string said =
      "DATA_ERROR: A kernel failed (1): an index in the input data lies outside its axis."
      "\n - While dispatching 'Gather_3' (command 0)";
  CHECK(take_text(tern_hal_semaphore_wait(second, 1, TERN_HAL_NEVER)) == said);
  for (int i = 0; i < 2; ++i) CHECK(take_text(tern_hal_semaphore_wait(first, 1, TERN_HAL_NEVER)) == said);
  // With nobody to tell later, it is told now; and the recording works again.
  CHECK(take_text(submit_failing(bad, 0, {}, {})) == said);
  CHECK_OK(submit_failing(bad, 1, {}, {}));
  for (auto* commands : {bad, good}) tern_hal_command_buffer_release(commands);
  for (auto* semaphore : {first, second}) tern_hal_semaphore_release(semaphore);
}

TEST_CASE("more submissions than fit on the stream wait for room") {
  Fixture f;
  tern_hal_buffer_t *arena = f.buffer(4), *external = f.buffer(4);
  tern_hal_command_buffer_t* commands = f.chain(arena);
  for (int i = 0; i < 200; ++i) REQUIRE_OK(submit(commands, external));
  REQUIRE_OK(tern_hal_device_wait_idle(f.device));
  int32_t value = 0;
  REQUIRE_OK(tern_hal_buffer_read(external, 0, &value, 4));
  CHECK(value == static_cast<int32_t>(0xc8c8c8c8));  // 200 in each byte
  tern_hal_command_buffer_release(commands);
  tern_hal_buffer_release(arena);
  tern_hal_buffer_release(external);
}

TEST_CASE("an illegal access loses the device, with the driver's text") {
  Fixture f;
  tern_hal_buffer_t *arena = f.buffer(4), *external = f.buffer(4);
  tern_hal_command_buffer_t* commands = f.chain(arena);
  tern_hal_semaphore_t* done = nullptr;
  REQUIRE_OK(tern_hal_semaphore_create(f.device, 0, &done));
  const tern_hal_range_t table[2] = {{}, {external, 0, TERN_HAL_WHOLE}};
  const tern_hal_semaphore_point_t signal = {done, 1};
  tern_hal_submit_t submission = {};
  submission.command_buffer = commands;
  submission.bindings = table;
  submission.binding_count = 2;
  submission.signals = &signal;
  submission.signal_count = 1;
  REQUIRE_OK(tern_hal_device_submit(f.device, &submission));
  f.fake.fail("cuStreamSynchronize", 1, cuda::CUDA_ERROR_ILLEGAL_ADDRESS);
  CHECK(take_text(tern_hal_device_wait_idle(f.device)) ==
        "DEVICE_LOST: cuStreamSynchronize failed with CUDA_ERROR_ILLEGAL_ADDRESS (700): the fake's "
        "description.");
  CHECK_CODE(tern_hal_device_submit(f.device, &submission), DEVICE_LOST);
  CHECK_CODE(tern_hal_semaphore_wait(done, 1, TERN_HAL_NEVER), DEVICE_LOST);
  tern_hal_semaphore_release(done);
  tern_hal_command_buffer_release(commands);
  tern_hal_buffer_release(arena);
  tern_hal_buffer_release(external);
  tern_hal_executable_release(f.executable);
  tern_hal_device_release(f.device);
  f.executable = nullptr;
  f.device = nullptr;
}

TEST_CASE("code that does not load says why") {
  Fixture f;
  tern_hal_executable_t* made = nullptr;
  CHECK(take_text(make_executable(f.device, "no ptx", &made)) ==
        "MALFORMED: cuModuleLoadDataEx failed with CUDA_ERROR_INVALID_PTX (218): the fake's description."
        "\nfake ptxas: no .version");
  CHECK_CODE(make_executable(f.device, ".version 7.5 .entry mark(", &made), NOT_FOUND);
  const uint8_t elf[64] = {0x7f, 'E', 'L', 'F', 2};
  tern_hal_executable_desc_t desc = {
      TERN_HAL_EXECUTABLE_CUBIN, 1, tern_const_bytes(elf, 40), nullptr, 0, nullptr, 0};
  CHECK(take_text(tern_hal_executable_create(f.device, &desc, &made)) ==
        "MALFORMED: The executable (40 bytes) is neither a whole cubin nor a whole fatbin.");
  desc.format = TERN_HAL_EXECUTABLE_ELF;
  CHECK_CODE(tern_hal_executable_create(f.device, &desc, &made), INCOMPATIBLE);
}

TEST_CASE("containers must hold all that their headers name") {
  TestAllocator allocator;
  std::vector<uint8_t> cubin(64 + 64 + 16);
  memcpy(cubin.data(), "\x7f\x45LF\x02", 5);
  cubin[18] = 190;  // machine
  cubin[40] = 64;   // section table
  cubin[58] = 64;   // size of a row
  cubin[60] = 1;    // rows
  cubin[64 + 24] = 128;
  cubin[64 + 32] = 16;
  auto check = [&] { return cuda::cuda_container_check(allocator.get(), {cubin.data(), cubin.size()}); };
  CHECK_OK(check());
  for (auto [at, value] :
       {std::pair<size_t, uint8_t>{64 + 32, 17}, {64 + 31, 0x80}, {60, 3}, {58, 39}, {47, 0xff}, {4, 1}}) {
    const uint8_t old = cubin[at];
    cubin[at] = value;
    CHECK_CODE(check(), MALFORMED);
    cubin[at] = old;
  }
  cubin = {0x50, 0xed, 0x55, 0xba, 1, 0, 16, 0,
           20,   0,    0,    0,    0, 0, 0,  0};  // 16 bytes of header, 20 of entries
  cubin.resize(36);
  cubin[20] = 16;  // the entry's header
  cubin[24] = 4;   // and payload
  CHECK_OK(check());
  cubin[24] = 5;
  CHECK_CODE(check(), MALFORMED);
  cubin[24] = 4;
  cubin.resize(35);
  CHECK_CODE(check(), MALFORMED);
}

TEST_CASE("host memory is imported where the device can see it, and not where it would be slow") {
  Fixture f;
  alignas(64) static char memory[64];
  tern_hal_import_t import = {memory, 64, TERN_HAL_MEMORY_DEVICE_LOCAL, nullptr, nullptr};
  tern_hal_buffer_t *first = nullptr, *second = nullptr;
  CHECK_CODE(tern_hal_device_import_buffer(f.device, &import, &first), INCOMPATIBLE);
  import.memory = 0;
  REQUIRE_OK(tern_hal_device_import_buffer(f.device, &import, &first));
  CHECK_CODE(tern_hal_device_import_buffer(f.device, &import, &second), INCOMPATIBLE);  // registered already
  tern_hal_buffer_release(first);
  CHECK(f.fake.calls("cuMemHostUnregister") == 1);
  import.pointer = memory + 4;  // kernels take 16 bytes at once
  CHECK_CODE(tern_hal_device_import_buffer(f.device, &import, &second), INCOMPATIBLE);
}

TEST_CASE("the device answers its capabilities") {
  Fixture f;
  const int64_t expected[14] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 90, 132, 232448, 13000, 1};
  for (uint32_t id = 0; id < 14; ++id) {
    int64_t value = -1;
    CHECK_OK(tern_hal_device_query_capability(f.device, id, &value));
    CHECK(value == expected[id]);
  }
}

TEST_CASE("without a library there are no devices, and that is no failure") {
  TestAllocator allocator;
  const tern_hal_driver_registry_t registry = registry_of("/there/is/no/libcuda.so.1");
  uint32_t count = 7;
  CHECK_OK(registry.drivers[0]->enumerate(allocator.get(), nullptr, 0, &count));
  CHECK(count == 0);
  tern_hal_device_t* device = nullptr;
  CHECK_CODE(tern_hal_driver_create_device(registry.drivers[0], nullptr, allocator.get(), &device),
             NOT_FOUND);
}

TEST_CASE("everything goes back, with a memory pool and without, also when a call fails") {
  static const char* const kCalls[] = {"cuDevicePrimaryCtxRetain",
                                       "cuStreamCreate",
                                       "cuEventCreate",
                                       "cuMemPoolCreate",
                                       "cuMemPoolSetAttribute",
                                       "cuMemAlloc",
                                       "cuMemAllocFromPoolAsync",
                                       "cuMemHostAlloc",
                                       "cuMemcpyHtoDAsync",
                                       "cuMemcpyDtoHAsync",
                                       "cuModuleLoadDataEx",
                                       "cuModuleGetFunction",
                                       "cuFuncSetAttribute",
                                       "cuGraphCreate",
                                       "cuGraphAddKernelNode",
                                       "cuGraphAddMemcpyNode",
                                       "cuGraphAddMemsetNode",
                                       "cuGraphAddDependencies",
                                       "cuGraphInstantiate",
                                       "cuGraphUpload",
                                       "cuGraphLaunch",
                                       "cuEventRecord",
                                       "cuGraphExecKernelNodeSetParams",
                                       "cuGraphNodeSetEnabled",
                                       "cuMemHostGetDevicePointer",
                                       "cuCtxPushCurrent"};
  Fake fake;
  int failed = 0;
  auto scenario = [&](TestAllocator& allocator) {
    const tern_hal_driver_registry_t registry = registry_of(TERN_FAKE_CUDA);
    tern_hal_device_t* device = nullptr;
    tern_hal_executable_t* executable = nullptr;
    tern_hal_buffer_t* buffer = nullptr;
    tern_hal_command_buffer_t* commands = nullptr;
    auto body = [&]() -> tern_status_t {
      tern_cuda_options_t options = {};
      options.cache_dir = "";
      tern_hal_device_desc_t device_desc = {};
      device_desc.driver_options = &options;
      TERN_RETURN_IF_ERROR(
          tern_hal_driver_create_device(registry.drivers[0], &device_desc, allocator.get(), &device));
      TERN_RETURN_IF_ERROR(make_executable(device, kPtx, &executable));
      TERN_RETURN_IF_ERROR(tern_hal_device_allocate_buffer(device, 0, 64, &buffer));
      const uint8_t slot = TERN_HAL_SLOT_EXTERNAL;
      const tern_hal_command_buffer_desc_t desc = {&slot, 1, 1};
      TERN_RETURN_IF_ERROR(tern_hal_command_buffer_create(device, &desc, &commands));
      const tern_hal_binding_t low = {0, 0, tern_hal_constant(0), tern_hal_constant(32)};
      const tern_hal_binding_t high = {0, 0, tern_hal_constant(32), tern_hal_constant(32)};
      TERN_RETURN_IF_ERROR(tern_hal_command_buffer_fill(commands, &low, 7, 4));
      TERN_RETURN_IF_ERROR(tern_hal_command_buffer_barrier(commands));
      TERN_RETURN_IF_ERROR(tern_hal_command_buffer_copy(commands, &low, &high));
      TERN_RETURN_IF_ERROR(tern_hal_command_buffer_barrier(commands));
      const tern_hal_operand_t params[2] = {tern_hal_parameter(0), tern_hal_constant(1)};
      tern_hal_dispatch_t dispatch = {};
      dispatch.executable = executable;
      dispatch.entry = kFail;
      dispatch.params = params;
      dispatch.param_count = 2;
      dispatch.grid_rank = 1;
      dispatch.grid[0] = tern_hal_parameter(0);
      TERN_RETURN_IF_ERROR(tern_hal_command_buffer_dispatch(commands, &dispatch));
      TERN_RETURN_IF_ERROR(tern_hal_command_buffer_end(commands));
      const tern_hal_range_t range = {buffer, 0, TERN_HAL_WHOLE};
      const int64_t block = 3;
      tern_hal_submit_t submission = {};
      submission.command_buffer = commands;
      submission.bindings = &range;
      submission.binding_count = 1;
      submission.params = &block;
      submission.param_count = 1;
      TERN_RETURN_IF_ERROR(tern_hal_device_submit(device, &submission));
      int32_t values[16];
      TERN_RETURN_IF_ERROR(tern_hal_buffer_read(buffer, 0, values, 64));
      TERN_RETURN_IF_ERROR(tern_hal_buffer_write(buffer, 0, values, 64));
      return values[15] == 7 ? TERN_OK : tern_status_from_code(TERN_STATUS_INTERNAL);
    };
    tern_status_t status = body();
    const tern_status_code_t code = tern_status_code(status);
    tern_status_free(status);
    tern_hal_command_buffer_release(commands);
    tern_hal_buffer_release(buffer);
    tern_hal_executable_release(executable);
    tern_hal_device_release(device);
    return code;
  };
  const long long before = fake.live();
  for (int pools : {0, 1}) {
    for (const char* call : kCalls) {
      for (int n = 1; n <= 3; ++n) {
        CAPTURE(call);
        CAPTURE(n);
        TestAllocator allocator;
        fake.reset();
        fake.attribute(cuda::CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, pools);
        fake.fail(call, n, cuda::CUDA_ERROR_OUT_OF_MEMORY);
        const tern_status_code_t code = scenario(allocator);
        const bool was_reached = fake.calls(call) >= n;
        if (!was_reached) CHECK(code == TERN_STATUS_OK);
        failed += code != TERN_STATUS_OK;
        CHECK(fake.live() == before);
      }
    }
  }
  CHECK(failed > 60);
  fake.reset();
  TestAllocator allocator;
  CHECK(scenario(allocator) == TERN_STATUS_OK);
  CHECK(fake.live() == before);
}

namespace {

// One kernel that marks its binding through a tensor map: rows of 8 bytes 16 apart, as many as its parameter
// says.
struct TensorFixture : Fixture {
  tern_hal_executable_t* tensors = nullptr;

  tern_status_t load(tern_hal_tensor_axis_t outer = {0, 16, 4, TERN_HAL_TENSOR_SIZE_PARAM},
                     uint64_t offset = 0, tern_hal_tensor_axis_t inner = {8, 1, 16, 0}) {
    static const char code[] = ".version 8.0\n.entry mark_tensor(\n";
    tern_hal_entry_t entry = {tern_string_view("mark_tensor"), 0, nullptr, 1, 1, {}};
    entry.launch.flags = TERN_HAL_ENTRY_TAKES_TENSORS;
    const tern_hal_tensor_t tensor = {0, 0, 1, 0, offset, 2, {outer, inner}};
    const tern_hal_executable_desc_t desc = {
        TERN_HAL_EXECUTABLE_PTX, 1, tern_const_bytes(code, sizeof(code) - 1), &entry, 1, &tensor, 1};
    return tern_hal_executable_create(device, &desc, &tensors);
  }
  ~TensorFixture() { tern_hal_executable_release(tensors); }

  tern_hal_command_buffer_t* record(uint8_t slot_class, tern_hal_operand_t rows) {
    const tern_hal_command_buffer_desc_t desc = {&slot_class, 1, 1};
    tern_hal_command_buffer_t* commands = nullptr;
    REQUIRE_OK(tern_hal_command_buffer_create(device, &desc, &commands));
    const tern_hal_binding_t binding = {0, TERN_HAL_ACCESS_READ | TERN_HAL_ACCESS_WRITE,
                                        tern_hal_constant(16), tern_hal_constant(16)};
    tern_hal_dispatch_t dispatch = {};
    dispatch.executable = tensors;
    dispatch.bindings = &binding;
    dispatch.binding_count = 1;
    dispatch.params = &rows;
    dispatch.param_count = 1;
    dispatch.grid_rank = 1;
    dispatch.grid[0] = tern_hal_constant(1);
    dispatch.label = tern_string_view("MatMul_1");
    REQUIRE_OK(tern_hal_command_buffer_dispatch(commands, &dispatch));
    return commands;
  }
  tern_status_t run(tern_hal_command_buffer_t* commands, tern_hal_buffer_t* external, int64_t rows) {
    const tern_hal_range_t table = {external, 0, TERN_HAL_WHOLE};
    tern_hal_submit_t submission = {};
    submission.command_buffer = commands;
    submission.bindings = &table;
    submission.binding_count = 1;
    submission.params = &rows;
    submission.param_count = 1;
    return tern_hal_device_submit(device, &submission);
  }
  static int marks(tern_hal_buffer_t* buffer) {
    uint8_t byte = 0;
    REQUIRE_OK(tern_hal_buffer_read(buffer, 16, &byte, 1));
    return byte;
  }
};

}  // namespace

TEST_CASE("tensor maps follow new bindings and parameters, without another graph") {
  TensorFixture f;
  REQUIRE_OK(f.load());
  tern_hal_command_buffer_t* commands = f.record(TERN_HAL_SLOT_EXTERNAL, tern_hal_parameter(0));
  REQUIRE_OK(tern_hal_command_buffer_end(commands));
  CHECK(f.fake.calls("cuTensorMapEncodeTiled") == 0);  // nothing is known yet
  tern_hal_buffer_t *first = f.buffer(64), *second = f.buffer(64);
  REQUIRE_OK(f.run(commands, first, 3));
  REQUIRE_OK(f.run(commands, first, 3));
  CHECK(f.fake.calls("cuTensorMapEncodeTiled") == 1);
  REQUIRE_OK(f.run(commands, first, 2));
  REQUIRE_OK(f.run(commands, second, 2));
  CHECK(f.fake.calls("cuTensorMapEncodeTiled") == 3);
  CHECK(f.fake.calls("cuGraphInstantiate") == 1);
  CHECK(TensorFixture::marks(first) == 3);
  CHECK(TensorFixture::marks(second) == 1);
  CHECK_CODE(f.run(commands, second, 0), OUT_OF_RANGE);
  REQUIRE_OK(f.run(commands, second, 1));
  CHECK(TensorFixture::marks(second) == 2);
  tern_hal_command_buffer_release(commands);
  for (auto* buffer : {first, second}) tern_hal_buffer_release(buffer);
}

TEST_CASE("tensor maps of an arena are made with the recording") {
  TensorFixture f;
  REQUIRE_OK(f.load());
  tern_hal_command_buffer_t* commands = f.record(TERN_HAL_SLOT_ARENA, tern_hal_constant(3));
  tern_hal_buffer_t* arena = f.buffer(64);
  REQUIRE_OK(tern_hal_command_buffer_bind(commands, 0, {arena, 0, TERN_HAL_WHOLE}));
  REQUIRE_OK(tern_hal_command_buffer_end(commands));
  CHECK(f.fake.calls("cuTensorMapEncodeTiled") == 1);
  tern_hal_submit_t submission = {};
  const int64_t unused = 0;
  submission.command_buffer = commands;
  submission.params = &unused;
  submission.param_count = 1;
  REQUIRE_OK(tern_hal_device_submit(f.device, &submission));
  CHECK(TensorFixture::marks(arena) == 1);
  CHECK(f.fake.calls("cuTensorMapEncodeTiled") == 1);
  tern_hal_command_buffer_release(commands);
  tern_hal_buffer_release(arena);
}

TEST_CASE("tensors that cannot be are refused with the executable") {
  TensorFixture f;
  CHECK_CODE(f.load({1, 16, 4, TERN_HAL_TENSOR_SIZE_PARAM}), INVALID_ARGUMENT);
  CHECK_CODE(f.load({3, 16, 257, 0}), INVALID_ARGUMENT);
  CHECK_CODE(f.load({3, 24, 4, 0}), INVALID_ARGUMENT);     // rows that begin between pieces of 16 bytes
  CHECK_CODE(f.load({3, 16, 4, 0}, 8), INVALID_ARGUMENT);  // so does the tensor
  CHECK_CODE(f.load({3, 16, 4, 0}, 0, {8, 2, 16, 0}), INVALID_ARGUMENT);
  CHECK_CODE(f.load({3, 16, 4, 0}, 0, {8, 1, 8, 0}), INVALID_ARGUMENT);
}
