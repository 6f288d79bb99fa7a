#include "compiler/support/read_text.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

namespace tern {

Result<std::string> read_text(const std::string& path, const char* what, int64_t most) {
  const auto failure = [&] { return error("The file '{}' cannot be read: {}.", path, std::strerror(errno)); };
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
  struct stat info;
  if (!file || fstat(fileno(file.get()), &info) != 0) return failure();
  if (info.st_size > most)
    return error("The file '{}' has {} bytes; a {} has at most {}.", path, info.st_size, what, most);
  std::string text(static_cast<size_t>(info.st_size), 0);
  text.resize(std::fread(text.data(), 1, text.size(), file.get()));
  if (std::ferror(file.get())) return failure();
  return text;
}

}  // namespace tern
