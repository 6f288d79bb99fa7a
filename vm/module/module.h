// A loaded module: the mapped file, the private copy of its metadata, its programs.
//
// Immutable once loaded, so sessions on any thread read it without locks. Nothing of the file but constant
// segments is used in place: the header and the metadata are copied before they are checked, code when a
// session loads it.
#pragma once

#include "hal/base/status.h"
#include "schemas/module/file_header.h"
#include "vm/module/view.h"

struct tern_module_t {
  int32_t ref_count;
  uint32_t trusted;  // the caller vouches for machine code
  tern_allocator_t allocator;
  const uint8_t* file;  // the whole file, where the caller or the mapping has it
  size_t file_size;
  void (*release)(void* self, const void* data, size_t size);
  void* release_self;
  tern_file_header_t header;
  uint8_t* metadata;  // private copy: header.metadata_length bytes
  const tern::module::Module* root;
  tern::vm::ProgramView* programs;
  tern::vm::RoutineFacts* facts;
  uint64_t* code;  // all programs' instructions, private, with dense opcodes
  size_t code_size;
  uint32_t program_count;
  uint32_t fact_count;
};

namespace tern::vm {

// Takes over release (called also when this fails). data must be 64-byte aligned. code_policy: 0 refuses
// machine code, 1 trusts it.
tern_status_t load_module(tern_allocator_t allocator, const void* data, size_t size, uint32_t code_policy,
                          bool verify_weights, void (*release)(void*, const void*, size_t),
                          void* release_self, tern_module_t** out_module);
void retain_module(tern_module_t* module);

// The bytes of a segment in the mapped file.
tern_const_bytes_t segment_bytes(const tern_module_t* module, uint32_t segment);

// Compares the hash of `bytes`, which are those of the segment or a copy of them.
tern_status_t check_segment(const tern_module_t* module, uint32_t segment, tern_const_bytes_t bytes);

}  // namespace tern::vm
