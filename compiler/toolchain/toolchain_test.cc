#include "compiler/toolchain/toolchain.h"

#include <doctest/doctest.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <thread>

#include "compiler/toolchain/object_cache.h"

namespace tern::toolchain {
namespace {

const char* kGood = "int f(int x) { return x + 1; }\nint g(int x) { return x + 2; }\n";

std::string message(const std::string& text, std::string_view level = "x86_64_v3") {
  CompileOptions options;
  options.use_cache = false;
  auto image = compile_kernels(level, {text}, {"f"}, options);
  return image.ok() ? std::string("compiled") : image.error().message;
}

TEST_CASE("toolchain: an image is code and constants, with the entries asked for, and the same every time") {
  for (const char* level : {"x86_64_v2", "x86_64_v3", "x86_64_v4", "aarch64"}) {
    CompileOptions options;
    options.use_cache = false;
    auto one = compile_kernels(level, {kGood, "int h(void) { return 3; }\n"}, {"g", "h"}, options);
    REQUIRE_MESSAGE(one.ok(), (one.ok() ? "" : one.error().text()));
    REQUIRE(one->kernels.size() == 2);
    CHECK(one->kernels[0].name == "g");
    CHECK(one->kernels[0].offset != one->kernels[1].offset);
    CHECK(one->bytes.size() < 9000);
    CHECK(std::memcmp(one->bytes.data(),
                      "\x7f"
                      "ELF",
                      4) == 0);
    auto two = compile_kernels(level, {kGood, "int h(void) { return 3; }\n"}, {"g", "h"}, options);
    REQUIRE(two.ok());
    CHECK(one->bytes == two->bytes);
  }
}

TEST_CASE("toolchain: what an image may not hold is refused") {
  CHECK(message("struct s { char b[4096]; };\nvoid f(struct s* a, struct s* b) { *a = *b; }\n") ==
        "The compiled kernels need the symbol 'memcpy', and kernels may import nothing.");
  CHECK(message("int n;\nint f(void) { return ++n; }\n") ==
        "The compiled kernels have writable data (.bss, 4 bytes).");
  CHECK(message("int g(void);\nint f(void) { return g(); }\n") ==
        "The compiled kernels need the symbol 'g', and kernels may import nothing.");
  CHECK(message("_Thread_local int n;\nint* f(void) { return &n; }\n") != "compiled");
  CHECK(message("__attribute__((noinline)) static int g(int x) { return x * x; }\n"
                "__attribute__((noinline)) static int h(int x) { return x - 7; }\n"
                "int (*const t[])(int) = {g, h};\nint f(int k) { return t[k](k); }\n") !=
        "compiled");  // addresses
  CHECK(message("int f(int n) {\n  volatile char b[20000];\n  for (int i = 0; i < 20000; ++i) b[i] = n;\n  "
                "return b[n];\n}\n")
            .starts_with("A kernel's stack frame is larger than 16384 bytes:"));
  CHECK(message("int g(void) { return 1; }\n") == "The compiled kernels lack the function 'f'.");
  CHECK(message("int f(void) { return x; }\n")
            .starts_with("Clang refuses the generated code of level x86_64_v3 (exit code 1):"));
  CHECK(
      message(kGood, "x86_64_v9") ==
      "The level 'x86_64_v9' is unknown; there are x86_64_v2, x86_64_v3, x86_64_v3+vnni, x86_64_v4, "
      "x86_64_v4+vnni, x86_64_v4+bf16, x86_64_v4+amx, aarch64, aarch64+dotprod, aarch64+i8mm, aarch64+bf16.");
}

TEST_CASE("toolchain: units come from the cache the second time; a damaged entry is compiled again") {
  std::string folder = (std::filesystem::temp_directory_path() / "tern-cache-XXXXXX").string();
  REQUIRE(mkdtemp(folder.data()) != nullptr);
  const char* saved = std::getenv("TERN_CACHE_DIR");
  std::string before = saved != nullptr ? saved : "";
  setenv("TERN_CACHE_DIR", folder.c_str(), 1);
  auto first = compile_kernels("x86_64_v3", {kGood}, {"f"}),
       second = compile_kernels("x86_64_v3", {kGood}, {"f"});
  REQUIRE(first.ok());
  REQUIRE(second.ok());
  CHECK(first->units_compiled == 1);
  CHECK(second->units_cached == 1);
  CHECK(first->bytes == second->bytes);
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::vector<uint8_t> bytes;
    REQUIRE(read_file(entry.path(), &bytes));
    bytes[bytes.size() / 2] ^= 1;
    REQUIRE(write_file(entry.path(), {reinterpret_cast<const char*>(bytes.data()), bytes.size()}));
  }
  auto third = compile_kernels("x86_64_v3", {kGood}, {"f"});
  REQUIRE(third.ok());
  CHECK(third->units_compiled == 1);
  CHECK(third->bytes == first->bytes);
  // Several at once write and read the same entries.
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      auto image = compile_kernels("x86_64_v2", {kGood}, {"f"});
      good += image.ok() && image->bytes.size() > 100;
    });
  }
  for (std::thread& t : threads) t.join();
  CHECK(good == 4);
  if (saved != nullptr) {
    setenv("TERN_CACHE_DIR", before.c_str(), 1);
  } else {
    unsetenv("TERN_CACHE_DIR");
  }
  std::filesystem::remove_all(folder);
}

TEST_CASE("toolchain: a missing compiler is named, with what to install") {
  const char* path = std::getenv("PATH");
  std::string before = path != nullptr ? path : "";
  setenv("PATH", "/nowhere", 1);
  auto image = compile_kernels("x86_64_v3", {kGood}, {"f"});
  setenv("PATH", before.c_str(), 1);
  REQUIRE(!image.ok());
  CHECK(
      image.error().message ==
      "The program 'clang-19' is not in PATH; install the packages clang-19 and lld-19, or set TERN_CLANG.");
}

}  // namespace
}  // namespace tern::toolchain
