// Weights that several targets read in different encodings are stored once, and what init steps compute of
// them (run on the kernel evaluator) is what would have been stored.
#include "compiler/program/derive.h"

#include <doctest/doctest.h>

#include <functional>
#include <set>

#include "compiler/lower/lower.h"
#include "compiler/lower/step_eval.h"
#include "compiler/lower/weight_encoding.h"
#include "compiler/program/parts.h"

namespace tern::program {
namespace {

using lower::Arch;
using lower::BufferKind;
using lower::Level;
using lower::Target;

const Target kCpu{Arch::kX86_64, {Level::kX86V2, Level::kX86V4}}, kCuda{Arch::kCuda, {Level::kCudaSm80}},
    kVulkan{Arch::kVulkan, {Level::kVulkan11}};

std::string numbers(int64_t count) {
  std::string out;
  for (int64_t i = 0; i < count; ++i)
    out += fmt::format("{}{}", i ? ", " : "", static_cast<double>(i * 7919 % 2039 - 1019) / 512);
  return out;
}

std::string dot_graph(int64_t k, int64_t n) {
  return fmt::format(
      "graph \"g\" {{\n  input %x: f32[40,{0}] as \"x\"\n  %w = constant f32[{0},{1}] {{{2}}}\n"
      "  %y = dot(%x, %w)\n  output %y as \"y\"\n}}",
      k, n, numbers(k * n));
}

std::string conv_graph(int64_t channels, int64_t outputs, int64_t side, int64_t stride) {
  return fmt::format(
      "graph \"g\" {{\n  input %x: f32[1,{0},{2},{2}] as \"x\"\n  %w = constant f32[{1},{0},3,3] {{{4}}}\n"
      "  %y = conv(%x, %w) <strides=[{3},{3}], low=[1,1], high=[1,1], dilations=[1,1], "
      "lhs_dilations=[1,1], groups=1>\n  output %y as \"y\"\n}}",
      channels, outputs, side, stride, numbers(outputs * channels * 9));
}

using Programs = std::vector<std::unique_ptr<lower::LoweredProgram>>;

Programs lowered(const std::string& text, const std::vector<Target>& targets, DType precision) {
  Programs programs;
  for (const Target& target : targets) {
    auto graph = graph::parse_graph(text);
    REQUIRE_MESSAGE(graph.ok(), graph.error().text());
    lower::LowerOptions options;
    options.precision = precision;
    Diagnostics diagnostics;
    programs.push_back(lower::lower(**graph, target, options, diagnostics));
    REQUIRE_MESSAGE(diagnostics.ok(), diagnostics.text());
  }
  return programs;
}

int64_t stored_bytes(const Programs& programs) {
  ConstantPool pool;
  for (size_t p = 0; p < programs.size(); ++p) {
    for (const lower::BufferDef& b : programs[p]->buffers) {
      if (b.kind == BufferKind::kConstant) pool.add(b.data, b.name, static_cast<int>(p));
    }
  }
  int64_t bytes = 0;
  for (const ConstantPool::Entry& entry : pool.entries())
    bytes += static_cast<int64_t>(entry.data->bytes().size());
  return bytes;
}

// Derives, and compares what init of program `deriving` computes with what was there.
void check_programs(const std::function<Programs()>& make, const std::vector<Target>& targets,
                    size_t deriving) {
  Programs programs = make();
  const Programs before = make();
  derive_constants(programs, targets);
  Programs first = make();
  first.resize(1);
  CHECK(stored_bytes(programs) - stored_bytes(first) < 1024);
  for (size_t p = 0; p < programs.size(); ++p) {
    CAPTURE(p);
    CHECK(programs[p]->init_steps.empty() == (p != deriving));
    auto memory = lower::evaluate_init(*programs[p]);
    REQUIRE_MESSAGE(memory.ok(), memory.error().text());
    for (size_t b = 0; b < before[p]->buffers.size(); ++b) {
      if (programs[p]->buffers[b].kind != BufferKind::kDerived) continue;
      const TensorData& want = *before[p]->buffers[b].data;
      const std::vector<uint8_t>& got = (*memory)[b];
      REQUIRE(got.size() == want.bytes().size());
      CHECK(std::equal(got.begin(), got.end(), want.bytes().begin()));
    }
  }
}

void check(const std::string& text, const std::vector<Target>& targets, DType precision, size_t deriving) {
  check_programs([&] { return lowered(text, targets, precision); }, targets, deriving);
}

TEST_CASE("weights for matrix units are computed from the panels that CPUs read") {
  check(dot_graph(100, 136), {kCpu, kCuda}, DType::kF16, 1);
  check(dot_graph(128, 128), {kCpu, kCuda}, DType::kBF16, 1);
  check(conv_graph(24, 60, 9, 1), {kCpu, kCuda}, DType::kF16, 1);
}
TEST_CASE("pixels of few channels: the panels' steps are spread") {
  check(conv_graph(3, 72, 9, 2), {kCpu, kCuda}, DType::kF16, 1);
}
TEST_CASE("convolutions by Winograd's algorithm read the panels that GPUs read") {
  for (const Target& gpu : {kCuda, kVulkan}) {
    for (const std::string& text :
         {conv_graph(32, 32, 56, 1), conv_graph(64, 40, 14, 1), conv_graph(64, 128, 40, 2)}) {
      Programs programs = lowered(text, {kCpu, gpu}, DType::kF32);
      CHECK(programs[0]->steps.size() > programs[1]->steps.size());  // it transforms them
      CHECK(stored_bytes(programs) == stored_bytes(lowered(text, {gpu}, DType::kF32)));
      derive_constants(programs, {kCpu, gpu});
      CHECK(programs[1]->init_steps.empty());
    }
  }
}
// A product or convolution with weights of bytes: as CPUs multiply them, and as GPUs do, which read the
// tensor as the model has it.
std::string byte_graph(bool gpu, const std::string& x, const std::vector<int64_t>& weights,
                       const std::string& op, const std::string& attributes) {
  std::string shape, data;
  int64_t count = 1;
  for (int64_t d : weights) {
    shape += fmt::format("{}{}", shape.empty() ? "" : ",", d);
    count *= d;
  }
  for (int64_t i = 0; i < count; ++i) data += fmt::format("{}{}", i ? ", " : "", i * 7919 % 255 - 127);
  std::string text =
      fmt::format("graph \"g\" {{\n  input %x: {}[{}] as \"x\"\n  %w = constant i8[{}] {{{}}}\n",
                  gpu ? "f32" : "u8", x, shape, data);
  if (gpu)
    text += fmt::format("  %f = cast(%w) <to=f32>\n  %s = constant f32[{}] splat 0.5\n  %v = mul(%f, %s)\n",
                        shape);
  return text +
         fmt::format("  %y = {}(%x, %{}){}\n  output %y as \"y\"\n}}", op, gpu ? "v" : "w", attributes);
}

TEST_CASE("bytes as the model has them are computed from the panels that CPUs read") {
  const auto compare = [](const std::string& x, const std::vector<int64_t>& weights, const std::string& op,
                          const std::string& attributes, const std::vector<Target>& gpus) {
    for (const Target& gpu : gpus) {
      const auto make = [&] {
        Programs programs = lowered(byte_graph(false, x, weights, op, attributes), {kCpu}, DType::kF32);
        programs.push_back(
            std::move(lowered(byte_graph(true, x, weights, op, attributes), {gpu}, DType::kF32)[0]));
        return programs;
      };
      check_programs(make, {kCpu, gpu}, 1);
    }
  };
  const auto window = [](int groups) {
    return fmt::format(
        " <strides=[1,1], low=[1,1], high=[1,1], dilations=[1,1], lhs_dilations=[1,1], groups={}>", groups);
  };
  compare("1,64,9,9", {36, 64, 3, 3}, "conv", window(1), {kCuda, kVulkan});
  compare("1,64,9,9", {68, 32, 3, 3}, "conv", window(2), {kCuda, kVulkan});
  // Vulkan multiplies by the integers.
  compare("40,130", {130, 140}, "dot", "", {kCuda});
}
TEST_CASE("bytes with steps last, as Gemm has its weights") {
  const auto data = TensorData::make(DType::kI8, {6, 20});
  for (int64_t i = 0; i < 120; ++i) data->mutable_as<int8_t>()[i] = static_cast<int8_t>(i);
  const auto encoding =
      lower::byte_encoding(data, {1, 6, 20, [](int64_t, int64_t k, int64_t n) { return k * 20 + n; }});
  const auto turned = lower::with_steps_last(*encoding);
  REQUIRE(turned != nullptr);
  CHECK(turned->has_inverse());
  CHECK(turned->panels()->as<int8_t>()[1] == 20);
  const auto last =
      lower::byte_encoding(data, {1, 20, 6, [](int64_t, int64_t k, int64_t n) { return n * 20 + k; }});
  CHECK(last->has_inverse());
  CHECK(lower::with_steps_last(*last) == nullptr);
}
TEST_CASE("bytes that are in no order of axes have no inverse") {
  const auto data = TensorData::make(DType::kI8, {8, 8});
  const auto mixed = lower::byte_encoding(
      data, {1, 8, 8, [](int64_t, int64_t k, int64_t n) { return k == 5 && n == 5 ? 0 : k * 8 + n; }});
  CHECK_FALSE(mixed->has_inverse());
}
TEST_CASE("weights of bf16 are computed from pairs of steps, for matrix units and as panels") {
  Target pairs = kCpu;
  pairs.product_levels = {Level::kX86V4Bf16};
  check(dot_graph(101, 136), {pairs, kCuda}, DType::kBF16, 1);
  check(conv_graph(24, 60, 9, 1), {pairs, kCuda}, DType::kBF16, 1);
  check(dot_graph(101, 136), {pairs, kVulkan}, DType::kBF16, 1);
  const std::vector<Target> three = {pairs, kVulkan, kCuda};
  Programs programs = lowered(dot_graph(101, 136), three, DType::kBF16);
  derive_constants(programs, three);
  CHECK(programs[1]->init_steps.size() == 1);
  CHECK(programs[2]->init_steps.size() == 1);
}

TEST_CASE("a program that needs no other encoding, or is alone, derives nothing") {
  Programs alone = lowered(dot_graph(128, 128), {kCuda}, DType::kF16);
  derive_constants(alone, {kCuda});
  CHECK(alone[0]->init_steps.empty());
  Programs shared = lowered(dot_graph(128, 128), {kCpu, kCuda}, DType::kF32);
  derive_constants(shared, {kCpu, kCuda});
  CHECK(shared[1]->init_steps.empty());
}

}  // namespace
}  // namespace tern::program
