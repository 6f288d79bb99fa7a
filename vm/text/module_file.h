// A module file taken apart: metadata as FlatBuffers' object API, segments as bytes. For tools and tests; the
// runtime reads the file in place instead.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "schemas/module/module_generated.h"

namespace tern::vm {

struct ModuleFile {
  module::ModuleT module;  // segments: kinds are read, offsets, lengths and hashes are made by pack
  std::vector<std::vector<uint8_t>> segments;  // bytes of module.segments, index for index
};

// The bytes of the file: header, metadata, aligned segments with their hashes.
std::vector<uint8_t> pack_module(ModuleFile& file);

// Gives the entries of ELF executables that have names and no offsets the addresses of their symbols. Reads
// trusted ELF files (the assembler's own input), not those of modules.
bool resolve_elf_entries(ModuleFile* file, std::string* error);

// Takes a file apart. False with a sentence when it is no sound module file; programs' contents are not
// verified.
bool unpack_module(const uint8_t* data, size_t size, ModuleFile* out, std::string* error);

}  // namespace tern::vm
