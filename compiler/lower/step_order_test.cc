#include "compiler/lower/step_order.h"

#include <doctest/doctest.h>
#include <fmt/ranges.h>

#include "compiler/graph/ir.h"
#include "compiler/lower/lower.h"
#include "compiler/lower/step_access.h"

namespace tern::lower {
namespace {

// Groups of commands between which a device needs barriers, in the order of the steps.
std::vector<int> group_sizes(const LoweredProgram& program) {
  const std::vector<Resolved> resolved = resolve_aliases(program);
  std::vector<int> sizes;
  std::vector<MemoryAccess> open;
  for (const Step& step : program.steps) {
    const std::vector<MemoryAccess> accesses = step_accesses(step, resolved);
    bool apart = sizes.empty();
    for (const MemoryAccess& a : accesses)
      for (const MemoryAccess& b : open)
        apart |= a.root == b.root && (a.write || b.write) &&
                 ranges_may_meet(a.offset, a.length, b.offset, b.length);
    if (apart) {
      sizes.push_back(0);
      open.clear();
    }
    ++sizes.back();
    open.insert(open.end(), accesses.begin(), accesses.end());
  }
  return sizes;
}

std::string groups_of(const char* text, const LowerOptions& options, Target target) {
  auto graph = graph::parse_graph(text);
  REQUIRE(graph.ok());
  Diagnostics diagnostics;
  const auto program = lower(**graph, target, options, diagnostics);
  REQUIRE(program);
  return fmt::format("{}", fmt::join(group_sizes(*program), " "));
}

// Two chains of two reductions, written one after the other.
constexpr const char* kChains = R"(graph "g" {
  input %x: f32[64,64,64]
  input %z: f32[64,64,64]
  %a = reduce(%x) <op=add, axes=[2]>
  %b = reduce(%a) <op=max, axes=[1]>
  %c = reduce(%z) <op=add, axes=[2]>
  %d = reduce(%c) <op=max, axes=[1]>
  output %b
  output %d
})";

TEST_CASE("step order: chains that do not depend on each other share barriers on GPUs") {
  const Target vulkan = parse_targets("vulkan").value().front();
  const Target cpu = parse_targets("cpu:x86_64_v3").value().front();
  LowerOptions without;
  without.disabled = {"share_barriers"};
  CHECK(groups_of(kChains, {}, vulkan) == "2 2");
  CHECK(groups_of(kChains, without, vulkan) == "1 2 1");
  CHECK(groups_of(kChains, {}, cpu) == groups_of(kChains, without, cpu));
}

// The first reductions take long; one chain is longer than the other.
TEST_CASE("step order: long dispatches stand together rather than late") {
  constexpr const char* kUneven = R"(graph "g" {
  input %x: f32[4096,64,64]
  input %z: f32[4096,64,64]
  %a = reduce(%x) <op=add, axes=[2]>
  %b = reduce(%a) <op=max, axes=[1]>
  %r = reshape(%b) <shape=[64,64]>
  %s = reduce(%r) <op=add, axes=[1]>
  %c = reduce(%z) <op=add, axes=[2]>
  %d = reduce(%c) <op=max, axes=[1]>
  output %s
  output %d
})";
  CHECK(groups_of(kUneven, {}, parse_targets("vulkan").value().front()) == "2 1 2");
}

}  // namespace
}  // namespace tern::lower
