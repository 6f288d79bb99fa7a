// A file that appears whole or not at all: written under a temporary name in the same folder, renamed by
// commit(). What is not committed is removed, also when the process is ended by a signal or
// aborts.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "compiler/support/result.h"
#include "compiler/support/unfinished.h"

namespace tern::pack {

class AtomicFile {
 public:
  static Result<AtomicFile> create(const std::string& name);
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;
  ~AtomicFile();

  Status append(std::span<const uint8_t> data);
  Status append_zeros(int64_t count);
  Status commit();

 private:
  AtomicFile(std::string path, std::string temporary, int descriptor)
      : path_(std::move(path)), temporary_(std::move(temporary)), descriptor_(descriptor) {}
  Error failure(const char* what) const;

  std::string path_, temporary_;
  int descriptor_ = -1;
  std::optional<Unfinished> unfinished_;
};

}  // namespace tern::pack
