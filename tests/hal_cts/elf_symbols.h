// Reads a file, and finds symbols in an ELF64 shared object that a compiler just made (trusted: no checks).
// What the packer does for real modules.
#pragma once

#include <elf.h>
#include <stdio.h>
#include <string.h>

#include <string>
#include <vector>

namespace tern::cts {

inline std::vector<uint8_t> read_file(const std::string& path) {
  std::vector<uint8_t> bytes;
  if (FILE* file = fopen(path.c_str(), "rb")) {
    uint8_t block[4096];
    size_t got;
    while ((got = fread(block, 1, sizeof(block), file)) > 0) bytes.insert(bytes.end(), block, block + got);
    fclose(file);
  }
  return bytes;
}

// The virtual address of a symbol; 0 if there is none.
inline uint64_t elf_symbol(const std::vector<uint8_t>& image, const std::string& name) {
  Elf64_Ehdr header;
  memcpy(&header, image.data(), sizeof(header));
  auto section = [&](size_t i) {
    Elf64_Shdr at;
    memcpy(&at, image.data() + header.e_shoff + i * sizeof(at), sizeof(at));
    return at;
  };
  for (size_t i = 0; i < header.e_shnum; ++i) {
    const Elf64_Shdr table = section(i);
    if (table.sh_type != SHT_SYMTAB && table.sh_type != SHT_DYNSYM) continue;
    const Elf64_Shdr names = section(table.sh_link);
    for (size_t at = 0; at < table.sh_size; at += sizeof(Elf64_Sym)) {
      Elf64_Sym symbol;
      memcpy(&symbol, image.data() + table.sh_offset + at, sizeof(symbol));
      if (name == reinterpret_cast<const char*>(image.data() + names.sh_offset + symbol.st_name))
        return symbol.st_value;
    }
  }
  return 0;
}

}  // namespace tern::cts
