// Compiled units by the hash of what they were compiled from. Safe under concurrent use: entries are written
// to a temporary name and renamed; a reader sees all or nothing. A damaged entry is noticed by its own hash
// and ignored.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tern::toolchain {

std::string content_hash(std::string_view bytes);  // 32 hex digits

class ObjectCache {
 public:
  // Empty directory: no cache.
  explicit ObjectCache(std::string directory) : directory_(std::move(directory)) {}
  static std::string default_directory();

  std::optional<std::vector<uint8_t>> find(const std::string& key) const;
  void keep(const std::string& key, const std::vector<uint8_t>& object) const;

 private:
  std::string directory_;
};

bool read_file(const std::string& path, std::vector<uint8_t>* out);
bool write_file(const std::string& path, std::string_view bytes);

}  // namespace tern::toolchain
