// Loads an ELF64 shared image that compiled kernels live in: position independent, without imports,
// relocations, thread-local or writable data, initialisers, or anything else that a dynamic linker would have
// to do.
//
// The file is hostile until proven otherwise: each number is checked, nothing outside `file` is read, and a
// bad one gives TERN_STATUS_MALFORMED (or INCOMPATIBLE for another architecture) with a sentence. What is
// mapped is a private copy, never writable and executable at once. Whether to run such code at all is the
// caller's decision.
#pragma once

#include "hal/base/span.h"
#include "hal/base/status.h"

namespace tern::cpu {

struct ElfSegment {
  uint64_t begin;     // virtual address
  uint64_t file_end;  // end of the bytes that came from the file
  uint32_t flags;
};

constexpr uint32_t kMaxElfSegments = 8;

struct ElfImage {
  uint8_t* base;  // address of virtual address 0
  uint64_t size;  // mapped bytes; 0 when nothing is mapped
  uint32_t segment_count;
  ElfSegment segments[kMaxElfSegments];
};

// On failure nothing is mapped and *out_image is empty.
TERN_MUST_USE tern_status_t elf_load(tern_allocator_t allocator, tern_const_bytes_t file,
                                     ElfImage* out_image);
void elf_unload(ElfImage* image);

// The address of a function at a virtual address, or null if that lies in no executable segment.
void* elf_function(const ElfImage* image, uint64_t virtual_address);

}  // namespace tern::cpu
