// Images made by hand, right ones and wrong ones. (Images from clang and lld run in tests/hal_cts.)
#include "drivers/cpu/elf_loader.h"

#include <elf.h>
#include <string.h>

#include <functional>
#include <memory>
#include <random>
#include <vector>

#include "drivers/cpu/host.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_allocator.h"

using namespace tern::cpu;
using tern::test::take_text;
using tern::test::TestAllocator;

namespace {

#if defined(__x86_64__)
constexpr uint16_t kMachine = EM_X86_64, kOtherMachine = EM_AARCH64;
const std::vector<uint8_t> kReturn42 = {0xb8, 42, 0, 0, 0, 0xc3};  // mov eax, 42; ret
#else
constexpr uint16_t kMachine = EM_AARCH64, kOtherMachine = EM_X86_64;
const std::vector<uint8_t> kReturn42 = {0x40, 0x05, 0x80, 0x52, 0xc0, 0x03, 0x5f, 0xd6};  // mov w0, 42; ret
#endif

// An image of three segments, each on a page of its own: headers and read-only data, code, and a dynamic
// table that is read-only after relocation, as lld lays them out.
struct Image {
  uint64_t page = host_page_size();
  Elf64_Ehdr header = {};
  std::vector<Elf64_Phdr> program;
  std::vector<Elf64_Dyn> dynamic = {{DT_SYMTAB, {0}}, {DT_NULL, {0}}};
  size_t size = 0;  // of the file; 0: what it needs

  enum { kHeaders, kCode, kData, kDynamic, kRelro, kStack };

  Image() {
    memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_ident[EI_VERSION] = EV_CURRENT;
    header.e_type = ET_DYN;
    header.e_machine = kMachine;
    header.e_version = EV_CURRENT;
    header.e_phoff = sizeof(Elf64_Ehdr);
    header.e_ehsize = sizeof(Elf64_Ehdr);
    header.e_phentsize = sizeof(Elf64_Phdr);
    program = {segment(PT_LOAD, PF_R, 0, 0x300),
               segment(PT_LOAD, PF_R | PF_X, page, kReturn42.size()),
               segment(PT_LOAD, PF_R | PF_W, 2 * page, 0x100),
               segment(PT_DYNAMIC, PF_R | PF_W, 2 * page, 0x100),
               segment(PT_GNU_RELRO, PF_R, 2 * page, page),
               segment(PT_GNU_STACK, PF_R | PF_W, 0, 0)};
    header.e_phnum = static_cast<uint16_t>(program.size());
  }

  Elf64_Phdr segment(uint32_t type, uint32_t flags, uint64_t at, uint64_t bytes) const {
    Elf64_Phdr made = {};
    made.p_type = type;
    made.p_flags = flags;
    made.p_offset = made.p_vaddr = made.p_paddr = at;
    made.p_filesz = made.p_memsz = bytes;
    made.p_align = page;
    return made;
  }

  std::vector<uint8_t> bytes() const {
    std::vector<uint8_t> file(2 * page + 0x100);
    memcpy(file.data(), &header, sizeof(header));
    memcpy(file.data() + sizeof(header), program.data(), program.size() * sizeof(Elf64_Phdr));
    memcpy(file.data() + page, kReturn42.data(), kReturn42.size());
    memcpy(file.data() + 2 * page, dynamic.data(), dynamic.size() * sizeof(Elf64_Dyn));
    if (size) file.resize(size);
    return file;
  }
};

std::string load_text(const std::vector<uint8_t>& file) {
  TestAllocator allocator;
  ElfImage image;
  // A block of exactly the file's size, so that sanitizers see a read behind its end.
  std::unique_ptr<uint8_t[]> exact(new uint8_t[file.size()]);
  if (!file.empty()) memcpy(exact.get(), file.data(), file.size());
  const std::string text =
      take_text(elf_load(allocator.get(), tern_const_bytes(exact.get(), file.size()), &image));
  CHECK(text.empty() == (image.base != nullptr));
  elf_unload(&image);
  return text;
}

std::string load_text(const Image& image) {
  return load_text(image.bytes());
}

}  // namespace

TEST_CASE("a good image loads and its code runs") {
  TestAllocator allocator;
  const Image made;
  const std::vector<uint8_t> file = made.bytes();
  ElfImage image;
  REQUIRE_OK(elf_load(allocator.get(), tern_const_bytes(file.data(), file.size()), &image));
  CHECK(image.size == 3 * made.page);
  void* function = elf_function(&image, made.page);
  REQUIRE(function);
  CHECK(reinterpret_cast<int (*)()>(function)() == 42);
  elf_unload(&image);
  CHECK(image.base == nullptr);
}

TEST_CASE("functions lie in code from the file, nowhere else") {
  TestAllocator allocator;
  Image made;
  made.program[Image::kCode].p_memsz = made.page;
  const std::vector<uint8_t> file = made.bytes();
  ElfImage image;
  REQUIRE_OK(elf_load(allocator.get(), tern_const_bytes(file.data(), file.size()), &image));
  CHECK(elf_function(&image, made.page) != nullptr);
  for (uint64_t address :
       {uint64_t{0}, made.page - 1, made.page + kReturn42.size(), 2 * made.page, 3 * made.page, UINT64_MAX}) {
    CHECK(elf_function(&image, address) == nullptr);
  }
#if defined(__aarch64__)
  CHECK(elf_function(&image, made.page + 2) == nullptr);
#endif
  elf_unload(&image);
}

TEST_CASE("images for other machines are incompatible, not malformed") {
  Image image;
  image.header.e_machine = kOtherMachine;
  CHECK(load_text(image).find("INCOMPATIBLE: The executable is for the ELF machine (") == 0);
}

TEST_CASE("damaged headers are refused with a sentence") {
  const struct {
    const char* text;
    std::function<void(Image&)> damage;
  } cases[] = {
      {"does not begin like a little-endian ELF64 file", [](Image& i) { i.header.e_ident[0] = 'X'; }},
      {"does not begin like a little-endian ELF64 file",
       [](Image& i) { i.header.e_ident[EI_CLASS] = ELFCLASS32; }},
      {"does not begin like a little-endian ELF64 file",
       [](Image& i) { i.header.e_ident[EI_DATA] = ELFDATA2MSB; }},
      {"ELF type (2) is not a shared object (3)", [](Image& i) { i.header.e_type = ET_EXEC; }},
      {"has (0) program headers", [](Image& i) { i.header.e_phnum = 0; }},
      {"has (65535) program headers", [](Image& i) { i.header.e_phnum = 65535; }},
      {"program headers of (32) bytes", [](Image& i) { i.header.e_phentsize = 32; }},
      {"do not lie inside the executable", [](Image& i) { i.header.e_phoff = UINT64_MAX - 8; }},
      {"do not lie inside the executable", [](Image& i) { i.header.e_phoff = 2 * i.page + 0x80; }},
      {"asks for an interpreter", [](Image& i) { i.program[Image::kStack].p_type = PT_INTERP; }},
      {"has thread-local data", [](Image& i) { i.program[Image::kStack].p_type = PT_TLS; }},
      {"wants an executable stack", [](Image& i) { i.program[Image::kStack].p_flags |= PF_X; }},
      {"has nothing to load",
       [](Image& i) {
         for (auto& p : i.program) p.p_type = PT_NOTE;
       }},
      {"do not lie inside the executable", [](Image& i) { i.program[Image::kCode].p_offset = UINT64_MAX; }},
      {"do not lie inside the executable", [](Image& i) { i.program[Image::kData].p_filesz = UINT64_MAX; }},
      {"the limit is", [](Image& i) { i.program[Image::kCode].p_memsz = 1; }},
      {"the limit is", [](Image& i) { i.program[Image::kCode].p_memsz = UINT64_MAX; }},
      {"the limit is", [](Image& i) { i.program[Image::kCode].p_vaddr = UINT64_MAX - 4096; }},
      {"the limit is", [](Image& i) { i.program[Image::kData].p_memsz = uint64_t{1} << 40; }},
      {"is writable and executable", [](Image& i) { i.program[Image::kCode].p_flags |= PF_W; }},
      {"has writable data (256 bytes)", [](Image& i) { i.program[Image::kRelro].p_type = PT_NOTE; }},
      {"has writable data", [](Image& i) { i.program[Image::kRelro].p_memsz = 0; }},
      {"has writable data", [](Image& i) { i.program[Image::kRelro].p_vaddr = UINT64_MAX - 5; }},
      {"has writable data", [](Image& i) { i.program[Image::kData].p_memsz = i.page + 1; }},
      {"shares a page", [](Image& i) { i.program[Image::kCode].p_vaddr = 0x400; }},
      {"shares a page", [](Image& i) { std::swap(i.program[0], i.program[1]); }},
      {"dynamic table", [](Image& i) { i.program[Image::kDynamic].p_vaddr = 1 << 20; }},
      {"dynamic table", [](Image& i) { i.program[Image::kDynamic].p_memsz = UINT64_MAX; }},
      {"needs another library", [](Image& i) { i.dynamic[0].d_tag = DT_NEEDED; }},
      {"has relocations", [](Image& i) { i.dynamic[0].d_tag = DT_TEXTREL; }},
      {"has relocations", [](Image& i) { i.dynamic[0].d_tag = DT_JMPREL; }},
      {"has relocations (24 bytes)", [](Image& i) { i.dynamic[0] = {DT_RELASZ, {24}}; }},
      {"has relocations (16 bytes)", [](Image& i) { i.dynamic[0] = {DT_RELSZ, {16}}; }},
      {"has relocations (8 bytes)", [](Image& i) { i.dynamic[0] = {35 /* DT_RELRSZ */, {8}}; }},
      {"has code to run", [](Image& i) { i.dynamic[0].d_tag = DT_INIT; }},
      {"has code to run", [](Image& i) { i.dynamic[0].d_tag = DT_FINI; }},
      {"has code to run", [](Image& i) { i.dynamic[0] = {DT_INIT_ARRAYSZ, {8}}; }},
  };
  for (const auto& one : cases) {
    CAPTURE(one.text);
    Image image;
    one.damage(image);
    const std::string text = load_text(image);
    CAPTURE(text);
    CHECK(text.find("MALFORMED: ") == 0);
    CHECK(text.find(one.text) != std::string::npos);
  }
}

TEST_CASE("empty relocation tables and unknown segments do no harm") {
  Image image;
  image.dynamic = {
      {DT_RELASZ, {0}}, {DT_INIT_ARRAYSZ, {0}}, {DT_HASH, {4}}, {DT_NULL, {0}}, {DT_NEEDED, {1}}};
  image.program[Image::kStack].p_type = 0x6474e553;  // PT_GNU_PROPERTY
  CHECK(load_text(image) == "");
}

TEST_CASE("too many segments are refused") {
  Image image;
  for (uint64_t i = 0; i < 6; ++i)
    image.program.push_back(image.segment(PT_LOAD, PF_R, (i + 3) * image.page, 0));
  for (size_t i = 6; i < image.program.size(); ++i) {
    image.program[i].p_offset = 0;
    image.program[i].p_memsz = 8;
  }
  image.header.e_phnum = static_cast<uint16_t>(image.program.size());
  CHECK(load_text(image) == "MALFORMED: The executable has more than (8) segments.");
}

TEST_CASE("a segment without memory may not bring bytes") {
  Image image;
  image.program[Image::kData].p_memsz = 0;  // its file size stays
  image.program[Image::kData].p_vaddr = uint64_t{1} << 60;
  image.program[Image::kDynamic].p_type = PT_NOTE;
  CHECK(load_text(image) == "");
}

TEST_CASE("truncated files are refused at every length") {
  const std::vector<uint8_t> whole = Image().bytes();
  for (size_t size = 0; size < whole.size(); size += size < 600 ? 1 : 97) {
    const std::string text =
        load_text(std::vector<uint8_t>(whole.begin(), whole.begin() + static_cast<long>(size)));
    CHECK(text.find("MALFORMED: ") == 0);
  }
}

TEST_CASE("flipped bits in the headers never crash the loader") {
  const std::vector<uint8_t> whole = Image().bytes();
  std::mt19937 random(1);
  const size_t headers = sizeof(Elf64_Ehdr) + 6 * sizeof(Elf64_Phdr);
  for (size_t bit = 0; bit < headers * 8; ++bit) {
    std::vector<uint8_t> file = whole;
    file[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    load_text(file);
  }
  const size_t dynamic = 2 * host_page_size();
  for (int round = 0; round < 5000; ++round) {
    std::vector<uint8_t> file = whole;
    for (int i = 0; i < 4; ++i) {
      const size_t at = random() % 4 ? random() % headers : dynamic + random() % 0x100;
      file[at] = static_cast<uint8_t>(random());
    }
    load_text(file);
  }
}
