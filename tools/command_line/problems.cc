#include "tools/command_line/problems.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace tern::command_line {

void Problems::add(std::string sentence, int code) {
  if (empty()) code_ = code;
  sentences_.push_back(std::move(sentence));
}

std::string printable(std::string text, bool lines) {
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    // The control characters beyond ASCII are two bytes of UTF-8.
    const bool beyond = c >= 0x80 && c < 0xa0 && i > 0 && static_cast<unsigned char>(text[i - 1]) == 0xc2;
    if ((c < 0x20 && !(lines && (c == '\n' || c == '\t'))) || c == 0x7f || beyond) text[i] = '?';
    if (beyond) text[i - 1] = '?';
  }
  return text;
}

int report(const std::string& tool, int code, const std::string& text) {
  const bool color = color_enabled(STDERR_FILENO);
  std::fflush(stdout);
  std::fprintf(stderr, "%s%s:%s %s\n", color ? "\033[1;31m" : "", tool.c_str(), color ? "\033[0m" : "",
               printable(text, true).c_str());
  return code;
}

int report(const std::string& tool, const Problems& problems) {
  for (const std::string& sentence : problems.sentences()) report(tool, problems.code(), sentence);
  return problems.code();
}

int finish(const std::string& tool, int code) {
  errno = 0;
  if (std::fflush(stdout) == 0 && !std::ferror(stdout)) return code;
  const std::string why = errno ? std::string(": ") + std::strerror(errno) : std::string();
  const int failure = report(tool, kIo, "Standard output cannot be written" + why + ".");
  return code == kSuccess ? failure : code;
}

namespace {

std::string parent_of(const std::string& path) {
  const size_t last = path.find_last_not_of('/');
  const size_t slash = path.rfind('/', last);
  return last == std::string::npos || slash == 0 ? "/"
         : slash == std::string::npos            ? "."
                                                 : path.substr(0, slash);
}

bool is_folder(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

std::string cannot(const std::string& what, const std::string& path, const std::string& doing,
                   const std::string& why) {
  return "The " + what + " '" + path + "' cannot be " + doing + ": " + why + ".";
}

}  // namespace

std::string input_problem(const std::string& what, const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) {
    if (errno == ENOENT) return "The " + what + " '" + path + "' is not there.";
    return cannot(what, path, "read", std::strerror(errno));
  }
  if (S_ISDIR(info.st_mode)) return "The " + what + " '" + path + "' is a folder, not a file.";
  if (!S_ISREG(info.st_mode))
    return "The " + what + " '" + path + "' is a device or a pipe; a " + what +
           " is read from a regular file only.";
  if (access(path.c_str(), R_OK) != 0) return cannot(what, path, "read", std::strerror(errno));
  return {};
}

std::string output_problem(const std::string& what, const std::string& path) {
  if (is_folder(path)) return "The " + what + " '" + path + "' is a folder.";
  const std::string folder = parent_of(path);
  if (!is_folder(folder)) return cannot(what, path, "written", "there is no folder '" + folder + "'");
  if (access(folder.c_str(), W_OK) != 0) {
    const std::string why = std::strerror(errno);
    if (access(path.c_str(), W_OK) != 0)
      return cannot(what, path, "written", why + " (folder '" + folder + "')");
  }
  return {};
}

std::string replaced_problem(const std::string& what, const std::string& path) {
  struct stat info;
  const bool there = stat(path.c_str(), &info) == 0;
  if (!there && errno == ELOOP) return cannot(what, path, "written", std::strerror(errno));
  if (there && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode))
    return "The " + what + " '" + path + "' is a device or a pipe; it would be replaced by a file.";
  return output_problem(what, path);
}

std::string output_folder_problem(const std::string& what, const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) {
    if (errno != ENOENT) return cannot(what, path, "written", std::strerror(errno));
    const std::string folder = parent_of(path);
    if (!is_folder(folder)) return cannot(what, path, "made", "there is no folder '" + folder + "'");
    return access(folder.c_str(), W_OK) == 0 ? "" : cannot(what, path, "made", std::strerror(errno));
  }
  if (!S_ISDIR(info.st_mode)) return "The " + what + " '" + path + "' is a file, not a folder.";
  return access(path.c_str(), W_OK) == 0 ? "" : cannot(what, path, "written", std::strerror(errno));
}

bool color_enabled(int descriptor) {
  const char* terminal = std::getenv("TERM");
  return isatty(descriptor) && !std::getenv("NO_COLOR") && terminal && std::string_view(terminal) != "dumb";
}

std::string counted(long long count, const char* one, const char* many) {
  return std::to_string(count) + " " + (count == 1 ? one : many);
}

}  // namespace tern::command_line
