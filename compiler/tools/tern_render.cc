// tern-render: kernels (.tk files, with offsets assigned) as the source text of one level, on standard
// output. Two builds that print the same text for the same files make the same kernels.
#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <vector>

#include "compiler/render/render.h"
#include "compiler/toolchain/object_cache.h"

namespace {

using namespace tern;

int fail(const std::string& message) {
  fmt::print(stderr, "tern-render: {}\n", message);
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  const char* usage = "usage: tern-render LEVEL FILE.tk…   (LEVEL: x86_64_v3, cuda_sm80, …)";
  if (argc == 2 && std::string_view(argv[1]) == "--help") {
    fmt::print("{}\n", usage);
    return 0;
  }
  if (argc < 3) return fail(usage);
  const render::CTarget* target = render::c_target(argv[1]);
  if (target == nullptr) return fail(fmt::format("there is no level '{}'.", argv[1]));
  std::vector<render::RenderedKernel> rendered;
  for (int k = 2; k < argc; ++k) {
    std::vector<uint8_t> bytes;
    if (!toolchain::read_file(argv[k], &bytes)) return fail(fmt::format("'{}' cannot be read.", argv[k]));
    auto kernel = kernel::parse_kernel({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    if (!kernel.ok()) return fail(fmt::format("{}: {}", argv[k], kernel.error().text()));
    if (std::string problems = kernel::verify(*kernel); !problems.empty()) {
      return fail(fmt::format("{}: {}", argv[k], problems));
    }
    auto text = render::render_c(*kernel, *target);
    if (!text.ok()) return fail(fmt::format("{}: {}", argv[k], text.error().text()));
    rendered.push_back(std::move(*text));
  }
  std::vector<const render::RenderedKernel*> unit;
  for (const render::RenderedKernel& k : rendered) unit.push_back(&k);
  const std::string text = render::unit_text(unit);
  std::fwrite(text.data(), 1, text.size(), stdout);
  return 0;
}
