// The whole path: what a graph means (the evaluator) is what its module computes.
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>

#include "tests/pipeline/compile_and_run.h"

namespace tern {
namespace {

const char* const kMlp = R"(
  input %x: f32[N,24] as "x"
  input %r: f32[N,10] as "r"
  %w = constant f32[24,10] {)";

std::string mlp() {
  std::string weights;
  for (int i = 0; i < 240; ++i) weights += fmt::format("{}{}", i ? ", " : "", (i % 7) - 3);
  return kMlp + weights + R"(}
  %d = dot(%x, %w)
  %s = add(%d, %r)
  %z = constant f32[] {0}
  %zb = broadcast(%z) <shape=[N,10]>
  %y = max(%s, %zb)
  %m = reduce(%y) <op=add, axes=[1]>
  output %y as "y"
  output %m as "m")";
}

TEST_CASE("static elementwise graphs") {
  check_whole_path(R"(
  input %x: f32[3,37] as "x"
  input %b: f32[37] as "b"
  %bb = broadcast(%b) <shape=[3,37]>
  %1 = add(%x, %bb)
  %2 = mul(%1, %x)
  output %2 as "y")");
}

TEST_CASE("one session takes sizes that grow and shrink, on every level and thread count") {
  for (const char* level : {"cpu:x86_64_v2", "cpu:x86_64_v3", "cpu:x86_64_v2,cpu:x86_64_v3"}) {
    for (uint32_t threads : {1u, 3u}) {
      CAPTURE(level);
      check_whole_path(mlp(), {{{"N", 1}}, {{"N", 64}}, {{"N", 7}}, {{"N", 300}}}, {level, threads, {}});
    }
  }
}

// LLVM made scatters of the loops that turn a narrow right operand, and a frame of 27 KB for their addresses.
TEST_CASE("right operands that are turned, of a few columns, of whole vectors, of both") {
  for (const int columns : {2, 32, 37}) {
    CAPTURE(columns);
    RunSettings settings;
    settings.targets = "cpu:x86_64_v3,cpu:x86_64_v4";
    check_whole_path(fmt::format(R"(
  input %x: f32[3,256] as "x"
  input %w: f32[{0},256] as "w"
  %t = transpose(%w) <perm=[1,0]>
  %d = dot(%x, %t)
  output %d as "y")",
                                 columns),
                     {{}}, settings);
  }
}

TEST_CASE("an input returned as an output, a constant output, an unused input") {
  check_whole_path(R"(
  input %x: f32[N] as "x"
  input %u: f32[3] as "u"
  %c = constant i64[2] {5, -7}
  output %x as "y"
  output %c as "c")",
                   {{{"N", 5}}, {{"N", 0}}});
}

TEST_CASE("branches and loops") {
  check_whole_path(R"(
  input %c: bool[] as "c"
  input %x: f32[6] as "x"
  %e = neg(%x)
  %r, %q = if(%c) {
    region ()
      %0 = mul(%x, %e)
      yield %0, %e
    region ()
      %1 = constant f32[2] {1, 2}
      yield %x, %1
  }
  %s = abs(%q)
  output %r as "r"
  output %s as "s")",
                   {{}, {}, {}, {}});
  check_whole_path(R"(
  input %n: i64[] as "n"
  input %x: f32[N] as "x"
  %t = constant bool[] {true}
  %y = neg(%x)
  %last, %other = loop(%n, %t, %x, %y) <scans=0> {
    region (%i: i64[], %go: bool[], %v: f32[N], %w: f32[N])
      %f = cast(%i) <to=f32>
      %fb = broadcast(%f) <shape=[N]>
      %0 = add(%v, %fb)
      yield %t, %w, %0
  }
  output %last as "last"
  output %other as "other")",
                   {{{"N", 7}}, {{"N", 40}}, {{"N", 1}}});
}

TEST_CASE("every optional pass can be left out") {
  for (const std::string& pass : pass_names()) {
    CAPTURE(pass);
    RunSettings settings;
    settings.disabled = {pass};
    check_whole_path(mlp(), {{{"N", 9}}}, settings);
  }
}

TEST_CASE("the same input gives the same bytes") {
  Diagnostics diagnostics;
  const auto a = compile_text(mlp(), {}, diagnostics).file->bytes();
  const auto b = compile_text(mlp(), {}, diagnostics).file->bytes();
  CHECK(a == b);
}

TEST_CASE("wrong shapes are refused in the model's words") {
  Diagnostics diagnostics;
  Runner runner(compile_text(mlp(), {}, diagnostics).file->bytes(), 1);
  const auto got = runner.run({make_input(DType::kF32, {2, 24}, 1), make_input(DType::kF32, {3, 10}, 2)});
  REQUIRE_FALSE(got.ok());
  CHECK(got.error().message == "Input 'r' has the shape 3x10, where N is 3; an earlier input has N = 2.");
}

TEST_CASE("text that is no graph is an error with its place") {
  Diagnostics diagnostics;
  const CompileResult result = compile_text("  %y = frobnicate(%x)", {}, diagnostics);
  CHECK(result.status == CompileStatus::kModelError);
  CHECK_FALSE(result.file);
  CHECK_MESSAGE(diagnostics.text().find("frobnicate") != std::string::npos, diagnostics.text());
}

TEST_CASE("a missing compiler is said, and is no fault of the model") {
  setenv("TERN_CLANG", "/nowhere/clang", 1);
  Diagnostics diagnostics;
  const CompileResult result = compile_text(R"(
  input %x: f32[3,1234567] as "x"
  %y = neg(%x)
  output %y as "y")",
                                            {}, diagnostics);
  unsetenv("TERN_CLANG");
  CHECK(result.status == CompileStatus::kToolchainError);
  CHECK_MESSAGE(diagnostics.text().find("/nowhere/clang") != std::string::npos, diagnostics.text());
}

TEST_CASE("a module that cannot be written leaves nothing behind") {
  Diagnostics diagnostics;
  const CompileResult result = compile_text(mlp(), {}, diagnostics);
  const auto folder = std::filesystem::temp_directory_path() / "pipeline_test_output";
  std::filesystem::create_directories(folder / "taken.tern");
  CHECK_FALSE(result.file->write((folder / "taken.tern").string()).ok());
  CHECK_FALSE(result.file->write((folder / "absent" / "m.tern").string()).ok());
  CHECK(result.file->write((folder / "m.tern").string()).ok());
  int files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder)) ++files;
  CHECK(files == 2);
  CHECK(std::filesystem::file_size(folder / "m.tern") == static_cast<uintmax_t>(result.file->size().total));
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace tern
