#include "drivers/cpu/builtin_kernels.h"

#include <string.h>

namespace tern::cpu {
namespace {

struct Range {
  int64_t begin, size;
};

Range bytes_of_tiles(int64_t length, int64_t tile_begin, int64_t tile_end) {
  const int64_t begin = tile_begin * kTileBytes;
  const int64_t end = tile_end * kTileBytes;
  return {begin, (end < length ? end : length) - begin};
}

}  // namespace

int32_t copy_kernel(const tern_kernel_args_t* args, int64_t tile_begin, int64_t tile_end, void*, int64_t) {
  const Range range = bytes_of_tiles(args->params[0], tile_begin, tile_end);
  const auto* source = static_cast<const char*>(args->bindings[0]);
  auto* target = static_cast<char*>(args->bindings[1]);
  memmove(target + range.begin, source + range.begin, static_cast<size_t>(range.size));
  return TERN_KERNEL_OK;
}

int32_t fill_kernel(const tern_kernel_args_t* args, int64_t tile_begin, int64_t tile_end, void*, int64_t) {
  const Range range = bytes_of_tiles(args->params[0], tile_begin, tile_end);
  auto* target = static_cast<char*>(args->bindings[0]) + range.begin;
  // The pattern widened to 4 bytes; a tile is a multiple of 4, the length one of the pattern's size.
  uint32_t pattern = static_cast<uint32_t>(args->params[1]);
  if (args->params[2] == 1) pattern = (pattern & 0xff) * 0x01010101u;
  if (args->params[2] == 2) pattern = (pattern & 0xffff) * 0x00010001u;
  int64_t at = 0;
  for (; at + 4 <= range.size; at += 4) memcpy(target + at, &pattern, 4);
  memcpy(target + at, &pattern, static_cast<size_t>(range.size - at));
  return TERN_KERNEL_OK;
}

}  // namespace tern::cpu
