#include "compiler/kernels.h"

#include <atomic>
#include <thread>

#include "compiler/kernels_vulkan.h"
#include "compiler/render/render.h"
#include "compiler/toolchain/nvrtc.h"
#include "compiler/toolchain/toolchain.h"

namespace tern {
namespace {

using Kernels = std::vector<std::shared_ptr<const kernel::Kernel>>;

// C text of one translation unit: enough that clang's start does not count, little enough that the cores
// share the work. Units depend on the kernels only, so that their cache entries hold whatever the machine.
constexpr size_t kUnitBytes = 40000;

Result<std::vector<render::RenderedKernel>> render_all(const Kernels& kernels, const render::CTarget& target,
                                                       int jobs) {
  std::vector<Result<render::RenderedKernel>> rendered(kernels.size(), Error{});
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t i = next++; i < kernels.size(); i = next++)
      rendered[i] = render::render_c(*kernels[i], target);
  };
  std::vector<std::thread> threads;
  for (int i = 1; i < jobs && kernels.size() > 8; ++i) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
  std::vector<render::RenderedKernel> out;
  for (size_t i = 0; i < rendered.size(); ++i) {
    if (!rendered[i].ok())
      return rendered[i].take_error().note(
          fmt::format("While writing kernel '{}' for {}", kernels[i]->name, target.name));
    out.push_back(std::move(rendered[i].value()));
  }
  return out;
}

std::vector<std::string> make_units(const std::vector<render::RenderedKernel>& kernels) {
  std::vector<std::string> units;
  std::vector<const render::RenderedKernel*> unit;
  size_t bytes = 0;
  const auto flush = [&] {
    if (!unit.empty()) units.push_back(render::unit_text(unit));
    unit.clear();
    bytes = 0;
  };
  for (const render::RenderedKernel& kernel : kernels) {
    unit.push_back(&kernel);
    bytes += kernel.body.size();
    if (bytes >= kUnitBytes) flush();
  }
  flush();
  return units;
}

// One linked ELF image of the level's translation units.
Status build_cpu(const program::KernelPool::LevelKernels& level,
                 const std::vector<render::RenderedKernel>& rendered, const std::vector<std::string>& entries,
                 const toolchain::CompileOptions& compile, KernelBuildResult& out) {
  TERN_ASSIGN(
      toolchain::KernelImage image,
      toolchain::compile_kernels(lower::level_name(level.level), make_units(rendered), entries, compile));
  TERN_CHECK(image.kernels.size() == entries.size(), "the image has {} of {} kernels", image.kernels.size(),
             entries.size());
  pack::ExecutableImage executable{level.level, std::move(image.bytes), {}, entries};
  for (const toolchain::KernelEntry& entry : image.kernels) executable.entry_offsets.push_back(entry.offset);
  out.images.push_back(std::move(executable));
  out.units_compiled += image.units_compiled;
  out.units_cached += image.units_cached;
  return Ok{};
}

// One image of a CUDA level still to be compiled: a unit of all its kernels, for one architecture.
struct CudaJob {
  const lower::ImageKind* kind;
  std::shared_ptr<const std::string> source;
  size_t image;  // where it goes in KernelBuildResult::images
};

void add_cuda_jobs(const program::KernelPool::LevelKernels& level,
                   const std::vector<render::RenderedKernel>& rendered,
                   const std::vector<std::string>& entries, KernelBuildResult& out,
                   std::vector<CudaJob>& jobs) {
  std::vector<const render::RenderedKernel*> all;
  for (const render::RenderedKernel& kernel : rendered) all.push_back(&kernel);
  const auto source = std::make_shared<const std::string>(render::unit_text(all));
  for (const lower::ImageKind& kind : level.images) {
    jobs.push_back({&kind, source, out.images.size()});
    out.images.push_back({level.level, {}, {}, entries});
  }
}

// The images of all levels side by side: one level's last image does not keep the next level's first waiting.
Status build_cuda(const std::vector<CudaJob>& jobs, const toolchain::CompileOptions& compile,
                  KernelBuildResult& out) {
  std::vector<Result<toolchain::CudaImage>> images(jobs.size(), Error{});
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t i = next++; i < jobs.size(); i = next++)
      images[i] =
          toolchain::compile_cuda(jobs[i].kind->name, jobs[i].kind->architecture, *jobs[i].source, compile);
  };
  std::vector<std::thread> threads;
  for (size_t i = 1; i < jobs.size() && i < static_cast<size_t>(compile.jobs); ++i)
    threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < jobs.size(); ++i) {
    if (!images[i].ok()) return images[i].take_error();
    ++(images[i]->cached ? out.units_cached : out.units_compiled);
    out.images[jobs[i].image].image = std::move(images[i]->bytes);
  }
  return Ok{};
}

}  // namespace

Result<KernelBuildResult> build_kernels(const program::KernelPool& pool, const KernelBuildOptions& options) {
  KernelBuildResult out;
  std::vector<CudaJob> cuda;
  size_t number = 0;
  toolchain::CompileOptions compile;
  compile.jobs = options.jobs;
  compile.use_cache = options.use_cache;
  compile.dump_dir = options.dump_dir;
  for (const program::KernelPool::LevelKernels& level : pool.levels()) {
    if (options.progress) options.progress(number++, pool.levels().size());
    const std::string_view name = lower::level_name(level.level);
    const CheckContext context(fmt::format("compiling kernels for {}", name));
    if (lower::level_arch(level.level) == lower::Arch::kVulkan) {
      TERN_ASSIGN(pack::ExecutableImage image, build_vulkan_kernels(level, options, out));
      out.images.push_back(std::move(image));
      continue;
    }
    const render::CTarget* target = render::c_target(name);
    if (target == nullptr) return error("There is no compiler for kernels of the level '{}' yet.", name);
    TERN_ASSIGN(const std::vector<render::RenderedKernel> rendered,
                render_all(level.kernels, *target, options.jobs));
    std::vector<std::string> entries;
    for (const auto& kernel : level.kernels) entries.push_back(kernel->name);
    if (lower::level_arch(level.level) == lower::Arch::kCuda) {
      add_cuda_jobs(level, rendered, entries, out, cuda);
    } else {
      TERN_TRY(build_cpu(level, rendered, entries, compile, out));
    }
  }
  const CheckContext context("compiling CUDA kernels");
  TERN_TRY(build_cuda(cuda, compile, out));
  return out;
}

}  // namespace tern
