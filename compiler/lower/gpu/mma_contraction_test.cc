// Contractions on matrix units, from a graph: what the kernels' own tests (mma_kernel_test.cc) do not see.
#include "compiler/lower/gpu/mma_contraction.h"

#include <set>

#include "compiler/lower/lower_test_util.h"
#include "compiler/lower/visit_dispatches.h"

namespace tern::lower {
namespace {

// Every target with matrix units, in 16 bits and in TF32, and whether one of its dispatches uses them.
void check_on_matrix_units(LowerCase c) {
  const Target cuda{Arch::kCuda, {Level::kCudaSm80, Level::kCudaSm90}},
      vulkan{Arch::kVulkan, {Level::kVulkanF16, Level::kVulkanMatrix}},
      bf16{Arch::kVulkan, {Level::kVulkanF16, Level::kVulkanMatrix, Level::kVulkanMatrixBf16}};
  for (const DType precision : {DType::kF16, DType::kBF16}) {
    c.precision = precision;
    check_lowering_for(c, cuda, fmt::format("stored as {}", dtype_name(precision)));
    check_lowering_for(c, precision == DType::kF16 ? vulkan : bf16,
                       fmt::format("stored as {}", dtype_name(precision)));
  }
  bool used = false;
  visit_dispatches(lowered(c.text, cuda, {}, DType::kF16)->steps, [&](const DispatchStep& dispatch) {
    for (const auto& variant : dispatch.variants)
      used |= kernel::print_kernel(*variant.kernel).find("mma_") != std::string::npos;
  });
  CHECK(used);
  c.precision = DType::kF32;
  check_lowering_for(c, {Arch::kVulkan, {Level::kVulkanF16, Level::kVulkanBf16}}, "f32 in parts");
  c.tf32 = true;
  check_lowering_for(c, cuda, "in TF32");
}

TEST_CASE("convolutions of volumes: whole chunks of channels, gathered ones, few ones; groups") {
  const auto weights = [](const std::vector<int64_t>& shape) {
    return literal("f32", shape, [](int64_t i) { return (i * 5 % 13 - 6) * 0.5; });
  };
  check_on_matrix_units({R"(
  input %x: f32[2,8,D,5,6] as "x"
  %w = constant )" + weights({8, 8, 3, 2, 3}) +
                             R"(
  %c = conv(%x, %w) <strides=[2,1,2], low=[1,1,0], high=[1,0,2], dilations=[1,2,1], lhs_dilations=[1,1,1], groups=1>
  %e = neg(%c)
  output %e as "e")",
                         {4}});
  for (const int channels : {3, 5, 20}) {
    CAPTURE(channels);
    check_on_matrix_units({fmt::format("  input %x: f32[1,{0},3,4,3] as \"x\"\n  %w = constant {1}\n",
                                       channels, weights({24, channels, 2, 3, 2})) +
                           R"(
  %c = conv(%x, %w) <strides=[1,1,1], low=[1,0,1], high=[0,1,1], dilations=[2,1,1], lhs_dilations=[1,1,1], groups=1>
  output %c as "c")"});
  }
  check_on_matrix_units({R"(
  input %x: f32[1,16,3,4,3] as "x"
  %w = constant )" + weights({32, 8, 3, 1, 2}) +
                         R"(
  %c = conv(%x, %w) <strides=[1,1,1], low=[1,0,0], high=[1,0,1], dilations=[1,1,1], lhs_dilations=[1,1,1], groups=2>
  output %c as "c")"});
}

TEST_CASE("pixels of as many channels as one copy brings, in groups") {
  for (const int groups : {2, 4, 8}) {
    CAPTURE(groups);
    check_on_matrix_units({fmt::format(
        R"(
  input %x: f32[1,8,6,7] as "x"
  %a = abs(%x)
  %w = constant {}
  %c = conv(%a, %w) <strides=[1,1], low=[2,2], high=[2,2], dilations=[1,1], lhs_dilations=[1,1], groups={}>
  output %c as "c")",
        literal("f32", {groups * 16, 8 / groups, 5, 5}, [](int64_t i) { return (i * 5 % 13 - 6) * 0.5; }),
        groups)});
  }
}

// Whether a kernel of the graph multiplies parts of f32.
bool in_parts(const std::string& text, std::vector<std::string> disabled = {}) {
  const Target vulkan{Arch::kVulkan, {Level::kVulkanF16, Level::kVulkanBf16}};
  bool used = false;
  visit_dispatches(lowered(text, vulkan, std::move(disabled), DType::kF32)->steps,
                   [&](const DispatchStep& dispatch) {
                     for (const auto& variant : dispatch.variants)
                       used |= kernel::print_kernel(*variant.kernel).find("6xBF16") != std::string::npos;
                   });
  return used;
}

TEST_CASE(
    "Vulkan: products of f32 in parts, with constant weights and computed ones; not where they do not suit") {
  const auto product = [](int64_t m, int64_t k, int64_t n) {
    return fmt::format(
        "  input %x: f32[{0},{1}] as \"x\"\n  %w = constant f32[{1},{2}] splat 0.25\n  %d = dot(%x, %w)\n"
        "  %e = tanh(%d)\n  output %e as \"e\"\n",
        m, k, n);
  };
  CHECK(in_parts(product(40, 72, 48)));
  CHECK_FALSE(in_parts(product(40, 72, 48), {"bf16x6"}));
  CHECK_FALSE(in_parts(product(8, 72, 48)));
  CHECK_FALSE(in_parts(product(40, 16, 48)));
  CHECK_FALSE(in_parts(product(40, 72, 12)));
  const Target vulkan{Arch::kVulkan, {Level::kVulkan11, Level::kVulkanBf16}};
  check_lowering_for({product(40, 72, 48)}, vulkan, "f32 in parts");
  for (const char* right : {"[2,36,44]", "[2,44,36]"}) {
    const bool turned = std::string_view(right) == "[2,44,36]";
    const std::string text =
        fmt::format("  input %x: f32[2,33,36] as \"x\"\n  input %y: f32{} as \"y\"\n", right) +
        (turned ? "  %t = transpose(%y) <perm=[0,2,1]>\n  %d = dot(%x, %t)\n" : "  %d = dot(%x, %y)\n") +
        "  output %d as \"d\"\n";
    CAPTURE(text);
    CHECK(in_parts(text));
    check_lowering_for({text}, vulkan, "f32 in parts");
  }
}

TEST_CASE("windows of hundreds of elements for a picture's three colours are multiplied on matrix units") {
  const std::string text = "  input %x: f32[1,16,9,10] as \"x\"\n  %w = constant " +
                           literal("f32", {3, 16, 3, 3}, [](int64_t i) { return (i * 5 % 13 - 6) * 0.5; }) +
                           R"(
  %c = conv(%x, %w) <strides=[1,1], low=[1,1], high=[1,1], dilations=[1,1], lhs_dilations=[1,1], groups=1>
  output %c as "c")";
  check_on_matrix_units({text});
  int on_matrices = 0;
  visit_dispatches(
      lowered(text, {Arch::kVulkan, {Level::kVulkanF16, Level::kVulkanMatrix}}, {}, DType::kF16)->steps,
      [&](const DispatchStep& dispatch) {
        for (const auto& variant : dispatch.variants)
          on_matrices += variant.level == Level::kVulkanMatrix ? 1 : 0;
      });
  CHECK(on_matrices == 1);
}

TEST_CASE("Vulkan: products stored as bf16 on its matrices, where f16's are, too") {
  const std::string text =
      "  input %x: f32[40,72] as \"x\"\n  %w = constant f32[72,48] splat 0.25\n  %n = neg(%x)\n"
      "  %d = dot(%n, %w)\n  output %d as \"d\"\n";
  const Target vulkan{
      Arch::kVulkan, {Level::kVulkanF16, Level::kVulkanMatrix, Level::kVulkanMatrixBf16, Level::kVulkanBf16}};
  const auto level = [&](DType precision) {
    std::set<Level> seen;
    visit_dispatches(lowered(text, vulkan, {}, precision)->steps, [&](const DispatchStep& dispatch) {
      for (const auto& variant : dispatch.variants) seen.insert(variant.level);
    });
    seen.erase(Level::kVulkanF16);
    REQUIRE(seen.size() == 1);
    return *seen.begin();
  };
  CHECK(level(DType::kF16) == Level::kVulkanMatrix);
  CHECK(level(DType::kBF16) == Level::kVulkanMatrixBf16);
  CHECK(level(DType::kF32) == Level::kVulkanBf16);
}

// Of each level with matrices: the precision whose contractions it has.
std::vector<std::pair<Level, DType>> matrix_levels() {
  return {
#define TERN_MATRIX_LEVEL(level, name, tiles, ...) {Level::level, DType::tiles},
#include "compiler/lower/matrix_levels.def"
#undef TERN_MATRIX_LEVEL
  };
}

TEST_CASE("Vulkan: contractions on matrices of every shape") {
  const std::string product = "  input %x: f32[40,72] as \"x\"\n  %w = constant " +
                              literal("f32", {72, 48}, [](int64_t i) { return (i * 5 % 13 - 6) * 0.5; }) +
                              "\n  %n = neg(%x)\n  %d = dot(%n, %w)\n  output %d as \"d\"\n";
  const std::string windows =
      "  input %x: f32[1,16,6,7] as \"x\"\n  %w = constant " +
      literal("f32", {24, 16, 3, 3}, [](int64_t i) { return (i * 7 % 11 - 5) * 0.5; }) +
      "\n  %n = neg(%x)\n  %c = conv(%n, %w) <strides=[1,1], low=[1,1], high=[1,1], dilations=[1,1], "
      "lhs_dilations=[1,1], groups=1>\n  output %c as \"c\"\n";
  const std::string computed =
      "  input %x: f32[3,40,64] as \"x\"\n  input %y: f32[3,64,32] as \"y\"\n  %n = neg(%x)\n"
      "  %m = neg(%y)\n  %d = dot(%n, %m)\n  output %d as \"d\"\n";
  for (const auto& [level, precision] : matrix_levels()) {
    if (precision == DType::kI8) continue;
    CAPTURE(level_name(level));
    const Target target{Arch::kVulkan, {Level::kVulkanF16, level}};
    for (const std::string& text : {product, windows, computed}) {
      LowerCase c{text};
      c.precision = precision;
      check_lowering_for(c, target, std::string(level_name(level)));
      bool used = false;
      visit_dispatches(lowered(text, target, {}, precision)->steps,
                       [&, l = level](const DispatchStep& dispatch) {
                         for (const auto& variant : dispatch.variants)
                           used |= variant.level == l && variant.kernel->tiles == gpu_model(l).tile;
                       });
      CHECK(used);
    }
  }
}

TEST_CASE("a product's left operand whose rows lie across memory is turned once") {
  const std::string text = R"(
  input %x: f32[16,64] as "x"
  %n = neg(%x)
  %t = transpose(%n) <perm=[1,0]>
  %w = constant )" + literal("f32", {16, 128}, [](int64_t i) { return i * 5 % 13 - 6; }) +
                           R"(
  %d = dot(%t, %w)
  output %d as "d")";
  check_on_matrix_units({text});
  int copies = 0;
  visit_dispatches(lowered(text, {Arch::kCuda, {Level::kCudaSm80}}, {}, DType::kF16)->steps,
                   [&](const DispatchStep& dispatch) { copies += dispatch.label == "cast" ? 1 : 0; });
  CHECK(copies == 1);
}

}  // namespace
}  // namespace tern::lower
