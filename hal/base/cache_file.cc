#include "hal/base/cache_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

namespace tern {
namespace {

constexpr uint64_t kMagic = 0x31434c5056524554;  // "TERVPLC1"
constexpr uint64_t kLargestFile = uint64_t{1} << 30;

struct FileHead {
  uint64_t magic;
  uint64_t size;  // bytes behind the head
  uint64_t hash;  // of them
};

}  // namespace

uint64_t cache_hash(const void* data, size_t size, uint64_t hash) {
  for (size_t i = 0; i < size; ++i) {
    hash = (hash ^ static_cast<const uint8_t*>(data)[i]) * 0x100000001b3;
  }
  return hash;
}

bool cache_folder(const char* wanted, char* out, size_t size) {
  int written = 0;
  if (wanted) {
    written = snprintf(out, size, "%s", wanted);
  } else if (const char* folder = getenv("TERN_CACHE_DIR"); folder && *folder) {
    written = snprintf(out, size, "%s", folder);
  } else if (const char* base = getenv("XDG_CACHE_HOME"); base && *base) {
    written = snprintf(out, size, "%s/tern", base);
  } else if (const char* home = getenv("HOME"); home && *home) {
    written = snprintf(out, size, "%s/.cache/tern", home);
  }
  if (written <= 0 || static_cast<size_t>(written) >= size) return false;
  for (char* slash = out + 1; *slash; ++slash) {
    if (*slash != '/') continue;
    *slash = 0;
    (void)mkdir(out, 0755);
    *slash = '/';
  }
  (void)mkdir(out, 0755);
  return access(out, W_OK) == 0;
}

uint8_t* cache_read(tern_allocator_t allocator, const char* path, size_t* out_size) {
  FILE* file = fopen(path, "rb");
  if (!file) return nullptr;
  FileHead head;
  uint8_t* data = nullptr;
  if (fread(&head, sizeof(head), 1, file) == 1 && head.magic == kMagic && head.size &&
      head.size < kLargestFile) {
    const auto size = static_cast<size_t>(head.size);
    data = static_cast<uint8_t*>(tern_allocate(allocator, size, 16));
    if (data && (fread(data, 1, size, file) != size || cache_hash(data, size) != head.hash)) {
      tern_release(allocator, data, size);
      data = nullptr;
    }
    *out_size = size;
  }
  fclose(file);
  return data;
}

void cache_write(const char* path, const void* data, size_t size) {
  char temporary[600];
  const int length = snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path);
  if (length < 0 || static_cast<size_t>(length) >= sizeof(temporary)) return;
  const int made = mkstemp(temporary);
  if (made < 0) return;
  FILE* file = fdopen(made, "wb");
  if (!file) {
    close(made);
    (void)unlink(temporary);
    return;
  }
  const FileHead head = {kMagic, size, cache_hash(data, size)};
  const bool written = fwrite(&head, sizeof(head), 1, file) == 1 && fwrite(data, 1, size, file) == size;
  if (fclose(file) != 0 || !written || rename(temporary, path) != 0) (void)unlink(temporary);
}

}  // namespace tern
