#include "compiler/toolchain/object_cache.h"

#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "compiler/support/check.h"
#include "compiler/support/unfinished.h"

namespace tern::toolchain {
namespace {

uint64_t mix(uint64_t h) {
  h ^= h >> 32;
  h *= 0xd6e8feb86659fd93ull;
  h ^= h >> 29;
  h *= 0x9fb21c651e98df25ull;
  return h ^ (h >> 32);
}

uint64_t hash_with(std::string_view bytes, uint64_t seed) {
  uint64_t h = seed ^ mix(bytes.size());
  size_t k = 0;
  for (; k + 8 <= bytes.size(); k += 8) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + k, 8);
    h = mix(h ^ word) + 0x9e3779b97f4a7c15ull;
  }
  uint64_t word = 0;
  std::memcpy(&word, bytes.data() + k, bytes.size() - k);
  return mix(h ^ word);
}

std::string_view view(const std::vector<uint8_t>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

std::string content_hash(std::string_view bytes) {
  return fmt::format("{:016x}{:016x}", hash_with(bytes, 0x243f6a8885a308d3ull),
                     hash_with(bytes, 0x13198a2e03707344ull));
}

bool read_file(const std::string& path, std::vector<uint8_t>* out) {
  std::FILE* f = std::fopen(path.c_str(), "rb");
  if (f == nullptr) return false;
  out->clear();
  uint8_t buffer[1 << 14];
  for (size_t n; (n = std::fread(buffer, 1, sizeof buffer, f)) > 0;)
    out->insert(out->end(), buffer, buffer + n);
  bool ok = std::ferror(f) == 0;
  std::fclose(f);
  return ok;
}

bool write_file(const std::string& path, std::string_view bytes) {
  std::FILE* f = std::fopen(path.c_str(), "wb");
  if (f == nullptr) return false;
  bool ok = std::fwrite(bytes.data(), 1, bytes.size(), f) == bytes.size();
  return std::fclose(f) == 0 && ok;
}

std::string ObjectCache::default_directory() {
  auto get = [](const char* name) -> std::string {
    const char* v = std::getenv(name);
    return v == nullptr ? "" : v;
  };
  if (std::string d = get("TERN_CACHE_DIR"); !d.empty()) return d;
  if (std::string d = get("XDG_CACHE_HOME"); !d.empty()) return d + "/tern";
  if (std::string d = get("HOME"); !d.empty()) return d + "/.cache/tern";
  return "";
}

// An entry is its object's hash (32 digits) and then the object.
std::optional<std::vector<uint8_t>> ObjectCache::find(const std::string& key) const {
  std::vector<uint8_t> entry;
  if (directory_.empty() || !read_file(directory_ + "/" + key + ".o", &entry) || entry.size() < 32)
    return std::nullopt;
  std::vector<uint8_t> object(entry.begin() + 32, entry.end());
  if (content_hash(view(object)) != view(entry).substr(0, 32)) return std::nullopt;
  return object;
}

void ObjectCache::keep(const std::string& key, const std::vector<uint8_t>& object) const {
  if (directory_.empty()) return;
  static std::atomic<int> counter = 0;
  std::error_code ignored;
  std::filesystem::create_directories(directory_, ignored);
  std::string final_path = directory_ + "/" + key + ".o";
  std::string temporary = fmt::format("{}.{}.{}", final_path, getpid(), counter++);
  std::string entry = content_hash(view(object)) + std::string(view(object));
  const Unfinished unfinished(temporary);
  // A cache that cannot be written is no error.
  if (!write_file(temporary, entry) || std::rename(temporary.c_str(), final_path.c_str()) != 0) {
    std::remove(temporary.c_str());
  }
}

}  // namespace tern::toolchain
