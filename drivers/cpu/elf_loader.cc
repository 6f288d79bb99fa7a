#include "drivers/cpu/elf_loader.h"

#include <string.h>

#include "drivers/cpu/host.h"
#include "hal/base/checked_math.h"

namespace tern::cpu {
namespace {

// The parts of the ELF64 format that are read here, after the System V ABI.
struct FileHeader {
  uint8_t ident[16];
  uint16_t type, machine;
  uint32_t version;
  uint64_t entry, program_headers, section_headers;
  uint32_t flags;
  uint16_t header_size, program_header_size, program_header_count;
  uint16_t section_header_size, section_header_count, names;
};
static_assert(sizeof(FileHeader) == 64);

struct ProgramHeader {
  uint32_t type, flags;
  uint64_t offset, virtual_address, physical_address, file_size, memory_size, alignment;
};
static_assert(sizeof(ProgramHeader) == 56);

struct DynamicEntry {
  int64_t tag;
  uint64_t value;
};

enum : uint32_t {
  kLoad = 1,
  kDynamic = 2,
  kInterpreter = 3,
  kThreadLocal = 7,
  kStack = 0x6474e551,
  kReadOnlyAfterRelocation = 0x6474e552,
};
enum : uint32_t { kExecute = 1, kWrite = 2 };
enum : uint16_t { kSharedObject = 3, kMachineX86 = 62, kMachineArm = 183, kMachineRiscv = 243 };
constexpr uint16_t kMaxProgramHeaders = 32;
constexpr uint64_t kMaxImageSize = uint64_t{1} << 30;

#if defined(__x86_64__)
constexpr uint16_t kHostMachine = kMachineX86;
#elif defined(__aarch64__)
constexpr uint16_t kHostMachine = kMachineArm;
#elif defined(__riscv)
constexpr uint16_t kHostMachine = kMachineRiscv;
#else
constexpr uint16_t kHostMachine = 0;
#endif

// One load at a time; the allocator is for messages.
class Loader {
 public:
  Loader(tern_allocator_t allocator, tern_const_bytes_t file) : allocator_(allocator), file_(file) {}

  tern_status_t load(ElfImage* out_image) {
    TERN_RETURN_IF_ERROR(check_file_header());
    TERN_RETURN_IF_ERROR(read_program_headers());
    TERN_RETURN_IF_ERROR(check_load_segments());
    TERN_RETURN_IF_ERROR(map());
    tern_status_t status = finish();
    if (!tern_status_is_ok(status)) {
      elf_unload(&image_);
      return status;
    }
    *out_image = image_;
    return TERN_OK;
  }

 private:
  tern_status_t check_file_header();
  tern_status_t read_program_headers();
  tern_status_t check_load_segments();
  tern_status_t check_load_segment(const ProgramHeader& header);
  tern_status_t map();
  tern_status_t check_dynamic(const ProgramHeader& header);
  tern_status_t finish();
  bool becomes_read_only(const ProgramHeader& header) const;

  tern_allocator_t allocator_;
  tern_const_bytes_t file_;
  FileHeader header_;
  ProgramHeader program_[kMaxProgramHeaders];  // private copies: the file may be shared memory
  ElfImage image_ = {};
  uint64_t page_ = host_page_size();
};

#define MALFORMED(...) tern_status_make(allocator_, TERN_STATUS_MALFORMED, __VA_ARGS__)
using Number = unsigned long long;

tern_status_t Loader::check_file_header() {
  if (file_.size < sizeof(FileHeader)) {
    return MALFORMED("The executable (%zu bytes) is shorter than an ELF header (%zu).", file_.size,
                     sizeof(FileHeader));
  }
  memcpy(&header_, file_.data, sizeof(header_));
  static const uint8_t kIdent[7] = {0x7f, 'E', 'L', 'F', 2, 1, 1};  // 64 bits, little-endian, version 1
  if (memcmp(header_.ident, kIdent, sizeof(kIdent)) != 0) {
    return MALFORMED("The executable does not begin like a little-endian ELF64 file.");
  }
  if (header_.machine != kHostMachine) {
    return tern_status_make(allocator_, TERN_STATUS_INCOMPATIBLE,
                            "The executable is for the ELF machine (%u); this device is (%u).",
                            header_.machine, kHostMachine);
  }
  if (header_.type != kSharedObject) {
    return MALFORMED("The executable's ELF type (%u) is not a shared object (%u).", header_.type,
                     kSharedObject);
  }
  if (header_.program_header_size != sizeof(ProgramHeader) || header_.program_header_count == 0 ||
      header_.program_header_count > kMaxProgramHeaders) {
    return MALFORMED("The executable has (%u) program headers of (%u) bytes; 1 to (%u) of (%zu) are read.",
                     header_.program_header_count, header_.program_header_size, kMaxProgramHeaders,
                     sizeof(ProgramHeader));
  }
  return TERN_OK;
}

tern_status_t Loader::read_program_headers() {
  const uint64_t bytes = uint64_t{header_.program_header_count} * sizeof(ProgramHeader);
  if (header_.program_headers > file_.size || bytes > file_.size - header_.program_headers) {
    return MALFORMED("The program headers at (%llu) of (%llu) bytes do not lie inside the executable (%zu).",
                     (Number)header_.program_headers, (Number)bytes, file_.size);
  }
  memcpy(program_, file_.data + header_.program_headers, bytes);
  for (uint32_t i = 0; i < header_.program_header_count; ++i) {
    const ProgramHeader& header = program_[i];
    if (header.type == kInterpreter) return MALFORMED("The executable asks for an interpreter.");
    if (header.type == kThreadLocal) return MALFORMED("The executable has thread-local data.");
    if (header.type == kStack && (header.flags & kExecute))
      return MALFORMED("The executable wants an executable stack.");
  }
  return TERN_OK;
}

// Whether all of a writable segment is data that is read-only once relocated; with no relocations it is so
// from the start.
bool Loader::becomes_read_only(const ProgramHeader& header) const {
  for (uint32_t i = 0; i < header_.program_header_count; ++i) {
    const ProgramHeader& other = program_[i];
    if (other.type != kReadOnlyAfterRelocation || other.memory_size > kMaxImageSize ||
        other.virtual_address > kMaxImageSize) {
      continue;
    }
    const uint64_t end = tern_align_up(other.virtual_address + other.memory_size, page_);
    if (other.virtual_address <= header.virtual_address &&
        header.virtual_address + header.memory_size <= end) {
      return true;
    }
  }
  return false;
}

tern_status_t Loader::check_load_segment(const ProgramHeader& header) {
  if (header.offset > file_.size || header.file_size > file_.size - header.offset) {
    return MALFORMED("A segment's bytes at (%llu) of (%llu) do not lie inside the executable (%zu).",
                     (Number)header.offset, (Number)header.file_size, file_.size);
  }
  if (header.file_size > header.memory_size || header.memory_size > kMaxImageSize ||
      header.virtual_address > kMaxImageSize) {
    return MALFORMED(
        "A segment at address (%llu) has (%llu) bytes in the file and (%llu) in memory; the limit is (%llu).",
        (Number)header.virtual_address, (Number)header.file_size, (Number)header.memory_size,
        (Number)kMaxImageSize);
  }
  if ((header.flags & kWrite) && (header.flags & kExecute)) {
    return MALFORMED("A segment is writable and executable.");
  }
  if ((header.flags & kWrite) && !becomes_read_only(header)) {
    return MALFORMED("The executable has writable data (%llu bytes).", (Number)header.memory_size);
  }
  if (image_.segment_count == kMaxElfSegments) {
    return MALFORMED("The executable has more than (%u) segments.", kMaxElfSegments);
  }
  const uint64_t begin = header.virtual_address & ~(page_ - 1);
  if (begin < image_.size) {
    return MALFORMED(
        "A segment at address (%llu) shares a page of (%llu) bytes with the one before it, or comes out of "
        "order.",
        (Number)header.virtual_address, (Number)page_);
  }
  image_.size = tern_align_up(header.virtual_address + header.memory_size, page_);
  image_.segments[image_.segment_count++] = {header.virtual_address,
                                             header.virtual_address + header.file_size, header.flags};
  return TERN_OK;
}

tern_status_t Loader::check_load_segments() {
  for (uint32_t i = 0; i < header_.program_header_count; ++i) {
    if (program_[i].type != kLoad || program_[i].memory_size == 0) continue;
    TERN_RETURN_IF_ERROR(check_load_segment(program_[i]));
  }
  if (image_.size == 0) return MALFORMED("The executable has nothing to load.");
  return TERN_OK;
}

tern_status_t Loader::map() {
  image_.base = static_cast<uint8_t*>(host_pages_map(image_.size));
  if (!image_.base) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  for (uint32_t i = 0; i < header_.program_header_count; ++i) {
    const ProgramHeader& header = program_[i];
    if (header.type != kLoad || header.memory_size == 0 || header.file_size == 0) continue;
    memcpy(image_.base + header.virtual_address, file_.data + header.offset, header.file_size);
  }
  return TERN_OK;
}

// Read from the private copy. The table's symbols need no look: without relocations nothing refers to them.
tern_status_t Loader::check_dynamic(const ProgramHeader& header) {
  if (header.virtual_address > image_.size || header.memory_size > image_.size - header.virtual_address) {
    return MALFORMED("The dynamic table at (%llu) does not lie inside the image (%llu bytes).",
                     (Number)header.virtual_address, (Number)image_.size);
  }
  enum {
    kNeeded = 1,
    kPltRelSize = 2,
    kRelaSize = 8,
    kInit = 12,
    kFini = 13,
    kRelSize = 18,
    kTextRel = 22,
    kJumpRel = 23
  };
  enum { kInitArraySize = 27, kFiniArraySize = 28, kPreInitArraySize = 33, kRelrSize = 35 };
  for (uint64_t at = 0; at + sizeof(DynamicEntry) <= header.memory_size; at += sizeof(DynamicEntry)) {
    DynamicEntry entry;
    memcpy(&entry, image_.base + header.virtual_address + at, sizeof(entry));
    switch (entry.tag) {
      case 0:
        return TERN_OK;
      case kNeeded:
        return MALFORMED("The executable needs another library.");
      case kTextRel:
      case kJumpRel:
        return MALFORMED("The executable has relocations.");
      case kPltRelSize:
      case kRelaSize:
      case kRelSize:
      case kRelrSize:
        if (entry.value == 0) break;
        return MALFORMED("The executable has relocations (%llu bytes).", (Number)entry.value);
      case kInit:
      case kFini:
        return MALFORMED("The executable has code to run when it is loaded or unloaded.");
      case kInitArraySize:
      case kFiniArraySize:
      case kPreInitArraySize:
        if (entry.value == 0) break;
        return MALFORMED("The executable has code to run when it is loaded or unloaded.");
      default:
        break;
    }
  }
  return TERN_OK;
}

tern_status_t Loader::finish() {
  for (uint32_t i = 0; i < header_.program_header_count; ++i) {
    if (program_[i].type == kDynamic) TERN_RETURN_IF_ERROR(check_dynamic(program_[i]));
  }
  uint64_t done = 0;  // pages before this are sealed
  for (uint32_t i = 0; i < image_.segment_count; ++i) {
    const uint64_t begin = image_.segments[i].begin & ~(page_ - 1);
    const uint64_t end =
        i + 1 < image_.segment_count ? image_.segments[i + 1].begin & ~(page_ - 1) : image_.size;
    if (done < begin && !host_pages_seal(image_.base + done, begin - done, false)) break;
    if (!host_pages_seal(image_.base + begin, end - begin, image_.segments[i].flags & kExecute)) break;
    done = end;
  }
  if (done == image_.size) return TERN_OK;
  return tern_status_make(allocator_, TERN_STATUS_PERMISSION_DENIED,
                          "The operating system does not let this process make memory executable.");
}

#undef MALFORMED

}  // namespace

tern_status_t elf_load(tern_allocator_t allocator, tern_const_bytes_t file, ElfImage* out_image) {
  *out_image = {};
  return Loader(allocator, file).load(out_image);
}

void elf_unload(ElfImage* image) {
  if (image->base) host_pages_unmap(image->base, image->size);
  *image = {};
}

void* elf_function(const ElfImage* image, uint64_t virtual_address) {
#if defined(__aarch64__)
  if (virtual_address & 3) return nullptr;
#endif
  for (uint32_t i = 0; i < image->segment_count; ++i) {
    const ElfSegment& segment = image->segments[i];
    if ((segment.flags & kExecute) && virtual_address >= segment.begin &&
        virtual_address < segment.file_end) {
      return image->base + virtual_address;
    }
  }
  return nullptr;
}

}  // namespace tern::cpu
