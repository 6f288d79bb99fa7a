// What tern_server and ternc_server read and answer: lines of arguments between tabs; what calls wrote to a
// file in memory.
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

namespace tern::tests {

// The program's name, then the line's arguments.
inline std::vector<std::string> split(const char* program, const std::string& line) {
  std::vector<std::string> parts = {program};
  for (size_t from = 0; from <= line.size();) {
    const size_t end = std::min(line.find('\t', from), line.size());
    parts.push_back(line.substr(from, end - from));
    from = end + 1;
  }
  return parts;
}

inline std::string contents(int file) {
  std::string text(static_cast<size_t>(lseek(file, 0, SEEK_END)), 0);
  const ssize_t got = pread(file, text.data(), text.size(), 0);
  text.resize(got > 0 ? static_cast<size_t>(got) : 0);
  return text;
}

}  // namespace tern::tests
