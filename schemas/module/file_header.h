// The first 64 bytes of a module file. C11; written by compiler/pack, checked by vm/. Little-endian, no
// padding. What must hold: docs/module-format.md and schemas/README.md.
#pragma once

#include <stdint.h>

#define TERN_FILE_MAGIC "TERN"
enum {
  TERN_FORMAT_MAJOR = 1,           // another major is refused
  TERN_FORMAT_MINOR = 0,           // a larger minor is read; what it added is skipped
  TERN_FILE_METADATA_OFFSET = 64,  // the size-prefixed FlatBuffer begins here
  TERN_SEGMENT_ALIGNMENT = 64,
  TERN_CONSTANTS_ALIGNMENT = 4096,  // constant segments, and bulk_offset itself
  TERN_MAX_RANK = 16,
};

typedef struct tern_file_header_t {
  char magic[4];             // 'T' 'E' 'R' 'N'
  uint16_t format_major;     // TERN_FORMAT_MAJOR
  uint16_t format_minor;     // TERN_FORMAT_MINOR of the writer
  uint64_t metadata_length;  // bytes of the FlatBuffer with its 4-byte size prefix; below 2^31
  uint64_t metadata_hash;    // XXH64, seed 0, of those bytes
  uint64_t bulk_offset;      // where segment offsets count from: a multiple of 4096 behind the metadata
  uint64_t file_length;      // of the whole file: a truncated download is recognised at once
  uint64_t reserved[3];      // 0
} tern_file_header_t;
