// Files in which drivers keep compiled code between starts: a head with the length and a checksum, then the
// driver's own data. They can be deleted at any time; what is damaged reads as missing. Written beside
// themselves and renamed, so that nobody reads half of one.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "hal/base/allocator.h"

namespace tern {

// FNV-1a; of several pieces by passing the hash of those before.
uint64_t cache_hash(const void* data, size_t size, uint64_t hash = 0xcbf29ce484222325);

// The folder, made if need be: `wanted`, or if that is null TERN_CACHE_DIR, XDG_CACHE_HOME/tern or
// ~/.cache/tern. False: there is none that can be written to, or `wanted` is empty.
bool cache_folder(const char* wanted, char* out, size_t size);

// The file's data, if it is whole: *out_size bytes to be released; null if not.
uint8_t* cache_read(tern_allocator_t allocator, const char* path, size_t* out_size);

// Does nothing where it cannot.
void cache_write(const char* path, const void* data, size_t size);

}  // namespace tern
