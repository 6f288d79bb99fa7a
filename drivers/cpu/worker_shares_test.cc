#include "drivers/cpu/worker_shares.h"

#include <doctest/doctest.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "drivers/cpu/host.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_allocator.h"

using namespace tern::test;
using tern::cpu::WorkerShares;

namespace {

std::vector<int64_t> sizes(const WorkerShares& shares, uint32_t workers, int64_t tiles) {
  std::vector<int64_t> out;
  for (uint32_t w = 0; w < workers; ++w)
    out.push_back(shares.begin(w + 1, workers, tiles) - shares.begin(w, workers, tiles));
  return out;
}

}  // namespace

TEST_CASE("tiles are split by weights, and all of them") {
  WorkerShares shares;
  const std::vector<uint32_t> big_little = {1024, 1024, 512, 256};
  REQUIRE_OK(shares.set(tern_allocator_system(), big_little.data(), 4, 4));
  CHECK(sizes(shares, 4, 110) == std::vector<int64_t>{40, 40, 20, 10});
  for (int64_t tiles : {0, 1, 2, 3, 7, 1000}) {
    int64_t sum = 0;
    for (int64_t size : sizes(shares, 4, tiles)) {
      CHECK(size >= 0);
      sum += size;
    }
    CHECK(sum == tiles);
  }
  // Fewer weights than workers: the last one holds for the others.
  REQUIRE_OK(shares.set(tern_allocator_system(), big_little.data(), 3, 5));
  CHECK(sizes(shares, 5, 70) == std::vector<int64_t>{20, 20, 10, 10, 10});
  shares.set_equal(3);
  CHECK(sizes(shares, 3, 7) == std::vector<int64_t>{3, 2, 2});
  const std::vector<uint32_t> most(tern::cpu::kMaxWorkers, tern::cpu::kMaxWeight);
  REQUIRE_OK(shares.set(tern_allocator_system(), most.data(), 256, 256));
  CHECK(shares.begin(256, 256, (int64_t{1} << 40) - 1) == (int64_t{1} << 40) - 1);
}

TEST_CASE("weights out of range are refused") {
  WorkerShares shares;
  const uint32_t weights[] = {1, 0, 1025};
  CHECK(take_text(shares.set(tern_allocator_system(), weights, 2, 2)) ==
        "OUT_OF_RANGE: The weight (0) of worker (1) is not between 1 and (1024).");
  CHECK(take_text(shares.set(tern_allocator_system(), weights + 2, 1, 2)) ==
        "OUT_OF_RANGE: The weight (1025) of worker (0) is not between 1 and (1024).");
}

TEST_CASE("capacities of cores: largest first; none where they are alike or not known") {
  const auto root = std::filesystem::temp_directory_path() / ("tern_capacities_" + std::to_string(getpid()));
  const auto read = [&](const std::vector<int>& by_turns) {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    REQUIRE(sched_getaffinity(0, sizeof(allowed), &allowed) == 0);
    size_t n = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (!CPU_ISSET(cpu, &allowed)) continue;
      const auto folder = root / ("cpu" + std::to_string(cpu));
      std::filesystem::create_directories(folder);
      std::ofstream(folder / "cpu_capacity") << by_turns[n++ % by_turns.size()] << "\n";
    }
    std::vector<uint32_t> out(256);
    out.resize(tern::cpu::host_core_capacities(out.data(), 256, root.c_str()));
    return out;
  };
  CHECK(tern::cpu::host_core_capacities(nullptr, 0, root.c_str()) == 0);  // there is no such folder
  CHECK(read({1024}).empty());
  const std::vector<uint32_t> mixed = read({300, 1024});
  if (tern::cpu::host_usable_core_count() > 1) {
    REQUIRE(mixed.size() >= 2);
    CHECK(mixed.front() == 1024);
    CHECK(mixed.back() == 300);
    CHECK(std::is_sorted(mixed.rbegin(), mixed.rend()));
    uint32_t largest = 0;
    CHECK(tern::cpu::host_core_capacities(&largest, 1, root.c_str()) == 1);
    CHECK(largest == 1024);
  }
  std::filesystem::remove_all(root);
}
