#include "compiler/target_problems.h"

#include <algorithm>

#include "compiler/kernels_vulkan.h"
#include "compiler/lower/visit_dispatches.h"

namespace tern {
std::vector<std::string> target_problems(const lower::LoweredProgram& program, lower::Arch arch) {
  std::vector<std::string> problems;
  if (arch != lower::Arch::kVulkan) return problems;
  lower::visit_dispatches(program.steps, [&](const lower::DispatchStep& step) {
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
