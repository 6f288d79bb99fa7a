// Every scalar op on aarch64, under qemu-aarch64; skipped, and said so, where that program is missing.
#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "compiler/toolchain/process.h"
#include "tests/native/native_kernel.h"
#include "tests/native/op_cases.h"

namespace tern::test {
namespace {

using toolchain::find_program;
using toolchain::run_process;

void append_number(std::string& to, uint64_t v) {
  to.append(reinterpret_cast<const char*>(&v), 8);
}

struct Folder {
  std::string path = (std::filesystem::temp_directory_path() / "tern-aarch64-XXXXXX").string();
  Folder() { REQUIRE(mkdtemp(path.data()) != nullptr); }
  ~Folder() { std::filesystem::remove_all(path); }
};

std::string slurp(const std::string& path) {
  std::string out;
  std::FILE* f = std::fopen(path.c_str(), "rb");
  if (f == nullptr) return out;
  char buffer[1 << 14];
  for (size_t n; (n = std::fread(buffer, 1, sizeof buffer, f)) > 0;) out.append(buffer, n);
  std::fclose(f);
  return out;
}

void spill(const std::string& path, const std::string& bytes) {
  std::FILE* f = std::fopen(path.c_str(), "wb");
  REQUIRE(f != nullptr);
  CHECK(std::fwrite(bytes.data(), 1, bytes.size(), f) == bytes.size());
  std::fclose(f);
}

void build_runner(const std::string& object, const std::string& program) {
  auto compiled =
      run_process({find_program("TERN_CLANG", {"clang-19", "clang"}), "--target=aarch64-unknown-linux-gnu",
                   "-O1", "-ffreestanding", "-fno-builtin", "-fno-stack-protector", "-c", "-o", object,
                   TERN_SOURCE_DIR "/tests/native/runner_aarch64.c"});
  REQUIRE(compiled.ok());
  REQUIRE_MESSAGE(compiled->exit_code == 0, compiled->output);
  auto linked =
      run_process({find_program("TERN_LLD", {"ld.lld-19", "ld.lld"}), "-static", "-o", program, object});
  REQUIRE(linked.ok());
  REQUIRE_MESSAGE(linked->exit_code == 0, linked->output);
}

TEST_CASE("scalar ops agree with the evaluator on aarch64 under qemu") {
  std::string qemu = find_program("TERN_QEMU_AARCH64", {"qemu-aarch64", "qemu-aarch64-static"});
  if (qemu.empty()) {
    MESSAGE("qemu-aarch64 is not installed: aarch64 kernels are not run");
    return;
  }
  Folder folder;
  build_runner(folder.path + "/runner.o", folder.path + "/runner");
  std::vector<Case> cases = op_cases("aarch64", false);
  std::vector<kernel::Kernel> kernels;
  for (const Case& c : cases) kernels.push_back(c.kernel);
  auto image = compile(kernels, "aarch64");
  REQUIRE_MESSAGE(image.ok(), (image.ok() ? "" : image.error().text()));

  std::mt19937 random(11);
  std::string input;
  append_number(input, image->bytes.size());
  input.append(reinterpret_cast<const char*>(image->bytes.data()), image->bytes.size());
  std::vector<Contents> before;
  for (size_t k = 0; k < cases.size(); ++k) {
    before.push_back(random_contents(cases[k].kernel, random));
    append_number(input, image->kernels[k].offset);
    append_number(input, before.back().size());
    for (const auto& bytes : before.back()) {
      append_number(input, bytes.size());
      input.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    }
  }
  append_number(input, ~uint64_t{0});
  spill(folder.path + "/in", input);
  auto ran = run_process(
      {"/bin/sh", "-c",
       fmt::format("exec {} {}/runner < {}/in > {}/out", qemu, folder.path, folder.path, folder.path)});
  REQUIRE(ran.ok());
  REQUIRE_MESSAGE(ran->exit_code == 0, ran->output);

  std::string output = slurp(folder.path + "/out");
  size_t at = 0;
  for (size_t k = 0; k < cases.size(); ++k) {
    int64_t code = 0;
    REQUIRE(at + 8 <= output.size());
    std::memcpy(&code, output.data() + at, 8);
    at += 8;
    Contents written = before[k];
    for (auto& bytes : written) {
      REQUIRE(at + bytes.size() <= output.size());
      std::memcpy(bytes.data(), output.data() + at, bytes.size());
      at += bytes.size();
    }
    std::string problem = compare_with_evaluator(cases[k].kernel, before[k], static_cast<int32_t>(code),
                                                 written, cases[k].ulps);
    CHECK_MESSAGE(problem.empty(), cases[k].what << ": " << problem);
  }
}

}  // namespace
}  // namespace tern::test
