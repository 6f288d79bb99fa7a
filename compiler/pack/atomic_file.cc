#include "compiler/pack/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

namespace tern::pack {
namespace {

// What a link names, and what that link names: the file is put there, and the link stays.
std::string behind_links(std::string path) {
  constexpr int kMostLinks = 40;  // the system's limit: behind it stat() says what is wrong
  std::error_code problem;
  for (int i = 0; i < kMostLinks; ++i) {
    const std::filesystem::path named = std::filesystem::read_symlink(path, problem);
    if (problem) return path;
    path = (std::filesystem::path(path).parent_path() / named).string();
  }
  return path;
}

// A new file beside the path. Its name is the process's, but in containers many processes have one number,
// and one that was killed leaves its file.
int open_beside(const std::string& path, std::string& name) {
  constexpr int kMostTries = 100;
  int descriptor = -1;
  for (int i = 0; i < kMostTries && descriptor < 0; ++i) {
    name =
        i == 0 ? fmt::format("{}.{}.part", path, getpid()) : fmt::format("{}.{}-{}.part", path, getpid(), i);
    descriptor = open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor < 0 && errno != EEXIST) break;
  }
  return descriptor;
}

}  // namespace

Result<AtomicFile> AtomicFile::create(const std::string& name) {
  const std::string path = behind_links(name);
  struct stat existing = {};
  const bool there = stat(path.c_str(), &existing) == 0;
  if (!there && errno != ENOENT)
    return error("The output file '{}' cannot be written: {}.", path, std::strerror(errno));
  const bool special = there && !S_ISREG(existing.st_mode);
  if (special && S_ISDIR(existing.st_mode)) return error("The output path '{}' is a folder.", path);
  // A device or pipe (/dev/null) cannot be replaced: it is written to.
  std::string temporary;
  const int descriptor = special ? open(path.c_str(), O_WRONLY) : open_beside(path, temporary);
  if (descriptor < 0) return error("The output file '{}' cannot be written: {}.", path, std::strerror(errno));
  AtomicFile file(path, temporary, descriptor);
  if (!special) file.unfinished_.emplace(temporary);
  return file;
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)),
      descriptor_(other.descriptor_),
      unfinished_(std::move(other.unfinished_)) {
  other.descriptor_ = -1;
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  close(descriptor_);
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

Error AtomicFile::failure(const char* what) const {
  return error("The output file '{}' cannot be {}: {}.", path_, what, std::strerror(errno));
}

Status AtomicFile::append(std::span<const uint8_t> data) {
  while (!data.empty()) {
    const ssize_t done = ::write(descriptor_, data.data(), std::min<size_t>(data.size(), size_t{1} << 30));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return failure("written");
    data = data.subspan(static_cast<size_t>(done));
  }
  return Ok{};
}

Status AtomicFile::append_zeros(int64_t count) {
  static constexpr uint8_t kZeros[4096] = {};
  for (; count > 0; count -= static_cast<int64_t>(sizeof(kZeros))) {
    TERN_TRY(append({kZeros, static_cast<size_t>(std::min<int64_t>(count, sizeof(kZeros)))}));
  }
  return Ok{};
}

Status AtomicFile::commit() {
  const int descriptor = descriptor_;
  if (temporary_.empty()) return Ok{};
  if (close(descriptor) != 0) {
    descriptor_ = -1;
    unlink(temporary_.c_str());
    return failure("written");
  }
  descriptor_ = -1;
  if (rename(temporary_.c_str(), path_.c_str()) != 0) {
    const Error failed = failure("put in its place");
    unlink(temporary_.c_str());
    return failed;
  }
  unfinished_.reset();
  return Ok{};
}

}  // namespace tern::pack
