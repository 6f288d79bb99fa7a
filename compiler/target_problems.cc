#include "compiler/target_problems.h"

#include <algorithm>
#include <functional>

#include "compiler/kernels_vulkan.h"

namespace tern {
namespace {

void visit_dispatches(const std::vector<lower::Step>& steps,
                      const std::function<void(const lower::DispatchStep&)>& f) {
  for (const lower::Step& step : steps) {
    if (step.dispatch) f(*step.dispatch);
    if (step.branch) {
      visit_dispatches(step.branch->then_steps, f);
      visit_dispatches(step.branch->else_steps, f);
    }
    if (step.loop) visit_dispatches(step.loop->body, f);
  }
}

}  // namespace

std::vector<std::string> target_problems(const lower::LoweredProgram& program, lower::Arch arch) {
  std::vector<std::string> problems;
  if (arch != lower::Arch::kVulkan) return problems;
  visit_dispatches(program.steps, [&](const lower::DispatchStep& step) {
    for (const lower::KernelVariant& variant : step.variants) {
      Result<render::GlslKernel> rendered = render::render_glsl(*variant.kernel, glsl_target(variant.level));
      if (rendered.ok()) continue;
      std::string nodes;
      for (const std::string& source : variant.kernel->source)
        nodes += (nodes.empty() ? " (" : ", ") + source;
      const std::string text = rendered.error().text() + (nodes.empty() ? "" : nodes + ")");
      if (std::find(problems.begin(), problems.end(), text) == problems.end()) problems.push_back(text);
    }
  });
  return problems;
}

}  // namespace tern
