// The files of compiled PTX, on the fake libcuda: when it is compiled, when a file takes its place.
#include "drivers/cuda/cuda_cache.h"

#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "tests/support/cuda_fixture.h"

using namespace tern;
using namespace tern::test;

namespace {

using Bytes = std::vector<char>;

struct Folder {
  std::string path;
  Folder() {
    char name[] = "/tmp/cuda_cache_XXXXXX";
    REQUIRE(mkdtemp(name) != nullptr);
    path = std::string(name) + "/deep/er";
  }
  ~Folder() { std::filesystem::remove_all(std::filesystem::path(path).parent_path().parent_path()); }

  std::vector<std::string> files() const {
    std::vector<std::string> out;
    if (!std::filesystem::exists(path)) return out;
    for (const auto& file : std::filesystem::directory_iterator(path)) out.push_back(file.path());
    return out;
  }
};

Bytes bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_bytes(const std::string& path, const Bytes& bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

uint64_t inode(const std::string& path) {
  struct stat info;
  REQUIRE_EQ(stat(path.c_str(), &info), 0);
  return info.st_ino;
}

// How often a start of a program compiled PTX. Its kernel runs.
struct Start {
  int compiled;   // and kept
  int from_text;  // by what loads modules
};
Start start(const std::string& folder, int minor = 0) {
  tern_cuda_options_t options = {};
  options.cache_dir = folder.c_str();
  CudaFixture f(options, 1, minor);
  const int links = f.fake.calls("cuLinkComplete"), loads = f.fake.calls("cuModuleLoadDataEx");
  tern_hal_buffer_t* arena = f.buffer(64);
  tern_hal_command_buffer_t* commands = f.chain(arena);
  tern_hal_command_buffer_release(commands);
  tern_hal_buffer_release(arena);
  CHECK_GE(loads, 1);
  return {links, loads - links};
}

}  // namespace

TEST_CASE("a second start compiles no PTX: the first one's code is on disk") {
  const Folder folder;
  CHECK_EQ(start(folder.path).compiled, 1);
  REQUIRE_EQ(folder.files().size(), 1);
  const std::string path = folder.files()[0];
  CHECK(path.ends_with(".cubin"));
  const uint64_t written = inode(path);
  CHECK_EQ(start(folder.path).compiled, 0);
  CHECK_EQ(inode(path), written);
  // Of another architecture it is another file.
  CHECK_EQ(start(folder.path, 3).compiled, 1);
  CHECK_EQ(folder.files().size(), 2);
  CHECK_EQ(start(folder.path, 3).compiled, 0);
}

TEST_CASE("a file of compiled PTX that is damaged, cut off or not what it should be is made anew") {
  const Folder folder;
  CHECK_EQ(start(folder.path).compiled, 1);
  const std::string path = folder.files()[0];
  const Bytes file = bytes_of(path);
  std::vector<Bytes> bad;
  for (size_t at = 0; at < file.size(); at += 11) {
    bad.emplace_back(file.begin(), file.begin() + static_cast<long>(at));
    bad.push_back(file);
    bad.back()[at] ^= 0x40;
  }
  // A checksum that is right, and no cubin.
  constexpr size_t kHead = 24;
  bad.push_back(file);
  bad.back()[kHead] ^= 1;
  uint64_t hash = 0xcbf29ce484222325;
  for (size_t i = kHead; i < file.size(); ++i)
    hash = (hash ^ static_cast<uint8_t>(bad.back()[i])) * 0x100000001b3;
  memcpy(bad.back().data() + 16, &hash, sizeof(hash));
  for (const Bytes& damaged : bad) {
    write_bytes(path, damaged);
    CHECK_EQ(start(folder.path).compiled, 1);
    CHECK_EQ(bytes_of(path), file);
  }
  CHECK_EQ(start(folder.path).compiled, 0);
  CHECK_EQ(folder.files().size(), 1);
}

TEST_CASE("a cubin from disk that the device refuses is compiled anew") {
  const Folder folder;
  CHECK_EQ(start(folder.path).compiled, 1);
  FakeCuda fake;
  tern_cuda_options_t options = {};
  options.cache_dir = folder.path.c_str();
  CudaFixture f(options);
  const int links = fake.calls("cuLinkComplete");
  fake.fail("cuModuleLoadDataEx", 1, cuda::CUDA_ERROR_NO_BINARY_FOR_GPU);
  tern_hal_executable_t* made = nullptr;
  REQUIRE_OK(make_executable(f.device, kPtx, &made));
  CHECK_EQ(fake.calls("cuLinkComplete"), links + 1);
  tern_hal_executable_release(made);
}

TEST_CASE(
    "without a folder, or where compiling for it fails, PTX is loaded as it is, and errors are as ever") {
  const Start plain = start("");
  CHECK_EQ(plain.compiled, 0);
  CHECK_EQ(plain.from_text, 1);
  CHECK_EQ(start("/proc/none").from_text, 1);
  for (const char* call : {"cuLinkCreate", "cuLinkAddData", "cuLinkComplete"}) {
    CAPTURE(call);
    const Folder folder;
    FakeCuda fake;
    const long long before = fake.live();
    {
      tern_cuda_options_t options = {};
      options.cache_dir = folder.path.c_str();
      CudaFixture f(options);
      std::filesystem::remove_all(folder.path);
      fake.fail(call, 1, cuda::CUDA_ERROR_JIT_COMPILER_NOT_FOUND);
      tern_hal_executable_t* made = nullptr;
      REQUIRE_OK(make_executable(f.device, kPtx, &made));
      tern_hal_executable_release(made);
      CHECK(folder.files().empty());
      CHECK(take_text(make_executable(f.device, "no ptx", &made)) ==
            "MALFORMED: cuModuleLoadDataEx failed with CUDA_ERROR_INVALID_PTX (218): the fake's description."
            "\nfake ptxas: no .version");
      CHECK(folder.files().empty());
    }
    CHECK_EQ(fake.live(), before);
  }
}
