// What surrounds an invocation: donation, cancellation, time limits, trust, devices of other drivers.
#include <thread>

#include "drivers/null/null_driver.h"
#include "tests/support/vm_fixture.h"

using namespace tern::test;

namespace {

// past [N] → present [N+1]: in place when the output has the input's memory, by a copy otherwise.
constexpr const char* kAppend = R"(
symbol N min 0 max 100
function main
  input past f32 [N]
  input x f32 [1]
  output present f32 [?] donor 0
  output copied f32 [0, ?]
program any
  block 3
  slot input 0
  slot input 1
  slot output 0
  list {
    copy s0 +0 $0 to s2 +0 $0
  }
  list {
    copy s1 +0 4 to s2 +$0 4
  }
  routine main i 6 {
    load_symbol i0, N
    mul_imm i1, i0, 4
    param_store i1, $0
    add_imm i2, i0, 1
    output_dim 0, 0, i2
    mul_imm i3, i2, 4
    output_reserve 0, i3
    is_donated i4, 0
    not i5, i4
    output_dim 1, 1, i5
    const_i i3, 0
    output_reserve 1, i3
    jump_if i4, append
    submit 0
  append:
    submit 1
    return
  }
  entry main
)";

constexpr const char* kEndless = R"(
function main
program any
  routine main {
  again:
    jump again
  }
  entry main
)";

}  // namespace

TEST_CASE("an output in its donor's memory is appended in place") {
  Loaded loaded(kAppend);
  std::vector<float> cache(8), x = {7}, fresh(8);
  for (int64_t n = 0; n < 4; ++n) {
    x[0] = static_cast<float>(n + 1);
    std::vector<tern_tensor_t> outputs = {tensor_of(cache, {}), {}};
    tern_tensor_t past = tensor_of(cache, {n});
    const Outcome outcome = loaded.invoke({past, tensor_of(x, {1})}, outputs);
    CHECK(outcome.message == "ok");
    CHECK(outputs[0].dims[0] == n + 1);
    CHECK(outputs[1].dims[1] == 0);  // nothing was copied
  }
  CHECK(cache == std::vector<float>{1, 2, 3, 4, 0, 0, 0, 0});
  std::vector<tern_tensor_t> outputs = {tensor_of(fresh, {}), {}};
  CHECK(loaded.invoke({tensor_of(cache, {4}), tensor_of(x, {1})}, outputs).message == "ok");
  CHECK(outputs[1].dims[1] == 1);
  CHECK(fresh == std::vector<float>{1, 2, 3, 4, 4, 0, 0, 0});
}

TEST_CASE("an output may not lie in another input") {
  Loaded loaded(kAppend);
  std::vector<float> cache(8), x = {7};
  std::vector<tern_tensor_t> outputs = {tensor_of(cache, {}), {}};
  outputs[0].data = cache.data() + 1;
  outputs[0].size = 28;
  const Outcome inside = loaded.invoke({tensor_of(cache, {4}), tensor_of(x, {1})}, outputs);
  CHECK(inside.message.substr(0, inside.message.find('\n')) ==
        "Output 'present' lies in the memory of input 'past'.");
}

TEST_CASE("an invocation can be cancelled and limited in time, and the session goes on") {
  Loaded loaded(kEndless);
  std::vector<tern_tensor_t> none;
  CHECK(loaded.invoke({}, none, 2000000).code == TERN_STATUS_DEADLINE_EXCEEDED);
  std::thread canceller([&] {
    for (int i = 0; i < 50; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      tern_session_cancel(loaded.session);
    }
  });
  CHECK(loaded.invoke({}, none, UINT64_MAX).code == TERN_STATUS_CANCELLED);  // as long as it takes
  canceller.join();
  CHECK(loaded.invoke({}, none, 1000000).code == TERN_STATUS_DEADLINE_EXCEEDED);
}

TEST_CASE("machine code is refused without trust") {
  Runtime runtime;
  AlignedBytes bytes(assemble(R"(
function main
segment code zero 64
executable "native" elf segment 0 entries "k"@16
program any
  kernel k () params 0 variants 0:0
  routine main {
    return
  }
  entry main
)"));
  tern_module_t* module = nullptr;
  tern_session_t* session = nullptr;
  TERN_REQUIRE_OK(tern_module_load_memory(runtime.instance, bytes.data(), bytes.size(), nullptr, &module));
  CHECK(Outcome(tern_session_create(module, runtime.device, nullptr, &session)).code ==
        TERN_STATUS_PERMISSION_DENIED);
  CHECK(session == nullptr);
  tern_module_release(module);
}

TEST_CASE("a damaged segment is found when it is used, weights when asked") {
  Runtime runtime;
  std::vector<uint8_t> file = assemble(R"(
function main
  output y f32 [1]
segment constants f32 1
program any
  slot constants 0
  slot output 0
  list {
    copy s0 +0 4 to s1 +0 4
  }
  routine main {
    submit 0
    return
  }
  entry main
)");
  file[file.size() - 1] ^= 1;
  AlignedBytes bytes(file);
  tern_module_t* module = nullptr;
  TERN_REQUIRE_OK(tern_module_load_memory(runtime.instance, bytes.data(), bytes.size(), nullptr, &module));
  CHECK(Outcome(tern_module_verify_segments(module)).message ==
        "Segment (0) of the module is damaged: its hash differs.");
  tern_module_release(module);
  module = nullptr;
  tern_module_desc_t desc = {};
  desc.verify_weights = 1;
  CHECK(Outcome(tern_module_load_memory(runtime.instance, bytes.data(), bytes.size(), &desc, &module)).code ==
        TERN_STATUS_MALFORMED);
  CHECK(module == nullptr);
}

TEST_CASE("a module without a program for the device says what it has") {
  Runtime runtime;
  AlignedBytes bytes(
      assemble("function main\nprogram vulkan\n  routine main {\n    return\n  }\n  entry main\n"));
  tern_module_t* module = nullptr;
  tern_session_t* session = nullptr;
  TERN_REQUIRE_OK(tern_module_load_memory(runtime.instance, bytes.data(), bytes.size(), nullptr, &module));
  CHECK(Outcome(tern_session_create(module, runtime.device, nullptr, &session)).message ==
        "The module has no program for this device (driver 'cpu').\n - It has one for Vulkan");
  tern_module_release(module);
}

TEST_CASE("the null driver sees the command stream") {
  std::string record;
  tern_null_options_t options = {};
  options.write = [](void* self, tern_string_view_t line) {
    static_cast<std::string*>(self)->append(line.data, line.size).append("\n");
  };
  options.self = &record;
  tern_instance_t* instance = nullptr;
  TERN_REQUIRE_OK(tern_instance_create(nullptr, &instance));
  TERN_REQUIRE_OK(tern_null_driver_register(tern_instance_drivers(instance)));
  tern_device_desc_t desc = {};
  desc.driver = "null";
  desc.driver_options = &options;
  tern_device_t* device = nullptr;
  TERN_REQUIRE_OK(tern_device_create(instance, &desc, &device));
  AlignedBytes bytes(assemble(kAppend));
  tern_module_t* module = nullptr;
  tern_session_t* session = nullptr;
  TERN_REQUIRE_OK(tern_module_load_memory(instance, bytes.data(), bytes.size(), nullptr, &module));
  TERN_REQUIRE_OK(tern_session_create(module, device, nullptr, &session));
  std::vector<float> past(3), x(1);
  const std::vector<tern_tensor_t> inputs = {tensor_of(past, {3}), tensor_of(x, {1})};
  std::vector<tern_tensor_t> outputs(2);
  const tern_invoke_t invoke = {inputs.data(), outputs.data(), 2, 2, 0};
  TERN_REQUIRE_OK(tern_session_invoke(session, &invoke));
  tern_session_destroy(session);
  tern_module_release(module);
  tern_device_release(device);
  tern_instance_destroy(instance);
  CHECK(record == R"(device created
record: 3 slots, 3 params, 1 commands
  copy slot 0 [0 +p0] to slot 2 [0 +p0]
record: 3 slots, 3 params, 1 commands
  copy slot 1 [0 +4] to slot 2 [p0 +4]
buffer imported: 12 bytes, read-only
buffer imported: 4 bytes, read-only
buffer allocated: 64 bytes
buffer allocated: 64 bytes
submit 1: 1 commands, new bindings, new params
  slot 0: external buffer 1 [0 +12]
  slot 2: external buffer 3 [0 +16]
  params 12 0 0
submit 2: 1 commands, new bindings, new params
  slot 1: external buffer 2 [0 +4]
  slot 2: external buffer 3 [0 +16]
  params 12 0 0
buffer 1 destroyed
buffer 2 destroyed
buffer 3 destroyed
buffer 4 destroyed
device destroyed
)");
}
