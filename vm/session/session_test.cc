// Sessions on the cpu driver with kernels linked into the test.
#include <thread>

#include "tests/support/vm_fixture.h"

using namespace tern::test;

namespace {

// y = (x + w) * 3, static shapes: one command list, and an invocation is one submit.
constexpr const char* kStatic = R"(
function main
  input x f32 [2, 2]
  output y f32 [2, 2]
segment constants f32 10 20 30 40
executable linked static entries "add" "scale"
source "add1" "Add"
source "mul1" "Mul"
program any
  block 0
  slot arena 16
  slot input 0
  slot output 0
  slot constants 0
  kernel add (read, read, write) params 0 variants 0:0
  kernel scale (read, write) params 1 variants 0:1
  list {
    dispatch add [s1 +0 16, s3 +0 16, s0 +0 16] grid 4 1 1 scratch 0 source 0
    barrier
    dispatch scale [s0 +0 16, s2 +0 16] params 3 grid 4 1 1 scratch 0 source 1
  }
  routine main {
    submit 0
    return
  }
  entry main
)";

// y = x * 2 over N elements, sizes from the input.
constexpr const char* kDynamic = R"(
symbol N min 1 max 1000 hint 8 multiple 2
function main
  input x f32 [N]
  output y f32 [N]
executable linked static entries "scale"
program any
  block 2
  slot arena dynamic
  slot input 0
  slot output 0
  kernel scale (read, write) params 1 variants 0:0
  list {
    dispatch scale [s1 +0 $0, s0 +0 $0] params 1 grid $1 1 1 scratch 0
    barrier
    dispatch scale [s0 +0 $0, s2 +0 $0] params 2 grid $1 1 1 scratch 0
  }
  routine sizes i 2 results {i1} {
    load_symbol i0, N
    mul_imm i1, i0, 4
    arena_reserve i1
    return
  }
  routine main i 2 {
    call sizes, {}, {i1}
    load_dim i0, 0, 0
    param_store i1, $0
    param_store i0, $1
    submit 0
    return
  }
  entry main reserve sizes
)";

}  // namespace

TEST_CASE("a static program is one submit") {
  Loaded loaded(kStatic);
  std::vector<float> x = {1, 2, 3, 4};
  std::vector<tern_tensor_t> outputs(1);
  const Outcome outcome = loaded.invoke({tensor_of(x, {2, 2})}, outputs);
  CHECK(outcome.message == "ok");
  CHECK(floats_of(outputs[0]) == std::vector<float>{33, 66, 99, 132});
  CHECK(outputs[0].owner == TERN_OWNER_SESSION);
  CHECK(outputs[0].dtype == TERN_DTYPE_F32);
  CHECK(tern_session_stats(loaded.session).submissions == 1);
  CHECK(tern_session_stats(loaded.session).arena_bytes == 16);
  CHECK(tern_session_stats(loaded.session).constant_bytes == 16);
}

TEST_CASE("outputs go to the caller's memory when it is given") {
  Loaded loaded(kStatic);
  std::vector<float> x = {1, 2, 3, 4}, y(4);
  std::vector<tern_tensor_t> outputs = {tensor_of(y, {})};
  CHECK(loaded.invoke({tensor_of(x, {2, 2})}, outputs).message == "ok");
  CHECK(y == std::vector<float>{33, 66, 99, 132});
  CHECK(outputs[0].rank == 2);
  outputs[0].size = 12;
  CHECK(loaded.invoke({tensor_of(x, {2, 2})}, outputs).message ==
        "Output 'y' needs 16 bytes; 12 were given.");
}

TEST_CASE("dimensions come from the bound tensors") {
  Loaded loaded(kDynamic);
  CHECK(tern_session_stats(loaded.session).arena_bytes == 32);  // reserved for the hint
  for (int64_t n : {2, 8, 40, 6}) {
    std::vector<float> x(static_cast<size_t>(n), 5.0f);
    std::vector<tern_tensor_t> outputs(1);
    const Outcome outcome = loaded.invoke({tensor_of(x, {n})}, outputs);
    CHECK(outcome.message == "ok");
    CHECK(floats_of(outputs[0]) == std::vector<float>(static_cast<size_t>(n), 10.0f));
  }
  CHECK(tern_session_stats(loaded.session).arena_bytes == 160);
}

TEST_CASE("bounds that cannot be reserved fail, hints do not") {
  std::string text = kDynamic;
  text.replace(text.find("hint 8"), 6, "hint 998");
  tern_session_desc_t desc = {};
  desc.arena_limit = 1000;
  Loaded loaded(text, desc);
  CHECK(tern_session_stats(loaded.session).arena_bytes == 0);
  std::vector<float> x(900, 1.0f);
  std::vector<tern_tensor_t> outputs(1);
  CHECK(loaded.invoke({tensor_of(x, {100})}, outputs).message == "ok");
  const Outcome large = loaded.invoke({tensor_of(x, {900})}, outputs);
  CHECK(large.code == TERN_STATUS_OUT_OF_MEMORY);
  CHECK(large.message.find(
            "The arena this invocation needs (3600 bytes) is over the session's limit (1000).") == 0);
  CHECK(loaded.invoke({tensor_of(x, {100})}, outputs).message == "ok");

  const auto create = [&](tern_dim_bound_t bound) {
    desc.bounds = &bound;
    desc.bound_count = 1;
    desc.static_kernels = kTestKernels;
    desc.static_kernel_count = kTestKernelCount;
    tern_session_t* session = nullptr;
    const Outcome outcome(tern_session_create(loaded.module, loaded.runtime.device, &desc, &session));
    CHECK(session == nullptr);
    return outcome;
  };
  CHECK(create({"N", 900}).code == TERN_STATUS_OUT_OF_MEMORY);
  CHECK(create({"N", 1001}).message == "The bound (1001) of symbol 'N' is not between 1 and 1000.");
  CHECK(create({"M", 1}).message == "The module has no symbol 'M' to bound.");
}

TEST_CASE("wrong inputs are sentences") {
  Loaded loaded(kDynamic);
  std::vector<float> x(8);
  std::vector<tern_tensor_t> outputs(1);
  CHECK(loaded.invoke({tensor_of(x, {2, 4})}, outputs).message ==
        "Input 'x' has the shape 2x4; the model expects N (N from 1 to 1000, a multiple of 2).");
  CHECK(loaded.invoke({tensor_of(x, {7})}, outputs).message ==
        "Input 'x' has the shape 7; the model expects N (N from 1 to 1000, a multiple of 2).");
  tern_tensor_t wrong = tensor_of(x, {8});
  wrong.dtype = TERN_DTYPE_I32;
  CHECK(loaded.invoke({wrong}, outputs).message == "Input 'x' has the type i32; the model expects f32.");
  wrong = tensor_of(x, {8});
  wrong.size = 31;
  CHECK(loaded.invoke({wrong}, outputs).message == "Input 'x' of shape 8 needs 32 bytes; 31 were given.");
  CHECK(loaded.invoke({}, outputs).message ==
        "Function 'main' takes 1 inputs and 1 outputs; 0 and 1 were given.");
}

TEST_CASE("an invocation within its bounds allocates nothing") {
  CountingAllocator counting;
  {
    Runtime runtime(counting.allocator());
    AlignedBytes bytes(assemble(kDynamic));
    tern_module_t* module = nullptr;
    TERN_REQUIRE_OK(tern_module_load_memory(runtime.instance, bytes.data(), bytes.size(), nullptr, &module));
    const tern_dim_bound_t bound = {"N", 100};
    tern_session_desc_t desc = {};
    desc.bounds = &bound;
    desc.bound_count = 1;
    desc.static_kernels = kTestKernels;
    desc.static_kernel_count = kTestKernelCount;
    tern_session_t* session = nullptr;
    TERN_REQUIRE_OK(tern_session_create(module, runtime.device, &desc, &session));
    std::vector<float> x(100, 1.0f), y(200);
    int64_t before = 0;
    for (int64_t n : {100, 4, 100, 50, 2}) {
      tern_tensor_t input = tensor_of(x, {n}), output = tensor_of(y, {});
      output.data = y.data() + n;
      output.size = 400;
      const tern_invoke_t args = {&input, &output, 1, 1, 0};
      TERN_REQUIRE_OK(tern_session_invoke(session, &args));
      if (before) CHECK(counting.calls == before);
      before = counting.calls;
    }
    tern_session_destroy(session);
    tern_module_release(module);
  }
  CHECK(counting.live == 0);
}

TEST_CASE("every allocation may fail without a leak or a crash") {
  bool done = false;
  for (int64_t fail_at = 0; !done; ++fail_at) {
    REQUIRE(fail_at < 1000);
    CountingAllocator counting;
    counting.fail_at = fail_at;
    const tern_instance_desc_t instance_desc = {counting.allocator()};
    tern_instance_t* instance = nullptr;
    tern_device_t* device = nullptr;
    tern_module_t* module = nullptr;
    tern_session_t* session = nullptr;
    AlignedBytes bytes(assemble(kDynamic));
    tern_session_desc_t desc = {};
    desc.static_kernels = kTestKernels;
    desc.static_kernel_count = kTestKernelCount;
    std::vector<float> x(40, 1.0f);
    tern_tensor_t input = tensor_of(x, {40}), output = {};
    const tern_invoke_t args = {&input, &output, 1, 1, 0};
    tern_status_t status = tern_instance_create(&instance_desc, &instance);
    if (!status) status = tern_cpu_driver_register(tern_instance_drivers(instance));
    if (!status) status = tern_device_create(instance, nullptr, &device);
    if (!status) status = tern_module_load_memory(instance, bytes.data(), bytes.size(), nullptr, &module);
    if (!status) status = tern_session_create(module, device, &desc, &session);
    if (!status) status = tern_session_invoke(session, &args);
    done = !status;
    if (status) CHECK(tern_status_code(status) == TERN_STATUS_OUT_OF_MEMORY);
    tern_status_free(status);
    tern_session_destroy(session);
    tern_module_release(module);
    tern_device_release(device);
    tern_instance_destroy(instance);
    CHECK(counting.live == 0);
  }
}

TEST_CASE("sessions of one module run at once from several threads") {
  Loaded loaded(kStatic);
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      tern_session_desc_t desc = {};
      desc.static_kernels = kTestKernels;
      desc.static_kernel_count = kTestKernelCount;
      tern_session_t* session = nullptr;
      if (tern_session_create(loaded.module, loaded.runtime.device, &desc, &session)) {
        wrong[t] = 1;
        return;
      }
      const float start = static_cast<float>(t);
      for (int i = 0; i < 200; ++i) {
        std::vector<float> x = {start, 2, 3, 4}, y(4);
        tern_tensor_t input = tensor_of(x, {2, 2}), output = tensor_of(y, {});
        const tern_invoke_t args = {&input, &output, 1, 1, 0};
        wrong[t] += tern_session_invoke(session, &args) != nullptr || y[0] != (start + 10) * 3 || y[3] != 132;
      }
      tern_session_destroy(session);
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == std::vector<int>(4, 0));
}

TEST_CASE("sequences of a session together have a limit") {
  std::string text = R"(
function main
program any
  routine main i 3 refs buffer list
)";
  std::string refs, clones;
  for (int i = 0; i < 20; ++i) {
    refs += " list";
    clones += "    list_clone r" + std::to_string(i + 2) + ", r1\n";
  }
  text.replace(text.rfind('\n'), 1, refs + R"( {
    list_create r1
    buffer_alloc r0, i0
    const_i i1, 1000000
  again:
    list_append r1, r0
    add_imm i2, i2, 1
    lt i0, i2, i1
    jump_if i0, again
)" + clones + "    return\n  }\n  entry main\n");
  Loaded loaded(text);
  std::vector<tern_tensor_t> none;
  for (int turn = 0; turn < 2; ++turn) {
    const Outcome outcome = loaded.invoke({}, none);
    CHECK(outcome.code == TERN_STATUS_OUT_OF_MEMORY);
    CHECK(outcome.message.find("The sequences of a session have more than 16777216 elements.") == 0);
  }
}

TEST_CASE("profile names the dispatches' nodes") {
  tern_session_desc_t desc = {};
  desc.profile_capacity = 16;
  Loaded loaded(kStatic, desc);
  std::vector<float> x(4);
  std::vector<tern_tensor_t> outputs(1);
  CHECK(loaded.invoke({tensor_of(x, {2, 2})}, outputs).message == "ok");
  std::vector<std::string> labels;
  for (uint32_t i = 0; i < tern_session_profile_count(loaded.session); ++i) {
    const tern_profile_event_t event = tern_session_profile_event(loaded.session, i);
    if (event.label_size) labels.emplace_back(event.label, event.label_size);
    CHECK(event.end_ns >= event.begin_ns);
    CHECK(event.source == i);
  }
  CHECK(tern_session_profile_event(loaded.session, 99).label == nullptr);
  CHECK(labels == std::vector<std::string>{"add1 (Add)", "mul1 (Mul)"});
}

TEST_CASE("reflection") {
  Loaded loaded(kDynamic);
  CHECK(tern_module_function_count(loaded.module) == 1);
  CHECK(std::string(tern_module_function_name(loaded.module, 0)) == "main");
  CHECK(tern_module_find_function(loaded.module, "other") == -1);
  CHECK(tern_module_find_input(loaded.module, 0, "x") == 0);
  CHECK(tern_module_find_output(loaded.module, 0, "x") == -1);
  tern_tensor_info_t info;
  TERN_REQUIRE_OK(tern_module_input_info(loaded.module, 0, 0, &info));
  CHECK(info.rank == 1);
  CHECK(info.dims[0].kind == TERN_DIM_SYMBOL);
  CHECK(info.donor == -1);
  tern_symbol_info_t symbol;
  TERN_REQUIRE_OK(tern_module_symbol_info(loaded.module, 0, &symbol));
  CHECK(std::string(symbol.name) == "N");
  CHECK(symbol.hint == 8);
  CHECK(Outcome(tern_module_input_info(loaded.module, 0, 1, &info)).code == TERN_STATUS_OUT_OF_RANGE);
}
