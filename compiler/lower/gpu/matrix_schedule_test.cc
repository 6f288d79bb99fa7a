#include "compiler/lower/gpu/matrix_schedule.h"

#include <doctest/doctest.h>

#include <algorithm>

namespace tern::lower::gpu {
namespace {

constexpr MmaMachine kMachine{132, 200 * 1024, 48 * 1024};

void check_fits(const std::optional<MatrixSchedule>& found, const MmaMachine& machine = kMachine) {
  REQUIRE(found.has_value());
  const MatrixSchedule& s = *found;
  CAPTURE(s.text());
  CHECK(std::max(s.stage_bytes(), s.partial_bytes()) <= machine.workgroup_memory_limit);
  CHECK(s.threads() <= 512);
  CHECK(s.unit == machine.unit);
  CHECK(s.sums() <= (machine.registers + 1) / 2);
  CHECK(s.suits_unit());
  if (s.own) CHECK(s.warps_m * s.warps_n * s.stages == 1);
}

TEST_CASE("matrix schedules fit a workgroup, whatever the shape") {
  for (const int64_t m : {8, 49, 784, 12544, 401408}) {
    for (const int64_t n : {16, 64, 512, 4096}) {
      for (const int64_t k : {16, 64, 1152, 4608}) {
        for (const bool pixels : {false, true}) {
          const MmaShape shape{1, m, n, k, 2, false, pixels};
          check_fits(default_matrix_schedule(shape, kMachine));
          MmaShape parts = shape;
          parts.bf16x6 = true;
          check_fits(default_matrix_schedule(parts, kMachine));
          if (const auto resident = resident_matrix_schedule(shape, kMachine)) {
            check_fits(resident);
            CHECK(resident->resident_depth >= k);
            CHECK(resident->resident_depth % resident->block_depth == 0);
          }
        }
      }
    }
  }
}

TEST_CASE("matrix schedules of every shape of tiles, and subgroups of every size, in 32 KB") {
  const auto check_shape = [](bool int8, bool parts, const kernel::TileUnit& unit) {
    const MmaMachine machine{32, 200 * 1024, 32 * 1024, 0, 512, unit, 128};
    for (const int64_t m : {8, 49, 784, 12544}) {
      for (const int64_t n : {16, 64, 512}) {
        for (const bool pixels : {false, true}) {
          MmaShape shape{1, m, n, 1152, int8 ? 1 : 2, false, pixels};
          shape.int8 = int8;
          shape.bf16x6 = parts;
          check_fits(default_matrix_schedule(shape, machine, int8), machine);
        }
      }
    }
  };
#define TERN_MATRIX_SHAPE(capability, element, rows, columns, depth, subgroup)    \
  check_shape(DType::k##element == DType::kI8, DType::k##element == DType::kBF16, \
              {{rows, columns, depth}, subgroup});
#include "schemas/abi/matrix_shapes.def"
#undef TERN_MATRIX_SHAPE
  const MmaMachine strange{32, 200 * 1024, 32 * 1024, 0, 512, {{48, 48, 16}, 32}};
  CHECK_FALSE(default_matrix_schedule({1, 128, 128, 128}, strange).has_value());
}

TEST_CASE("large shapes: warps of 64 x 32 elements and more, where all processors have blocks of them") {
  const auto sums = [](int64_t m, int64_t n, int64_t k, bool pixels, bool b_columns = false) {
    const auto s = default_matrix_schedule({1, m, n, k, 2, false, pixels}, kMachine, b_columns);
    REQUIRE(s.has_value());
    CHECK((s->ahead == 1 || !b_columns));
    return s->sums();
  };
  CHECK(sums(4096, 4096, 4096, false) >= 64);
  CHECK(sums(1024, 5120, 640, false) >= 64);
  CHECK(sums(1024, 5120, 640, false, true) >= 16);
  CHECK(sums(65536, 128, 1152, true) >= 64);
  CHECK(sums(4096, 320, 2880, true) >= 64);
  CHECK(sums(49, 512, 4608, true) < 64);  // twelve such blocks for 132 processors
}

TEST_CASE(
    "six products of bf16: large blocks where there are many, the depth shared out where there are few") {
  const auto chosen = [](int64_t m, int64_t n, int64_t k, bool pixels = false) {
    MmaShape shape{1, m, n, k, 2, false, pixels};
    shape.bf16x6 = true;
    return default_matrix_schedule(shape, kMachine).value();
  };
  CHECK(chosen(2048, 2048, 2048).block_m * chosen(2048, 2048, 2048).block_n >= 64 * 64);
  CHECK(chosen(384, 2304, 768).block_m * chosen(384, 2304, 768).block_n >= 64 * 64);
  CHECK(chosen(16384, 128, 1152, true).sums() >= 64);
  CHECK(chosen(49, 512, 4608, true).warps_k >= 8);
  CHECK(chosen(128, 768, 768).bf16x6);
  MmaShape late{1, 128, 768, 3072};
  late.bf16x6 = true;
  CHECK(matrix_split(late, kMachine) > 1);
}

TEST_CASE("rows are computed in place where few blocks compute them, and few channels") {
  const auto in_place = [](int64_t m, int64_t n, int64_t k) {
    return resident_matrix_schedule({1, m, n, k, 2, false, true}, kMachine).has_value();
  };
  CHECK(in_place(784, 32, 192));
  CHECK(in_place(196, 64, 384));
  CHECK_FALSE(in_place(49, 1024, 1024));
  CHECK_FALSE(in_place(12544, 512, 512));
}

}  // namespace
}  // namespace tern::lower::gpu
