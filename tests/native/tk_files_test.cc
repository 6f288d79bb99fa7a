// Text tests of kernels: tests/filetests/kernel/*.tk. Lines that begin with `;` direct the test:
//
//   ; test: simplify, vectorize     passes to run, in order (none: parse and print)
//   ; params: 5 7                   parameters, in declared order
//   ; tiles: 4                      tiles to run (1)
//   ; run: x = f32 1 2; y = f32 0 0 -> y = f32 2 4      bindings before, and some after; `status 1` may stand
//   among them ; error: Line 2: …              instead: parsing or verifying must say this ; --- what follows
//   is the kernel after the passes, each line behind `; `
//
// A run is checked on the evaluator before and after the passes and as machine code on every level that this
// machine executes; GPU kernels compile with NVRTC where it is installed. TERN_BLESS=1 rewrites the text
// behind `; ---`.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <sstream>

#include "compiler/kernel/assign_scratch.h"
#include "compiler/kernel/assign_workgroup.h"
#include "compiler/kernel/eval_memory.h"
#include "compiler/kernel/simplify.h"
#include "compiler/kernel/unroll.h"
#include "compiler/kernel/vectorize.h"
#include "compiler/render/render.h"
#include "compiler/toolchain/nvrtc.h"
#include "tests/native/guarded_run.h"
#include "tests/native/native_kernel.h"
#include "tests/support/source_path.h"

namespace tern::test {
namespace {

using namespace kernel;

struct Values {
  DType dtype = DType::kNone;
  std::vector<uint8_t> bytes;
  int64_t count = 0;
};

struct FileTest {
  std::string head;  // the file up to and with `; ---`
  std::string text, expected, error;
  std::vector<std::string> passes;
  std::vector<int64_t> params;
  int64_t tiles = 1, status = 0;
  bool runs = false, has_expected = false;
  std::map<std::string, Values> before, after;
};

std::string trimmed(const std::string& s) {
  size_t a = s.find_first_not_of(" \t"), b = s.find_last_not_of(" \t");
  return a == std::string::npos ? "" : s.substr(a, b - a + 1);
}

std::vector<std::string> split(const std::string& s, char at) {
  std::vector<std::string> out;
  std::stringstream stream(s);
  for (std::string piece; std::getline(stream, piece, at);) out.push_back(trimmed(piece));
  return out;
}

Values parse_values(const std::string& text) {
  std::stringstream stream(text);
  std::string word;
  stream >> word;
  Values v;
  v.dtype = dtype_from_name(word);
  REQUIRE_MESSAGE(v.dtype != DType::kNone, word);
  std::vector<std::string> words;
  while (stream >> word) words.push_back(word);
  v.count = static_cast<int64_t>(words.size());
  v.bytes.resize(static_cast<size_t>(dtype_storage_bytes(v.dtype, v.count)));
  for (size_t k = 0; k < words.size(); ++k) {
    scalar::ScalarValue value =
        is_float(v.dtype) ? scalar::scalar_from_double(v.dtype, std::strtod(words[k].c_str(), nullptr))
                          : scalar::scalar_from_int(v.dtype, std::strtoll(words[k].c_str(), nullptr, 0));
    write_element(v.dtype, v.bytes.data(), static_cast<int64_t>(k), value);
  }
  return v;
}

void parse_bindings(const std::string& text, FileTest& test, std::map<std::string, Values>& into) {
  for (const std::string& piece : split(text, ';')) {
    if (piece.starts_with("status ")) {
      test.status = std::strtoll(piece.c_str() + 7, nullptr, 10);
      continue;
    }
    size_t equals = piece.find('=');
    REQUIRE_MESSAGE(equals != std::string::npos, piece);
    into[trimmed(piece.substr(0, equals))] = parse_values(piece.substr(equals + 1));
  }
}

FileTest parse_file(const std::string& content) {
  FileTest test;
  test.text = content;
  std::stringstream lines(content);
  for (std::string line; std::getline(lines, line);) {
    if (test.has_expected) {
      test.expected += (line.starts_with("; ") ? line.substr(2) : line) + "\n";
      continue;
    }
    test.head += line + "\n";
    auto value = [&](std::string_view key) { return trimmed(line.substr(key.size())); };
    if (line == "; ---") test.has_expected = true;
    if (line.starts_with("; test:")) {
      for (std::string& p : split(value("; test:"), ',')) {
        if (!p.empty()) test.passes.push_back(std::move(p));
      }
    }
    if (line.starts_with("; params:")) {
      std::stringstream numbers(value("; params:"));
      for (int64_t n; numbers >> n;) test.params.push_back(n);
    }
    if (line.starts_with("; tiles:")) test.tiles = std::strtoll(value("; tiles:").c_str(), nullptr, 10);
    if (line.starts_with("; error:")) test.error = value("; error:");
    if (line.starts_with("; run:")) {
      std::string run = value("; run:");
      size_t arrow = run.find("->");
      REQUIRE(arrow != std::string::npos);
      test.runs = true;
      parse_bindings(run.substr(0, arrow), test, test.before);
      parse_bindings(run.substr(arrow + 2), test, test.after);
    }
  }
  return test;
}

void run_pass(Kernel& k, const std::string& name) {
  if (name == "simplify") return simplify(k);
  if (name == "unroll") return unroll(k);
  if (name == "vectorize") return vectorize(k);
  if (name == "assign_scratch") return assign_scratch(k);
  if (name == "assign_workgroup") return assign_workgroup(k);
  FAIL("no pass is called " << name);
}

// `call` runs the kernel over the bindings' memory and gives its status.
template <typename Call>
void check_run(const FileTest& test, const Kernel& k, const std::string& where, Call&& call) {
  CAPTURE(where);
  auto memory = test.before;
  std::vector<EvalBinding> bindings;
  for (const Buffer& b : k.bindings) {
    auto it = memory.find(b->name);
    REQUIRE_MESSAGE(it != memory.end(), "no values for binding " << b->name);
    REQUIRE(it->second.dtype == b->type.dtype);
    bindings.push_back({it->second.bytes.data(), static_cast<int64_t>(it->second.bytes.size())});
  }
  CHECK(call(bindings) == test.status);
  for (const auto& [name, values] : test.after) CHECK_MESSAGE(memory[name].bytes == values.bytes, name);
}

void check_evaluator(const FileTest& test, const Kernel& k, const std::string& where) {
  check_run(test, k, where, [&](const std::vector<EvalBinding>& bindings) -> int64_t {
    auto code = evaluate(k, bindings, test.params, 0, test.tiles);
    REQUIRE_MESSAGE(code.ok(), (code.ok() ? "" : code.error().text()));
    return *code;
  });
}

void check_native(const FileTest& test, Kernel k) {
  unroll(k);
  vectorize(k);
  simplify(k);
  assign_scratch(k);
  for (const std::string& level : native_product_levels()) {
    auto image = compile({k}, level);
    REQUIRE_MESSAGE(image.ok(), (image.ok() ? "" : image.error().text()));
    LoadedImage loaded(*image);
    for (const auto side : {GuardedMemory::kBack, GuardedMemory::kFront}) {
      check_run(test, k, level, [&](const std::vector<EvalBinding>& bindings) -> int64_t {
        int32_t code = 0;
        CHECK(run_guarded(loaded.function(0), k, bindings, test.params, test.tiles, side, &code) == "");
        return code;
      });
    }
  }
}

// The evaluator on what a target would get, and NVRTC where it is installed.
void check_gpu(const FileTest& test, Kernel k) {
  unroll(k);
  vectorize(k);
  simplify(k);
  assign_workgroup(k);
  REQUIRE_MESSAGE(verify(k).empty(), verify(k));
  if (test.runs) check_evaluator(test, k, "evaluator, with offsets");
  auto text = render::render_c(k, *render::c_target("cuda_sm_80"));
  REQUIRE_MESSAGE(text.ok(), (text.ok() ? "" : text.error().text()));
  if (!toolchain::why_no_nvrtc().empty()) return;
  const char* architecture = k.tensors.empty() ? "sm_80" : "sm_90a";
  auto image = toolchain::compile_cuda(k.name, architecture, render::unit_text({&*text}));
  CHECK_MESSAGE(image.ok(), (image.ok() ? "" : image.error().text()));
}

void check_file(const std::string& path) {
  CAPTURE(path);
  std::FILE* f = std::fopen(path.c_str(), "rb");
  REQUIRE(f != nullptr);
  std::string content(1 << 16, 0);
  content.resize(std::fread(content.data(), 1, content.size(), f));
  std::fclose(f);
  FileTest test = parse_file(content);
  auto parsed = parse_kernel(test.text);
  if (!test.error.empty()) {
    CHECK((parsed.ok() ? verify(*parsed) : parsed.error().message + "\n") == test.error + "\n");
    return;
  }
  REQUIRE_MESSAGE(parsed.ok(), (parsed.ok() ? "" : parsed.error().text()));
  Kernel k = *parsed;
  REQUIRE_MESSAGE(verify(k).empty(), verify(k));
  if (test.runs) check_evaluator(test, k, "evaluator");
  for (const std::string& pass : test.passes) {
    run_pass(k, pass);
    REQUIRE_MESSAGE(verify(k).empty(), pass << ": " << verify(k));
  }
  std::string text = print_kernel(k);
  auto again = parse_kernel(text);
  REQUIRE_MESSAGE(again.ok(), (again.ok() ? "" : again.error().text()));
  CHECK(print_kernel(*again) == text);
  if (test.runs) check_evaluator(test, k, "evaluator after the passes");
  if (test.runs && k.threads == 0) check_native(test, k);
  if (k.threads != 0) check_gpu(test, k);
  if (!test.has_expected) return;
  if (std::getenv("TERN_BLESS") != nullptr) {
    std::string blessed = test.head;
    std::stringstream lines(text);
    for (std::string line; std::getline(lines, line);) blessed += "; " + line + "\n";
    std::FILE* out = std::fopen(path.c_str(), "wb");
    REQUIRE(out != nullptr);
    std::fwrite(blessed.data(), 1, blessed.size(), out);
    std::fclose(out);
    return;
  }
  CHECK(text == test.expected);
}

TEST_CASE("kernel text files") {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(source_path("tests/filetests/kernel"))) {
    if (entry.path().extension() == ".tk") paths.push_back(entry.path().string());
  }
  std::sort(paths.begin(), paths.end());
  CHECK(paths.size() >= 8);
  for (const std::string& path : paths) check_file(path);
}

}  // namespace
}  // namespace tern::test
