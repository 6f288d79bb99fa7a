#include "compiler/toolchain/process.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

extern char** environ;

namespace tern::toolchain {

Result<ProcessResult> run_process(const std::vector<std::string>& arguments) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return error("A pipe cannot be made ({}).", std::strerror(errno));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 2);
  std::vector<char*> argv;
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  pid_t child = 0;
  int failed = posix_spawn(&child, arguments[0].c_str(), &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (failed != 0) {
    close(ends[0]);
    return error("The program '{}' cannot be started ({}).", arguments[0], std::strerror(failed));
  }
  ProcessResult result;
  char buffer[4096];
  for (;;) {
    ssize_t n = read(ends[0], buffer, sizeof buffer);
    if (n > 0) result.output.append(buffer, static_cast<size_t>(n));
    if (n == 0 || (n < 0 && errno != EINTR)) break;
  }
  close(ends[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

std::string find_program(const char* variable, const std::vector<std::string>& names) {
  const char* set = std::getenv(variable);
  if (set != nullptr && *set == 0) set = nullptr;
  if (set != nullptr && std::strchr(set, '/') != nullptr) return set;
  // As compilers take CC: a name without a folder is a program in PATH.
  const char* path = std::getenv("PATH");
  if (path == nullptr) return set != nullptr ? set : "";
  for (const std::string& name : set != nullptr ? std::vector<std::string>{set} : names) {
    std::string_view rest = path;
    while (!rest.empty()) {
      size_t colon = rest.find(':');
      std::string candidate = fmt::format("{}/{}", rest.substr(0, colon), name);
      if (access(candidate.c_str(), X_OK) == 0) return candidate;
      if (colon == std::string_view::npos) break;
      rest.remove_prefix(colon + 1);
    }
  }
  return set != nullptr ? set : "";
}

}  // namespace tern::toolchain
