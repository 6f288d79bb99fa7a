// Device memory: blocks of it, each one VkDeviceMemory under one VkBuffer, cut into chunks. What a buffer has
// is a chunk.
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

struct Chunk {
  Block* block;
  Chunk *previous, *next;  // neighbours in the block
  uint64_t offset, size;
  uint64_t serial;  // free ones: of the last submission that may use it
  bool free;
};

enum Pool : uint32_t {
  kLocalPool,  // fast for the device; on unified devices the host sees it too
  kHostPool,   // host memory that the device sees, always mapped
  kPoolCount,
};

struct Block {
  Block* next;
  VkDeviceMemory memory;
  VkBuffer buffer;
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

// A buffer over all of `memory`, or of memory yet to be made: usage is everything that the driver does.
TERN_MUST_USE tern_status_t vulkan_memory_make_buffer(Device* device, uint64_t size, const void* next,
                                                      VkBuffer* out_buffer);

inline char* vulkan_chunk_pointer(const Chunk* chunk) {
  return chunk->block->mapped ? chunk->block->mapped + chunk->offset : nullptr;
}

}  // namespace tern::vulkan
