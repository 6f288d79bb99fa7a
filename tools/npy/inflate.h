// Deflate (RFC 1951), the one compression of .npz files: numpy.savez_compressed. Only unpacking, of whole
// members in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tern::npy {

// Exactly `out_size` bytes, or false: what is damaged, or says that it becomes more than deflate can make of
// its bytes.
bool inflate(const uint8_t* in, size_t in_size, size_t out_size, std::vector<uint8_t>* out);

// Zip's checksum.
uint32_t crc32(const uint8_t* bytes, size_t size);

}  // namespace tern::npy
