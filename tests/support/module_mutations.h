// Damaged modules: bit flips, truncations, spliced numbers. With hashes repaired, so that the damage reaches
// what lies behind them.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "schemas/module/file_header.h"
#include "vm/module/hash.h"

namespace tern::test {

// A small fixed generator: the same mutations on every machine.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15u + 1) {}
  uint64_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_;
  }
  uint64_t below(uint64_t bound) { return bound ? next() % bound : 0; }

 private:
  uint64_t state_;
};

// Makes header and metadata hash fit the bytes again, as far as the header still makes sense.
inline void repair_hashes(std::vector<uint8_t>& file) {
  tern_file_header_t header;
  if (file.size() < sizeof(header)) return;
  std::memcpy(&header, file.data(), sizeof(header));
  header.file_length = file.size();
  if (header.metadata_length <= file.size() - TERN_FILE_METADATA_OFFSET) {
    header.metadata_hash = vm::xxh64(file.data() + TERN_FILE_METADATA_OFFSET, header.metadata_length);
  }
  std::memcpy(file.data(), &header, sizeof(header));
}

inline std::vector<uint8_t> mutate(const std::vector<uint8_t>& original, uint64_t seed) {
  static constexpr uint64_t kInteresting[] = {
      0, 1, 2, 0x7f, 0x80, 0xff, 0xffff, 0x7fffffff, 0x80000000u, 0xffffffffu, INT64_MAX, UINT64_MAX};
  std::vector<uint8_t> file = original;
  Random random(seed);
  tern_file_header_t header;
  std::memcpy(&header, original.data(), sizeof(header));
  // Mostly the metadata: segments are covered by their hashes.
  const uint64_t end = TERN_FILE_METADATA_OFFSET + header.metadata_length;
  const uint64_t changes = 1 + random.below(4);
  for (uint64_t i = 0; i < changes; ++i) {
    const uint64_t at = random.below(end);
    switch (random.below(4)) {
      case 0:
        file[at] ^= static_cast<uint8_t>(1u << random.below(8));
        break;
      case 1: {
        const uint64_t value = kInteresting[random.below(12)];
        const uint64_t size = uint64_t{1} << random.below(4);
        if (at + size <= file.size()) std::memcpy(file.data() + at, &value, size);
        break;
      }
      case 2: {  // a word from elsewhere
        const uint64_t from = random.below(end), size = 4 + 4 * random.below(2);
        if (at + size <= file.size() && from + size <= original.size())
          std::memcpy(file.data() + at, original.data() + from, size);
        break;
      }
      default:
        file[at] = static_cast<uint8_t>(random.next());
    }
  }
  if (random.below(16) == 0) file.resize(random.below(file.size()));
  if (random.below(8) != 0) repair_hashes(file);
  return file;
}

}  // namespace tern::test
