// Hostile modules: thousands of damaged copies of the file tests' modules, each loaded and, if it still
// verifies, run. A crash, a sanitizer's report or a leak fails; the hostile preset runs this with sanitizers.
#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/fuzz/run_module.h"
#include "tests/support/module_mutations.h"
#include "tests/support/source_path.h"

using namespace tern::test;

namespace {

std::vector<std::vector<uint8_t>> corpus() {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(source_path("tests/filetests/vm"))) {
    if (entry.path().extension() == ".tvm") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<std::vector<uint8_t>> modules;
  for (const auto& path : paths) {
    std::ifstream stream(path);
    modules.push_back(assemble(std::string(std::istreambuf_iterator<char>(stream), {})));
  }
  return modules;
}

// TERN_MUTATIONS=n: that many copies of each module, for a longer look.
uint64_t seed_count() {
  const char* text = std::getenv("TERN_MUTATIONS");
  return text ? std::strtoull(text, nullptr, 10) : 1500;
}

}  // namespace

TEST_CASE("damaged modules end in a status") {
  CountingAllocator counting;
  counting.largest = 1 << 20;  // a damaged size is refused by the allocator, not paged in
  int reached[5] = {};
  {
    Runtime runtime(counting.allocator());
    const int64_t before = counting.live;
    for (const std::vector<uint8_t>& module : corpus()) {
      for (uint64_t seed = 0; seed < seed_count(); ++seed)
        ++reached[run_hostile_module(runtime.instance, runtime.device, mutate(module, seed))];
    }
    CHECK(counting.live == before);
  }
  // The mutations must get behind the loader, or they test nothing.
  CHECK(reached[0] > 1000);
  CHECK(reached[3] + reached[4] > 1000);
  MESSAGE("refused at load " << reached[0] << ", at session creation " << reached[1] << ", failed "
                             << reached[3] << ", ran " << reached[4]);
}

TEST_CASE("each truncation and each flipped bit is refused") {
  Runtime runtime;
  const std::vector<std::vector<uint8_t>> modules = corpus();
  const std::vector<uint8_t>& module = modules[0];
  tern_file_header_t header;
  std::memcpy(&header, module.data(), sizeof(header));
  for (size_t length = 0; length < module.size(); length += length < 2048 ? 1 : 97) {
    std::vector<uint8_t> cut(module.begin(), module.begin() + static_cast<std::ptrdiff_t>(length));
    CHECK(run_hostile_module(runtime.instance, runtime.device, cut) == 0);
  }
  // Header and metadata: every bit counts, except the reserved ones and the minor version.
  for (uint64_t bit = 0; bit < (TERN_FILE_METADATA_OFFSET + header.metadata_length) * 8; ++bit) {
    const uint64_t at = bit / 8;
    if (at == 6 || at == 7 || (at >= 40 && at < 64)) continue;
    std::vector<uint8_t> flipped = module;
    flipped[at] ^= static_cast<uint8_t>(1u << bit % 8);
    CHECK_MESSAGE(run_hostile_module(runtime.instance, runtime.device, flipped) == 0, "byte " << at);
  }
}

// Times its elements' size, or with what stands before it, such a length is a small one where size_t has 32
// bits.
TEST_CASE("no length is small again behind 32 bits") {
  Runtime runtime;
  const std::vector<uint8_t> module = corpus()[0];
  tern_file_header_t header;
  std::memcpy(&header, module.data(), sizeof(header));
  for (const uint32_t length : {0x40000000u, 0x20000001u, 0x15555556u, 0x10000000u, 0x08000001u, 0xfffffff8u,
                                0xfffffffbu, 0xffffffffu}) {
    for (size_t at = 0; at + 4 <= header.metadata_length; at += 4) {
      std::vector<uint8_t> damaged = module;
      std::memcpy(damaged.data() + TERN_FILE_METADATA_OFFSET + at, &length, 4);
      repair_hashes(damaged);
      run_hostile_module(runtime.instance, runtime.device, damaged);
    }
  }
}

TEST_CASE("each kind of wrong file has its sentence") {
  Runtime runtime;
  const std::vector<std::vector<uint8_t>> modules = corpus();
  std::vector<uint8_t> module = modules[0];
  const auto load = [&](const std::vector<uint8_t>& file) {
    AlignedBytes bytes(file);
    tern_module_t* loaded = nullptr;
    const Outcome outcome(
        tern_module_load_memory(runtime.instance, bytes.data(), bytes.size(), nullptr, &loaded));
    CHECK(loaded == nullptr);
    return outcome.message;
  };
  CHECK(load({}) == "The file (0 bytes) is too short to be a tern module.");
  CHECK(load(std::vector<uint8_t>(100, 'x')) == "The file is no tern module: it does not begin with 'TERN'.");
  std::vector<uint8_t> cut(module.begin(), module.begin() + 200);
  CHECK(load(cut) == "The file is cut off: it has 200 bytes and says " + std::to_string(module.size()) + ".");
  std::vector<uint8_t> newer = module;
  newer[4] = 9;
  CHECK(load(newer) == "The module's format version (9.0) cannot be read: this libtern reads version 1.");
  std::vector<uint8_t> damaged = module;
  damaged[100] ^= 1;
  CHECK(load(damaged) == "The module's metadata is damaged: its hash differs.");
}
