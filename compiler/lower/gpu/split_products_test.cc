// Products whose depth is split over workgroups, on the kernel evaluator, against the graph evaluator.
#include "compiler/lower/split_products.h"

#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

const Target kMatrixTarget{Arch::kVulkan, {Level::kVulkanF16, Level::kVulkanMatrix}};

// Its readers: a reduction with elementwise work, the epilogue of another product, an elementwise region.
std::string text_with(const std::string& readers) {
  std::string weights = "  %w = constant f32[1024,32] {";
  for (int i = 0; i < 1024 * 32; ++i)
    weights += (i == 0 ? "" : ", ") + std::to_string((i * 7 + i / 32 * 5) % 9 - 4);
  return "  input %x: f32[20,1024]\n  input %r: f32[20,32]\n  input %b: f32[32]\n  input %y: f32[20,16]\n" +
         weights + R"(}
  %v = constant f32[16,32] splat 0.5
  %a = abs(%x) : f32[20,1024]
  %p = dot(%a, %w) : f32[20,32]
  %bb = broadcast(%b) <shape=[20,32]> : f32[20,32]
  %q = add(%p, %bb) : f32[20,32]
  %s = add(%r, %q) : f32[20,32]
)" + readers;
}

const char* const kRows = R"(
  %m = reduce(%s) <op=max, axes=[1]> : f32[20]
  %n = reshape(%m) <shape=[20,1]> : f32[20,1]
  %o = broadcast(%n) <shape=[20,32]> : f32[20,32]
  %d = sub(%s, %o) : f32[20,32]
  %z = dot(%y, %v) : f32[20,32]
  %e = add(%z, %s) : f32[20,32]
  output %d as "d"
  output %e as "e"
)";

int planes(const std::string& text, std::vector<std::string> disabled = {}, const std::string& of = "s") {
  const auto program = lowered(text, kMatrixTarget, std::move(disabled), DType::kF16);
  int64_t most = 0;
  for (const BufferDef& b : program->buffers) {
    if (b.name == of && b.bytes.is_const()) most = std::max(most, b.bytes.value() * 8 / dtype_bits(b.dtype));
  }
  return static_cast<int>(most / (20 * 32));
}

TEST_CASE("a long product of few blocks leaves planes of sums, which its readers add up") {
  const std::string text = text_with(kRows);
  CHECK(planes(text) > 1);
  CHECK(planes(text, {"split_products"}) <= 1);
  LowerCase c{text};
  c.precision = DType::kF16;
  check_lowering_for(c, kMatrixTarget, "planes");
  c.precision = DType::kF32;
  check_lowering_for(c, {Arch::kVulkan, {Level::kVulkan11, Level::kVulkanBf16}}, "planes of parts of f32");
}

TEST_CASE("a product of f32 that no level multiplies in parts stays whole") {
  const auto most = [](const std::string& text, std::vector<std::string> disabled) {
    int64_t out = 0;
    const Target target{Arch::kVulkan, {Level::kVulkan11, Level::kVulkanBf16}};
    for (const BufferDef& b : lowered(text, target, std::move(disabled), DType::kF32)->buffers) {
      if (b.name == "s" && b.bytes.is_const()) out = std::max(out, b.bytes.value() / 4);
    }
    return out;
  };
  std::string text = text_with(kRows);
  CHECK(most(text, {}) > 20 * 32);
  CHECK(most(text, {"bf16x6"}) <= 20 * 32);
  for (size_t at = text.find("[20,"); at != std::string::npos; at = text.find("[20,", at))
    text.replace(at, 4, "[8,");
  for (size_t at = text.find("f32[20]"); at != std::string::npos; at = text.find("f32[20]", at))
    text.replace(at, 7, "f32[8]");
  CHECK(most(text, {}) <= 8 * 32);
}

TEST_CASE("a product stays whole that is no sum, or that others read as it lies") {
  CHECK(planes(text_with("  %t = abs(%s) : f32[20,32]\n  output %t as \"t\"\n")) <= 1);
  CHECK(planes(text_with("  output %s as \"t\"\n")) <= 1);
  // A reader that repeats the sums would add the planes up as often.
  CHECK(planes(text_with(R"(
  %l = reshape(%s) <shape=[1,20,32]> : f32[1,20,32]
  %k = broadcast(%l) <shape=[40,20,32]> : f32[40,20,32]
  %i = iota() <shape=[40,20,32], axis=0, dtype=f32> : f32[40,20,32]
  %t = add(%k, %i) : f32[40,20,32]
  output %t as "t"
)")) <= 1);
  // Sums of a part would be seen by the absolute value.
  CHECK(planes(text_with(R"(
  %g = abs(%p) : f32[20,32]
  %i = add(%s, %g) : f32[20,32]
  %t = reduce(%i) <op=max, axes=[1]> : f32[20]
  output %t as "t"
)"),
               {}, "i") <= 1);
  CHECK(planes(text_with(R"(
  %u = constant f32[32,16] splat 0.5
  %t = dot(%s, %u) : f32[20,16]
  output %t as "t"
)")) <= 1);
}

}  // namespace
}  // namespace tern::lower
