#include "compiler/lower/gpu/mma_schedule.h"

#include <doctest/doctest.h>

#include <array>

namespace tern::lower::gpu {
namespace {

constexpr MmaMachine kHopper{132, 227 * 1024, 227 * 1024}, kAmpere{108, 99 * 1024, 99 * 1024, 4500};

TEST_CASE("mma schedule: few outputs and long sums share the depth, many outputs are large blocks") {
  const MmaSchedule late = default_mma_schedule({1, 49, 512, 4608}, kHopper, true);
  CHECK(late.split * late.warps_k >= 4);
  CHECK(late.block_m <= 64);
  CHECK(default_mma_schedule({1, 49, 512, 4608}, kAmpere, false).warps_k >= 4);
  CHECK(default_mma_schedule({1, 197, 768, 3072}, kHopper, true).split > 1);
  const MmaSchedule square = default_mma_schedule({1, 4096, 4096, 4096}, kHopper, true);
  CHECK(square.text() == "group mma 128x256x64, 4 stages");
  CHECK(default_mma_schedule({1, 4096, 4096, 4096}, kAmpere, false).block_m == 128);
}
TEST_CASE("mma schedule: clusters that do not fit on the device at once are not chosen for one round") {
  // 3 x 3 convolutions of 1024 and 4096 pixels: blocks of large workgroups by fours would be 128.
  for (const auto& [m, n, k] : {std::array<int64_t, 3>{1024, 512, 4608}, {4096, 256, 18432}}) {
    const MmaSchedule s = default_mma_schedule({1, m, n, k}, kHopper, true);
    const int64_t blocks = (m + s.block_m - 1) / s.block_m * ((n + s.block_n - 1) / s.block_n) * s.split;
    CHECK((s.split <= 2 || blocks <= 120));
  }
}
TEST_CASE("mma schedule: boxes of tensors where there is much to multiply") {
  const auto chosen = [](int64_t size) {
    return default_mma_schedule({1, size, size, size, 2, true}, kHopper, true);
  };
  CHECK(chosen(4096).tensors);
  CHECK(!chosen(1024).tensors);
  CHECK(!default_mma_schedule({1, 197, 3072, 768, 2, true}, kHopper, true).tensors);
  CHECK(!default_mma_schedule({1, 4096, 4096, 4096, 4, true}, kHopper, true).tensors);
}
TEST_CASE("mma schedule: every choice fits the memory that a workgroup may have") {
  for (const MmaMachine& machine : {kHopper, kAmpere}) {
    for (const int64_t m : {1, 49, 196, 3136, 100352}) {
      for (const int64_t n : {8, 64, 1000, 4096}) {
        for (const int64_t k : {16, 147, 1024, 4608}) {
          const MmaSchedule s = default_mma_schedule({1, m, n, k}, machine, machine.processors == 132);
          CHECK(s.stage_bytes() <= machine.workgroup_memory_limit);
          CHECK(s.partial_bytes() <= machine.workgroup_memory_limit);
          CHECK(s.threads() <= 1024);
          CHECK((s.split == 1 || machine.processors == 132));
        }
      }
    }
  }
}

}  // namespace
}  // namespace tern::lower::gpu
