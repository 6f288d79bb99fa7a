// Null in the place of every object and of what must be there: tern.h says what each function answers.
#include "drivers/null/null_driver.h"
#include "tests/support/vm_fixture.h"

using namespace tern::test;

namespace {

constexpr const char* kCopy = R"(
symbol N min 0 max 100
function main
  input x f32 [N]
  output y f32 [?]
program any
  block 1
  slot input 0
  slot output 0
  list {
    copy s0 +0 $0 to s1 +0 $0
  }
  routine main i 2 {
    load_symbol i0, N
    mul_imm i1, i0, 4
    param_store i1, $0
    output_dim 0, 0, i0
    output_reserve 0, i1
    submit 0
    return
  }
  entry main
)";

#define CHECK_INVALID(expression) CHECK(Outcome(expression).code == TERN_STATUS_INVALID_ARGUMENT)

}  // namespace

TEST_CASE("null: statuses") {
  CHECK(tern_status_code(nullptr) == TERN_STATUS_OK);
  CHECK(tern_status_message(nullptr) != nullptr);
  tern_status_free(nullptr);
}

TEST_CASE("null: instances, devices and buffers") {
  Runtime runtime;
  int64_t value = 0;
  uint32_t count = 0;
  char byte = 0;
  tern_device_t* device = nullptr;
  tern_buffer_t* buffer = nullptr;
  CHECK_INVALID(tern_instance_create(nullptr, nullptr));
  tern_instance_desc_t half = {};
  half.allocator = CountingAllocator().allocator();
  half.allocator.release = nullptr;
  tern_instance_t* instance = nullptr;
  CHECK_INVALID(tern_instance_create(&half, &instance));
  tern_instance_destroy(nullptr);
  CHECK(tern_instance_drivers(nullptr) == nullptr);
  CHECK_INVALID(tern_cpu_driver_register(nullptr));
  CHECK_INVALID(tern_null_driver_register(nullptr));
  CHECK_INVALID(tern_device_enumerate(nullptr, nullptr, 0, &count));
  CHECK_INVALID(tern_device_enumerate(runtime.instance, nullptr, 0, nullptr));
  CHECK_INVALID(tern_device_enumerate(runtime.instance, nullptr, 1, &count));
  TERN_REQUIRE_OK(tern_device_enumerate(runtime.instance, nullptr, 0, &count));
  CHECK(count == 1);
  CHECK_INVALID(tern_device_create(nullptr, nullptr, &device));
  CHECK_INVALID(tern_device_create(runtime.instance, nullptr, nullptr));
  CHECK_INVALID(tern_device_query_capability(nullptr, 1, &value));
  CHECK_INVALID(tern_device_query_capability(runtime.device, 1, nullptr));
  tern_device_release(nullptr);
  CHECK_INVALID(tern_buffer_create(nullptr, 1, &buffer));
  CHECK_INVALID(tern_buffer_create(runtime.device, 1, nullptr));
  CHECK_INVALID(tern_buffer_import(nullptr, 1, 1, &buffer));
  CHECK_INVALID(tern_buffer_import(runtime.device, 0, 1, &buffer));
  CHECK(tern_buffer_size(nullptr) == 0);
  CHECK(tern_buffer_address(nullptr) == 0);
  CHECK_INVALID(tern_buffer_read(nullptr, 0, &byte, 1));
  CHECK_INVALID(tern_buffer_write(nullptr, 0, &byte, 1));
  TERN_REQUIRE_OK(tern_buffer_create(runtime.device, 1, &buffer));
  CHECK_INVALID(tern_buffer_read(buffer, 0, nullptr, 1));
  CHECK_INVALID(tern_buffer_write(buffer, 0, nullptr, 1));
  tern_buffer_release(buffer);
  tern_buffer_release(nullptr);
}

TEST_CASE("null: loading, and policies that are none") {
  Runtime runtime;
  AlignedBytes bytes(assemble(kCopy));
  tern_module_t* module = nullptr;
  int released = 0;
  tern_module_desc_t desc = {};
  desc.release = [](void* self, const void*, size_t) { ++*static_cast<int*>(self); };
  desc.release_self = &released;
  CHECK_INVALID(tern_module_load_file(nullptr, "m.tern", nullptr, &module));
  CHECK_INVALID(tern_module_load_file(runtime.instance, nullptr, nullptr, &module));
  CHECK_INVALID(tern_module_load_file(runtime.instance, "m.tern", nullptr, nullptr));
  CHECK_INVALID(tern_module_load_memory(nullptr, bytes.data(), bytes.size(), &desc, &module));
  CHECK_INVALID(tern_module_load_memory(runtime.instance, nullptr, 64, &desc, &module));
  CHECK_INVALID(tern_module_load_memory(runtime.instance, bytes.data(), bytes.size(), &desc, nullptr));
  CHECK(released == 3);
  desc.code_policy = 7;
  const Outcome outcome(
      tern_module_load_memory(runtime.instance, bytes.data(), bytes.size(), &desc, &module));
  CHECK(outcome.code == TERN_STATUS_INVALID_ARGUMENT);
  CHECK(outcome.message == "The code policy (7) is neither to refuse (0) nor to trust (1) machine code.");
  CHECK(released == 4);
  CHECK(module == nullptr);
}

TEST_CASE("null: modules") {
  Loaded loaded(kCopy);
  tern_tensor_info_t info;
  tern_symbol_info_t symbol;
  CHECK(std::string(tern_module_producer(nullptr)) == "");
  CHECK(tern_module_function_count(nullptr) == 0);
  CHECK(tern_module_function_name(nullptr, 0) == nullptr);
  CHECK(tern_module_find_function(nullptr, nullptr) == -1);
  CHECK(tern_module_input_count(nullptr, 0) == 0);
  CHECK(tern_module_output_count(nullptr, 0) == 0);
  CHECK(tern_module_find_input(nullptr, 0, "x") == -1);
  CHECK(tern_module_find_output(nullptr, 0, "y") == -1);
  CHECK(tern_module_find_input(loaded.module, 0, nullptr) == -1);
  CHECK(tern_module_symbol_count(nullptr) == 0);
  CHECK_INVALID(tern_module_input_info(nullptr, 0, 0, &info));
  CHECK_INVALID(tern_module_input_info(loaded.module, 0, 0, nullptr));
  CHECK_INVALID(tern_module_output_info(nullptr, 0, 0, &info));
  CHECK_INVALID(tern_module_symbol_info(nullptr, 0, &symbol));
  CHECK_INVALID(tern_module_symbol_info(loaded.module, 0, nullptr));
  CHECK(Outcome(tern_module_input_info(loaded.module, 0, 1, &info)).message ==
        "There is no input or output (1): the function has 1.");
  CHECK_INVALID(tern_module_verify_segments(nullptr));
  CHECK_INVALID(tern_module_check_device(nullptr, loaded.runtime.device));
  CHECK_INVALID(tern_module_check_device(loaded.module, nullptr));
  tern_module_release(nullptr);
}

TEST_CASE("null: sessions") {
  Loaded loaded(kCopy);
  tern_session_t* session = nullptr;
  CHECK_INVALID(tern_session_create(nullptr, loaded.runtime.device, nullptr, &session));
  CHECK_INVALID(tern_session_create(loaded.module, nullptr, nullptr, &session));
  CHECK_INVALID(tern_session_create(loaded.module, loaded.runtime.device, nullptr, nullptr));
  tern_session_desc_t desc = {};
  desc.bound_count = 1;
  CHECK_INVALID(tern_session_create(loaded.module, loaded.runtime.device, &desc, &session));
  const tern_dim_bound_t unnamed = {nullptr, 3};
  desc.bounds = &unnamed;
  CHECK_INVALID(tern_session_create(loaded.module, loaded.runtime.device, &desc, &session));
  desc = {};
  desc.static_kernel_count = 1;
  CHECK_INVALID(tern_session_create(loaded.module, loaded.runtime.device, &desc, &session));
  CHECK(session == nullptr);
  tern_invoke_t args = {};
  CHECK_INVALID(tern_session_invoke(nullptr, &args));
  CHECK_INVALID(tern_session_invoke(loaded.session, nullptr));
  args.input_count = args.output_count = 1;
  CHECK_INVALID(tern_session_invoke(loaded.session, &args));
  CHECK_INVALID(tern_session_reset(nullptr));
  tern_session_cancel(nullptr);
  tern_session_destroy(nullptr);
  CHECK(tern_session_stats(nullptr).invocations == 0);
  CHECK(tern_session_executable_name(nullptr, 0) == nullptr);
  CHECK(tern_session_profile_count(nullptr) == 0);
  CHECK(tern_session_profile_event(nullptr, 0).label == nullptr);
  // The session is as before.
  std::vector<float> x = {1, 2, 3};
  std::vector<tern_tensor_t> outputs(1);
  CHECK(loaded.invoke({tensor_of(x, {3})}, outputs).message == "ok");
  CHECK(floats_of(outputs[0]) == x);
}
