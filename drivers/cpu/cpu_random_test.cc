// Random recordings, replayed with random parameters and bindings, on every way of running them, against a
// plain interpretation.
#include <doctest/doctest.h>
#include <string.h>

#include <random>
#include <vector>

#include "drivers/cpu/cpu_driver.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_allocator.h"

using namespace tern::test;

namespace {

constexpr int64_t kSlots = 4, kBytes = 4096, kParams = 6;

// target[i] = source[i] * params[0] + params[1] for one byte a tile.
int32_t mix_kernel(const tern_kernel_args_t* args, int64_t begin, int64_t end, void* scratch,
                   int64_t scratch_size) {
  const auto* source = static_cast<const uint8_t*>(args->bindings[0]);
  auto* target = static_cast<uint8_t*>(args->bindings[1]);
  if (scratch_size) memset(scratch, static_cast<int>(begin), static_cast<size_t>(scratch_size));
  for (int64_t i = begin; i < end; ++i)
    target[i] = static_cast<uint8_t>(source[i] * args->params[0] + args->params[1]);
  return TERN_KERNEL_OK;
}

using Memory = std::vector<std::vector<uint8_t>>;  // [slot][byte]

struct Step {
  tern_hal_command_kind_t kind;
  tern_hal_binding_t source, target;  // lengths are the number of bytes, and of tiles
  tern_hal_operand_t params[2];
  uint32_t pattern;
  int64_t scratch;
};

class Generator {
 public:
  explicit Generator(uint32_t seed) : random_(seed) {}
  int64_t below(int64_t limit) { return static_cast<int64_t>(random_() % static_cast<uint64_t>(limit)); }

  // A constant or one of the parameters; parameters are below kBytes / 4, so that offset + length always
  // fits.
  tern_hal_operand_t operand() {
    if (below(3) == 0) return tern_hal_parameter(static_cast<uint32_t>(below(kParams)));
    return tern_hal_constant(below(3) == 0 ? below(4) : below(kBytes / 4));
  }

  Step step() {
    Step made = {};
    made.kind = below(4) == 0   ? TERN_HAL_COMMAND_COPY
                : below(4) == 0 ? TERN_HAL_COMMAND_FILL
                                : TERN_HAL_COMMAND_DISPATCH;
    const tern_hal_operand_t length = operand();
    // Source and target are different slots, so that no order of tiles matters.
    const int64_t from = below(kSlots), to = (from + 1 + below(kSlots - 1)) % kSlots;
    made.source = {static_cast<uint32_t>(from), TERN_HAL_ACCESS_READ, operand(), length};
    made.target = {static_cast<uint32_t>(to), TERN_HAL_ACCESS_WRITE, operand(), length};
    made.params[0] = operand();
    made.params[1] = operand();
    made.pattern = static_cast<uint32_t>(below(256));
    made.scratch = below(2) ? below(3000) : 0;
    return made;
  }

  std::vector<int64_t> params() {
    std::vector<int64_t> made(kParams);
    for (auto& value : made) value = below(4) == 0 ? below(3) : below(kBytes / 4);
    return made;
  }

  Memory memory() {
    Memory made(kSlots, std::vector<uint8_t>(kBytes));
    for (auto& slot : made) {
      for (auto& byte : slot) byte = static_cast<uint8_t>(random_());
    }
    return made;
  }

 private:
  std::mt19937 random_;
};

void interpret(const Step& step, const std::vector<int64_t>& params, Memory& memory) {
  auto value = [&](tern_hal_operand_t operand) { return tern_hal_operand_value(operand, params.data()); };
  const uint8_t* source = memory[step.source.slot].data() + value(step.source.offset);
  uint8_t* target = memory[step.target.slot].data() + value(step.target.offset);
  for (int64_t i = 0; i < value(step.target.length); ++i) {
    if (step.kind == TERN_HAL_COMMAND_COPY) target[i] = source[i];
    if (step.kind == TERN_HAL_COMMAND_FILL) target[i] = static_cast<uint8_t>(step.pattern);
    if (step.kind == TERN_HAL_COMMAND_DISPATCH) {
      target[i] = static_cast<uint8_t>(source[i] * value(step.params[0]) + value(step.params[1]));
    }
  }
}

void record(tern_hal_command_buffer_t* commands, tern_hal_executable_t* kernels, const Step& step) {
  if (step.kind == TERN_HAL_COMMAND_COPY) {
    REQUIRE_OK(tern_hal_command_buffer_copy(commands, &step.source, &step.target));
  } else if (step.kind == TERN_HAL_COMMAND_FILL) {
    REQUIRE_OK(tern_hal_command_buffer_fill(commands, &step.target, step.pattern, 1));
  } else {
    const tern_hal_binding_t bindings[2] = {step.source, step.target};
    tern_hal_dispatch_t dispatch = {};
    dispatch.executable = kernels;
    dispatch.bindings = bindings;
    dispatch.binding_count = 2;
    dispatch.params = step.params;
    dispatch.param_count = 2;
    dispatch.grid_rank = 1;
    dispatch.grid[0] = step.target.length;
    dispatch.scratch = tern_hal_constant(step.scratch);
    REQUIRE_OK(tern_hal_command_buffer_dispatch(commands, &dispatch));
  }
  REQUIRE_OK(tern_hal_command_buffer_barrier(commands));
}

struct Fixture {
  TestAllocator allocator;
  tern_hal_device_t* device = nullptr;
  tern_hal_executable_t* kernels = nullptr;

  explicit Fixture(const tern_hal_device_desc_t& desc) {
    tern_hal_driver_registry_t registry = {};
    REQUIRE_OK(tern_cpu_driver_register(&registry));
    REQUIRE_OK(tern_hal_driver_create_device(registry.drivers[0], &desc, allocator.get(), &device));
    const tern_hal_entry_t entry = {tern_string_view("mix"), 0, mix_kernel, 2, 2, {}};
    const tern_hal_executable_desc_t code = {TERN_HAL_EXECUTABLE_FUNCTIONS, 1, {}, &entry, 1, nullptr, 0};
    REQUIRE_OK(tern_hal_executable_create(device, &code, &kernels));
  }
  ~Fixture() {
    tern_hal_executable_release(kernels);
    tern_hal_device_release(device);
  }

  // One slot's memory on the device, at a new address each time.
  tern_hal_buffer_t* upload(const std::vector<uint8_t>& bytes) {
    tern_hal_buffer_t* made = nullptr;
    REQUIRE_OK(tern_hal_device_allocate_buffer(device, 0, kBytes, &made));
    REQUIRE_OK(tern_hal_buffer_write(made, 0, bytes.data(), kBytes));
    return made;
  }
};

// Slots 0 and 1 are external, 2 an arena, 3 too. A third of the replays re-binds, a third changes parameters,
// a third changes nothing.
void check_random_recording(Fixture& f, uint32_t seed) {
  Generator generate(seed);
  std::vector<Step> steps(static_cast<size_t>(1 + generate.below(30)));
  for (auto& step : steps) step = generate.step();
  const uint8_t classes[kSlots] = {TERN_HAL_SLOT_EXTERNAL, TERN_HAL_SLOT_EXTERNAL, TERN_HAL_SLOT_ARENA,
                                   TERN_HAL_SLOT_ARENA};
  const tern_hal_command_buffer_desc_t desc = {classes, kSlots, kParams};
  tern_hal_command_buffer_t* commands = nullptr;
  REQUIRE_OK(tern_hal_command_buffer_create(f.device, &desc, &commands));
  Memory memory = generate.memory();
  std::vector<tern_hal_range_t> table;
  for (const auto& slot : memory) table.push_back({f.upload(slot), 0, kBytes});
  for (uint32_t i = 2; i < 4; ++i) REQUIRE_OK(tern_hal_command_buffer_bind(commands, i, table[i]));
  for (const auto& step : steps) record(commands, f.kernels, step);
  REQUIRE_OK(tern_hal_command_buffer_end(commands));
  std::vector<int64_t> params = generate.params();
  for (int replay = 0; replay < 12; ++replay) {
    const int64_t what = generate.below(3);
    if (what == 0) params = generate.params();
    if (what == 1) {
      const uint32_t slot = static_cast<uint32_t>(generate.below(kSlots));
      tern_hal_buffer_t* moved = f.upload(memory[slot]);
      tern_hal_buffer_t* before = table[slot].buffer;
      table[slot].buffer = moved;
      if (slot >= 2) REQUIRE_OK(tern_hal_command_buffer_bind(commands, slot, table[slot]));
      tern_hal_buffer_release(before);
    }
    tern_hal_submit_t submit = {};
    submit.command_buffer = commands;
    submit.bindings = table.data();
    submit.binding_count = kSlots;
    submit.params = params.data();
    submit.param_count = kParams;
    REQUIRE_OK(tern_hal_device_submit(f.device, &submit));
    for (const auto& step : steps) interpret(step, params, memory);
    for (size_t i = 0; i < kSlots; ++i) {
      REQUIRE(memcmp(tern_hal_buffer_host_pointer(table[i].buffer), memory[i].data(), kBytes) == 0);
    }
  }
  for (const auto& range : table) tern_hal_buffer_release(range.buffer);
  tern_hal_command_buffer_release(commands);
}

void backward_executor(void*, uint32_t count, void (*body)(void*, uint32_t), void* self) {
  for (uint32_t i = count; i-- > 0;) body(self, i);
}

}  // namespace

TEST_CASE("random recordings give what their commands say") {
  const tern_hal_host_executor_t executor = {nullptr, backward_executor, 5};
  for (uint32_t threads : {1u, 2u, 3u, 0u}) {
    CAPTURE(threads);
    tern_hal_device_desc_t desc = {};
    desc.thread_count = threads;
    if (threads == 0) desc.executor = &executor;
    Fixture f(desc);
    for (uint32_t seed = 0; seed < 150; ++seed) {
      CAPTURE(seed);
      check_random_recording(f, seed);
    }
  }
}
