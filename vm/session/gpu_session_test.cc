// Sessions on a device with memory of its own: the cuda driver on the tests' libcuda (drivers/cuda/fake),
// whose kernels are the conformance suite's.
#include "tests/support/gpu_session_fixture.h"

using namespace tern::test;

namespace {

// y = x * 2 over N elements; the output's length is x[0], read back between the two dispatches.
constexpr const char* kDynamic = R"(
symbol N min 1 max 1000 hint 8
function main
  input x i32 [N]
  output y i32 [?]
  output z i32 [N]
segment code text ".version 7.5\n.entry affine(\n"
executable only ptx segment 0 entries "affine" workgroup 64 1 1
program cuda
  block 3
  slot arena dynamic
  slot input 0
  slot output 0
  slot output 1
  kernel affine (read, write) params 3 variants 0:0
  list {
    dispatch affine [s1 +0 $0, s0 +0 $0] params $1 2 0 grid 16 1 1 scratch 0
    dispatch affine [s1 +0 $0, s3 +0 $0] params $1 1 5 grid 16 1 1 scratch 0
  }
  list {
    dispatch affine [s0 +0 $2, s2 +0 $2] params 1 1 0 grid 1 1 1 scratch 0
  }
  routine sizes i 2 results {i1} {
    load_symbol i0, N
    mul_imm i1, i0, 4
    arena_reserve i1
    return
  }
  routine main i 4 {
    call sizes, {}, {i1}
    load_dim i0, 0, 0
    param_store i1, $0
    param_store i0, $1
    submit 0
    const_i i2, 0
    read_i32 i3, s0, i2
    output_dim 0, 0, i3
    mul_imm i3, i3, 4
    output_reserve 0, i3
    const_i i2, 4
    param_store i2, $2
    submit 1
    return
  }
  entry main reserve sizes
)";

}  // namespace

TEST_CASE("gpu: weights are copied once, inputs and outputs with each invocation") {
  Gpu gpu;
  CHECK(gpu.load(kStatic).message == "ok");
  CHECK(std::string(tern_session_executable_name(gpu.session, 0)) == "newer");
  CHECK(tern_session_executable_name(gpu.session, 1) == nullptr);
  CHECK(tern_session_stats(gpu.session).constant_bytes == 16);
  const int copies = gpu.fake.calls("cuMemcpyHtoDAsync");
  Ints x = {1, 2, 3, 4}, y(4);
  std::vector<tern_tensor_t> outputs(1);
  CHECK(gpu.invoke({ints(x)}, outputs) == "ok");
  CHECK(ints_of(outputs[0]) == Ints{34, 67, 100, 133});
  CHECK(outputs[0].owner == TERN_OWNER_SESSION);
  CHECK(tern_session_stats(gpu.session).transfer_ns > 0);
  CHECK(gpu.fake.calls("cuMemcpyHtoDAsync") == copies + 1);
  CHECK(gpu.fake.calls("cuMemHostRegister") == 0);
  outputs = {ints(y)};
  x = {0, 0, 0, -40};
  const int64_t before = gpu.counting.calls;
  CHECK(gpu.invoke({ints(x)}, outputs) == "ok");
  CHECK(y == Ints{31, 61, 91, 1});
  CHECK(gpu.counting.calls == before);
}

TEST_CASE("gpu: inputs that the caller keeps are not sent again") {
  Gpu gpu;
  CHECK(gpu.load(kStatic).message == "ok");
  Ints x = {1, 2, 3, 4}, y(4);
  std::vector<tern_tensor_t> outputs = {ints(y)};
  tern_tensor_t kept = ints(x);
  kept.owner = TERN_OWNER_KEPT;
  CHECK(gpu.invoke({kept}, outputs) == "ok");  // there was no invocation before
  const int copies = gpu.fake.calls("cuMemcpyHtoDAsync");
  y.assign(4, 0);
  CHECK(gpu.invoke({kept}, outputs) == "ok");
  CHECK(y == Ints{34, 67, 100, 133});
  CHECK(gpu.fake.calls("cuMemcpyHtoDAsync") == copies);
  Ints other = {2, 2, 2, 2};
  tern_tensor_t elsewhere = ints(other);
  elsewhere.owner = TERN_OWNER_KEPT;  // not the memory of the invocation before
  CHECK(gpu.invoke({elsewhere}, outputs) == "ok");
  CHECK(y == Ints{37, 67, 97, 127});
}

TEST_CASE("gpu: sizes that depend on data are read back; within the bounds nothing is allocated") {
  Gpu gpu;
  const tern_dim_bound_t bound = {"N", 100};
  tern_session_desc_t desc = {};
  desc.bounds = &bound;
  desc.bound_count = 1;
  CHECK(gpu.load(kDynamic, desc).message == "ok");
  std::vector<tern_tensor_t> outputs(2);
  int64_t before = 0;
  for (int32_t n : {4, 100, 7, 50}) {
    Ints x(static_cast<size_t>(n), n);
    x[0] = 2;
    CHECK(gpu.invoke({ints(x)}, outputs) == "ok");
    CHECK(outputs[0].dims[0] == 4);
    CHECK(*static_cast<int32_t*>(outputs[0].data) == 4);
    CHECK(ints_of(outputs[1])[static_cast<size_t>(n) - 1] == n + 5);
    if (before) CHECK(gpu.counting.calls == before);  // the first one makes y's memory and the driver's
    before = gpu.counting.calls;
  }
  // Past the bound everything grows.
  Ints x(200, 1);
  CHECK(gpu.invoke({ints(x)}, outputs) == "ok");
  CHECK(ints_of(outputs[1]) == Ints(200, 6));
}

TEST_CASE("gpu: a donated output") {
  Gpu gpu;
  CHECK(gpu.load(kAppend).message == "ok");
  Ints memory = {1, 2, 3, 0}, x = {9};
  tern_tensor_t past = ints(memory);
  past.dims[0] = 3;
  std::vector<tern_tensor_t> outputs = {ints(memory)};
  CHECK(gpu.invoke({past, ints(x)}, outputs) == "ok");
  CHECK(memory == Ints{1, 2, 3, 9});
  CHECK(outputs[0].dims[0] == 4);
  std::vector<tern_tensor_t> fresh(1);
  CHECK(gpu.invoke({past, ints(x)}, fresh) == "ok");
  CHECK(ints_of(fresh[0]) == Ints{1, 2, 3, 9});
}

TEST_CASE("gpu: code that the device does not take is passed over") {
  {
    Gpu gpu;
    gpu.fake.fail("cuModuleLoadDataEx", 1, tern::cuda::CUDA_ERROR_NO_BINARY_FOR_GPU);
    CHECK(gpu.load(kStatic).message == "ok");
    CHECK(std::string(tern_session_executable_name(gpu.session, 0)) == "older");
    Ints x = {1, 2, 3, 4};
    std::vector<tern_tensor_t> outputs(1);
    CHECK(gpu.invoke({ints(x)}, outputs) == "ok");
    CHECK(ints_of(outputs[0]) == Ints{34, 67, 100, 133});
  }
  Gpu gpu;
  std::string text = kStatic;
  for (size_t at = 0; (at = text.find(".entry affine", at)) != std::string::npos;) text.erase(at, 13);
  const Outcome outcome = gpu.load(text);
  CHECK(outcome.code == TERN_STATUS_NOT_FOUND);
  CHECK(outcome.message.find("While looking up the kernel 'affine'\n - While loading executable 'newer'") !=
        std::string::npos);
  CHECK(outcome.message.find("While loading executable 'older'") != std::string::npos);
}

TEST_CASE("gpu: failures say what is wrong") {
  SUBCASE("PTX without trust") {
    Gpu gpu;
    CHECK(gpu.load(kStatic, {}, TERN_CODE_REFUSE).code == TERN_STATUS_PERMISSION_DENIED);
  }
  SUBCASE("damaged code is not passed over") {
    Gpu gpu;
    std::string text = kStatic;
    text.replace(text.find(".version"), 8, ".vision_");
    const Outcome outcome = gpu.load(text);
    CHECK(outcome.code == TERN_STATUS_MALFORMED);
    CHECK(outcome.message.find("fake ptxas: no .version") != std::string::npos);
  }
  SUBCASE("conditions") {
    Gpu gpu;
    std::string text = kStatic;
    text.replace(text.find(">= 80"), 5, "<= 70");
    text.replace(text.find("older ptx segment 1"), 19, "older ptx segment 1 if cuda_wgmma == 7");
    const Outcome outcome = gpu.load(text);
    CHECK(outcome.message ==
          "Kernel 'add' has no variant that this device can run.\n"
          " - Executable 'newer' needs cuda_compute_capability to be at most 70; it is 90\n"
          " - Executable 'older' needs cuda_wgmma to be exactly 7; it is 1");
    CHECK(Outcome(tern_module_check_device(gpu.module, gpu.device)).message == outcome.message);
  }
  SUBCASE("another driver") {
    Gpu gpu;
    CHECK(gpu.load(kStatic).message == "ok");
    TERN_REQUIRE_OK(tern_module_check_device(gpu.module, gpu.device));
    Runtime cpu;
    CHECK(Outcome(tern_module_check_device(gpu.module, cpu.device)).message ==
          "The module has no program for this device (driver 'cpu').\n - It has one for Cuda");
  }
}

TEST_CASE("the null driver takes GPU programs") {
  Gpu gpu("null");
  CHECK(gpu.load(kStatic).message == "ok");
  CHECK(std::string(tern_session_executable_name(gpu.session, 0)) == "older");
  Ints x(4);
  std::vector<tern_tensor_t> outputs(1);
  CHECK(gpu.invoke({ints(x)}, outputs) == "ok");
}

TEST_CASE("GPU entries are verified") {
  const auto load = [](const char* from, const char* to) {
    Gpu gpu;
    std::string text = kStatic;
    const size_t at = text.find(from);
    REQUIRE(at != std::string::npos);
    text.replace(at, std::strlen(from), to);
    return gpu.load(text).message;
  };
  CHECK(load("\"affine\" workgroup 64 1 1\nexec", "\"affine\"\nexec") ==
        "Executable 'newer' has 2 entries and says of 1 how they run.");
  CHECK(load("\"add\" workgroup 64 1 1", "\"add\" workgroup 64 0 1") ==
        "An entry of executable 'newer' has an impossible workgroup (64 x 0 x 1, 0 bytes).");
  CHECK(load("\"add\" workgroup 64 1 1", "\"add\" workgroup 64 2048 1") ==
        "An entry of executable 'newer' has an impossible workgroup (64 x 2048 x 1, 0 bytes).");
  CHECK(load("\"add\" workgroup 64 1 1", "\"add\" workgroup 64 1 1 memory 4000000000") ==
        "An entry of executable 'newer' has an impossible workgroup (64 x 1 x 1, 4000000000 bytes).");
  CHECK(load("newer ptx", "newer spirv") == "Executable 'newer' has 2 entries and 0 offsets.");
  CHECK(
      load("newer ptx segment 1 if cuda_compute_capability >= 80 entries \"add\" workgroup 64 1 1 \"affine\"",
           "newer spirv segment 1 entries \"add\"@4 workgroup 64 1 1 \"affine\"@4") ==
      "Entry (1) of executable 'newer' begins at an impossible offset.");
  const char* const kAdd = "\"add\" workgroup 64 1 1";
  const std::string takes =
      std::string(kAdd) + " flags 4 tensor 0 bytes 4 offset 4 axis 1 4 1 flags 1 axis 4 1 4";
  CHECK(load(kAdd, (takes.substr(0, takes.find("axis 1")) + "axis 0 4 1 flags 1 axis 4 1 4").c_str()) ==
        "ok");
  CHECK(load(kAdd, takes.c_str())
            .starts_with("Tensor (0) of the executable, of its entry (0), is impossible."));
  CHECK(load(kAdd, (std::string(kAdd) + " tensor 0 bytes 4 axis 4 1 4").c_str()) ==
        "A tensor of an entry of executable 'newer' is impossible.");
  CHECK(load(kAdd, (std::string(kAdd) + " flags 4 tensor 0 bytes 4").c_str()) ==
        "A tensor of an entry of executable 'newer' is impossible.");
  CHECK(load(kAdd, (std::string(kAdd) + " flags 4").c_str()) ==
        "Entry (0) of executable 'newer' takes tensors and declares none.");
  CHECK(load("newer ptx segment 1 if cuda_compute_capability >= 80 entries \"add\" workgroup 64 1 1",
             "newer elf segment 1 entries \"add\"@0 workgroup 64 1 1 tensor 0 bytes 2 axis 1 1 1") ==
        "Executable 'newer' declares tensors, which its format does not have.");
  // Flags of a newer compiler: the entry cannot be run as it wants; the next executable can.
  CHECK(load("\"add\" workgroup 64 1 1 \"affine\"", "\"add\" workgroup 64 1 1 flags 64 \"affine\"") == "ok");
}
