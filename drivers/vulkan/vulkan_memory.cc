#include "drivers/vulkan/vulkan_memory.h"

#include "drivers/vulkan/vulkan_device.h"

namespace tern::vulkan {
namespace {

constexpr uint64_t kGranule = 256;
constexpr uint64_t kFirstBlock = 1 << 20, kLargestBlock = 64 << 20;

Chunk* make_chunk(Device* device, const Chunk& value) {
  auto* chunk = static_cast<Chunk*>(tern_allocate(device->head.allocator, sizeof(Chunk), alignof(Chunk)));
  if (chunk) *chunk = value;
  return chunk;
}

void drop_chunk(Device* device, Chunk* chunk) {
  tern_release(device->head.allocator, chunk, sizeof(Chunk));
}

// Of what is half made, too.
void drop_block(Device* device, Block* block) {
  const Symbols& symbols = device->symbols;
  while (Chunk* chunk = block->chunks) {
    block->chunks = chunk->next;
    drop_chunk(device, chunk);
  }
  vulkan_span_destroy(device, &block->span);
  if (block->memory) symbols.FreeMemory(device->handle, block->memory, nullptr);
  tern_release(device->head.allocator, block, sizeof(Block));
}

tern_status_t fill_block(Device* device, Pool pool, Block* block) {
  VkMemoryRequirements needs;
  TERN_RETURN_IF_ERROR(vulkan_span_make(device, block->size, nullptr, &block->span, &needs));
  VkMemoryAllocateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO;
  info.allocationSize = needs.size;
  info.memoryTypeIndex = device->memory.types[pool];
  if (!(needs.memoryTypeBits >> info.memoryTypeIndex & 1)) {
    return tern_status_make(device->head.allocator, TERN_STATUS_INCOMPATIBLE,
                            "The device's memory of type (%u) is not for storage buffers.",
                            info.memoryTypeIndex);
  }
  TERN_VULKAN_TRY(device, AllocateMemory, device->handle, &info, nullptr, &block->memory);
  TERN_RETURN_IF_ERROR(vulkan_span_bind(device, block->span, block->memory));
  if (pool == kHostPool || device->unified || (pool == kWrittenPool && device->host_writes)) {
    void* mapped = nullptr;
    TERN_VULKAN_TRY(device, MapMemory, device->handle, block->memory, 0, VK_WHOLE_SIZE, 0, &mapped);
    block->mapped = static_cast<char*>(mapped);
  }
  block->chunks = make_chunk(device, {block, nullptr, nullptr, 0, block->size, 0, true});
  return block->chunks ? TERN_OK : tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
}

tern_status_t add_block(Device* device, Pool pool, uint64_t size) {
  auto* block = static_cast<Block*>(tern_allocate(device->head.allocator, sizeof(Block), alignof(Block)));
  if (!block) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  *block = {};
  block->size = size;
  tern_status_t status = fill_block(device, pool, block);
  if (!tern_status_is_ok(status)) {
    drop_block(device, block);
    return tern_status_annotate(status, "\n - While allocating (%llu) bytes of %s memory",
                                (unsigned long long)size, pool == kHostPool ? "host" : "device");
  }
  block->next = device->memory.blocks[pool];
  device->memory.blocks[pool] = block;
  return TERN_OK;
}

// The first free chunk that is large enough and whose last submission is among the first `completed`.
Chunk* find(const Memory& memory, Pool pool, uint64_t size, uint64_t completed) {
  for (Block* block = memory.blocks[pool]; block; block = block->next) {
    for (Chunk* chunk = block->chunks; chunk; chunk = chunk->next) {
      if (chunk->free && chunk->size >= size && chunk->serial <= completed) return chunk;
    }
  }
  return nullptr;
}

tern_status_t take(Device* device, Chunk* chunk, uint64_t size) {
  if (chunk->size > size) {
    Chunk* rest = make_chunk(device, {chunk->block, chunk, chunk->next, chunk->offset + size,
                                      chunk->size - size, chunk->serial, true});
    if (!rest) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
    if (rest->next) rest->next->previous = rest;
    chunk->next = rest;
    chunk->size = size;
  }
  chunk->free = false;
  return TERN_OK;
}

// Joins the chunk with the free one behind it.
void join(Device* device, Chunk* chunk) {
  Chunk* behind = chunk->next;
  if (!behind || !behind->free) return;
  chunk->size += behind->size;
  if (behind->serial > chunk->serial) chunk->serial = behind->serial;
  chunk->next = behind->next;
  if (chunk->next) chunk->next->previous = chunk;
  drop_chunk(device, behind);
}

// Whether a block that is wholly free should stay: the small ones do, one of the largest.
bool keeps(const Memory& memory, Pool pool, const Block* block) {
  if (block->size > kLargestBlock) return false;
  for (const Block* other = memory.blocks[pool]; other; other = other->next) {
    if (other != block && other->size <= kLargestBlock && other->chunks->free && !other->chunks->next)
      return false;
  }
  return true;
}

void remove_block(Device* device, Pool pool, Block* block) {
  Block** link = &device->memory.blocks[pool];
  while (*link != block) link = &(*link)->next;
  *link = block->next;
}

uint64_t next_block_size(Device* device, Pool pool, uint64_t size) {
  uint64_t& next = device->memory.next_size[pool];
  if (next == 0) next = kFirstBlock;
  if (size > kLargestBlock / 2) return size;
  while (next < 2 * size) next *= 2;
  const uint64_t now = next;
  if (next < kLargestBlock) next *= 2;
  return now;
}

}  // namespace

tern_status_t vulkan_memory_allocate(Device* device, Pool pool, uint64_t size, Chunk** out_chunk) {
  if (size > device->memory_size) {
    return tern_status_make(device->head.allocator, TERN_STATUS_OUT_OF_MEMORY,
                            "The buffer's size (%llu) is larger than the device's memory (%llu).",
                            (unsigned long long)size, (unsigned long long)device->memory_size);
  }
  size = size ? (size + kGranule - 1) / kGranule * kGranule : kGranule;
  Memory& memory = device->memory;
  MutexLock lock(&memory.mutex);
  // What the host will write at once must not be in use.
  const bool host_sees = pool == kHostPool || device->unified;
  Chunk* chunk = find(memory, pool, size, host_sees ? vulkan_queue_completed(device) : UINT64_MAX);
  Block* made = nullptr;
  if (!chunk) {
    TERN_RETURN_IF_ERROR(add_block(device, pool, next_block_size(device, pool, size)));
    made = memory.blocks[pool];
    chunk = made->chunks;
  }
  tern_status_t status = take(device, chunk, size);
  if (tern_status_is_ok(status)) {
    *out_chunk = chunk;
  } else if (made) {
    memory.blocks[pool] = made->next;
    drop_block(device, made);
  }
  return status;
}

void vulkan_memory_free(Device* device, Pool pool, Chunk* chunk) {
  if (!chunk) return;
  Memory& memory = device->memory;
  Block* dropped = nullptr;
  uint64_t serial = 0;
  {
    MutexLock lock(&memory.mutex);
    chunk->free = true;
    chunk->serial = vulkan_queue_submitted(device);
    join(device, chunk);
    if (chunk->previous && chunk->previous->free) {
      chunk = chunk->previous;
      join(device, chunk);
    }
    Block* block = chunk->block;
    if (chunk->size == block->size && !keeps(memory, pool, block)) {
      remove_block(device, pool, block);
      serial = chunk->serial;
      dropped = block;
    }
  }
  if (!dropped) return;
  vulkan_queue_settle(device, serial);
  drop_block(device, dropped);
}

void vulkan_memory_destroy(Device* device) {
  for (Block*& list : device->memory.blocks) {
    while (Block* block = list) {
      list = block->next;
      drop_block(device, block);
    }
  }
}

}  // namespace tern::vulkan
