// Replays with one thread, a team, and a host's executor: the same results, no allocation, failures and
// interruptions.
#include <doctest/doctest.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "drivers/cpu/cpu_driver.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_allocator.h"

using namespace tern::test;

namespace {

constexpr int64_t kTile = 8;

// target[i] = source[i] * params[1] + params[2]; params[0] elements, kTile a tile.
int32_t scale_kernel(const tern_kernel_args_t* args, int64_t begin, int64_t end, void*, int64_t) {
  const auto* source = static_cast<const int32_t*>(args->bindings[0]);
  auto* target = static_cast<int32_t*>(args->bindings[1]);
  for (int64_t i = begin * kTile; i < end * kTile && i < args->params[0]; ++i) {
    target[i] = static_cast<int32_t>(source[i] * args->params[1] + args->params[2]);
  }
  return TERN_KERNEL_OK;
}

// Fails on the tile params[0].
int32_t failing_kernel(const tern_kernel_args_t* args, int64_t begin, int64_t end, void*, int64_t) {
  return begin <= args->params[0] && args->params[0] < end ? TERN_KERNEL_INDEX_OUT_OF_RANGE : TERN_KERNEL_OK;
}

// Uses all of its scratch, and would notice another worker in it.
int32_t scratch_kernel(const tern_kernel_args_t* args, int64_t begin, int64_t end, void* scratch,
                       int64_t size) {
  if (reinterpret_cast<uintptr_t>(scratch) % 64) return TERN_KERNEL_BAD_VALUE;
  auto* bytes = static_cast<volatile uint8_t*>(scratch);
  auto* target = static_cast<uint8_t*>(args->bindings[0]);
  for (int64_t tile = begin; tile < end; ++tile) {
    for (int64_t i = 0; i < size; ++i) bytes[i] = static_cast<uint8_t>(tile);
    for (int64_t i = 0; i < size; ++i) {
      if (bytes[i] != static_cast<uint8_t>(tile)) return TERN_KERNEL_BAD_VALUE;
    }
    target[tile] = static_cast<uint8_t>(tile + 1);
  }
  return TERN_KERNEL_OK;
}

// Counts its calls by tile, to see that each tile is run once.
std::atomic<int> g_tile_runs[4096];
int32_t counting_kernel(const tern_kernel_args_t*, int64_t begin, int64_t end, void*, int64_t) {
  for (int64_t i = begin; i < end; ++i) g_tile_runs[i].fetch_add(1, std::memory_order_relaxed);
  return TERN_KERNEL_OK;
}

enum Entry { kScale, kFailing, kScratch, kCounting };

struct Fixture {
  TestAllocator allocator;
  tern_hal_driver_registry_t registry = {};
  tern_hal_device_t* device = nullptr;
  tern_hal_executable_t* kernels = nullptr;

  explicit Fixture(tern_hal_device_desc_t desc = {}) {
    REQUIRE_OK(tern_cpu_driver_register(&registry));
    const auto* driver = tern_hal_driver_registry_find(&registry, tern_string_view("cpu"));
    REQUIRE(driver);
    REQUIRE_OK(tern_hal_driver_create_device(driver, &desc, allocator.get(), &device));
    const tern_hal_entry_t entries[] = {
        {tern_string_view("scale"), 0, scale_kernel, 2, 3, {}},
        {tern_string_view("failing"), 0, failing_kernel, 0, 1, {}},
        {tern_string_view("scratch"), 0, scratch_kernel, 1, 0, {}},
        {tern_string_view("counting"), 0, counting_kernel, 0, 0, {}},
    };
    const tern_hal_executable_desc_t executable = {
        TERN_HAL_EXECUTABLE_FUNCTIONS, 1, {}, entries, 4, nullptr, 0};
    REQUIRE_OK(tern_hal_executable_create(device, &executable, &kernels));
  }
  ~Fixture() {
    tern_hal_executable_release(kernels);
    tern_hal_device_release(device);
  }

  tern_hal_buffer_t* buffer(int64_t size) {
    tern_hal_buffer_t* made = nullptr;
    REQUIRE_OK(tern_hal_device_allocate_buffer(device, 0, size, &made));
    return made;
  }
};

tern_hal_binding_t bind(uint32_t slot, uint32_t access, int64_t offset, int64_t length) {
  return {slot, access, tern_hal_constant(offset), tern_hal_constant(length)};
}

tern_hal_device_desc_t threads(uint32_t count) {
  tern_hal_device_desc_t desc = {};
  desc.thread_count = count;
  return desc;
}

// slot 0 (external) → arena → … → slot 1 (external): `steps` scalings by 1 that each add params[0].
tern_hal_command_buffer_t* record_chain(Fixture& f, tern_hal_buffer_t* arena, int64_t elements, int steps) {
  const uint8_t classes[3] = {TERN_HAL_SLOT_EXTERNAL, TERN_HAL_SLOT_EXTERNAL, TERN_HAL_SLOT_ARENA};
  const tern_hal_command_buffer_desc_t desc = {classes, 3, 1};
  tern_hal_command_buffer_t* commands = nullptr;
  REQUIRE_OK(tern_hal_command_buffer_create(f.device, &desc, &commands));
  REQUIRE_OK(tern_hal_command_buffer_bind(commands, 2, {arena, 0, TERN_HAL_WHOLE}));
  const int64_t bytes = elements * 4;
  for (int i = 0; i < steps; ++i) {
    const tern_hal_binding_t bindings[2] = {
        i == 0 ? bind(0, TERN_HAL_ACCESS_READ, 0, bytes)
               : bind(2, TERN_HAL_ACCESS_READ, (i - 1) % 2 * bytes, bytes),
        i + 1 == steps ? bind(1, TERN_HAL_ACCESS_WRITE, 0, bytes)
                       : bind(2, TERN_HAL_ACCESS_WRITE, i % 2 * bytes, bytes)};
    const tern_hal_operand_t params[3] = {tern_hal_constant(elements), tern_hal_constant(1),
                                          tern_hal_parameter(0)};
    tern_hal_dispatch_t dispatch = {};
    dispatch.executable = f.kernels;
    dispatch.entry = kScale;
    dispatch.bindings = bindings;
    dispatch.binding_count = 2;
    dispatch.params = params;
    dispatch.param_count = 3;
    dispatch.grid_rank = 1;
    dispatch.grid[0] = tern_hal_constant((elements + kTile - 1) / kTile);
    REQUIRE_OK(tern_hal_command_buffer_dispatch(commands, &dispatch));
    REQUIRE_OK(tern_hal_command_buffer_barrier(commands));
  }
  REQUIRE_OK(tern_hal_command_buffer_end(commands));
  return commands;
}

void check_chain(Fixture& f, int64_t elements, int steps, int replays) {
  tern_hal_buffer_t* arena = f.buffer(elements * 8);
  tern_hal_buffer_t* input = f.buffer(elements * 4);
  tern_hal_buffer_t* output = f.buffer(elements * 4);
  auto* in = static_cast<int32_t*>(tern_hal_buffer_host_pointer(input));
  auto* out = static_cast<int32_t*>(tern_hal_buffer_host_pointer(output));
  tern_hal_command_buffer_t* commands = record_chain(f, arena, elements, steps);
  const tern_hal_range_t table[3] = {{input, 0, TERN_HAL_WHOLE}, {output, 0, TERN_HAL_WHOLE}, {}};
  int wrong = 0;
  for (int64_t replay = 0; replay < replays; ++replay) {
    for (int64_t i = 0; i < elements; ++i) in[i] = static_cast<int32_t>(i + replay);
    tern_hal_submit_t submit = {};
    submit.command_buffer = commands;
    submit.bindings = table;
    submit.binding_count = 3;
    const int64_t add = replay % 5;
    submit.params = &add;
    submit.param_count = 1;
    REQUIRE_OK(tern_hal_device_submit(f.device, &submit));
    for (int64_t i = 0; i < elements; ++i) wrong += out[i] != i + replay + steps * add;
  }
  CHECK(wrong == 0);
  tern_hal_command_buffer_release(commands);
  tern_hal_buffer_release(arena);
  tern_hal_buffer_release(input);
  tern_hal_buffer_release(output);
}

tern_hal_command_buffer_t* record_one(Fixture& f, uint32_t entry, tern_hal_operand_t grid, int64_t scratch,
                                      tern_hal_binding_t* binding, tern_hal_operand_t* param,
                                      const char* label) {
  const uint8_t classes[1] = {TERN_HAL_SLOT_EXTERNAL};
  const tern_hal_command_buffer_desc_t desc = {classes, 1, 1};
  tern_hal_command_buffer_t* commands = nullptr;
  REQUIRE_OK(tern_hal_command_buffer_create(f.device, &desc, &commands));
  tern_hal_dispatch_t dispatch = {};
  dispatch.executable = f.kernels;
  dispatch.entry = entry;
  dispatch.bindings = binding;
  dispatch.binding_count = binding ? 1 : 0;
  dispatch.params = param;
  dispatch.param_count = param ? 1 : 0;
  dispatch.grid_rank = 1;
  dispatch.grid[0] = grid;
  dispatch.scratch = tern_hal_constant(scratch);
  dispatch.label = tern_string_view(label);
  REQUIRE_OK(tern_hal_command_buffer_dispatch(commands, &dispatch));
  REQUIRE_OK(tern_hal_command_buffer_end(commands));
  return commands;
}

tern_hal_submit_t submission(tern_hal_command_buffer_t* commands, const tern_hal_range_t* table,
                             const int64_t* param) {
  tern_hal_submit_t submit = {};
  submit.command_buffer = commands;
  submit.bindings = table;
  submit.binding_count = 1;
  submit.params = param;
  submit.param_count = 1;
  return submit;
}

void serial_executor(void*, uint32_t count, void (*body)(void*, uint32_t), void* self) {
  for (uint32_t i = count; i-- > 0;) body(self, i);
}

void threaded_executor(void*, uint32_t count, void (*body)(void*, uint32_t), void* self) {
  std::vector<std::thread> made;
  for (uint32_t i = 0; i < count; ++i) made.emplace_back([=] { body(self, i); });
  for (auto& thread : made) thread.join();
}

}  // namespace

TEST_CASE("a chain of dependent dispatches gives the same on any number of threads") {
  for (uint32_t count : {1u, 2u, 3u, 7u}) {
    CAPTURE(count);
    Fixture f(threads(count));
    CHECK(tern_hal_device_worker_count(f.device) == count);
    for (int64_t elements : {1, 7, 8, 9, 100, 1000}) check_chain(f, elements, 9, 40);
  }
}

TEST_CASE("a team that sleeps at once gives the same") {
  tern_cpu_options_t options = {};
  options.spin_ns = 1;
  tern_hal_device_desc_t desc = threads(3);
  desc.driver_options = &options;
  Fixture f(desc);
  check_chain(f, 500, 5, 100);
}

TEST_CASE("workers of different weights give the same") {
  const uint32_t weights[] = {1024, 1, 300};
  tern_cpu_options_t options = {};
  options.worker_weights = weights;
  options.worker_weight_count = 3;
  tern_hal_device_desc_t desc = threads(4);
  desc.driver_options = &options;
  Fixture f(desc);
  for (int64_t elements : {1, 7, 100, 1000}) check_chain(f, elements, 9, 40);
}

TEST_CASE("the host's executor may run its bodies in any order and on any thread") {
  for (auto* parallel_for : {serial_executor, threaded_executor}) {
    tern_hal_host_executor_t executor = {nullptr, parallel_for, 3};
    tern_hal_device_desc_t desc = {};
    desc.executor = &executor;
    Fixture f(desc);
    check_chain(f, 300, 4, 5);
  }
}

TEST_CASE("an executor that leaves bodies out does not leave work out") {
  tern_hal_host_executor_t executor = {nullptr, [](void*, uint32_t, void (*)(void*, uint32_t), void*) {}, 4};
  tern_hal_device_desc_t desc = {};
  desc.executor = &executor;
  Fixture f(desc);
  check_chain(f, 300, 4, 2);
}

TEST_CASE("replays allocate nothing, whatever the arguments") {
  for (uint32_t count : {1u, 2u}) {
    Fixture f(threads(count));
    tern_hal_buffer_t* arena = f.buffer(8000);
    tern_hal_buffer_t* data[2] = {f.buffer(4000), f.buffer(4000)};
    tern_hal_command_buffer_t* commands = record_chain(f, arena, 1000, 6);
    const size_t before = f.allocator.calls();
    for (int64_t i = 0; i < 100; ++i) {
      const tern_hal_range_t table[3] = {{data[i % 2], 0, 4000}, {data[1 - i % 2], 0, 4000}, {}};
      tern_hal_submit_t submit = submission(commands, table, &i);
      submit.binding_count = 3;
      REQUIRE_OK(tern_hal_device_submit(f.device, &submit));
    }
    CHECK(f.allocator.calls() == before);
    tern_hal_command_buffer_release(commands);
    for (auto* buffer : {arena, data[0], data[1]}) tern_hal_buffer_release(buffer);
  }
}

TEST_CASE("each tile runs once, also when the grid changes between replays") {
  for (uint32_t count : {1u, 2u, 5u}) {
    Fixture f(threads(count));
    tern_hal_command_buffer_t* commands =
        record_one(f, kCounting, tern_hal_parameter(0), 0, nullptr, nullptr, "count");
    const tern_hal_range_t none = {};
    for (int64_t tiles : {0, 1, 2, 3, 100, 4096, 5, 5, 5, 1, 17}) {
      for (auto& runs : g_tile_runs) runs = 0;
      tern_hal_submit_t submit = submission(commands, &none, &tiles);
      REQUIRE_OK(tern_hal_device_submit(f.device, &submit));
      int wrong = 0;
      for (int64_t i = 0; i < 4096; ++i) wrong += g_tile_runs[i] != (i < tiles);
      CHECK(wrong == 0);
    }
    tern_hal_command_buffer_release(commands);
  }
}

TEST_CASE("workers have scratch of their own") {
  for (uint32_t count : {1u, 4u}) {
    Fixture f(threads(count));
    tern_hal_buffer_t* output = f.buffer(200);
    tern_hal_binding_t binding = bind(0, TERN_HAL_ACCESS_WRITE, 0, 200);
    tern_hal_command_buffer_t* commands =
        record_one(f, kScratch, tern_hal_constant(200), 10000, &binding, nullptr, "scratch");
    const tern_hal_range_t table = {output, 0, 200};
    const int64_t unused = 0;
    tern_hal_submit_t submit = submission(commands, &table, &unused);
    for (int i = 0; i < 20; ++i) REQUIRE_OK(tern_hal_device_submit(f.device, &submit));
    const auto* bytes = static_cast<uint8_t*>(tern_hal_buffer_host_pointer(output));
    for (int i = 0; i < 200; ++i) CHECK(bytes[i] == static_cast<uint8_t>(i + 1));
    tern_hal_command_buffer_release(commands);
    tern_hal_buffer_release(output);
  }
}

TEST_CASE("a kernel's failure names the dispatch, and the recording can be used again") {
  for (uint32_t count : {1u, 3u}) {
    Fixture f(threads(count));
    tern_hal_operand_t param = tern_hal_parameter(0);
    tern_hal_command_buffer_t* commands =
        record_one(f, kFailing, tern_hal_constant(100), 0, nullptr, &param, "gather_7");
    const tern_hal_range_t none = {};
    for (int64_t tile : {99, 5, 0}) {
      tern_hal_submit_t submit = submission(commands, &none, &tile);
      const std::string text = take_text(tern_hal_device_submit(f.device, &submit));
      CHECK(text ==
            "DATA_ERROR: A kernel failed (1): an index in the input data lies outside its axis."
            "\n - While dispatching 'gather_7' (command 0)");
      const int64_t harmless = 100;
      submit.params = &harmless;
      REQUIRE_OK(tern_hal_device_submit(f.device, &submit));
    }
    tern_hal_command_buffer_release(commands);
  }
}

TEST_CASE("cancellation and deadlines stop a submission") {
  for (uint32_t count : {1u, 2u}) {
    Fixture f(threads(count));
    tern_hal_command_buffer_t* commands =
        record_one(f, kCounting, tern_hal_constant(64), 0, nullptr, nullptr, "count");
    const tern_hal_range_t none = {};
    const int64_t unused = 0;
    tern_hal_submit_t submit = submission(commands, &none, &unused);
    tern_hal_cancel_t cancel = {};
    submit.cancel = &cancel;
    REQUIRE_OK(tern_hal_device_submit(f.device, &submit));
    tern_hal_cancel_request(&cancel);
    CHECK_CODE(tern_hal_device_submit(f.device, &submit), CANCELLED);
    tern_hal_cancel_reset(&cancel);
    submit.deadline = tern_hal_now() - 1;
    CHECK_CODE(tern_hal_device_submit(f.device, &submit), DEADLINE_EXCEEDED);
    submit.deadline = tern_hal_now() + 10000000000;
    REQUIRE_OK(tern_hal_device_submit(f.device, &submit));
    tern_hal_command_buffer_release(commands);
  }
}

TEST_CASE("several threads share one device") {
  Fixture f(threads(2));
  std::vector<std::thread> sessions;
  for (int s = 0; s < 4; ++s) sessions.emplace_back([&] { check_chain(f, 300, 6, 300); });
  for (auto& session : sessions) session.join();
}

TEST_CASE("a log holds a time for each dispatch") {
  for (uint32_t count : {1u, 2u}) {
    Fixture f(threads(count));
    tern_hal_buffer_t* arena = f.buffer(8000);
    tern_hal_buffer_t* data = f.buffer(4000);
    tern_hal_command_buffer_t* commands = record_chain(f, arena, 1000, 6);
    tern_hal_event_log_t* log = nullptr;
    REQUIRE_OK(tern_hal_event_log_create(f.allocator.get(), 5, &log));
    const tern_hal_range_t table[3] = {{data, 0, 4000}, {data, 0, 4000}, {}};
    const int64_t add = 1;
    tern_hal_submit_t submit = submission(commands, table, &add);
    submit.binding_count = 3;
    submit.event_log = log;
    REQUIRE_OK(tern_hal_device_submit(f.device, &submit));
    REQUIRE(tern_hal_event_log_count(log) == 5);
    CHECK(tern_hal_event_log_dropped(log) == 1);
    for (uint32_t i = 0; i < 5; ++i) {
      const tern_hal_event_t& event = tern_hal_event_log_events(log)[i];
      CHECK(event.command == 2 * i);  // barriers are commands too
      CHECK(event.begin_ns <= event.end_ns);
    }
    tern_hal_event_log_destroy(log);
    tern_hal_command_buffer_release(commands);
    tern_hal_buffer_release(arena);
    tern_hal_buffer_release(data);
  }
}

TEST_CASE("little work stays on the submitting thread, much of it in few tiles does not") {
  Fixture f(threads(2));
  tern_hal_event_log_t* log = nullptr;
  REQUIRE_OK(tern_hal_event_log_create(f.allocator.get(), 8, &log));
  const auto workers = [&](int64_t elements, int steps) {
    tern_hal_buffer_t* arena = f.buffer(elements * 8);
    tern_hal_buffer_t* data = f.buffer(elements * 4);
    tern_hal_command_buffer_t* commands = record_chain(f, arena, elements, steps);
    const tern_hal_range_t table[3] = {{data, 0, TERN_HAL_WHOLE}, {data, 0, TERN_HAL_WHOLE}, {}};
    const int64_t add = 1;
    tern_hal_submit_t submit = submission(commands, table, &add);
    submit.binding_count = 3;
    submit.event_log = log;
    tern_hal_event_log_clear(log);
    REQUIRE_OK(tern_hal_device_submit(f.device, &submit));
    const uint32_t used = tern_hal_event_log_events(log)[0].workers;
    tern_hal_command_buffer_release(commands);
    tern_hal_buffer_release(arena);
    tern_hal_buffer_release(data);
    return used;
  };
  CHECK(workers(2 * kTile, 3) == 1);
  CHECK(workers(2 * kTile, 4) == 2);
  CHECK(workers(5 * kTile, 1) == 2);
  CHECK(workers(4 * kTile, 1) == 1);
  tern_hal_event_log_destroy(log);
}

TEST_CASE("two tiles of much data are shared") {
  for (const int64_t bytes : {int64_t{1} << 19, int64_t{1} << 20}) {
    Fixture f(threads(2));
    tern_hal_buffer_t* data = f.buffer(bytes);
    tern_hal_binding_t binding = bind(0, TERN_HAL_ACCESS_WRITE, 0, bytes);
    tern_hal_command_buffer_t* commands =
        record_one(f, kScratch, tern_hal_constant(2), 64, &binding, nullptr, "two");
    tern_hal_event_log_t* log = nullptr;
    REQUIRE_OK(tern_hal_event_log_create(f.allocator.get(), 1, &log));
    const tern_hal_range_t table[1] = {{data, 0, TERN_HAL_WHOLE}};
    const int64_t none = 0;
    tern_hal_submit_t submit = submission(commands, table, &none);
    submit.event_log = log;
    REQUIRE_OK(tern_hal_device_submit(f.device, &submit));
    CHECK(tern_hal_event_log_events(log)[0].workers == (bytes == int64_t{1} << 20 ? 2 : 1));
    tern_hal_event_log_destroy(log);
    tern_hal_command_buffer_release(commands);
    tern_hal_buffer_release(data);
  }
}

// Processor time of this process so far, in microseconds.
static double used_us() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
         static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

TEST_CASE("an idle team uses no processor time") {
  Fixture f(threads(4));
  check_chain(f, 500, 5, 20);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // longer than threads spin
  const double before = used_us();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  CHECK(used_us() - before < 20000);
}

TEST_CASE("two sessions at once use hardly more processor time than in turns") {
  Fixture f(threads(2));
  const auto session = [&] { check_chain(f, 40000, 20, 60); };
  session();
  double least = 1e9;  // of some goes: other processes may disturb one
  for (int go = 0; go < 5 && least > 1.5; ++go) {
    const double start = used_us();
    session();
    session();
    const double between = used_us();
    std::thread other(session);
    session();
    other.join();
    least = std::min(least, (used_us() - between) / (between - start));
  }
  CHECK(least <= 1.5);
}
