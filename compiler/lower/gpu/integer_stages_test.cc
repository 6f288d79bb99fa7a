// Products whose weights are integers in stages, against plain sums on the evaluator: blocks, scales and zero
// points are such that every weight is a small whole number.
#include "compiler/lower/gpu/integer_stages.h"

#include <numeric>

#include "compiler/lower/gpu/product_test_util.h"

namespace tern::lower::gpu {
namespace {

struct Case {
  int64_t m, n, k, block;
  MmaSchedule schedule;
  bool zeros = false, element_wise = false, symbolic = false;
};

// f32 [k, n] of -3 to 3 as integers: scales of 1 or -1, zero points of 3 to 9.
QuantisedWeights quantised(const TensorDataPtr& b, const Case& c) {
  QuantisedWeights w;
  w.bits = c.schedule.weight_bits;
  w.block = c.block;
  const int64_t blocks = (c.k + c.block - 1) / c.block;
  auto q = TensorData::make(DType::kU8, {c.k, c.n});
  auto scale = TensorData::make(DType::kF32, {blocks, c.n}),
       zero = TensorData::make(DType::kF32, {blocks, c.n});
  for (int64_t i = 0; i < blocks * c.n; ++i) {
    scale->set_float(i, i % 3 == 0 ? -1 : 1);
    zero->set_float(i, static_cast<double>(c.zeros ? 3 + i % 7 : 8));
  }
  for (int64_t i = 0; i < c.k * c.n; ++i) {
    const int64_t at = i / c.n / c.block * c.n + i % c.n;
    q->mutable_as<uint8_t>()[i] =
        static_cast<uint8_t>(b->float_at(i) * scale->float_at(at) + zero->float_at(at));
  }
  w.q = q;
  w.scale = scale;
  w.zero = zero;
  return w;
}

void check(Case c) {
  c.schedule.weight_blocks = static_cast<int>(64 / std::gcd(c.block, int64_t{64}));
  CAPTURE(c.schedule.text());
  ProductTest test{c.m, c.n, c.k, c.element_wise, c.symbolic, c.schedule.threads(), c.schedule.split, {}, {}};
  // The weights that check_product makes, before it encodes them.
  const auto b = seeded(DType::kF32, {c.k, c.n}, 2, [](uint64_t random) {
    return static_cast<double>(static_cast<int64_t>(random % 7) - 3);
  });
  const QuantisedWeights w = quantised(b, c);
  QuantisedPanels panels;
  panels.bits = w.bits;
  panels.block = w.block;
  panels.blocks = fragment_blocks(w);
  panels.steps = (c.k + 63) / 64 * 64 / w.per_word();
  panels.scales = global_buffer("scale", DType::kF16, kernel::Access::kRead);
  test.more.emplace_back(panels.scales, pack_fragment_scales(w));
  if (const TensorDataPtr zeros = pack_fragment_zeros(w)) {
    panels.zeros = global_buffer("zero", DType::kU8, kernel::Access::kRead);
    test.more.emplace_back(panels.zeros, zeros);
  } else {
    panels.zero = *uniform_zero(w);
  }
  test.weights = DType::kU32;
  test.encode = [&](const TensorDataPtr& given) {
    for (int64_t i = 0; i < b->count(); ++i) REQUIRE(given->float_at(i) == b->float_at(i));
    return pack_fragment_words(w);
  };
  test.build = [&](const Dim& m, const kernel::Var& thread, MmaOperands& o, kernel::ParamTable& params) {
    panels.words = o.b_buffer;
    o.panels = &panels;
    return build_mma_kernel(m, c.n, c.k, {}, c.schedule, thread, o, params);
  };
  check_product(test);
}

MmaSchedule schedule(int bits, int block_m, int block_n, int warps_n, int stages, bool group = false,
                     int split = 1) {
  MmaSchedule s{block_m, block_n, 64, 1, warps_n, 1, stages, group, split};
  s.weight_bits = bits;
  return s;
}

TEST_CASE("integers in stages: subgroups, whole and ragged") {
  check({16, 64, 128, 32, schedule(4, 16, 64, 4, 2)});
  check({33, 40, 192, 64, schedule(4, 32, 64, 2, 3), true});
  check({20, 72, 136, 128, schedule(4, 16, 64, 4, 4), true, true});
  check({18, 48, 128, 16, schedule(8, 32, 32, 2, 2), true});
  check({50, 70, 200, 96, schedule(8, 64, 64, 4, 2), false, false, true});
}
TEST_CASE("integers in stages: groups of 128 threads, an odd number of steps, parts of the depth") {
  check({16, 64, 128, 32, schedule(4, 16, 64, 4, 3, true)});
  check({70, 72, 200, 64, schedule(4, 64, 64, 4, 3, true), true});
  check({40, 128, 192, 96, schedule(4, 32, 128, 8, 4, true), true, true, true});
  check({100, 40, 256, 16, schedule(8, 96, 64, 4, 3, true), true});
  check({33, 64, 456, 32, schedule(4, 32, 64, 4, 3, true, 3), true});
  check({70, 130, 512, 128, schedule(8, 32, 128, 8, 3, true, 4), false, false, true});
}

TEST_CASE("integers in stages: the schedule of a shape fits its machine") {
  for (const int64_t m : {9, 40, 256, 1000}) {
    for (const int64_t n : {512, 2048, 16384}) {
      for (const bool group : {false, true}) {
        const MmaMachine machine;
        const MmaSchedule s = default_integer_schedule({1, m, n, 2048}, 4, 32, machine, group);
        CAPTURE(s.text());
        CHECK(s.group == group);
        CHECK(s.weight_blocks == 2);
        CHECK(std::max(s.stage_bytes(), s.partial_bytes()) <= machine.workgroup_memory_limit);
      }
    }
  }
}

}  // namespace
}  // namespace tern::lower::gpu
