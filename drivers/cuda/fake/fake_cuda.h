// A libcuda.so.1 on host memory, for tests of the driver's logic where there is no GPU.
//
// It is stricter and more awkward than a GPU: work put on the stream runs late (when somebody waits or asks),
// nodes of a graph that have no edge between them run in the opposite order of their recording, device memory
// starts as rubbish, an access outside known memory makes the context unusable, and calls without a current
// context fail. "Kernels" are host functions in fake_kernels.cc, found by the names of entries in the PTX
// text.
//
// Tests steer it through the functions at the end (dlsym).
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "drivers/cuda/cuda_api.h"

namespace tern::cuda {

#define TERN_CUDA_SYMBOL(member, name, parameters) \
  extern "C" __attribute__((visibility("default"))) CUresult name parameters;
#define TERN_CUDA_OPTIONAL(member, name, parameters) \
  extern "C" __attribute__((visibility("default"))) CUresult name parameters;
#include "drivers/cuda/cuda_symbols.def"
#undef TERN_CUDA_SYMBOL
#undef TERN_CUDA_OPTIONAL

namespace fake {

// What a kernel's host function is given. Blocks run one after the other, each as one call.
struct Block {
  long long index;  // linear
  unsigned threads;
  void* shared;
};
struct Kernel {
  const char* name;
  unsigned arg_count;
  void (*run)(const unsigned long long* args, const Block& block);
  unsigned cluster = 1;  // workgroups, a divisor of every grid
};
const Kernel* find_kernel(const std::string& name);

// One launch with its arguments copied.
struct Launch {
  const Kernel* kernel;
  unsigned grid[3], block[3], shared;
  std::vector<unsigned long long> args;
};
CUresult check_launch(const Launch& launch);
Launch make_launch(CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                   unsigned bz, unsigned shared, void** params);
void run(const Launch& launch);

// Copies and fills of the stream; outside known memory they make the context unusable.
void copy(CUdeviceptr target, CUdeviceptr source, size_t bytes);
void fill(CUdeviceptr target, unsigned value, unsigned element, size_t count);
bool is_known(CUdeviceptr address, size_t bytes);
// Which call made the memory: nodes of an executable graph cannot be patched from one kind to another.
enum class Memory { kUnknown, kPlain, kPool, kHost };
Memory kind_of(CUdeviceptr address);

// Puts work on the stream.
void enqueue(std::function<void()> work);
void set_sticky(CUresult error);

// The beginning of every entry point: counts the call; returns what it must fail with.
class Enter {
 public:
  explicit Enter(const char* name, bool needs_context = true);
  ~Enter();
  CUresult error() const { return error_; }

 private:
  CUresult error_;
};
#define FAKE_ENTER(name, ...)                            \
  ::tern::cuda::fake::Enter enter_(name, ##__VA_ARGS__); \
  if (enter_.error() != CUDA_SUCCESS) return enter_.error()

}  // namespace fake

// For tests. Counts and planned failures are those of all devices.
extern "C" __attribute__((visibility("default"))) int fake_cuda_calls(const char* name);
// The n-th call of `name` from now on (1: the next) returns `error`; sticky ones stay.
extern "C" __attribute__((visibility("default"))) void fake_cuda_fail(const char* name, int n,
                                                                      CUresult error);
// Value of a device attribute instead of the default.
extern "C" __attribute__((visibility("default"))) void fake_cuda_attribute(int attribute, int value);
extern "C" __attribute__((visibility("default"))) int fake_cuda_programmatic_edges(void);
// Bytes that are allocated on the device, objects (modules, graphs, events, …) that are not destroyed.
extern "C" __attribute__((visibility("default"))) long long fake_cuda_live(void);
extern "C" __attribute__((visibility("default"))) void fake_cuda_reset(void);

}  // namespace tern::cuda
