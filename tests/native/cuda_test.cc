// Every scalar op on every type, every conversion and the machine operations as CUDA kernels: NVRTC takes
// them for sm_80 and sm_90a. Needs no GPU. Skipped, with the reason, where NVRTC is not installed.
#include <doctest/doctest.h>

#include <cstdio>

#include "compiler/kernel/assign_workgroup.h"
#include "compiler/kernel/simplify.h"
#include "compiler/kernel/unroll.h"
#include "compiler/kernel/vectorize.h"
#include "compiler/render/render.h"
#include "compiler/toolchain/nvrtc.h"
#include "compiler/toolchain/object_cache.h"
#include "tests/native/op_cases.h"
#include "tests/support/source_path.h"

namespace tern::test {
namespace {

using namespace kernel;

bool no_nvrtc() {
  std::string why = toolchain::why_no_nvrtc();
  if (!why.empty()) MESSAGE("skipped: " << why);
  return !why.empty();
}

void check_compiles(const std::vector<Kernel>& kernels, const std::string& name,
                    const std::vector<std::string>& architectures) {
  CAPTURE(name);
  std::vector<render::RenderedKernel> rendered;
  std::vector<const render::RenderedKernel*> unit;
  rendered.reserve(kernels.size());
  for (const Kernel& k : kernels) {
    REQUIRE_MESSAGE(verify(k) == "", print_kernel(k));
    auto text = render::render_c(k, *render::c_target("cuda_sm_80"));
    REQUIRE_MESSAGE(text.ok(), (text.ok() ? "" : text.error().text()));
    rendered.push_back(std::move(*text));
    unit.push_back(&rendered.back());
  }
  const std::string source = render::unit_text(unit);
  for (const std::string& architecture : architectures) {
    auto image = toolchain::compile_cuda(name, architecture, source);
    REQUIRE_MESSAGE(image.ok(), (image.ok() ? "" : image.error().text()));
    CHECK(image->bytes.size() > 1000);
    const std::string_view bytes(reinterpret_cast<const char*>(image->bytes.data()), image->bytes.size());
    for (const Kernel& k : kernels) CHECK(bytes.find(k.name) != std::string_view::npos);
  }
}

// Units of some kernels, for one architecture and the other in turn.
void check_in_units(const std::vector<Kernel>& kernels, const std::string& name) {
  constexpr size_t kUnit = 200;
  for (size_t from = 0, number = 0; from < kernels.size(); from += kUnit, ++number) {
    auto begin = kernels.begin() + static_cast<ptrdiff_t>(from);
    auto end = kernels.begin() + static_cast<ptrdiff_t>(std::min(from + kUnit, kernels.size()));
    check_compiles({begin, end}, fmt::format("{}-{}", name, number), {number % 2 == 0 ? "sm_80" : "sm_90a"});
  }
}

// A CPU kernel as one thread's work.
Kernel on_gpu(Kernel k) {
  k.threads = 1;
  k.thread = make_var("lane");
  return k;
}

TEST_CASE("cuda: scalar ops compile") {
  if (no_nvrtc()) return;
  std::vector<Kernel> kernels;
  // Vectors are the scalar helpers, lane by lane: f32 stands for all.
  for (const Case& c : op_cases("cuda_sm_80", true)) {
    if (c.what.ends_with(" x 1") || c.what.find(" on f32 ") != std::string::npos)
      kernels.push_back(on_gpu(c.kernel));
  }
  CHECK(kernels.size() > 500);
  check_in_units(kernels, "ops");
}

TEST_CASE("cuda: conversions compile") {
  if (no_nvrtc()) return;
  std::vector<Kernel> kernels;
  for (DType from : all_types()) {
    for (DType to : all_types()) {
      if (from == DType::kString || to == DType::kString || from == to) continue;
      for (int lanes : {1, 4}) {
        if (lanes > 1 && from != DType::kF16 && from != DType::kF32) continue;
        if (lanes > 1 && is_complex(to)) continue;
        Var i = make_var("i");
        std::vector<Buffer> inputs = {input_buffer("x", from)};
        Expr value = cast(load(inputs[0], var_expr(i)), to);
        kernels.push_back(
            on_gpu(elementwise_kernel(fmt::format("k{}", kernels.size()), inputs, to, i, value, lanes)));
      }
    }
  }
  check_in_units(kernels, "conversions");
}

TEST_CASE("cuda: threads, workgroup memory, collective rows and asynchronous copies compile") {
  if (no_nvrtc()) return;
  std::vector<uint8_t> text;
  REQUIRE(toolchain::read_file(source_path("tests/filetests/kernel/gpu_everything.tk"), &text));
  auto k = parse_kernel({reinterpret_cast<const char*>(text.data()), text.size()});
  REQUIRE(k.ok());
  unroll(*k);
  vectorize(*k);
  simplify(*k);
  assign_workgroup(*k);
  check_compiles({*k}, "everything", {"sm_80", "sm_90a", "compute_80"});
}

}  // namespace
}  // namespace tern::test
