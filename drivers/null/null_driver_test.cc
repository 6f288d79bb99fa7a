// Command streams as text, against files in testdata/. TERN_BLESS=1 rewrites them.
#include "drivers/null/null_driver.h"

#include <stdlib.h>

#include <fstream>
#include <sstream>

#include "tests/support/source_path.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_allocator.h"

using namespace tern::test;

namespace {

int32_t no_kernel(const tern_kernel_args_t*, int64_t, int64_t, void*, int64_t) {
  return 0;
}

struct Fixture {
  TestAllocator allocator;
  std::string record;
  tern_hal_device_t* device = nullptr;
  tern_hal_executable_t* executable = nullptr;

  explicit Fixture(tern_null_options_t options = {}) {
    options.write = [](void* self, tern_string_view_t line) {
      static_cast<std::string*>(self)->append(line.data, line.size).append("\n");
    };
    options.self = &record;
    tern_hal_driver_registry_t registry = {};
    REQUIRE_OK(tern_null_driver_register(&registry));
    tern_hal_device_desc_t desc = {};
    desc.driver_options = &options;
    REQUIRE_OK(tern_hal_driver_create_device(registry.drivers[0], &desc, allocator.get(), &device));
    const tern_hal_entry_t entries[2] = {{tern_string_view("conv_relu"), 0, no_kernel, 3, 2, {}},
                                         {tern_string_view("softmax"), 0, no_kernel, 1, 0, {}}};
    const tern_hal_executable_desc_t code = {TERN_HAL_EXECUTABLE_FUNCTIONS, 1, {}, entries, 2, nullptr, 0};
    REQUIRE_OK(tern_hal_executable_create(device, &code, &executable));
  }
  ~Fixture() {
    tern_hal_executable_release(executable);
    tern_hal_device_release(device);
  }

  tern_hal_buffer_t* buffer(int64_t size) {
    tern_hal_buffer_t* made = nullptr;
    REQUIRE_OK(tern_hal_device_allocate_buffer(device, 0, size, &made));
    return made;
  }

  void check_against(const std::string& name) {
    const std::string path = source_path("drivers/null/testdata/" + name);
    if (getenv("TERN_BLESS")) std::ofstream(path) << record;
    std::ifstream file(path);
    REQUIRE_MESSAGE(file.good(), "no file ", path, "; TERN_BLESS=1 writes it");
    std::stringstream expected;
    expected << file.rdbuf();
    CHECK(record == expected.str());
  }
};

tern_hal_operand_t constant(int64_t value) {
  return tern_hal_constant(value);
}
tern_hal_operand_t param(uint32_t index) {
  return tern_hal_parameter(index);
}

// weights (constant), arena, input and output (external); parameters: elements, offset.
tern_hal_command_buffer_t* record_model(Fixture& f, tern_hal_buffer_t* weights, tern_hal_buffer_t* arena) {
  const uint8_t classes[4] = {TERN_HAL_SLOT_CONSTANT, TERN_HAL_SLOT_ARENA, TERN_HAL_SLOT_EXTERNAL,
                              TERN_HAL_SLOT_EXTERNAL};
  const tern_hal_command_buffer_desc_t desc = {classes, 4, 2};
  tern_hal_command_buffer_t* commands = nullptr;
  REQUIRE_OK(tern_hal_command_buffer_create(f.device, &desc, &commands));
  REQUIRE_OK(tern_hal_command_buffer_bind(commands, 0, {weights, 0, TERN_HAL_WHOLE}));
  REQUIRE_OK(tern_hal_command_buffer_bind(commands, 1, {arena, 64, 448}));
  const tern_hal_binding_t fill = {1, 0, constant(256), constant(64)};
  REQUIRE_OK(tern_hal_command_buffer_fill(commands, &fill, 0x3f80, 2));
  const tern_hal_binding_t conv[3] = {{2, TERN_HAL_ACCESS_READ, constant(0), constant(128)},
                                      {0, TERN_HAL_ACCESS_READ, constant(64), constant(32)},
                                      {1, TERN_HAL_ACCESS_WRITE, constant(0), constant(256)}};
  const tern_hal_operand_t conv_params[2] = {param(0), constant(-3)};
  tern_hal_dispatch_t dispatch = {};
  dispatch.executable = f.executable;
  dispatch.bindings = conv;
  dispatch.binding_count = 3;
  dispatch.params = conv_params;
  dispatch.param_count = 2;
  dispatch.grid_rank = 3;
  dispatch.grid[0] = constant(8);
  dispatch.grid[1] = param(0);
  dispatch.grid[2] = constant(1);
  dispatch.scratch = constant(4096);
  dispatch.label = tern_string_view("conv1 (Conv), relu1 (Relu)");
  REQUIRE_OK(tern_hal_command_buffer_dispatch(commands, &dispatch));
  REQUIRE_OK(tern_hal_command_buffer_barrier(commands));
  const tern_hal_binding_t softmax = {1, TERN_HAL_ACCESS_READ | TERN_HAL_ACCESS_WRITE, param(1),
                                      constant(64)};
  dispatch = {};
  dispatch.executable = f.executable;
  dispatch.entry = 1;
  dispatch.bindings = &softmax;
  dispatch.binding_count = 1;
  dispatch.grid_rank = 1;
  dispatch.grid[0] = constant(4);
  REQUIRE_OK(tern_hal_command_buffer_dispatch(commands, &dispatch));
  REQUIRE_OK(tern_hal_command_buffer_barrier(commands));
  const tern_hal_binding_t source = {1, 0, param(1), constant(64)},
                           target = {3, 0, constant(0), constant(64)};
  REQUIRE_OK(tern_hal_command_buffer_copy(commands, &source, &target));
  REQUIRE_OK(tern_hal_command_buffer_end(commands));
  return commands;
}

}  // namespace

TEST_CASE("a model's commands are recorded once, and submissions say what is new") {
  Fixture f;
  tern_hal_buffer_t* buffers[5] = {f.buffer(96), f.buffer(512), f.buffer(128), f.buffer(64), f.buffer(128)};
  tern_hal_command_buffer_t* commands = record_model(f, buffers[0], buffers[1]);
  tern_hal_range_t table[4] = {{}, {}, {buffers[2], 0, 128}, {buffers[3], 0, TERN_HAL_WHOLE}};
  int64_t params[2] = {5, 128};
  tern_hal_submit_t submit = {};
  submit.command_buffer = commands;
  submit.bindings = table;
  submit.binding_count = 4;
  submit.params = params;
  submit.param_count = 2;
  REQUIRE_OK(tern_hal_device_submit(f.device, &submit));
  REQUIRE_OK(tern_hal_device_submit(f.device, &submit));  // nothing new
  params[1] = 192;
  REQUIRE_OK(tern_hal_device_submit(f.device, &submit));  // new parameters
  table[2].buffer = buffers[4];
  REQUIRE_OK(tern_hal_device_submit(f.device, &submit));  // a new input
  params[1] = 400;
  CHECK_CODE(tern_hal_device_submit(f.device, &submit), OUT_OF_RANGE);  // refused: not in the record
  params[1] = 192;
  REQUIRE_OK(tern_hal_command_buffer_bind(commands, 1, {buffers[1], 0, TERN_HAL_WHOLE}));
  REQUIRE_OK(tern_hal_device_submit(f.device, &submit));  // a new arena: recorded again
  tern_hal_command_buffer_release(commands);
  for (auto* buffer : buffers) tern_hal_buffer_release(buffer);
  f.check_against("model.txt");
}

TEST_CASE("imports, cancellation and deadlines are in the record") {
  Fixture f;
  char memory[32];
  const tern_hal_import_t import = {memory, 32, TERN_HAL_MEMORY_READ_ONLY, nullptr, nullptr};
  tern_hal_buffer_t* buffer = nullptr;
  REQUIRE_OK(tern_hal_device_import_buffer(f.device, &import, &buffer));
  const tern_hal_command_buffer_desc_t desc = {};
  tern_hal_command_buffer_t* commands = nullptr;
  REQUIRE_OK(tern_hal_command_buffer_create(f.device, &desc, &commands));
  REQUIRE_OK(tern_hal_command_buffer_end(commands));
  tern_hal_cancel_t cancel = {1};
  tern_hal_submit_t submit = {};
  submit.command_buffer = commands;
  submit.cancel = &cancel;
  CHECK_CODE(tern_hal_device_submit(f.device, &submit), CANCELLED);
  submit.cancel = nullptr;
  submit.deadline = 1;
  CHECK_CODE(tern_hal_device_submit(f.device, &submit), DEADLINE_EXCEEDED);
  REQUIRE_OK(tern_hal_device_wait_idle(f.device));
  tern_hal_command_buffer_release(commands);
  tern_hal_buffer_release(buffer);
  f.check_against("interruptions.txt");
}

TEST_CASE("a lost device answers everything with DEVICE_LOST") {
  tern_null_options_t options = {};
  options.lose_at_submission = 2;
  Fixture f(options);
  const tern_hal_command_buffer_desc_t desc = {};
  tern_hal_command_buffer_t* commands = nullptr;
  REQUIRE_OK(tern_hal_command_buffer_create(f.device, &desc, &commands));
  REQUIRE_OK(tern_hal_command_buffer_end(commands));
  tern_hal_buffer_t* buffer = f.buffer(16);
  tern_hal_semaphore_t* done = nullptr;
  REQUIRE_OK(tern_hal_semaphore_create(f.device, 0, &done));
  const tern_hal_semaphore_point_t signal = {done, 1};
  tern_hal_submit_t submit = {};
  submit.command_buffer = commands;
  REQUIRE_OK(tern_hal_device_submit(f.device, &submit));
  submit.signals = &signal;
  submit.signal_count = 1;
  CHECK(take_text(tern_hal_device_submit(f.device, &submit)) ==
        "DEVICE_LOST: The device is lost with submission (2).");
  CHECK_CODE(tern_hal_semaphore_wait(done, 1, TERN_HAL_NEVER), DEVICE_LOST);
  CHECK_CODE(tern_hal_device_submit(f.device, &submit), DEVICE_LOST);
  int64_t value = 0;
  char bytes[4];
  void* pointer = nullptr;
  tern_hal_buffer_t* other_buffer = nullptr;
  tern_hal_command_buffer_t* other_commands = nullptr;
  tern_hal_semaphore_t* other_semaphore = nullptr;
  tern_hal_executable_t* other_executable = nullptr;
  const tern_hal_executable_desc_t code = {TERN_HAL_EXECUTABLE_FUNCTIONS, 1, {}, nullptr, 0, nullptr, 0};
  CHECK_CODE(tern_hal_device_query_capability(f.device, 0, &value), DEVICE_LOST);
  CHECK_CODE(tern_hal_device_wait_idle(f.device), DEVICE_LOST);
  CHECK_CODE(tern_hal_device_allocate_buffer(f.device, 0, 4, &other_buffer), DEVICE_LOST);
  CHECK_CODE(tern_hal_buffer_read(buffer, 0, bytes, 4), DEVICE_LOST);
  CHECK_CODE(tern_hal_buffer_map(buffer, TERN_HAL_ACCESS_READ, 0, 4, &pointer), DEVICE_LOST);
  CHECK_CODE(tern_hal_command_buffer_create(f.device, &desc, &other_commands), DEVICE_LOST);
  CHECK_CODE(tern_hal_semaphore_create(f.device, 0, &other_semaphore), DEVICE_LOST);
  CHECK_CODE(tern_hal_executable_create(f.device, &code, &other_executable), DEVICE_LOST);
  tern_hal_semaphore_release(done);
  tern_hal_buffer_release(buffer);
  tern_hal_command_buffer_release(commands);
  f.check_against("lost.txt");
}

TEST_CASE("the device claims the capabilities it was given") {
  const tern_null_capability_t rows[2] = {{0, 1}, {1, 3}};
  tern_null_options_t options = {};
  options.capabilities = rows;
  options.capability_count = 2;
  Fixture f(options);
  const int64_t expected[4] = {1, 3, 0, 0};
  for (uint32_t id = 0; id < 4; ++id) {
    int64_t value = -1;
    CHECK_OK(tern_hal_device_query_capability(f.device, id, &value));
    CHECK(value == expected[id]);
  }
}

TEST_CASE("a line that is too long is cut and says so") {
  Fixture f;
  std::string name(900, 'x');
  const tern_hal_entry_t entries[5] = {{{name.data(), 250}, 0, no_kernel, 0, 0, {}},
                                       {{name.data(), 250}, 0, no_kernel, 0, 0, {}},
                                       {{name.data(), 250}, 0, no_kernel, 0, 0, {}},
                                       {{name.data(), 250}, 0, no_kernel, 0, 0, {}},
                                       {{name.data(), 250}, 0, no_kernel, 0, 0, {}}};
  const tern_hal_executable_desc_t code = {TERN_HAL_EXECUTABLE_FUNCTIONS, 1, {}, entries, 5, nullptr, 0};
  tern_hal_executable_t* executable = nullptr;
  REQUIRE_OK(tern_hal_executable_create(f.device, &code, &executable));
  tern_hal_executable_release(executable);
  CHECK(f.record.find("xxx\xe2\x80\xa6\n") != std::string::npos);
}
