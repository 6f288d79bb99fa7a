#include "drivers/cuda/cuda_container.h"

#include <string.h>

namespace tern::cuda {
namespace {

constexpr uint32_t kElfMagic = 0x464c457f, kFatbinMagic = 0xba55ed50;
constexpr uint16_t kMachineCuda = 190;
constexpr uint32_t kNoBits = 8;  // a section without bytes in the file

template <typename T>
T read(tern_const_bytes_t code, uint64_t offset) {
  T value;
  memcpy(&value, code.data + offset, sizeof(T));
  return value;
}

bool fits(tern_const_bytes_t code, uint64_t offset, uint64_t size) {
  return offset <= code.size && size <= code.size - offset;
}

// A table of `count` rows of `row` bytes whose fields at `offset_field` and `size_field` name bytes of the
// file.
bool table_fits(tern_const_bytes_t code, uint64_t table, uint64_t row, uint64_t count, uint64_t offset_field,
                uint64_t size_field, bool sections) {
  if (count == 0) return true;
  if (row < size_field + 8 || !fits(code, table, row * count)) return false;
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t at = table + i * row;
    if (sections && read<uint32_t>(code, at + 4) == kNoBits) continue;
    if (!fits(code, read<uint64_t>(code, at + offset_field), read<uint64_t>(code, at + size_field)))
      return false;
  }
  return true;
}

bool cubin_fits(tern_const_bytes_t code) {
  if (code.size < 64 || code.data[4] != 2 || read<uint16_t>(code, 18) != kMachineCuda) return false;
  const uint64_t segments = read<uint64_t>(code, 32), sections = read<uint64_t>(code, 40);
  return table_fits(code, segments, read<uint16_t>(code, 54), read<uint16_t>(code, 56), 8, 32, false) &&
         table_fits(code, sections, read<uint16_t>(code, 58), read<uint16_t>(code, 60), 24, 32, true);
}

// Header, then entries that each state the sizes of their header and payload.
bool fatbin_fits(tern_const_bytes_t code) {
  if (code.size < 16) return false;
  const uint64_t header = read<uint16_t>(code, 6), size = read<uint64_t>(code, 8);
  if (header < 16 || !fits(code, header, size)) return false;
  const uint64_t end = header + size;
  for (uint64_t at = header; at < end;) {
    if (end - at < 16) return false;
    const uint64_t entry_header = read<uint32_t>(code, at + 4), entry_size = read<uint64_t>(code, at + 8);
    if (entry_header < 16 || entry_header > end - at || entry_size > end - at - entry_header) return false;
    at += entry_header + entry_size;
  }
  return true;
}

}  // namespace

tern_status_t cuda_container_check([[maybe_unused]] tern_allocator_t allocator, tern_const_bytes_t code) {
  const uint32_t magic = code.size >= 4 ? read<uint32_t>(code, 0) : 0;
  if (magic == kElfMagic ? cubin_fits(code) : magic == kFatbinMagic && fatbin_fits(code)) return TERN_OK;
  return tern_status_make(allocator, TERN_STATUS_MALFORMED,
                          "The executable (%zu bytes) is neither a whole cubin nor a whole fatbin.",
                          code.size);
}

}  // namespace tern::cuda
