// The command line of ternc, many times, each in a process of its own that begins as a copy of this one:
// starting ternc and making Shaderc's tables takes longer than a small model takes to compile.
//
//   ternc_server
//
// Lines of standard input and answers as tern_server's (tern_server.cc). A call that dies of a signal has the
// exit code 128 and the signal's number.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "compiler/toolchain/shaderc.h"
#include "compiler/tools/ternc.h"
#include "tests/onnx_conformance/server_lines.h"

namespace {

[[noreturn]] void child(std::vector<std::string> parts, int output, pid_t server) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // whoever is tired of waiting kills the server
  if (getppid() != server) _exit(1);
  if (dup2(output, STDOUT_FILENO) < 0 || dup2(output, STDERR_FILENO) < 0) _exit(1);
  const int none = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (none < 0 || dup2(none, STDIN_FILENO) < 0) _exit(1);
  std::vector<char*> arguments;
  for (std::string& part : parts) arguments.push_back(part.data());
  const int code = tern::ternc_command_line(static_cast<int>(arguments.size()), arguments.data());
  exit(code);  // for LeakSanitizer
}

// The exit code; -1: no process could be made.
int call(const std::string& line, int output) {
  const pid_t server = getpid(), process = fork();
  if (process == 0) child(tern::tests::split("ternc", line), output, server);
  int status = 0;
  if (process < 0 || waitpid(process, &status, 0) != process) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

int main() {
  const auto tables = tern::toolchain::keep_shader_tables();
  std::string line;
  while (std::getline(std::cin, line)) {
    const int output = memfd_create("output", MFD_CLOEXEC);
    if (output < 0) return 1;
    const int code = call(line, output);
    const std::string text = tern::tests::contents(output);
    close(output);
    if (code < 0) return 1;
    std::printf("%d %zu\n", code, text.size());
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  }
  return 0;
}
