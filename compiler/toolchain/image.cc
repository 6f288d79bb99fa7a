#include "compiler/toolchain/image.h"

#include <elf.h>

#include <algorithm>
#include <cstring>
#include <unordered_map>

namespace tern::toolchain {

namespace {

class ImageReader {
 public:
  explicit ImageReader(const std::vector<uint8_t>& file) : file_(file) {}
  Status check();
  Result<KernelImage> finish(const std::vector<std::string>& entries);

 private:
  template <typename T>
  const T* at(uint64_t offset, uint64_t count = 1) const {
    TERN_CHECK(offset + count * sizeof(T) <= file_.size(), "the linker's output is cut off");
    return reinterpret_cast<const T*>(file_.data() + offset);
  }
  const Elf64_Ehdr& header() const { return *at<Elf64_Ehdr>(0); }
  const Elf64_Shdr* sections() const { return at<Elf64_Shdr>(header().e_shoff, header().e_shnum); }
  const char* section_name(const Elf64_Shdr& s) const {
    return at<char>(sections()[header().e_shstrndx].sh_offset + s.sh_name);
  }
  Status check_symbols(const Elf64_Shdr& table);

  const std::vector<uint8_t>& file_;
  std::unordered_map<std::string, uint64_t> functions_;
};

Status ImageReader::check_symbols(const Elf64_Shdr& table) {
  const auto* symbols = at<Elf64_Sym>(table.sh_offset, table.sh_size / sizeof(Elf64_Sym));
  uint64_t names = sections()[table.sh_link].sh_offset;
  for (uint64_t k = 1; k < table.sh_size / sizeof(Elf64_Sym); ++k) {
    std::string name = at<char>(names + symbols[k].st_name);
    if (symbols[k].st_shndx == SHN_UNDEF && !name.empty()) {
      return error("The compiled kernels need the symbol '{}', and kernels may import nothing.", name);
    }
    if (ELF64_ST_TYPE(symbols[k].st_info) == STT_FUNC) functions_[name] = symbols[k].st_value;
  }
  return Ok{};
}

Status ImageReader::check() {
  for (int k = 0; k < header().e_shnum; ++k) {
    const Elf64_Shdr& s = sections()[k];
    std::string name = section_name(s);
    if (s.sh_type == SHT_SYMTAB || s.sh_type == SHT_DYNSYM) TERN_TRY(check_symbols(s));
    if ((s.sh_type == SHT_RELA || s.sh_type == SHT_REL) && s.sh_size > 0) {
      return error("The compiled kernels have {} bytes of relocations ({}), and none may be left.", s.sh_size,
                   name);
    }
    bool loaded = (s.sh_flags & SHF_ALLOC) != 0 && s.sh_size > 0;
    if (loaded && (s.sh_flags & SHF_TLS) != 0) {
      return error("The compiled kernels have thread-local data ({}, {} bytes).", name, s.sh_size);
    }
    bool linker_own = name == ".dynamic" || name == ".relro_padding";
    if (loaded && (s.sh_flags & SHF_WRITE) != 0 && !linker_own) {
      return error("The compiled kernels have writable data ({}, {} bytes).", name, s.sh_size);
    }
  }
  return Ok{};
}

Result<KernelImage> ImageReader::finish(const std::vector<std::string>& entries) {
  KernelImage image;
  std::vector<Elf64_Phdr> loads;
  const auto* segments = at<Elf64_Phdr>(header().e_phoff, header().e_phnum);
  for (int k = 0; k < header().e_phnum; ++k) {
    if (segments[k].p_type == PT_LOAD && (segments[k].p_flags & PF_W) == 0) loads.push_back(segments[k]);
  }
  // Same offsets as the linker gave, so that offset and address stay congruent; section headers, symbols and
  // the dynamic table are left behind.
  uint64_t end = sizeof(Elf64_Ehdr) + loads.size() * sizeof(Elf64_Phdr);
  for (const Elf64_Phdr& p : loads) end = std::max(end, p.p_offset + p.p_filesz);
  image.bytes.assign(end, 0);
  for (const Elf64_Phdr& p : loads) {
    std::memcpy(image.bytes.data() + p.p_offset, at<uint8_t>(p.p_offset, p.p_filesz), p.p_filesz);
  }
  Elf64_Ehdr h = header();
  h.e_phoff = sizeof(Elf64_Ehdr);
  h.e_phnum = static_cast<uint16_t>(loads.size());
  h.e_shoff = h.e_entry = 0;
  h.e_shnum = h.e_shstrndx = h.e_shentsize = 0;
  std::memcpy(image.bytes.data(), &h, sizeof h);
  uint64_t old_headers_end = header().e_phoff + header().e_phnum * sizeof(Elf64_Phdr);
  std::memset(image.bytes.data() + sizeof h, 0, std::min<uint64_t>(old_headers_end, end) - sizeof h);
  std::memcpy(image.bytes.data() + sizeof h, loads.data(), loads.size() * sizeof(Elf64_Phdr));
  for (const std::string& name : entries) {
    auto it = functions_.find(name);
    if (it == functions_.end()) return error("The compiled kernels lack the function '{}'.", name);
    image.kernels.push_back({name, it->second});
  }
  return image;
}

}  // namespace

Result<KernelImage> finish_image(const std::vector<uint8_t>& linked,
                                 const std::vector<std::string>& entries) {
  ImageReader reader(linked);
  TERN_TRY(reader.check());
  return reader.finish(entries);
}

}  // namespace tern::toolchain
