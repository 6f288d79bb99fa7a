// GPU kernels: text, what the verifier refuses, threads, barriers, races, collective rows, asynchronous
// copies.
#include "compiler/kernel/assign_workgroup.h"
#include "compiler/kernel/eval_memory.h"
#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/hoist_constants.h"
#include "compiler/kernel/simplify.h"
#include "compiler/kernel/test_util.h"

namespace tern::kernel {
namespace {

const char* const kRowSum = R"(kernel row_sum {
  bind x: f32 read
  bind y: f32 write
  grid r < 2 = "2"
  threads t < 64
  subgroup 32
  alloc part: f32[2] workgroup
  var sum: f32 = x[((r * 64) + t)]
  sum = (sum + subgroup_shuffle_xor.f32(sum, 16))
  sum = (sum + subgroup_shuffle_xor.f32(sum, 8))
  sum = (sum + subgroup_shuffle_xor.f32(sum, 4))
  sum = (sum + subgroup_shuffle_xor.f32(sum, 2))
  sum = (sum + subgroup_shuffle_xor.f32(sum, 1))
  if (irem(t, 32) == 0) {
    part[idiv(t, 32)] = sum
  }
  barrier
  if (t == 0) {
    y[r] = (part[0] + part[1])
  }
}
)";

TEST_CASE("gpu: a row sum by shuffles and workgroup memory") {
  Kernel k = parsed(kRowSum);
  CHECK(print_kernel(k) == kRowSum);
  auto check = [](const Kernel& kernel) {
    auto data = run_f32(kernel, 128, {}, 2);
    for (size_t r = 0; r < 2; ++r) {
      float sum = 0;
      for (size_t i = 0; i < 64; ++i) sum += data[0][r * 64 + i];
      CHECK(data[1][r] == sum);
    }
  };
  check(k);
  simplify(k);
  assign_workgroup(k);
  CHECK(verify(k) == "");
  CHECK(k.workgroup_bytes == 128);
  check(k);
  CHECK(print_kernel(*parse_kernel(print_kernel(k))) == print_kernel(k));
}

TEST_CASE("gpu: a prefetch lies in its buffer") {
  const auto run = [](int last) {
    const Kernel k =
        parsed(fmt::format("kernel k {{\n  bind x: f32 read\n  bind y: f32 write\n  threads t < 4\n"
                           "  prefetch x[(t * {})]\n  y[t] = 1.0\n}}\n",
                           last / 3));
    std::vector<float> x(16), y(4);
    return evaluate(k,
                    {{reinterpret_cast<uint8_t*>(x.data()), 64}, {reinterpret_cast<uint8_t*>(y.data()), 16}},
                    {}, 0, 1);
  };
  CHECK(run(15).ok());
  const auto outside = run(18);
  REQUIRE(!outside.ok());
  CHECK(outside.error().text().find("A prefetch of buffer 'x' at element 18") != std::string::npos);
}

TEST_CASE("gpu: workgroups of a cluster read each other's memory between its barriers") {
  const std::string head =
      "kernel k {\n  bind y: f32 write\n  grid g < 2 = \"2\"\n  grid r < 2 = \"2\"\n  threads t < 32\n"
      "  subgroup 32\n  cluster 2\n  alloc s: f32[4] workgroup\n  if (t < 4) {\n    s[t] = cast.f32((r + (t "
      "* 10)))\n"
      "  }\n";
  const std::string exchange =
      "  if (t == 0) {\n    y[(((g * 2) + r) * 4)] = peer_load.f32x4(s, 0, (1 - r))\n  }\n";
  Kernel k = parsed(head + "  cluster_barrier\n" + exchange + "  cluster_barrier\n}\n");
  CHECK(print_kernel(*parse_kernel(print_kernel(k))) == print_kernel(k));
  simplify(k);
  assign_workgroup(k);
  CHECK(verify(k) == "");
  CHECK(run_f32(k, 16, {}, 4)[0] ==
        std::vector<float>{1, 11, 21, 31, 0, 10, 20, 30, 1, 11, 21, 31, 0, 10, 20, 30});
  const auto said = [&](const std::string& body) {
    return complaint(parsed(head + body + "}\n"), 16, {}, 4);
  };
  CHECK(said("  barrier\n" + exchange + "  cluster_barrier\n") ==
        "There is a race on element 0 of buffer 's': workgroups of a cluster touch it without a barrier "
        "between, and "
        "one writes.");
  CHECK(said("  cluster_barrier\n" + exchange + "  barrier\n  s[irem(t, 4)] = 1.0\n  cluster_barrier\n") ==
        "There is a race on element 0 of buffer 's': workgroups of a cluster touch it without a barrier "
        "between, and "
        "one writes.");
  CHECK(said("  cluster_barrier\n" + exchange) ==
        "A workgroup may end while another one of its cluster reads its memory.");
  CHECK(refusal("kernel k {\n  bind y: f32 write\n  grid g < 2 = \"2\"\n  threads t < 32\n  cluster 4\n  "
                "y[g] = 1.0\n}\n") ==
        "A cluster of 4 workgroups is not the last grid axis, or not of 1 to 8.\n");
}

TEST_CASE("gpu: constants are read before the wait where that is safe") {
  Kernel k = parsed(
      "kernel k {\n  bind x: f32 read\n  bind w: f32 read\n  bind y: f32 write\n  grid r < 2 = \"2\"\n  "
      "threads t < 8\n"
      "  let at: i64 = ((r * 8) + t)\n  var sum: f32 = x[at]\n  sum = (sum * w[at])\n"
      "  sum = (sum + select((t < 4), w[t], 0.0))\n  if (t < 3) {\n    sum = (sum + w[(t + 1)])\n  }\n"
      "  sum = (sum + (w[at] - x[t]))\n  y[at] = sum\n}\n");
  const auto before = run_f32(k, 16, {}, 2);
  hoist_constants(k, {k.bindings[1].get()});
  CHECK(verify(k) == "");
  CHECK(run_f32(k, 16, {}, 2) == before);
  const std::string text = print_kernel(k);
  CHECK(text.find("  let w_early: f32 = w[((r * 8) + t)]\n  grid_wait\n") != std::string::npos);
  CHECK(text.find("sum = (sum * w_early)") != std::string::npos);
  CHECK(text.find("select((t < 4), w[t], 0.0)") != std::string::npos);
  CHECK(text.find("(sum + w[(t + 1)])") != std::string::npos);
}

TEST_CASE("gpu: what is read behind loops is read early") {
  Kernel k = parsed(
      "kernel k {\n  bind x: f32 read\n  bind w: f32 read\n  bind y: f32 write\n  grid r < 2 = \"2\"\n  "
      "threads t < 8\n"
      "  let at: i64 = ((r * 8) + t)\n  var sum: f32 = x[at]\n  serial i = 0 .. +2 {\n    sum = (sum + "
      "x[i])\n  "
      "}\n  sum = (sum + w[at])\n  if (t < 3) {\n    let n: i64 = (t + 1)\n    sum = (sum * w[n])\n  }\n"
      "  if (sum < 3.0) {\n    sum = w[t]\n  }\n  y[at] = sum\n}\n");
  const auto before = run_f32(k, 16, {}, 2);
  hoist_last_loads(k, {{k.bindings[0].get(), 16}, {k.bindings[1].get(), 16}}, 8);
  CHECK(verify(k) == "");
  CHECK(run_f32(k, 16, {}, 2) == before);
  const std::string text = print_kernel(k);
  CHECK(text.find("  let w_early: f32 = w[((r * 8) + t)]\n  let w_early_1: f32 = w[select((t < 3), (t + 1), "
                  "0)]\n  let at") != std::string::npos);
  CHECK(text.find("sum = w[t]") != std::string::npos);
  CHECK(text.find("var sum: f32 = x[at]") != std::string::npos);
}

TEST_CASE("gpu: what is read behind a wait for other threads is read early") {
  Kernel k = parsed(
      "kernel k {\n  bind x: f32 read\n  bind w: f32 read\n  bind y: f32 write\n  grid r < 2 = \"2\"\n  "
      "threads t < 8\n  alloc s: f32[8] workgroup\n  s[t] = x[((r * 8) + t)]\n  barrier\n"
      "  y[((r * 8) + t)] = (s[(7 - t)] * w[t])\n}\n");
  const auto before = run_f32(k, 16, {}, 2);
  const std::string text = print_kernel(k);
  const std::unordered_map<const BufferNode*, int64_t> read = {{k.bindings[0].get(), 16},
                                                               {k.bindings[1].get(), 16}};
  hoist_last_loads(k, read, 8);
  CHECK(print_kernel(k) == text);
  hoist_last_loads(k, read, 8, Behind::kWaits);
  CHECK(verify(k) == "");
  CHECK(run_f32(k, 16, {}, 2) == before);
  CHECK(print_kernel(k).find("  let w_early: f32 = w[t]\n  alloc s") != std::string::npos);
  CHECK(print_kernel(k).find("s[t] = x[((r * 8) + t)]") != std::string::npos);
}

TEST_CASE("gpu: nothing is read early that stands behind a failure") {
  Kernel k = parsed(
      "kernel k {\n  bind x: f32 read\n  bind y: f32 write\n  param n = \"N\"\n  threads t < 8\n"
      "  serial i = 0 .. +2 {\n    y[((t * 2) + i)] = 0.0\n  }\n  if (8 < n) {\n    fail 3\n  }\n"
      "  y[t] = x[n]\n}\n");
  const std::string before = print_kernel(k);
  hoist_last_loads(k, {{k.bindings[0].get(), 9}}, 8);
  CHECK(print_kernel(k) == before);
  hoist_constants(k, {k.bindings[0].get()});
  CHECK(print_kernel(k) == before);
}

TEST_CASE("gpu: a binding shorter than a vector is not read early where its branch is not taken") {
  const auto early = [](int64_t elements) {
    Kernel k = parsed(
        "kernel k {\n  bind x: f32 read\n  bind w: f32 read\n  bind y: f32 write\n  grid r < 2 = \"2\"\n  "
        "threads t < 8\n  var sum: f32 = 0.0\n  serial i = 0 .. +2 {\n    sum = (sum + x[i])\n  }\n"
        "  if (r < 1) {\n    sum = (sum + w[t])\n  }\n"
        "  if (r < 0) {\n    y[t] = reduce.add(w[t; 4])\n  }\n  y[((r * 8) + t)] = sum\n}\n");
    hoist_last_loads(k, {{k.bindings[0].get(), 2}, {k.bindings[1].get(), elements}}, 8);
    CHECK(verify(k) == "");
    std::vector<float> x(2), w(static_cast<size_t>(elements)), y(16);
    const auto binding = [](std::vector<float>& v) {
      return EvalBinding{reinterpret_cast<uint8_t*>(v.data()), static_cast<int64_t>(v.size() * 4)};
    };
    // Only the second workgroup, which takes no branch.
    const auto code = evaluate(k, {binding(x), binding(w), binding(y)}, {}, 1, 2);
    CHECK((code.ok() ? "" : code.error().message) == "");
    return print_kernel(k);
  };
  CHECK(early(4).find("let w_early_1: f32x4") != std::string::npos);
  const std::string short_one = early(3);
  CHECK(short_one.find("let w_early: f32 =") != std::string::npos);
  CHECK(short_one.find("y[t] = reduce.add(w[t; 4])") != std::string::npos);
  CHECK(early(0).find("w_early") == std::string::npos);
}

TEST_CASE("gpu: races and divergence are errors") {
  const std::string head =
      "kernel k {\n  bind y: f32 write\n  threads t < 64\n  subgroup 32\n  alloc s: f32[64] workgroup\n";
  auto said = [&](const std::string& body) { return complaint(parsed(head + body + "}\n"), 64, {}, 2); };
  CHECK(said("  s[t] = 1.0\n  let v: f32 = s[(63 - t)]\n") ==
        "There is a race on element 63 of buffer 's': threads 63 and 0 of a workgroup touch it without a "
        "barrier between, "
        "and one writes.");
  CHECK(said("  s[t] = 1.0\n  barrier\n  let v: f32 = s[(63 - t)]\n") == "");
  CHECK(said("  s[t] = 1.0\n  barrier\n  let v: f32 = s[(63 - t)]\n  s[t] = 2.0\n") ==
        "There is a race on element 0 of buffer 's': threads 63 and 0 of a workgroup touch it without a "
        "barrier between, "
        "and one writes.");
  CHECK(said("  y[0] = 1.0\n") ==
        "There is a race on element 0 of buffer 'y': threads 0 and 1 of a workgroup touch it without a "
        "barrier between, and "
        "one writes.");
  CHECK(said("  if (t == 0) {\n    y[0] = 1.0\n  }\n") ==
        "There is a race on element 0 of buffer 'y': workgroups 0 and 1 touch it without a barrier between, "
        "and one writes.");
  const std::string neighbour = "  let v: f32 = s[((t - irem(t, 32)) + irem((t + 1), 32))]\n";
  CHECK(said("  s[t] = 1.0\n  subgroup_barrier\n" + neighbour + "  subgroup_barrier\n  s[t] = 2.0\n") == "");
  CHECK(said("  s[t] = 1.0\n  subgroup_barrier\n" + neighbour + "  s[t] = 2.0\n") ==
        "There is a race on element 0 of buffer 's': threads 31 and 0 of a workgroup touch it without a "
        "barrier between, and one writes.");
  CHECK(said("  s[t] = 1.0\n  subgroup_barrier\n  let v: f32 = s[(63 - t)]\n") ==
        "There is a race on element 63 of buffer 's': threads 63 and 0 of a workgroup touch it without a "
        "barrier between, and one writes.");
  CHECK(said("  if (t < 32) {\n    subgroup_barrier\n  }\n") == "");
  CHECK(said("  if (t < 10) {\n    subgroup_barrier\n  }\n") ==
        "A subgroup's barrier is reached by 10 of the 32 threads of subgroup 0.");
  CHECK(said("  if (t < 10) {\n    barrier\n  }\n") == "A barrier is reached by 10 of 64 threads.");
  CHECK(said("  if (t < 10) {\n    let v: f32 = subgroup_shuffle_xor.f32(1.0, 1)\n  }\n") ==
        "'subgroup_shuffle_xor' is reached by 10 of the 32 threads of subgroup 0.");
  CHECK(said("  if (t < 32) {\n    let v: i64 = subgroup_shuffle.i64(t, (t + 1))\n  }\n") ==
        "'subgroup_shuffle' names a lane outside its subgroup of 32 threads.");
}

TEST_CASE("gpu: threads take different ways through branches and loops") {
  Kernel k = parsed(R"(kernel k {
  bind x: f32 read
  bind y: f32 write
  threads t < 8
  var sum: f32 = 0.0
  serial i = t .. +t {
    sum = (sum + x[i])
  }
  var n: i64 = t
  while (n > 2) {
    n = (n - 3)
  }
  if (n == 0) {
    sum = -1.0
  } else {
    sum = select((n == 1), sum, x[t])
  }
  y[t] = sum
}
)");
  auto data = run_f32(k, 16);
  for (size_t t = 0; t < 8; ++t) {
    float sum = 0;
    for (size_t i = t; i < 2 * t; ++i) sum += data[0][i];
    CHECK(data[1][t] == (t % 3 == 0 ? -1.0f : t % 3 == 1 ? sum : data[0][t]));
  }
}

TEST_CASE("gpu: asynchronous copies arrive at the wait") {
  const std::string head =
      "kernel k {\n  bind x: f32 read\n  bind y: f32 write\n  threads t < 4\n  alloc s: f32[16] workgroup\n"
      "  async_copy s[(t * 4)] = x[(t * 4); 4 if (6 - (t * 4))]\n  async_commit\n";
  auto data = run_f32(
      parsed(head +
             "  async_wait 0\n  barrier\n  serial i = 0 .. +4 {\n    y[((i * 4) + t)] = s[((t * 4) + i)]\n"
             "  }\n}\n"),
      16);
  for (size_t i = 0; i < 16; ++i) CHECK(data[1][i % 4 * 4 + i / 4] == (i < 6 ? data[0][i] : 0.0f));
  auto early = run_f32(parsed(head + "  async_wait 1\n  y[t] = s[(t * 4)]\n}\n"), 16);
  for (size_t i = 0; i < 4; ++i) CHECK(early[1][i] != early[0][4 * i]);
  CHECK(complaint(parsed(head + "  async_wait 0\n  y[t] = s[(12 - (t * 4))]\n}\n"), 16)
            .starts_with("There is a race"));
}

// Two subgroups of two hand blocks of four elements through a stage of one, three times.
std::string handing_over(const std::string& taken, const std::string& given) {
  return "kernel k {\n  bind x: f32 read\n  bind y: f32 write\n  threads t < 4\n  subgroup 2\n"
         "  alloc s: f32[4] workgroup\n  alloc c: u64[2] workgroup\n  arrivals_start c[0]\n"
         "  arrivals_start c[1]\n  barrier\n  serial i = 0 .. +3 {\n"
         "    async_copy s[t] = x[((i * 4) + t)]\n    arrive_copied c[0]\n" +
         taken + "    y[((i * 4) + t)] = s[(3 - t)]\n    arrive c[1]\n" + given + "  }\n}\n";
}

TEST_CASE("gpu: arrivals order what was accessed before them") {
  const std::string taken = "    arrivals_wait c[0], i\n", given = "    arrivals_wait c[1], i\n";
  const Kernel k = parsed(handing_over(taken, given));
  CHECK(print_kernel(k) == handing_over(taken, given));
  const auto data = run_f32(k, 12);
  for (size_t i = 0; i < 12; ++i) CHECK(data[1][i] == data[0][i / 4 * 4 + 3 - i % 4]);
  CHECK(complaint(parsed(handing_over("", given)), 12).starts_with("There is a race"));
  CHECK(complaint(parsed(handing_over(taken, "")), 12).starts_with("There is a race"));
  CHECK(complaint(parsed(handing_over(taken, "    arrivals_wait c[1], (i + 1)\n")), 12)
            .starts_with("A wait for phase 1 of 'c' follows one for phase -1."));
  CHECK(complaint(parsed(handing_over(taken, "    if (t < 2) {\n      arrive c[1]\n    }\n" + given)), 12)
            .starts_with("Subgroup 0 arrives at 'c' again before it waits for phase 0."));
  CHECK(complaint(parsed(handing_over(
                      "    arrivals_wait c[0], i\n    if (t < 1) {\n      arrive c[0]\n    }\n", given)),
                  12)
            .starts_with("A subgroup arrives at 'c' with 1 of 2 threads."));
  CHECK(refusal("kernel k {\n  bind y: f32 write\n  threads t < 4\n  alloc c: f32[2] workgroup\n"
                "  arrive c[0]\n}\n") ==
        "Arrivals are counted in a kernel without subgroups or with clusters.\n"
        "The counters 'c' are no u64 of workgroup memory.\n");
}

TEST_CASE("gpu: a wait for products behind a value") {
  const std::string text =
      "kernel k {\n  bind x: f32 read_write\n  threads t < 128\n  subgroup 32\n  let v: f32 = x[t]\n"
      "  group_mma_wait 0 after (v + 1.0)\n}\n";
  CHECK(print_kernel(parsed(text)) == text);
  CHECK(refusal("kernel k {\n  threads t < 128\n  subgroup 32\n  group_mma_wait 0 after t\n}\n") ==
        "group_mma_wait stands after a value that is no f32.\n");
}

TEST_CASE("gpu: what the verifier refuses") {
  CHECK(
      refusal("kernel k {\n  bind y: f32 write\n  alloc s: f32[4] workgroup\n  barrier\n  y[0] = 1.0\n}\n") ==
      "A CPU kernel has workgroup memory.\nA CPU kernel has a barrier.\n");
  CHECK(refusal("kernel k {\n  bind y: f32 write\n  threads t < 48\n  subgroup 32\n  alloc s: f32[4] "
                "scratch\n}\n") ==
        "Subgroups of 32 do not divide 48 threads.\nBuffer 's' of a GPU kernel is scratch.\n");
  CHECK(refusal("kernel k {\n  bind y: f32 write\n  threads t < 32\n  subgroup 32\n"
                "  y[t] = select((t < 3), subgroup_shuffle_xor.f32(1.0, 1), 0.0)\n}\n") ==
        "'subgroup_shuffle_xor' stands in the arm of a select.\n");
  CHECK(refusal("kernel k {\n  bind x: f32 read\n  threads t < 32\n  alloc s: f32[64] workgroup\n"
                "  async_copy s[t] = x[t; 8]\n}\n") ==
        "The asynchronous copy to 's' is one of 256 bits, not of 4, 8 or 16 bytes.\n");
}

// c = a * b through ldmatrix and mma: one warp, 16x16 times 16x8.
TEST_CASE("gpu: matrix rows multiply") {
  Kernel k = parsed(R"(kernel k {
  bind a: f16 read
  bind b: f16 read
  bind c: f32 write
  threads t < 32
  subgroup 32
  alloc s: f16[256] workgroup
  serial i = 0 .. +8 {
    s[((i * 32) + t)] = a[((i * 32) + t)]
  }
  barrier
  let ma: u32x4 = ldmatrix_x4.u32x4(s, ((irem(t, 16) * 16) + (idiv(t, 16) * 8)))
  let k0: i64 = (irem(t, 4) * 2)
  let n: i64 = idiv(t, 4)
  let b0: u32 = bitcast.u32(b[ramp(((k0 * 8) + n), 8, 2)])
  let b1: u32 = bitcast.u32(b[ramp((((k0 + 8) * 8) + n), 8, 2)])
  let mb: u32x2 = shuffle(b0, b1; 0, 1)
  let d: f32x4 = mma_m16n8k16_f16.f32x4(ma, mb, broadcast(1.0, 4))
  c[((n * 8) + k0)] = shuffle(d; 0, 1)
  c[(((n + 8) * 8) + k0)] = shuffle(d; 2, 3)
}
)");
  std::vector<uint8_t> a(512), b(256), c(512);
  auto value = [](int64_t i, int64_t seed) { return static_cast<double>((i * 7 + seed) % 23 - 11) / 4; };
  for (int64_t i = 0; i < 256; ++i) {
    write_element(DType::kF16, a.data(), i, scalar::scalar_from_double(DType::kF16, value(i, 1)));
    if (i < 128)
      write_element(DType::kF16, b.data(), i, scalar::scalar_from_double(DType::kF16, value(i, 5)));
  }
  for (int round = 0; round < 2; ++round) {
    std::fill(c.begin(), c.end(), 0);
    auto code = evaluate(k, {{a.data(), 512}, {b.data(), 256}, {c.data(), 512}}, {}, 0, 1);
    REQUIRE_MESSAGE(code.ok(), (code.ok() ? "" : code.error().text()));
    for (int64_t m = 0; m < 16; ++m) {
      for (int64_t n = 0; n < 8; ++n) {
        double sum = 1;
        for (int64_t i = 0; i < 16; ++i) sum += value(m * 16 + i, 1) * value(i * 8 + n, 5);
        CHECK(read_element(DType::kF32, c.data(), m * 8 + n).f == sum);
      }
    }
    simplify(k);
    assign_workgroup(k);
    REQUIRE(verify(k) == "");
  }
}

TEST_CASE("iterations of a thread: nested loops add up, copies are none, what may be long is checked") {
  const Kernel k = parsed(R"(
kernel loops {
  bind y: f32 write
  param n = "N"
  threads t < 32
  checks_loops
  serial i = 0 .. +300 {
    unroll j = 0 .. +4 {
      serial k = 0 .. +200 {
        y[t] = 1.0
      }
    }
    serial m = 0 .. +n {
      y[t] = 2.0
    }
  }
}
)");
  CHECK(constant_iterations(k.body) == 300 * (4 * 200 + 1 + 1));
  CHECK(can_fail(k));
  CHECK(parsed(print_kernel(k)).checks_loops);
  Kernel unchecked = k;
  unchecked.checks_loops = false;
  CHECK(!can_fail(unchecked));
}

}  // namespace
}  // namespace tern::kernel
