#include "vm/text/module_file.h"

#include <elf.h>

#include <cstring>
#include <string_view>

#include "schemas/module/file_header.h"
#include "vm/module/flatbuffer_check.h"
#include "vm/module/hash.h"

namespace tern::vm {
namespace {

uint64_t align_up(uint64_t value, uint64_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

}  // namespace

std::vector<uint8_t> pack_module(ModuleFile& file) {
  uint64_t end = 0;
  file.module.segments.resize(file.segments.size());
  for (size_t i = 0; i < file.segments.size(); ++i) {
    const module::SegmentKind kind = file.module.segments[i].kind();
    const std::vector<uint8_t>& bytes = file.segments[i];
    end = align_up(
        end, kind == module::SegmentKind::Constants ? TERN_CONSTANTS_ALIGNMENT : TERN_SEGMENT_ALIGNMENT);
    file.module.segments[i] = module::Segment(end, bytes.size(), xxh64(bytes.data(), bytes.size()), kind);
    end += bytes.size();
  }
  flatbuffers::FlatBufferBuilder builder;
  builder.FinishSizePrefixed(module::Module::Pack(builder, &file.module));
  tern_file_header_t header = {};
  std::memcpy(header.magic, TERN_FILE_MAGIC, 4);
  header.format_major = TERN_FORMAT_MAJOR;
  header.format_minor = TERN_FORMAT_MINOR;
  header.metadata_length = builder.GetSize();
  header.metadata_hash = xxh64(builder.GetBufferPointer(), builder.GetSize());
  header.bulk_offset = align_up(TERN_FILE_METADATA_OFFSET + builder.GetSize(), TERN_CONSTANTS_ALIGNMENT);
  header.file_length = header.bulk_offset + end;
  std::vector<uint8_t> out(header.file_length);
  std::memcpy(out.data(), &header, sizeof(header));
  std::memcpy(out.data() + TERN_FILE_METADATA_OFFSET, builder.GetBufferPointer(), builder.GetSize());
  for (size_t i = 0; i < file.segments.size(); ++i) {
    if (file.segments[i].empty()) continue;
    std::memcpy(out.data() + header.bulk_offset + file.module.segments[i].offset(), file.segments[i].data(),
                file.segments[i].size());
  }
  return out;
}

static bool find_elf_symbol(const std::vector<uint8_t>& elf, const std::string& name, uint64_t* out) {
  const auto has = [&](uint64_t at, uint64_t size) { return at <= elf.size() && size <= elf.size() - at; };
  Elf64_Ehdr header;
  if (!has(0, sizeof(header))) return false;
  std::memcpy(&header, elf.data(), sizeof(header));
  const auto section = [&](uint64_t index, Elf64_Shdr* to) {
    const uint64_t at = header.e_shoff + index * sizeof(*to);
    if (!has(header.e_shoff, 0) || !has(at, sizeof(*to))) return false;
    std::memcpy(to, elf.data() + at, sizeof(*to));
    return to->sh_type == SHT_NOBITS || has(to->sh_offset, to->sh_size);
  };
  for (uint16_t i = 0; i < header.e_shnum; ++i) {
    Elf64_Shdr table, strings;
    if (!section(i, &table)) return false;
    if (table.sh_type != SHT_DYNSYM) continue;
    if (!section(table.sh_link, &strings) || strings.sh_type != SHT_STRTAB) return false;
    const std::string_view names(reinterpret_cast<const char*>(elf.data() + strings.sh_offset),
                                 strings.sh_size);
    for (uint64_t k = 0; k + sizeof(Elf64_Sym) <= table.sh_size; k += sizeof(Elf64_Sym)) {
      Elf64_Sym symbol;
      std::memcpy(&symbol, elf.data() + table.sh_offset + k, sizeof(symbol));
      if (symbol.st_name >= names.size()) return false;
      const std::string_view rest = names.substr(symbol.st_name);
      if (rest.substr(0, rest.find('\0')) != name) continue;
      *out = symbol.st_value;
      return true;
    }
  }
  return false;
}

bool resolve_elf_entries(ModuleFile* file, std::string* error) {
  for (const auto& executable : file->module.executables) {
    if (executable->format != module::ExecutableFormat::Elf || !executable->entry_offsets.empty()) continue;
    for (const std::string& name : executable->entry_names) {
      uint64_t offset = 0;
      if (executable->segment >= file->segments.size() ||
          !find_elf_symbol(file->segments[executable->segment], name, &offset)) {
        *error = "the executable has no symbol '" + name + "'";
        return false;
      }
      executable->entry_offsets.push_back(offset);
    }
  }
  return true;
}

bool unpack_module(const uint8_t* data, size_t size, ModuleFile* out, std::string* error) {
  tern_file_header_t header;
  const auto fail = [&](const char* what) {
    *error = what;
    return false;
  };
  if (size < sizeof(header)) return fail("the file is too short");
  std::memcpy(&header, data, sizeof(header));
  if (std::memcmp(header.magic, TERN_FILE_MAGIC, 4) != 0) return fail("the file does not begin with 'TERN'");
  if (header.format_major != TERN_FORMAT_MAJOR) return fail("the file has another format version");
  if (header.bulk_offset > size || header.bulk_offset < TERN_FILE_METADATA_OFFSET ||
      header.metadata_length > header.bulk_offset - TERN_FILE_METADATA_OFFSET) {
    return fail("the header's lengths are impossible");
  }
  // The check wants the alignment that the runtime's private copy has.
  std::vector<uint64_t> metadata(header.metadata_length / 8 + 1);
  std::memcpy(metadata.data(), data + TERN_FILE_METADATA_OFFSET, header.metadata_length);
  const uint8_t* bytes = reinterpret_cast<const uint8_t*>(metadata.data());
  if (const char* what = check_flatbuffer(bytes, header.metadata_length, module::ModuleTypeTable()))
    return fail(what);
  flatbuffers::GetSizePrefixedRoot<module::Module>(bytes)->UnPackTo(&out->module);
  out->segments.clear();
  const uint64_t bulk = size - header.bulk_offset;
  for (const module::Segment& segment : out->module.segments) {
    if (segment.offset() > bulk || segment.length() > bulk - segment.offset())
      return fail("a segment lies outside the file");
    const uint8_t* begin = data + header.bulk_offset + segment.offset();
    out->segments.emplace_back(begin, begin + segment.length());
  }
  return true;
}

}  // namespace tern::vm
