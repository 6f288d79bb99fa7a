// The CUDA device: the primary context of one GPU, one stream on which everything is ordered, a memory pool,
// and the queue of what was submitted (cuda_queue.h). And the makers of its objects.
//
// All memory is used in the stream's order, so freeing a buffer needs no waiting: it is freed on the stream.
// What the host must not take away early (modules, imported memory, pinned words) is taken away after
// cuda_queue_drain.
#pragma once

#include "drivers/cuda/cuda_driver.h"
#include "drivers/cuda/cuda_queue.h"
#include "drivers/cuda/cuda_symbols.h"
#include "hal/base/host_sync.h"
#include "hal/device.h"

namespace tern::cuda {

// What the driver asks the GPU once.
struct Limits {
  int major, minor, driver_version;
  int multiprocessors;
  int threads;             // of a block
  int shared_memory;       // of a block, after opting in
  int integrated;          // host memory is device memory
  int pageable_access;     // kernels may use any host address
  int read_only_register;  // read-only host memory can be registered
  uint64_t memory;
};

// Two halves of pinned memory through which host transfers go. Made with the first transfer.
constexpr uint64_t kStagingHalf = 2 << 20;
struct Staging {
  tern_mutex_t mutex;
  char* memory;
  CUevent used[2];  // when the half may be used again
};

struct Device {
  tern_hal_device_t head;  // must be first
  Symbols symbols;
  CUdevice device;
  CUcontext context;  // the primary one; retained
  CUstream stream;
  CUmemoryPool pool;        // null: no stream-ordered memory, plain allocations
  CUdeviceptr placeholder;  // a little device memory for nodes whose addresses are not known yet
  Limits limits;
  tern_cuda_options_t options;
  Queue queue;
  Staging staging;
};

inline Device* cast_device(tern_hal_device_t* device) {
  return reinterpret_cast<Device*>(device);
}

// Makes the device's context the calling thread's for a scope.
class ContextScope {
 public:
  explicit ContextScope(Device* device) : symbols_(device->symbols) {
    result_ = symbols_.CtxPushCurrent(device->context);
  }
  ~ContextScope() {
    CUcontext popped;
    if (result_ == CUDA_SUCCESS) (void)symbols_.CtxPopCurrent(&popped);
  }
  ContextScope(const ContextScope&) = delete;
  ContextScope& operator=(const ContextScope&) = delete;

 private:
  const Symbols& symbols_;
  CUresult result_;
};

// cuda_status for a device: a result that makes the context unusable marks the device as lost.
TERN_MUST_USE tern_status_t cuda_device_status(Device* device, CUresult result, const char* call);

// Calls a row of cuda_symbols.def and returns from the calling function if it fails.
#define TERN_CUDA_TRY(device, member, ...) \
  TERN_RETURN_IF_ERROR(                    \
      ::tern::cuda::cuda_device_status(device, (device)->symbols.member(__VA_ARGS__), "cu" #member))

TERN_MUST_USE tern_status_t cuda_device_create(const tern_hal_device_desc_t* desc, tern_allocator_t allocator,
                                               tern_hal_device_t** out_device);

// cuda_buffer.cc
TERN_MUST_USE tern_status_t cuda_buffer_allocate(tern_hal_device_t* device, uint32_t memory, uint64_t size,
                                                 tern_hal_buffer_t** out_buffer);
TERN_MUST_USE tern_status_t cuda_buffer_import(tern_hal_device_t* device, const tern_hal_import_t* import,
                                               tern_hal_buffer_t** out_buffer);
// What kernels see.
CUdeviceptr cuda_buffer_address(const tern_hal_buffer_t* buffer);

// cuda_staging.cc: host copies through pinned memory; both return when the host's side is done.
TERN_MUST_USE tern_status_t cuda_staging_write(Device* device, CUdeviceptr target, const void* source,
                                               uint64_t length);
TERN_MUST_USE tern_status_t cuda_staging_read(Device* device, void* target, CUdeviceptr source,
                                              uint64_t length);
void cuda_staging_destroy(Device* device);

}  // namespace tern::cuda
