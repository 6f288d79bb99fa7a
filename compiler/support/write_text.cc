#include "compiler/support/write_text.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace tern {

Status write_text(const std::string& path, std::string_view text) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  bool written = file && std::fwrite(text.data(), 1, text.size(), file) == text.size();
  int why = errno;
  if (file && std::fclose(file) != 0) {  // what was still in memory
    why = written ? errno : why;
    written = false;
  }
  if (!written) return error("The file '{}' cannot be written: {}.", path, std::strerror(why));
  return Ok{};
}

}  // namespace tern
