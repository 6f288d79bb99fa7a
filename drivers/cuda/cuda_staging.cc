// Host transfers: chunks go through two pinned halves in turn, so that the host's copy of one overlaps with
// the device's of the other.
#include <string.h>

#include "drivers/cuda/cuda_device.h"

namespace tern::cuda {
namespace {

tern_status_t prepare(Device* device) {
  Staging& staging = device->staging;
  for (CUevent& event : staging.used) {
    if (!event) TERN_CUDA_TRY(device, EventCreate, &event, CU_EVENT_DISABLE_TIMING);
  }
  if (staging.memory) return TERN_OK;
  void* memory = nullptr;
  TERN_CUDA_TRY(device, MemHostAlloc, &memory, 2 * kStagingHalf, CU_MEMHOSTALLOC_PORTABLE);
  staging.memory = static_cast<char*>(memory);
  return TERN_OK;
}

uint64_t chunk_of(uint64_t length, uint64_t offset) {
  return length - offset < kStagingHalf ? length - offset : kStagingHalf;
}

}  // namespace

tern_status_t cuda_staging_write(Device* device, CUdeviceptr target, const void* source, uint64_t length) {
  ContextScope scope(device);
  Staging& staging = device->staging;
  MutexLock lock(&staging.mutex);
  TERN_RETURN_IF_ERROR(prepare(device));
  int half = 0;
  for (uint64_t offset = 0; offset < length; offset += kStagingHalf, half ^= 1) {
    const uint64_t chunk = chunk_of(length, offset);
    char* memory = staging.memory + static_cast<uint64_t>(half) * kStagingHalf;
    TERN_CUDA_TRY(device, EventSynchronize, staging.used[half]);  // an event never recorded is done
    memcpy(memory, static_cast<const char*>(source) + offset, chunk);
    TERN_CUDA_TRY(device, MemcpyHtoDAsync, target + offset, memory, chunk, device->stream);
    TERN_CUDA_TRY(device, EventRecord, staging.used[half], device->stream);
  }
  return TERN_OK;
}

tern_status_t cuda_staging_read(Device* device, void* target, CUdeviceptr source, uint64_t length) {
  ContextScope scope(device);
  Staging& staging = device->staging;
  MutexLock lock(&staging.mutex);
  TERN_RETURN_IF_ERROR(prepare(device));
  // Chunk n is asked for before chunk n - 1 is taken.
  int half = 0;
  for (uint64_t offset = 0; offset < length + kStagingHalf; offset += kStagingHalf, half ^= 1) {
    if (offset < length) {
      char* memory = staging.memory + static_cast<uint64_t>(half) * kStagingHalf;
      TERN_CUDA_TRY(device, MemcpyDtoHAsync, memory, source + offset, chunk_of(length, offset),
                    device->stream);
      TERN_CUDA_TRY(device, EventRecord, staging.used[half], device->stream);
    }
    if (offset == 0) continue;
    const uint64_t before = offset - kStagingHalf;
    TERN_CUDA_TRY(device, EventSynchronize, staging.used[half ^ 1]);
    memcpy(static_cast<char*>(target) + before,
           staging.memory + static_cast<uint64_t>(half ^ 1) * kStagingHalf, chunk_of(length, before));
  }
  return TERN_OK;
}

void cuda_staging_destroy(Device* device) {
  const Symbols& symbols = device->symbols;
  for (CUevent event : device->staging.used) {
    if (event) (void)symbols.EventDestroy(event);
  }
  if (device->staging.memory) (void)symbols.MemFreeHost(device->staging.memory);
}

}  // namespace tern::cuda
