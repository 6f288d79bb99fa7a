// XXH64 (Yann Collet's xxHash, 64-bit variant): the hash of metadata and segments. Finds damage, not malice.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace tern::vm {

uint64_t xxh64(const void* data, size_t size, uint64_t seed = 0);

}  // namespace tern::vm
