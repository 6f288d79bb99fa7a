// Device memory: blocks of it, each one VkDeviceMemory, cut into chunks. What a buffer has is a chunk.
//
// Chunks begin at multiples of 256 bytes and are as many long. Freeing waits for nothing: a chunk remembers
// the last submission at that time, and the host gets it again only when that one has ended (to the device it
// may be given at once: submissions run in order). Large chunks have a block of their own.
#pragma once

#include "drivers/vulkan/vulkan_api.h"
#include "hal/base/host_sync.h"
#include "hal/base/status.h"

namespace tern::vulkan {

struct Device;
struct Block;

// How memory is named in commands: one VkBuffer over all of it; or, where it is longer than a buffer may be,
// several, one beginning every `stride` bytes and reaching over the next one's beginning: a range of up to
// `stride` bytes lies in one.
struct Span {
  VkBuffer* buffers;  // &only, or an array
  VkBuffer only;
  uint32_t count;
  uint64_t size, stride;
};

struct Place {
  const Span* span;
  uint64_t offset;
};

// What one VkBuffer has of a range.
struct Region {
  VkBuffer buffer;
  uint64_t offset, length;
};
// The longest part of [place, place + length) from its beginning on.
Region vulkan_region(const Place& place, uint64_t length);

// Buffers for all that the driver does; `next` extends their description. `out_needs` is what memory they
// want.
TERN_MUST_USE tern_status_t vulkan_span_make(Device* device, uint64_t size, const void* next, Span* span,
                                             VkMemoryRequirements* out_needs);
TERN_MUST_USE tern_status_t vulkan_span_bind(Device* device, const Span& span, VkDeviceMemory memory);
void vulkan_span_destroy(Device* device, Span* span);  // fine for what is half made

struct Chunk {
  Block* block;
  Chunk *previous, *next;  // neighbours in the block
  uint64_t offset, size;
  uint64_t serial;  // free ones: of the last submission that may use it
  bool free;
};

enum Pool : uint32_t {
  kLocalPool,    // fast for the device; on unified devices the host sees it too
  kWrittenPool,  // of small buffers: as the local one, and mapped where device->host_writes says so
  kHostPool,     // host memory that the device sees, always mapped
  kPoolCount,
};

struct Block {
  Block* next;
  VkDeviceMemory memory;
  Span span;
  char* mapped;  // null: out of the host's reach
  uint64_t size;
  Chunk* chunks;
};

struct Memory {
  tern_mutex_t mutex;
  uint32_t types[kPoolCount];  // memory type indices
  uint64_t next_size[kPoolCount];
  Block* blocks[kPoolCount];
};

TERN_MUST_USE tern_status_t vulkan_memory_allocate(Device* device, Pool pool, uint64_t size,
                                                   Chunk** out_chunk);
void vulkan_memory_free(Device* device, Pool pool, Chunk* chunk);  // null is fine
void vulkan_memory_destroy(Device* device);

inline char* vulkan_chunk_pointer(const Chunk* chunk) {
  return chunk->block->mapped ? chunk->block->mapped + chunk->offset : nullptr;
}

inline Place vulkan_chunk_place(const Chunk* chunk, uint64_t offset) {
  return {&chunk->block->span, chunk->offset + offset};
}

}  // namespace tern::vulkan
