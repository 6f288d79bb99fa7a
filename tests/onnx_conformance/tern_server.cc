// The command line of tern, many times in one process: on a GPU most of what a small run takes is making the
// driver's context, which waits for every other process that makes one.
//
//   tern_server DRIVER      DRIVER's first device is held until the end, and so its context
//
// A line of standard input is the arguments of one call, between tabs. The answer on standard output is a
// line "EXIT_CODE BYTES", then that many bytes: what the call wrote to standard output and standard error.
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include <iostream>
#include <string>
#include <vector>

#include "tests/onnx_conformance/server_lines.h"
#include "tools/tern/commands.h"

namespace {

int call(std::vector<std::string> parts) {
  std::vector<char*> arguments;
  for (std::string& part : parts) arguments.push_back(part.data());
  const int code = tern::cli::command_line(static_cast<int>(arguments.size()), arguments.data());
  fflush(nullptr);
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    fprintf(stderr, "Usage: tern_server DRIVER\n");
    return 2;
  }
  const auto instance = tern::cli::make_instance();
  tern_device_desc_t desc = {};
  desc.driver = argv[1];
  tern_device_t* device = nullptr;
  if (tern_status_t status = tern_device_create(instance.get(), &desc, &device)) {
    fprintf(stderr, "%s\n", tern_status_message(status));
    return 1;
  }
  const tern::cli::Handle<tern_device_t> held(device);
  const int answers = dup(STDOUT_FILENO), file = memfd_create("output", 0);
  if (answers < 0 || file < 0 || dup2(file, STDOUT_FILENO) < 0 || dup2(file, STDERR_FILENO) < 0) return 1;
  std::string line;
  while (std::getline(std::cin, line)) {
    const int code = call(tern::tests::split("tern", line));
    const std::string text = tern::tests::contents(file);
    dprintf(answers, "%d %zu\n%s", code, text.size(), text.c_str());
    if (ftruncate(file, 0) != 0 || lseek(file, 0, SEEK_SET) != 0) return 1;
  }
  return 0;
}
