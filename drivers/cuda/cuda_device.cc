#include "drivers/cuda/cuda_device.h"

#include <string.h>

#include "drivers/cuda/cuda_command_buffer.h"
#include "drivers/cuda/cuda_executable.h"
#include "drivers/cuda/cuda_status.h"
#include "hal/base/atomic.h"
#include "hal/point_semaphore.h"

namespace tern::cuda {
namespace {

constexpr uint64_t kDefaultPoolBytes = uint64_t{256} << 20;
constexpr uint32_t kDefaultSpin = 1000000;  // ns
constexpr uint64_t kPlaceholderBytes = 256;

enum CapabilityId : uint32_t {
#define TERN_CAPABILITY(id, name, meaning) name = id,
#include "schemas/abi/capabilities.def"
#undef TERN_CAPABILITY
};

// Fine for what is half made.
void destroy(tern_hal_device_t* base) {
  Device* device = cast_device(base);
  tern_allocator_t allocator = base->allocator;
  const Symbols& symbols = device->symbols;
  if (device->context) {
    ContextScope scope(device);
    if (device->stream) (void)symbols.StreamSynchronize(device->stream);
    cuda_queue_destroy(device);
    cuda_staging_destroy(device);
    if (device->placeholder && device->pool) (void)symbols.MemFreeAsync(device->placeholder, device->stream);
    if (device->placeholder && !device->pool) (void)symbols.MemFree(device->placeholder);
    if (device->stream) (void)symbols.StreamSynchronize(device->stream);
    if (device->stream) (void)symbols.StreamDestroy(device->stream);
    if (device->pool) (void)symbols.MemPoolDestroy(device->pool);
  }
  if (device->context) (void)symbols.DevicePrimaryCtxRelease(device->device);
  cuda_symbols_unload(&device->symbols);
  tern_release(allocator, device, sizeof(Device));
}

tern_status_t query_capability(tern_hal_device_t* base, uint32_t id, int64_t* out_value) {
  const Limits& limits = cast_device(base)->limits;
  switch (id) {
    case cuda_compute_capability:
      *out_value = limits.major * 10 + limits.minor;
      break;
    case cuda_sm_count:
      *out_value = limits.multiprocessors;
      break;
    case cuda_shared_memory:
      *out_value = limits.shared_memory;
      break;
    case cuda_driver_version:
      *out_value = limits.driver_version;
      break;
    case cuda_wgmma:
      *out_value = limits.major == 9 && limits.minor == 0 &&
                   cast_device(base)->symbols.TensorMapEncodeTiled != nullptr;
      break;
    default:
      break;
  }
  return TERN_OK;
}

tern_status_t wait_idle(tern_hal_device_t* device) {
  return cuda_queue_drain(cast_device(device));
}

constexpr tern_hal_device_vtable_t kVtable = {
    destroy,
    query_capability,
    cuda_buffer_allocate,
    cuda_buffer_import,
    cuda_executable_create,
    cuda_command_buffer_create,
    tern_hal_point_semaphore_create,
    cuda_queue_submit,
    wait_idle,
};

tern_status_t read_limits(Device* device) {
  Limits& limits = device->limits;
  const struct {
    int attribute;
    int* value;
  } rows[] = {
      {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, &limits.major},
      {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, &limits.minor},
      {CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, &limits.multiprocessors},
      {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, &limits.threads},
      {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, &limits.shared_memory},
      {CU_DEVICE_ATTRIBUTE_INTEGRATED, &limits.integrated},
      {CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS, &limits.pageable_access},
      {CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED, &limits.read_only_register},
  };
  for (const auto& row : rows)
    TERN_CUDA_TRY(device, DeviceGetAttribute, row.value, row.attribute, device->device);
  TERN_CUDA_TRY(device, DriverGetVersion, &limits.driver_version);
  size_t memory = 0;
  TERN_CUDA_TRY(device, DeviceTotalMem, &memory, device->device);
  limits.memory = memory;
  return TERN_OK;
}

tern_status_t make_pool(Device* device) {
  int supported = 0;
  TERN_CUDA_TRY(device, DeviceGetAttribute, &supported, CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED,
                device->device);
  if (!supported) return TERN_OK;
  CUmemPoolProps properties = {};
  properties.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, device->device};
  TERN_CUDA_TRY(device, MemPoolCreate, &device->pool, &properties);
  uint64_t keep = device->options.pool_bytes;
  TERN_CUDA_TRY(device, MemPoolSetAttribute, device->pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &keep);
  return TERN_OK;
}

tern_status_t open(Device* device, uint32_t ordinal) {
  TERN_RETURN_IF_ERROR(cuda_symbols_load(device->head.allocator, &device->symbols));
  TERN_CUDA_TRY(device, DeviceGet, &device->device, static_cast<int>(ordinal));
  TERN_RETURN_IF_ERROR(read_limits(device));
  CUcontext context = nullptr;
  TERN_CUDA_TRY(device, DevicePrimaryCtxRetain, &context, device->device);
  device->context = context;
  ContextScope scope(device);
  TERN_CUDA_TRY(device, StreamCreate, &device->stream, CU_STREAM_NON_BLOCKING);
  TERN_RETURN_IF_ERROR(make_pool(device));
  // Of the same kind as buffers: a copy's node cannot be patched from one kind of memory to another.
  if (device->pool) {
    TERN_CUDA_TRY(device, MemAllocFromPoolAsync, &device->placeholder, kPlaceholderBytes, device->pool,
                  device->stream);
  } else {
    TERN_CUDA_TRY(device, MemAlloc, &device->placeholder, kPlaceholderBytes);
  }
  return cuda_queue_create(device);
}

}  // namespace

tern_status_t cuda_device_status(Device* device, CUresult result, const char* call) {
  if (__builtin_expect(result == CUDA_SUCCESS, 1)) return TERN_OK;
  if (cuda_status_code(result) == TERN_STATUS_DEVICE_LOST) tern_atomic_store_i32(&device->head.lost, 1);
  return cuda_status(device->head.allocator, &device->symbols, result, call);
}

tern_status_t cuda_device_create(const tern_hal_device_desc_t* desc, tern_allocator_t allocator,
                                 tern_hal_device_t** out_device) {
  auto* device = static_cast<Device*>(tern_allocate(allocator, sizeof(Device), alignof(Device)));
  if (!device) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  memset(static_cast<void*>(device), 0, sizeof(*device));
  tern_hal_device_initialize(&device->head, &kVtable, allocator, tern_string_view("cuda"), desc);
  if (desc->driver_options) device->options = *static_cast<const tern_cuda_options_t*>(desc->driver_options);
  if (!device->options.pool_bytes) device->options.pool_bytes = kDefaultPoolBytes;
  if (!device->options.spin_ns) device->options.spin_ns = kDefaultSpin;
  tern_status_t status = open(device, desc->ordinal);
  if (!tern_status_is_ok(status)) {
    destroy(&device->head);
    return status;
  }
  *out_device = &device->head;
  return TERN_OK;
}

}  // namespace tern::cuda
