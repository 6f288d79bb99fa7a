// Memory: host memory in the guise of a device's, filled with rubbish, known by its ranges.
#include <stdlib.h>
#include <string.h>

#include "drivers/cuda/fake/fake_cuda.h"

namespace tern::cuda {
namespace fake {
namespace {
std::map<uintptr_t, size_t> ranges;  // all that kernels may touch
std::map<uintptr_t, Memory> kinds;
std::map<uintptr_t, size_t> registered;  // pages of it that are the host's
int pool_count = 0;
constexpr uintptr_t kPage = 4096;

void* take(size_t bytes, int rubbish, Memory kind) {
  void* memory = aligned_alloc(256, (bytes + 255) / 256 * 256);
  memset(memory, rubbish, bytes);
  ranges[reinterpret_cast<uintptr_t>(memory)] = bytes;
  kinds[reinterpret_cast<uintptr_t>(memory)] = kind;
  return memory;
}
bool give(uintptr_t address) {
  if (!ranges.erase(address)) return false;
  free(reinterpret_cast<void*>(address));
  return true;
}
}  // namespace

extern long long live_streams_and_events, live_graphs, live_modules;

bool is_known(CUdeviceptr address, size_t bytes) {
  auto range = ranges.upper_bound(address);
  if (range == ranges.begin()) return false;
  --range;
  return address - range->first <= range->second && bytes <= range->second - (address - range->first);
}

Memory kind_of(CUdeviceptr address) {
  if (!is_known(address, 1)) return Memory::kUnknown;
  return kinds[std::prev(ranges.upper_bound(address))->first];
}

void copy(CUdeviceptr target, CUdeviceptr source, size_t bytes) {
  if (!is_known(target, bytes) || !is_known(source, bytes)) return set_sticky(CUDA_ERROR_ILLEGAL_ADDRESS);
  memmove(reinterpret_cast<void*>(target), reinterpret_cast<void*>(source), bytes);
}

void fill(CUdeviceptr target, unsigned value, unsigned element, size_t count) {
  if (!is_known(target, count * element)) return set_sticky(CUDA_ERROR_ILLEGAL_ADDRESS);
  for (size_t i = 0; i < count; ++i) memcpy(reinterpret_cast<char*>(target) + i * element, &value, element);
}

}  // namespace fake

using namespace fake;

long long fake_cuda_live() {
  Enter enter("live", false);
  return static_cast<long long>(ranges.size()) + pool_count + live_streams_and_events + live_graphs +
         live_modules;
}

CUresult cuMemPoolCreate(CUmemoryPool* pool, const CUmemPoolProps* properties) {
  FAKE_ENTER("cuMemPoolCreate");
  if (properties->allocType != CU_MEM_ALLOCATION_TYPE_PINNED) return CUDA_ERROR_INVALID_VALUE;
  ++pool_count;
  *pool = reinterpret_cast<CUmemoryPool>(&pool_count);
  return CUDA_SUCCESS;
}
CUresult cuMemPoolSetAttribute(CUmemoryPool, int, void*) {
  FAKE_ENTER("cuMemPoolSetAttribute");
  return CUDA_SUCCESS;
}
CUresult cuMemPoolDestroy(CUmemoryPool) {
  FAKE_ENTER("cuMemPoolDestroy");
  --pool_count;
  return CUDA_SUCCESS;
}
CUresult cuMemAllocFromPoolAsync(CUdeviceptr* address, size_t bytes, CUmemoryPool, CUstream) {
  FAKE_ENTER("cuMemAllocFromPoolAsync");
  *address = reinterpret_cast<CUdeviceptr>(take(bytes, 0xcd, Memory::kPool));
  return CUDA_SUCCESS;
}
CUresult cuMemFreeAsync(CUdeviceptr address, CUstream) {
  FAKE_ENTER("cuMemFreeAsync");
  if (!is_known(address, 1)) return CUDA_ERROR_INVALID_VALUE;
  enqueue([address] { give(address); });
  return CUDA_SUCCESS;
}
CUresult cuMemAlloc_v2(CUdeviceptr* address, size_t bytes) {
  FAKE_ENTER("cuMemAlloc");
  *address = reinterpret_cast<CUdeviceptr>(take(bytes, 0xcd, Memory::kPlain));
  return CUDA_SUCCESS;
}
CUresult cuMemFree_v2(CUdeviceptr address) {
  (void)cuStreamSynchronize(nullptr);
  FAKE_ENTER("cuMemFree");
  return give(address) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
CUresult cuMemHostAlloc(void** pointer, size_t bytes, unsigned) {
  FAKE_ENTER("cuMemHostAlloc");
  *pointer = take(bytes, 0xab, Memory::kHost);
  return CUDA_SUCCESS;
}
CUresult cuMemFreeHost(void* pointer) {
  FAKE_ENTER("cuMemFreeHost");
  return give(reinterpret_cast<uintptr_t>(pointer)) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
CUresult cuMemHostRegister_v2(void* pointer, size_t bytes, unsigned) {
  FAKE_ENTER("cuMemHostRegister");
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  const uintptr_t begin = address / kPage * kPage, end = (address + bytes + kPage - 1) / kPage * kPage;
  for (const auto& [other, size] : registered) {
    const uintptr_t other_begin = other / kPage * kPage,
                    other_end = (other + size + kPage - 1) / kPage * kPage;
    if (begin < other_end && other_begin < end) return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
  }
  registered[address] = bytes;
  ranges[address] = bytes;
  kinds[address] = Memory::kHost;
  return CUDA_SUCCESS;
}
CUresult cuMemHostUnregister(void* pointer) {
  FAKE_ENTER("cuMemHostUnregister");
  ranges.erase(reinterpret_cast<uintptr_t>(pointer));
  return registered.erase(reinterpret_cast<uintptr_t>(pointer)) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
CUresult cuPointerGetAttribute(void* value, int attribute, CUdeviceptr address) {
  FAKE_ENTER("cuPointerGetAttribute");
  if (attribute != CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL || !is_known(address, 1))
    return CUDA_ERROR_INVALID_VALUE;
  *static_cast<int*>(value) = 0;
  return CUDA_SUCCESS;
}
CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr* address, void* pointer, unsigned) {
  FAKE_ENTER("cuMemHostGetDevicePointer");
  *address = reinterpret_cast<CUdeviceptr>(pointer);
  return is_known(*address, 1) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
CUresult cuMemcpyAsync(CUdeviceptr target, CUdeviceptr source, size_t bytes, CUstream) {
  FAKE_ENTER("cuMemcpyAsync");
  enqueue([=] { copy(target, source, bytes); });
  return CUDA_SUCCESS;
}
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr target, const void* source, size_t bytes, CUstream) {
  FAKE_ENTER("cuMemcpyHtoDAsync");
  enqueue([=] { copy(target, reinterpret_cast<CUdeviceptr>(source), bytes); });
  return CUDA_SUCCESS;
}
CUresult cuMemcpyDtoHAsync_v2(void* target, CUdeviceptr source, size_t bytes, CUstream) {
  FAKE_ENTER("cuMemcpyDtoHAsync");
  enqueue([=] { copy(reinterpret_cast<CUdeviceptr>(target), source, bytes); });
  return CUDA_SUCCESS;
}
CUresult cuMemsetD8Async(CUdeviceptr target, unsigned char value, size_t count, CUstream) {
  FAKE_ENTER("cuMemsetD8Async");
  enqueue([=] { fill(target, value, 1, count); });
  return CUDA_SUCCESS;
}
CUresult cuMemsetD16Async(CUdeviceptr target, unsigned short value, size_t count, CUstream) {
  FAKE_ENTER("cuMemsetD16Async");
  enqueue([=] { fill(target, value, 2, count); });
  return CUDA_SUCCESS;
}
CUresult cuMemsetD32Async(CUdeviceptr target, unsigned value, size_t count, CUstream) {
  FAKE_ENTER("cuMemsetD32Async");
  enqueue([=] { fill(target, value, 4, count); });
  return CUDA_SUCCESS;
}

}  // namespace tern::cuda
