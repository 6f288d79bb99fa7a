// For tests of the VM: modules from .tvm text on a device, and kernels as plain functions, so that no
// compiler is needed.
#pragma once

#include <doctest/doctest.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "schemas/abi/kernel_abi.h"
#include "tern/tern.h"
#include "vm/text/text.h"

namespace tern::test {

// Counts what is allocated and can fail the n-th call.
struct CountingAllocator {
  int64_t calls = 0, live = 0, fail_at = -1;
  size_t largest = SIZE_MAX;  // what is larger fails
  tern_allocator_t allocator() {
    return {this,
            [](void* self, size_t size, size_t alignment) -> void* {
              auto* counting = static_cast<CountingAllocator*>(self);
              if (__atomic_fetch_add(&counting->calls, 1, __ATOMIC_RELAXED) == counting->fail_at ||
                  size > counting->largest) {
                return nullptr;
              }
              void* memory = nullptr;
              if (posix_memalign(&memory, alignment < sizeof(void*) ? sizeof(void*) : alignment, size))
                return nullptr;
              std::memset(memory, 0xa5, size);
              __atomic_fetch_add(&counting->live, 1, __ATOMIC_RELAXED);
              return memory;
            },
            [](void* self, void* memory, size_t) {
              __atomic_fetch_sub(&static_cast<CountingAllocator*>(self)->live, 1, __ATOMIC_RELAXED);
              std::free(memory);
            }};
  }
};

// Takes a status apart, so that CHECK can print it.
struct Outcome {
  tern_status_code_t code;
  std::string message;
  explicit Outcome(tern_status_t status)
      : code(tern_status_code(status)), message(status ? tern_status_message(status) : "ok") {
    tern_status_free(status);
  }
};

#define TERN_REQUIRE_OK(expression)                   \
  do {                                                \
    const ::tern::test::Outcome outcome_(expression); \
    INFO(outcome_.message);                           \
    REQUIRE(outcome_.code == TERN_STATUS_OK);         \
  } while (0)

// Bytes at a 64-byte boundary, as tern_module_load_memory wants them.
class AlignedBytes {
 public:
  explicit AlignedBytes(const std::vector<uint8_t>& bytes) : size_(bytes.size()) {
    if (posix_memalign(&data_, 4096, size_ + 1)) std::abort();
    if (size_) std::memcpy(data_, bytes.data(), size_);
  }
  ~AlignedBytes() { std::free(data_); }
  AlignedBytes(const AlignedBytes&) = delete;
  uint8_t* data() { return static_cast<uint8_t*>(data_); }
  size_t size() const { return size_; }

 private:
  void* data_ = nullptr;
  size_t size_;
};

inline std::vector<uint8_t> assemble(std::string_view text) {
  vm::ModuleFile file;
  std::string error;
  const bool good = vm::assemble_module(text, &file, &error);
  INFO(error);
  REQUIRE(good);
  return vm::pack_module(file);
}

// Kernels for test modules. All are elementwise over f32: one tile an element. add: bindings a, b, out;
// scale: bindings in, out, param factor; gather: i64 index per element, checked.
inline int32_t add_kernel(const tern_kernel_args_t* args, int64_t begin, int64_t end, void*, int64_t) {
  for (int64_t i = begin; i < end; ++i) {
    static_cast<float*>(args->bindings[2])[i] =
        static_cast<float*>(args->bindings[0])[i] + static_cast<float*>(args->bindings[1])[i];
  }
  return TERN_KERNEL_OK;
}
inline int32_t scale_kernel(const tern_kernel_args_t* args, int64_t begin, int64_t end, void*, int64_t) {
  for (int64_t i = begin; i < end; ++i) {
    static_cast<float*>(args->bindings[1])[i] =
        static_cast<float*>(args->bindings[0])[i] * static_cast<float>(args->params[0]);
  }
  return TERN_KERNEL_OK;
}
inline int32_t bad_index_kernel(const tern_kernel_args_t*, int64_t, int64_t, void*, int64_t) {
  return TERN_KERNEL_INDEX_OUT_OF_RANGE;
}
// Writes the number of positive elements (params[0] elements) to an i64.
inline int32_t count_kernel(const tern_kernel_args_t* args, int64_t, int64_t, void*, int64_t) {
  int64_t count = 0;
  for (int64_t i = 0; i < args->params[0]; ++i) count += static_cast<float*>(args->bindings[0])[i] > 0;
  *static_cast<int64_t*>(args->bindings[1]) = count;
  return TERN_KERNEL_OK;
}
constexpr tern_static_kernel_t kTestKernels[] = {
    {"add", add_kernel}, {"scale", scale_kernel}, {"bad_index", bad_index_kernel}, {"count", count_kernel}};
constexpr uint32_t kTestKernelCount = 4;

// An instance with the cpu driver and one device.
class Runtime {
 public:
  explicit Runtime(tern_allocator_t allocator = {}) {
    const tern_instance_desc_t desc = {allocator};
    TERN_REQUIRE_OK(tern_instance_create(&desc, &instance));
    TERN_REQUIRE_OK(tern_cpu_driver_register(tern_instance_drivers(instance)));
    TERN_REQUIRE_OK(tern_device_create(instance, nullptr, &device));
  }
  ~Runtime() {
    tern_device_release(device);
    tern_instance_destroy(instance);
  }
  tern_instance_t* instance = nullptr;
  tern_device_t* device = nullptr;
};

// A module from text and a session of it.
class Loaded {
 public:
  explicit Loaded(std::string_view text, tern_session_desc_t desc = {}) : bytes_(assemble(text)) {
    desc.static_kernels = kTestKernels;
    desc.static_kernel_count = kTestKernelCount;
    TERN_REQUIRE_OK(
        tern_module_load_memory(runtime.instance, bytes_.data(), bytes_.size(), nullptr, &module));
    TERN_REQUIRE_OK(tern_session_create(module, runtime.device, &desc, &session));
  }
  ~Loaded() {
    tern_session_destroy(session);
    tern_module_release(module);
  }
  Outcome invoke(const std::vector<tern_tensor_t>& inputs, std::vector<tern_tensor_t>& outputs,
                 uint64_t timeout_ns = 0) {
    const tern_invoke_t args = {inputs.data(), outputs.data(), static_cast<uint32_t>(inputs.size()),
                                static_cast<uint32_t>(outputs.size()), timeout_ns};
    return Outcome(tern_session_invoke(session, &args));
  }
  Runtime runtime;
  tern_module_t* module = nullptr;
  tern_session_t* session = nullptr;

 private:
  AlignedBytes bytes_;
};

inline tern_tensor_t tensor_of(std::vector<float>& values, std::vector<int64_t> dims) {
  tern_tensor_t tensor = {};
  tensor.data = values.data();
  tensor.size = values.size() * sizeof(float);
  tensor.dtype = TERN_DTYPE_F32;
  tensor.rank = static_cast<uint32_t>(dims.size());
  for (size_t i = 0; i < dims.size(); ++i) tensor.dims[i] = dims[i];
  return tensor;
}
inline std::vector<float> floats_of(const tern_tensor_t& tensor) {
  int64_t count = 1;
  for (uint32_t i = 0; i < tensor.rank; ++i) count *= tensor.dims[i];
  const float* data = static_cast<const float*>(tensor.data);
  return {data, data + count};
}

}  // namespace tern::test
