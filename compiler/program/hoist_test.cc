// Dispatches on constants alone become init steps; the result is the same.
#include "compiler/program/hoist.h"

#include <doctest/doctest.h>

#include <cstring>

#include "compiler/lower/lower.h"
#include "compiler/lower/step_eval.h"

namespace tern::program {
namespace {

using lower::BufferKind;

std::unique_ptr<lower::LoweredProgram> lowered(const std::string& text) {
  auto graph = graph::parse_graph(text);
  REQUIRE_MESSAGE(graph.ok(), graph.error().text());
  Diagnostics diagnostics;
  auto program = lower::lower(**graph, {lower::Arch::kCuda, {lower::Level::kCudaSm80}}, {}, diagnostics);
  REQUIRE_MESSAGE(diagnostics.ok(), diagnostics.text());
  return program;
}

// Weights of bytes with scales, which are floats when they are multiplied.
std::string dequantised(const std::string& last) {
  std::string bytes;
  for (int i = 0; i < 64 * 72; ++i) bytes += fmt::format("{}{}", i ? ", " : "", i * 37 % 251 - 125);
  return fmt::format(R"(graph "g" {{
  input %x: f32[24,64] as "x"
  %w = constant i8[64,72] {{{}}}
  %f = cast(%w) <to=f32>
  %s = constant f32[64,72] splat 0.03
  %scaled = mul(%f, %s)
  %y = dot(%x, %scaled)
{}}})",
                     bytes, last);
}

TEST_CASE("hoist: what reads only constants is done by init, once") {
  auto program = lowered(dequantised("  output %y as \"y\"\n"));
  const size_t steps = program->steps.size();
  hoist_constant_work(*program);
  REQUIRE(program->init_steps.size() == 1);
  CHECK(program->steps.size() == steps - 1);
  int derived = 0, for_init = 0;
  for (const lower::BufferDef& b : program->buffers) {
    derived += b.kind == BufferKind::kDerived;
    for_init += b.kind == BufferKind::kConstant && b.for_init;
  }
  CHECK(derived == 1);
  CHECK(for_init >= 1);
  auto memory = lower::evaluate_init(*program);
  REQUIRE_MESSAGE(memory.ok(), memory.error().text());
  for (size_t b = 0; b < program->buffers.size(); ++b) {
    if (program->buffers[b].kind != BufferKind::kDerived) continue;
    float first = 0;
    std::memcpy(&first, (*memory)[b].data(), 4);
    CHECK(first == -125 * 0.03f);
  }
}

TEST_CASE("hoist: an output that is computed from constants alone is written by every invocation") {
  auto program = lowered(dequantised("  output %y as \"y\"\n  output %scaled as \"scaled\"\n"));
  hoist_constant_work(*program);
  CHECK(program->init_steps.empty());
}

}  // namespace
}  // namespace tern::program
