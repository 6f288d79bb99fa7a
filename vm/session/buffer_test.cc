// Inputs and outputs in buffers of the device: on the CPU, and on a device with memory of its own.
#include "tests/support/gpu_session_fixture.h"

using namespace tern::test;

namespace {

struct Buffer {
  explicit Buffer(tern_device_t* device, uint64_t size = 1024) {
    TERN_REQUIRE_OK(tern_buffer_create(device, size, &buffer));
  }
  ~Buffer() { tern_buffer_release(buffer); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  void write(const Ints& values, uint64_t offset = 0) {
    TERN_REQUIRE_OK(tern_buffer_write(buffer, offset, values.data(), values.size() * 4));
  }
  Ints read(size_t count, uint64_t offset = 0) {
    Ints values(count);
    TERN_REQUIRE_OK(tern_buffer_read(buffer, offset, values.data(), count * 4));
    return values;
  }
  tern_buffer_t* buffer = nullptr;
};

tern_tensor_t in(const Buffer& buffer, int64_t count, uint64_t offset = 0) {
  tern_tensor_t tensor = {};
  tensor.dtype = TERN_DTYPE_I32;
  tensor.rank = 1;
  tensor.dims[0] = count;
  tensor.buffer = buffer.buffer;
  tensor.buffer_offset = offset;
  return tensor;
}

}  // namespace

TEST_CASE("buffers: an output is the next input, and nothing goes over the bus") {
  Gpu gpu;
  CHECK(gpu.load(kStatic).message == "ok");
  Buffer a(gpu.device), b(gpu.device);
  a.write({1, 2, 3, 4}, 256);
  std::vector<tern_tensor_t> first = {in(b, 0)}, second = {in(a, 0)};
  CHECK(gpu.invoke({in(a, 4, 256)}, first) == "ok");
  CHECK(first[0].dims[0] == 4);
  CHECK(first[0].size == 16);
  const int sent = gpu.fake.calls("cuMemcpyHtoDAsync"), fetched = gpu.fake.calls("cuMemcpyDtoHAsync");
  const int64_t before = gpu.counting.calls;
  CHECK(gpu.invoke({first[0]}, second) == "ok");
  CHECK(gpu.counting.calls == before);
  CHECK(tern_session_stats(gpu.session).transfer_ns == 0);
  CHECK(gpu.fake.calls("cuMemcpyHtoDAsync") == sent);
  CHECK(gpu.fake.calls("cuMemcpyDtoHAsync") == fetched);
  CHECK(b.read(4) == Ints{34, 67, 100, 133});
  CHECK(a.read(4) == Ints{133, 262, 391, 520});
  CHECK(a.read(4, 256) == Ints{1, 2, 3, 4});
}

TEST_CASE("buffers: beside tensors of the host") {
  Gpu gpu;
  CHECK(gpu.load(kStatic).message == "ok");
  Buffer a(gpu.device);
  Ints x = {1, 2, 3, 4}, y(4);
  std::vector<tern_tensor_t> in_buffer = {in(a, 0)}, on_host = {ints(y)};
  tern_tensor_t kept = ints(x);
  CHECK(gpu.invoke({kept}, in_buffer) == "ok");
  CHECK(gpu.invoke({in(a, 4)}, on_host) == "ok");
  CHECK(y == Ints{133, 262, 391, 520});
  kept.owner = TERN_OWNER_KEPT;  // the invocation before had a buffer: the data is sent
  CHECK(gpu.invoke({kept}, on_host) == "ok");
  CHECK(y == Ints{34, 67, 100, 133});
  in_buffer[0].buffer = nullptr;  // the session's memory again
  CHECK(gpu.invoke({kept}, in_buffer) == "ok");
  CHECK(ints_of(in_buffer[0]) == Ints{34, 67, 100, 133});
}

TEST_CASE("buffers: a donated output grows where it is") {
  Gpu gpu;
  CHECK(gpu.load(kAppend).message == "ok");
  Buffer cache(gpu.device);
  Ints x = {9};
  for (int64_t n = 0; n < 5; ++n) {
    std::vector<tern_tensor_t> outputs = {in(cache, 0, 256)};
    x[0] = static_cast<int32_t>(n * n);
    CHECK(gpu.invoke({in(cache, n, 256), ints(x)}, outputs) == "ok");
    CHECK(outputs[0].dims[0] == n + 1);
  }
  CHECK(cache.read(5, 256) == Ints{0, 1, 4, 9, 16});
  std::vector<tern_tensor_t> other = {in(cache, 0, 512)};
  CHECK(gpu.invoke({in(cache, 5, 256), ints(x)}, other) == "ok");
  CHECK(cache.read(6, 512) == Ints{0, 1, 4, 9, 16, 16});
}

TEST_CASE("buffers: memory that the application has on the device") {
  Gpu gpu;
  CHECK(gpu.load(kStatic).message == "ok");
  Buffer made(gpu.device), out(gpu.device);
  tern_buffer_t* imported = nullptr;
  TERN_REQUIRE_OK(tern_buffer_import(gpu.device, tern_buffer_address(made.buffer) + 512, 256, &imported));
  CHECK(tern_buffer_address(imported) == tern_buffer_address(made.buffer) + 512);
  made.write({4, 3, 2, 1}, 512);
  tern_tensor_t x = in(made, 4);
  x.buffer = imported;
  std::vector<tern_tensor_t> outputs = {in(out, 0)};
  CHECK(gpu.invoke({x}, outputs) == "ok");
  CHECK(out.read(4) == Ints{43, 70, 97, 124});
  // The same place under another name.
  outputs = {in(made, 0, 512)};
  CHECK(gpu.invoke({x}, outputs) == "Output 'y' lies in the memory of input 'x'.");
  tern_buffer_release(imported);
  CHECK(made.read(4, 512) == Ints{4, 3, 2, 1});
  int32_t host[4] = {};
  const auto address = reinterpret_cast<uintptr_t>(host) / 16 * 16;
  const Outcome refused(tern_buffer_import(gpu.device, address, 16, &imported));
  CHECK(refused.code == TERN_STATUS_INVALID_ARGUMENT);
  CHECK(refused.message.find("is not of memory of the CUDA device (0)") != std::string::npos);
  CHECK(imported == nullptr);
  const Outcome crooked(tern_buffer_import(gpu.device, tern_buffer_address(made.buffer) + 4, 16, &imported));
  CHECK(crooked.message.find("is not a multiple of 16") != std::string::npos);
}

TEST_CASE("buffers: what does not fit is refused") {
  Gpu gpu, other;
  CHECK(gpu.load(kStatic).message == "ok");
  Buffer a(gpu.device), b(gpu.device), small(gpu.device, 8), foreign(other.device);
  const auto invoke = [&](tern_tensor_t x, tern_tensor_t y) {
    std::vector<tern_tensor_t> outputs = {y};
    return gpu.invoke({x}, outputs);
  };
  CHECK(invoke(in(a, 4), in(b, 0)) == "ok");
  CHECK(invoke(in(foreign, 4), in(b, 0)) ==
        "Input 'x' lies in a buffer of another device than the session's.");
  CHECK(invoke(in(a, 4), in(foreign, 0)) ==
        "Output 'y' lies in a buffer of another device than the session's.");
  CHECK(invoke(in(a, 4, 64), in(b, 0)) ==
        "Input 'x' begins at byte (64) of its buffer, which is not a multiple of 256.");
  CHECK(invoke(in(small, 4), in(b, 0)) ==
        "Input 'x' needs 16 bytes; its buffer of (8) bytes has fewer from byte (0) on.");
  CHECK(invoke(in(a, 4), in(b, 0, 1024)) ==
        "Output 'y' needs 16 bytes; its buffer of (1024) bytes has fewer from byte (1024) on.");
  CHECK(invoke(in(a, 4, uint64_t{1} << 63), in(b, 0)).find("has fewer from byte") != std::string::npos);
  CHECK(invoke(in(a, 4), in(a, 0)) == "Output 'y' lies in the memory of input 'x'.");
  CHECK(invoke(in(a, 3), in(b, 0)) == "Input 'x' has the shape 3; the model expects 4.");
  tern_buffer_t* none = a.buffer;
  CHECK(Outcome(tern_buffer_create(gpu.device, 0, &none)).code == TERN_STATUS_OUT_OF_RANGE);
  CHECK(none == nullptr);
  CHECK(Outcome(tern_buffer_create(gpu.device, UINT64_MAX, &none)).code == TERN_STATUS_OUT_OF_RANGE);
  CHECK(Outcome(tern_buffer_create(nullptr, 4, &none)).code == TERN_STATUS_INVALID_ARGUMENT);
  Ints values(4);
  CHECK(Outcome(tern_buffer_read(a.buffer, 1020, values.data(), 16)).code == TERN_STATUS_OUT_OF_RANGE);
  CHECK(Outcome(tern_buffer_write(a.buffer, UINT64_MAX, values.data(), 4)).code == TERN_STATUS_OUT_OF_RANGE);
}

TEST_CASE("buffers: on the CPU they are host memory") {
  std::string text = kAppend;
  text.replace(text.find("program cuda"), 12, "program any");
  Loaded f(text);
  Buffer cache(f.runtime.device);
  CHECK(tern_buffer_size(cache.buffer) == 1024);
  Ints x = {7};
  std::vector<tern_tensor_t> outputs = {in(cache, 0)};
  CHECK(f.invoke({in(cache, 0), ints(x)}, outputs).message == "ok");
  CHECK(f.invoke({in(cache, 1), ints(x)}, outputs).message == "ok");
  CHECK(cache.read(2) == Ints{7, 7});
  auto* memory = reinterpret_cast<int32_t*>(tern_buffer_address(cache.buffer));
  CHECK(memory[1] == 7);
  // A tensor of the host in the buffer's memory is the same place.
  tern_tensor_t past = in(cache, 2);
  past.buffer = nullptr;
  past.data = memory;
  past.size = 8;
  CHECK(f.invoke({past, ints(x)}, outputs).message == "ok");
  CHECK(cache.read(3) == Ints{7, 7, 7});
  tern_buffer_t* imported = nullptr;
  TERN_REQUIRE_OK(tern_buffer_import(f.runtime.device, reinterpret_cast<uintptr_t>(memory), 12, &imported));
  past = in(cache, 3);
  past.buffer = imported;
  outputs = {in(cache, 0, 256)};
  CHECK(f.invoke({past, ints(x)}, outputs).message == "ok");
  CHECK(cache.read(4, 256) == Ints{7, 7, 7, 7});
  tern_buffer_release(imported);
}
