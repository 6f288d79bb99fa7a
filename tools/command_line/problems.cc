#include "tools/command_line/problems.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace tern::command_line {

void Problems::add(std::string sentence, int code) {
  if (empty()) code_ = code;
  sentences_.push_back(std::move(sentence));
}

int report(const std::string& tool, int code, const std::string& text) {
  std::string printable = text;
  for (char& c : printable) {
    if ((static_cast<unsigned char>(c) < 32 && c != '\n' && c != '\t') || c == 127) c = '?';
  }
  const bool color = color_enabled(STDERR_FILENO);
  std::fflush(stdout);
  std::fprintf(stderr, "%s%s:%s %s\n", color ? "\033[1;31m" : "", tool.c_str(), color ? "\033[0m" : "",
               printable.c_str());
  return code;
}

int report(const std::string& tool, const Problems& problems) {
  for (const std::string& sentence : problems.sentences()) report(tool, problems.code(), sentence);
  return problems.code();
}

bool color_enabled(int descriptor) {
  const char* terminal = std::getenv("TERM");
  return isatty(descriptor) && !std::getenv("NO_COLOR") && terminal && std::string_view(terminal) != "dumb";
}

std::string counted(long long count, const char* one, const char* many) {
  return std::to_string(count) + " " + (count == 1 ? one : many);
}

}  // namespace tern::command_line
