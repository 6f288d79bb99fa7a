// Host transfers: chunks go through two mapped halves in turn, so that the host's copy of one overlaps with
// the device's of the other.
#include <string.h>

#include "drivers/vulkan/vulkan_device.h"

namespace tern::vulkan {
namespace {

tern_status_t prepare(Device* device) {
  Staging& staging = device->staging;
  for (Chunk*& memory : staging.memory) {
    if (!memory) TERN_RETURN_IF_ERROR(vulkan_memory_allocate(device, kHostPool, kStagingHalf, &memory));
  }
  if (!staging.pool) {
    VkCommandPoolCreateInfo info = {};
    info.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO;
    info.flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT;
    info.queueFamilyIndex = device->queue_family;
    TERN_VULKAN_TRY(device, CreateCommandPool, device->handle, &info, nullptr, &staging.pool);
  }
  if (staging.commands[0]) return TERN_OK;
  VkCommandBufferAllocateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO;
  info.commandPool = staging.pool;
  info.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY;
  info.commandBufferCount = 2;
  TERN_VULKAN_TRY(device, AllocateCommandBuffers, device->handle, &info, staging.commands);
  return TERN_OK;
}

uint64_t chunk_of(uint64_t length, uint64_t offset) {
  return length - offset < kStagingHalf ? length - offset : kStagingHalf;
}

// Waits for the half's last use.
tern_status_t settle(Device* device, int half) {
  bool done = false;
  tern_status_code_t code = TERN_STATUS_OK;
  return vulkan_queue_wait(device, device->staging.serial[half], TERN_HAL_NEVER, &done, &code);
}

// Copies after all work before it; `to_host`: the host will read what it leaves.
tern_status_t copy(Device* device, int half, Place from, Place to, uint64_t length, bool to_host) {
  const Symbols& symbols = device->symbols;
  VkCommandBuffer commands = device->staging.commands[half];
  VkCommandBufferBeginInfo begin = {};
  begin.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO;
  begin.flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT;
  TERN_VULKAN_TRY(device, BeginCommandBuffer, commands, &begin);
  VkMemoryBarrier barrier = {};
  barrier.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER;
  barrier.srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT;
  barrier.dstAccessMask = VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT;
  symbols.CmdPipelineBarrier(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT,
                             VK_PIPELINE_STAGE_TRANSFER_BIT, 0, 1, &barrier, 0, nullptr, 0, nullptr);
  vulkan_record_copy(device, commands, from, to, length);
  if (to_host) {
    barrier.srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT;
    barrier.dstAccessMask = VK_ACCESS_HOST_READ_BIT;
    symbols.CmdPipelineBarrier(commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_PIPELINE_STAGE_HOST_BIT, 0, 1,
                               &barrier, 0, nullptr, 0, nullptr);
  }
  TERN_VULKAN_TRY(device, EndCommandBuffer, commands);
  return vulkan_queue_run(device, commands, &device->staging.serial[half]);
}

}  // namespace

tern_status_t vulkan_staging_write(Device* device, Place target, const void* source, uint64_t length) {
  Staging& staging = device->staging;
  MutexLock lock(&staging.mutex);
  TERN_RETURN_IF_ERROR(prepare(device));
  int half = 0;
  for (uint64_t offset = 0; offset < length; offset += kStagingHalf, half ^= 1) {
    const uint64_t chunk = chunk_of(length, offset);
    TERN_RETURN_IF_ERROR(settle(device, half));
    memcpy(vulkan_chunk_pointer(staging.memory[half]), static_cast<const char*>(source) + offset, chunk);
    TERN_RETURN_IF_ERROR(copy(device, half, vulkan_chunk_place(staging.memory[half], 0),
                              {target.span, target.offset + offset}, chunk, false));
  }
  return TERN_OK;
}

tern_status_t vulkan_staging_read(Device* device, void* target, Place source, uint64_t length) {
  Staging& staging = device->staging;
  MutexLock lock(&staging.mutex);
  TERN_RETURN_IF_ERROR(prepare(device));
  // Chunk n is asked for before chunk n - 1 is taken.
  int half = 0;
  for (uint64_t offset = 0; offset < length + kStagingHalf; offset += kStagingHalf, half ^= 1) {
    if (offset < length) {
      TERN_RETURN_IF_ERROR(settle(device, half));
      TERN_RETURN_IF_ERROR(copy(device, half, {source.span, source.offset + offset},
                                vulkan_chunk_place(staging.memory[half], 0), chunk_of(length, offset), true));
    }
    if (offset == 0) continue;
    const uint64_t before = offset - kStagingHalf;
    TERN_RETURN_IF_ERROR(settle(device, half ^ 1));
    memcpy(static_cast<char*>(target) + before, vulkan_chunk_pointer(staging.memory[half ^ 1]),
           chunk_of(length, before));
  }
  return TERN_OK;
}

void vulkan_staging_destroy(Device* device) {
  Staging& staging = device->staging;
  if (staging.pool) device->symbols.DestroyCommandPool(device->handle, staging.pool, nullptr);
  for (Chunk* memory : staging.memory) vulkan_memory_free(device, kHostPool, memory);
}

}  // namespace tern::vulkan
