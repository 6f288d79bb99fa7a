// Few long rows on GPUs, on the kernel evaluator, against the graph evaluator.
#include "compiler/lower/gpu/long_rows.h"

#include "compiler/lower/lower_test_util.h"
#include "compiler/lower/visit_dispatches.h"

namespace tern::lower {
namespace {

// Norms of a picture, channels last because of the convolution, or dense. Numbers are small, so sums are
// exact.
std::string norm(const std::string& channels, const std::string& height, const std::string& width,
                 bool conv) {
  const std::string shape = fmt::format("[1,{},{},{}]", channels, height, width),
                    row = fmt::format("[1,{},1,1]", channels);
  return fmt::format("  input %x: f32{} as \"x\"\n", shape) +
         (conv ? fmt::format(
                     "  input %w: f32[{0},{0},1,1] as \"w\"\n  %c = conv(%x, %w) <strides=[1,1], low=[0,0], "
                     "high=[0,0], dilations=[1,1], lhs_dilations=[1,1], groups=1>\n",
                     channels)
               : "  %c = neg(%x)\n") +
         fmt::format(R"(
  %s = reduce(%c) <op=add, axes=[2,3]>
  %sr = reshape(%s) <shape={1}>
  %k = constant f32[] {{0.0009765625}}
  %kb = broadcast(%k) <shape={1}>
  %m = mul(%sr, %kb)
  %mb = broadcast(%m) <shape={0}>
  %d = sub(%c, %mb)
  %q = abs(%d)
  %v = reduce(%q) <op=max, axes=[2,3]>
  %vr = reshape(%v) <shape={1}>
  %vb = broadcast(%vr) <shape={0}>
  %n = div(%d, %vb)
  %y = neg(%n)
  output %y as "y")",
                     shape, row);
}

int row_dispatches(const std::string& text, const Target& target) {
  int n = 0;
  visit_dispatches(lowered(text, target)->steps,
                   [&](const DispatchStep& dispatch) { n += dispatch.kind == "rows" ? 1 : 0; });
  return n;
}

int dispatches_in_runs(const std::string& text, const Target& target) {
  int n = 0;
  visit_dispatches(lowered(text, target)->steps, [&](const DispatchStep& dispatch) {
    n += dispatch.variants[0].kernel->schedule.find(" in runs of ") != std::string::npos ? 1 : 0;
  });
  return n;
}

// What is left of each group of channels, which lie last, without its maximum.
std::string without_maxima(int64_t groups, int64_t run, int64_t height, int64_t width) {
  return fmt::format(R"(
  input %x: f32[1,{2},{3},{0}] as "x"
  %c = transpose(%x) <perm=[0,3,1,2]>
  %g = reshape(%c) <shape=[1,{1},{4},{2},{3}]>
  %s = reduce(%g) <op=max, axes=[2,3,4]>
  %sr = reshape(%s) <shape=[1,{1},1,1,1]>
  %sb = broadcast(%sr) <shape=[1,{1},{4},{2},{3}]>
  %d = sub(%g, %sb)
  %y = reshape(%d) <shape=[1,{0},{2},{3}]>
  %z = transpose(%y) <perm=[0,2,3,1]>
  output %z as "z")",
                     groups * run, groups, height, width, run);
}

TEST_CASE("few long rows are cut into parts, a dispatch for each reduction and one for the outputs") {
  const Target cuda{Arch::kCuda, {Level::kCudaSm80}},
      vulkan{Arch::kVulkan, {Level::kVulkan11, Level::kVulkanSubgroup}};
  for (const bool conv : {false, true}) {
    const std::string text = conv ? norm("5", "96", "95", true) : norm("2", "256", "401", false);
    for (const Target& target : {cuda, vulkan}) {
      CHECK(row_dispatches(text, target) == 3);
      check_lowering_for({text}, target, "norm");
      LowerCase narrow{text};
      narrow.precision = DType::kF16;
      narrow.continuous = false;
      check_lowering_for(narrow, target, "norm, stored as f16");
    }
  }
  CHECK(row_dispatches(norm("5", "16", "16", true), cuda) == 1);
}

TEST_CASE("rows that are short runs of memory: threads lie beside each other on the runs of several rows") {
  // Groups of 3 or 7 channels, channels last.
  const auto groups = [](int64_t run, const std::string& height) {
    const std::string split = fmt::format("[2,4,{},{},90]", run, height);
    return fmt::format(R"(
  input %x: f32[2,{0},{1},90] as "x"
  input %w: f32[{0},{0},1,1] as "w"
  %c = conv(%x, %w) <strides=[1,1], low=[0,0], high=[0,0], dilations=[1,1], lhs_dilations=[1,1], groups=1>
  %g = reshape(%c) <shape={2}>
  %s = reduce(%g) <op=max, axes=[2,3,4]>
  %sr = reshape(%s) <shape=[2,4,1,1,1]>
  %sb = broadcast(%sr) <shape={2}>
  %d = sub(%g, %sb)
  %a = abs(%d)
  %v = reduce(%a) <op=max, axes=[2,3,4]>
  %vr = reshape(%v) <shape=[2,4,1,1,1]>
  %vb = broadcast(%vr) <shape={2}>
  %n = add(%d, %vb)
  %y = reshape(%n) <shape=[2,{0},{1},90]>
  %z = neg(%y)
  output %z as "z")",
                       4 * run, height, split);
  };
  const Target cuda{Arch::kCuda, {Level::kCudaSm80}},
      vulkan{Arch::kVulkan, {Level::kVulkan11, Level::kVulkanF16, Level::kVulkanSubgroup}};
  for (const Target& target : {cuda, vulkan}) {
    for (const int64_t run : {3, 4, 6, 7}) {
      const std::string text = groups(run, std::to_string(261 / run));
      CHECK(dispatches_in_runs(text, target) == (run == 4 ? 2 : 3));  // of 4 a thread stores all
      check_lowering_for({text}, target, "groups");
    }
    // About as many rows of as many elements as a workgroup has threads: one run each. 31 of 16 are no whole
    // number of subgroups.
    for (const auto& [count, run] : {std::pair{17, 31}, std::pair{31, 16}}) {
      const std::string single = without_maxima(count, run, 30, 40);
      CHECK(dispatches_in_runs(single, target) == (run == 31 || target.arch == Arch::kVulkan ? 2 : 0));
      check_lowering_for({single}, target, "a run a row");
    }
    check_lowering_for({groups(3, "H"), {91}}, target, "groups of a height that is only known later");
    CHECK(row_dispatches(groups(3, "9"), target) == 1);
  }
}

TEST_CASE("workgroups of parts of short runs have most threads of the level") {
  const Target cuda{Arch::kCuda, {Level::kCudaSm80}},
      vulkan{Arch::kVulkan, {Level::kVulkan11, Level::kVulkanF16, Level::kVulkanSubgroup}};
  for (const Target& target : {cuda, vulkan}) {
    for (const int64_t groups : {1, 2, 3, 5, 7, 12, 32}) {
      for (const int64_t run : {2, 3, 4, 5, 8, 10, 12, 14, 20, 31}) {
        if (groups * run > 256) continue;
        CAPTURE(groups);
        CAPTURE(run);
        visit_dispatches(lowered(without_maxima(groups, run, 400, 400), target)->steps,
                         [&](const DispatchStep& dispatch) {
                           for (const auto& variant : dispatch.variants) {
                             CAPTURE(variant.kernel->schedule);
                             CHECK(variant.kernel->threads * 2 > gpu_model(variant.level).max_threads);
                           }
                         });
      }
    }
  }
}

TEST_CASE("a mean of long rows, of a size that is only known later") {
  const std::string text = R"(
  input %x: f32[1,3,H,90] as "x"
  input %w: f32[3,3,1,1] as "w"
  %c = conv(%x, %w) <strides=[1,1], low=[0,0], high=[0,0], dilations=[1,1], lhs_dilations=[1,1], groups=1>
  %s = reduce(%c) <op=add, axes=[2,3]>
  %e = neg(%s)
  output %e as "e")";
  for (const int64_t height : {90, 3}) {
    check_lowering_for({text, {height}}, {Arch::kCuda, {Level::kCudaSm80}}, "mean");
    check_lowering_for({text, {height}}, {Arch::kVulkan, {Level::kVulkan11}}, "mean");
  }
}

TEST_CASE("long rows that turn out to be empty have results: what folds of nothing are") {
  // A plane's mean, and the plane without it.
  const std::string text = R"(
  input %x: f32[1,2,H,401] as "x"
  %s = reduce(%x) <op=add, axes=[2,3]>
  %e = exp(%s)
  %sr = reshape(%e) <shape=[1,2,1,1]>
  %mb = broadcast(%sr) <shape=[1,2,H,401]>
  %d = sub(%x, %mb)
  output %e as "e"
  output %d as "d")";
  // Of the height that is taken for usual, only workgroups of 128 threads cut these rows into parts.
  const Target cuda{Arch::kCuda, {Level::kCudaSm80}}, vulkan{Arch::kVulkan, {Level::kVulkan11}};
  CHECK(row_dispatches(text, cuda) == 1);
  CHECK(row_dispatches(text, vulkan) == 2);
  for (const Target& target : {cuda, vulkan}) {
    for (const int64_t height : {0, 1, 300}) {
      LowerCase sized{text, {height}};
      sized.inputs = {TensorData::make(DType::kF32, {1, 2, height, 401})};
      check_lowering_for(sized, target, "planes without their means");
    }
  }
}

}  // namespace
}  // namespace tern::lower
