// A device with memory of its own for tests of sessions: the cuda driver on the tests' libcuda
// (drivers/cuda/fake), whose kernels are the conformance suite's.
#pragma once

#include <dlfcn.h>

#include "drivers/cuda/cuda_driver.h"
#include "drivers/cuda/cuda_symbols.h"
#include "drivers/null/null_driver.h"
#include "tests/support/vm_fixture.h"

namespace tern::test {

// y = (x + w) * 3 + 1 over 4 elements.
inline constexpr const char* kStatic = R"(
function main
  input x i32 [4]
  output y i32 [4]
segment constants i32 10 20 30 40
segment code text ".version 7.5\n.entry add(\n.entry affine(\n"
executable newer ptx segment 1 if cuda_compute_capability >= 80 entries "add" workgroup 64 1 1 "affine" workgroup 64 1 1
executable older ptx segment 1 entries "add" workgroup 64 1 1 "affine" workgroup 64 1 1
source "add1" "Add"
program cuda
  block 0
  slot arena 16
  slot input 0
  slot output 0
  slot constants 0
  kernel add (read, read, write) params 1 variants 0:0 1:0
  kernel affine (read, write) params 3 variants 0:1 1:1
  list {
    dispatch add [s1 +0 16, s3 +0 16, s0 +0 16] params 4 grid 1 1 1 scratch 0 grid 1 1 1 scratch 0 source 0
    barrier
    dispatch affine [s0 +0 16, s2 +0 16] params 4 3 1 grid 1 1 1 scratch 0 grid 1 1 1 scratch 0
  }
  routine main {
    submit 0
    return
  }
  entry main
)";

// past [N] -> present [N+1], in place when the output has the input's memory.
inline constexpr const char* kAppend = R"(
symbol N min 0 max 100
function main
  input past i32 [N]
  input x i32 [1]
  output present i32 [?] donor 0
program cuda
  block 2
  slot input 0
  slot input 1
  slot output 0
  list {
    copy s0 +0 $0 to s2 +0 $0
  }
  list {
    copy s1 +0 4 to s2 +$0 4
  }
  routine main i 5 {
    load_symbol i0, N
    mul_imm i1, i0, 4
    param_store i1, $0
    add_imm i2, i0, 1
    output_dim 0, 0, i2
    mul_imm i3, i2, 4
    output_reserve 0, i3
    is_donated i4, 0
    jump_if i4, appended
    submit 0
  appended:
    submit 1
    return
  }
  entry main
)";

// The fake's own functions. Keeps the library loaded, so that its counts outlive devices.
struct Fake {
  void* library = dlopen(TERN_FAKE_CUDA, RTLD_NOW | RTLD_LOCAL);
  template <typename F>
  F* function(const char* name) {
    return reinterpret_cast<F*>(dlsym(library, name));
  }
  Fake() {
    REQUIRE_MESSAGE(library, "The fake libcuda cannot be opened: " TERN_FAKE_CUDA);
    function<void()>("fake_cuda_reset")();
  }
  ~Fake() { dlclose(library); }
  void fail(const char* name, int n, int error) {
    function<void(const char*, int, int)>("fake_cuda_fail")(name, n, error);
  }
  int calls(const char* name) { return function<int(const char*)>("fake_cuda_calls")(name); }
};

class Gpu {
 public:
  explicit Gpu(const char* driver = "cuda") {
    tern::cuda::cuda_symbols_set_library(TERN_FAKE_CUDA);
    const tern_instance_desc_t desc = {counting.allocator()};
    TERN_REQUIRE_OK(tern_instance_create(&desc, &instance));
    TERN_REQUIRE_OK(tern_cuda_driver_register(tern_instance_drivers(instance)));
    TERN_REQUIRE_OK(tern_null_driver_register(tern_instance_drivers(instance)));
    tern_device_desc_t device_desc = {};
    device_desc.driver = driver;
    tern_cuda_options_t options = {};
    options.cache_dir = "";  // what the fake links is for nobody else
    if (std::string_view(driver) == "cuda") device_desc.driver_options = &options;
    TERN_REQUIRE_OK(tern_device_create(instance, &device_desc, &device));
  }
  ~Gpu() {
    tern_session_destroy(session);
    tern_module_release(module);
    tern_device_release(device);
    tern_instance_destroy(instance);
    CHECK(counting.live == 0);
    tern::cuda::cuda_symbols_set_library(nullptr);
  }
  Outcome load(std::string_view text, tern_session_desc_t desc = {},
               tern_code_policy_t policy = TERN_CODE_TRUSTED) {
    bytes = std::make_unique<AlignedBytes>(assemble(text));
    tern_module_desc_t module_desc = {};
    module_desc.code_policy = policy;
    tern_status_t status =
        tern_module_load_memory(instance, bytes->data(), bytes->size(), &module_desc, &module);
    if (!status) status = tern_session_create(module, device, &desc, &session);
    return Outcome(status);
  }
  std::string invoke(const std::vector<tern_tensor_t>& inputs, std::vector<tern_tensor_t>& outputs) {
    const tern_invoke_t args = {inputs.data(), outputs.data(), static_cast<uint32_t>(inputs.size()),
                                static_cast<uint32_t>(outputs.size()), 0};
    return Outcome(tern_session_invoke(session, &args)).message;
  }

  Fake fake;
  CountingAllocator counting;
  std::unique_ptr<AlignedBytes> bytes;
  tern_instance_t* instance = nullptr;
  tern_device_t* device = nullptr;
  tern_module_t* module = nullptr;
  tern_session_t* session = nullptr;
};

inline tern_tensor_t ints(std::vector<int32_t>& values) {
  tern_tensor_t tensor = {};
  tensor.data = values.data();
  tensor.size = values.size() * 4;
  tensor.dtype = TERN_DTYPE_I32;
  tensor.rank = 1;
  tensor.dims[0] = static_cast<int64_t>(values.size());
  return tensor;
}
inline std::vector<int32_t> ints_of(const tern_tensor_t& tensor) {
  const auto* data = static_cast<const int32_t*>(tensor.data);
  return {data, data + tensor.dims[0]};
}
using Ints = std::vector<int32_t>;

}  // namespace tern::test
