// Every scalar op on aarch64, under qemu-aarch64; skipped, and said so, where that program is missing.
#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "compiler/toolchain/process.h"
#include "tests/native/native_kernel.h"
#include "tests/native/op_cases.h"
#include "tests/support/source_path.h"

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
                   source_path("tests/native/runner_aarch64.c")});
  REQUIRE(compiled.ok());
  REQUIRE_MESSAGE(compiled->exit_code == 0, compiled->output);
  auto linked =
      run_process({find_program("TERN_LLD", {"ld.lld-19", "ld.lld"}), "-static", "-o", program, object});
  REQUIRE(linked.ok());
  REQUIRE_MESSAGE(linked->exit_code == 0, linked->output);
}

// Runs each case's kernel on its contents, compiled for the level, and compares with the evaluator.
void check_under_qemu(const std::string& level, const std::vector<Case>& cases,
                      const std::vector<Contents>& before) {
  std::string qemu = find_program("TERN_QEMU_AARCH64", {"qemu-aarch64", "qemu-aarch64-static"});
  if (qemu.empty()) {
    MESSAGE("qemu-aarch64 is not installed: aarch64 kernels are not run");
    return;
  }
  Folder folder;
  build_runner(folder.path + "/runner.o", folder.path + "/runner");
  std::vector<kernel::Kernel> kernels;
  for (const Case& c : cases) kernels.push_back(c.kernel);
  auto image = compile(kernels, level);
  REQUIRE_MESSAGE(image.ok(), (image.ok() ? "" : image.error().text()));

  std::string input;
  append_number(input, image->bytes.size());
  input.append(reinterpret_cast<const char*>(image->bytes.data()), image->bytes.size());
  for (size_t k = 0; k < cases.size(); ++k) {
    append_number(input, image->kernels[k].offset);
    append_number(input, before[k].size());
    for (const auto& bytes : before[k]) {
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

std::vector<Contents> contents_of(const std::vector<Case>& cases) {
  std::mt19937 random(11);
  std::vector<Contents> contents;
  for (const Case& c : cases) contents.push_back(random_contents(c.kernel, random));
  return contents;
}

TEST_CASE("scalar ops agree with the evaluator on aarch64 under qemu") {
  const std::vector<Case> cases = op_cases("aarch64", false);
  check_under_qemu("aarch64", cases, contents_of(cases));
}

Case dot_case(const std::string& name, const char* sum, const char* a, const char* b, int operands,
              int ulps) {
  const auto kernel = kernel::parse_kernel(fmt::format(
      "kernel {0} {{\n  bind c: {1} read\n  bind a: {2} read\n  bind b: {3} read\n  bind y: {1} write\n"
      "  y[0] = {0}.{1}x4(c[0; 4], a[0; {4}], b[0; {4}])\n}}\n",
      name, sum, a, b, operands));
  REQUIRE_MESSAGE(kernel.ok(), (kernel.ok() ? "" : kernel.error().text()));
  return {kernel.value(), name, static_cast<double>(ulps)};
}

TEST_CASE("dot products of bytes are exact on every level of aarch64") {
  const std::vector<Case> cases = {dot_case("dot4_u8i8", "i32", "u8", "i8", 16, 0),
                                   dot_case("dot4_i8i8", "i32", "i8", "i8", 16, 0)};
  for (const char* level : {"aarch64", "aarch64+dotprod", "aarch64+i8mm"}) {
    CAPTURE(level);
    check_under_qemu(level, cases, contents_of(cases));
  }
}

// bfdot rounds its sums otherwise than two steps in f32 do; sums of one sign keep that small.
TEST_CASE("dot products of bf16 on aarch64") {
  const std::vector<Case> cases = {dot_case("dot2_bf16", "f32", "u32", "u32", 4, 4)};
  Contents contents = contents_of(cases)[0];
  std::mt19937 random(12);
  for (size_t b = 0; b < 3; ++b) {
    for (size_t i = 0; i + 4 <= contents[b].size(); i += 4) {
      const auto bf16 = [&] { return 0x3f80u + random() % 0x180u; };  // 1 to 8
      const uint32_t word = b == 0 ? bf16() << 16 : bf16() << 16 | bf16();
      std::memcpy(&contents[b][i], &word, 4);
    }
  }
  for (const char* level : {"aarch64", "aarch64+bf16"}) {
    CAPTURE(level);
    check_under_qemu(level, cases, {contents});
  }
}

}  // namespace
}  // namespace tern::test
