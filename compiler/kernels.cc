#include "compiler/kernels.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>

#include "compiler/kernels_vulkan.h"
#include "compiler/render/render.h"
#include "compiler/support/parallel.h"
#include "compiler/toolchain/nvrtc.h"
#include "compiler/toolchain/toolchain.h"

namespace tern {
namespace {

// C text of one translation unit: enough that clang's start does not count, little enough that the cores
// share the work. Units depend on the kernels only, so that their cache entries hold whatever the machine.
constexpr size_t kUnitBytes = 112000;
constexpr size_t kTwoUnits =
    40000;  // that much is two units already: three levels of one unit suit no two cores

// The kernels of one level of C.
struct Rendered {
  const program::KernelPool::LevelKernels* level;
  std::vector<render::RenderedKernel> kernels;
};

// Of all levels that are C, in the pool's order.
Result<std::vector<Rendered>> render_all(const program::KernelPool& pool, int jobs) {
  struct Job {
    size_t level, kernel;
  };
  std::vector<Rendered> out;
  std::vector<const render::CTarget*> targets;
  std::vector<Job> todo;
  for (const program::KernelPool::LevelKernels& level : pool.levels()) {
    if (lower::level_arch(level.level) == lower::Arch::kVulkan) continue;
    const std::string_view name = lower::level_name(level.level);
    targets.push_back(render::c_target(name));
    if (targets.back() == nullptr)
      return error("There is no compiler for kernels of the level '{}' yet.", name);
    for (size_t i = 0; i < level.kernels.size(); ++i) todo.push_back({out.size(), i});
    out.push_back({&level, {}});
    out.back().kernels.resize(level.kernels.size());
  }
  std::vector<std::optional<Error>> problems(todo.size());
  parallel_for(todo.size(), jobs, [&](size_t j) {
    const auto& [l, i] = todo[j];
    const kernel::Kernel& kernel = *out[l].level->kernels[i];
    Result<render::RenderedKernel> rendered = render::render_c(kernel, *targets[l]);
    if (rendered.ok())
      out[l].kernels[i] = std::move(rendered).value();
    else
      problems[j] = rendered.take_error().note(
          fmt::format("While writing kernel '{}' for {}", kernel.name, targets[l]->name));
  });
  for (std::optional<Error>& problem : problems) {
    if (problem) return std::move(*problem);
  }
  return out;
}

std::vector<std::string> make_units(const std::vector<render::RenderedKernel>& kernels) {
  std::vector<std::string> units;
  size_t total = 0, bytes = 0;
  for (const render::RenderedKernel& kernel : kernels) total += kernel.body.size();
  // As large as each other, since who compiles the last one is waited for.
  const size_t count = std::max<size_t>((total + kUnitBytes - 1) / kUnitBytes, total > kTwoUnits ? 2 : 1);
  std::vector<const render::RenderedKernel*> unit;
  for (const render::RenderedKernel& kernel : kernels) {
    unit.push_back(&kernel);
    bytes += kernel.body.size();
    if (bytes * count < total * (units.size() + 1)) continue;
    units.push_back(render::unit_text(unit));
    unit.clear();
  }
  return units;
}

std::vector<std::string> entries_of(const program::KernelPool::LevelKernels& level) {
  std::vector<std::string> entries;
  for (const auto& kernel : level.kernels) entries.push_back(kernel->name);
  return entries;
}

// One linked ELF image a level of a CPU, of its translation units; those of all levels are compiled side by
// side.
Status build_cpu(const std::vector<Rendered>& rendered, const toolchain::CompileOptions& compile,
                 std::map<lower::Level, pack::ExecutableImage>& images, KernelBuildResult& out) {
  std::vector<toolchain::LevelUnits> levels;
  std::vector<lower::Level> names;
  for (const auto& [level, kernels] : rendered) {
    if (lower::is_gpu(lower::level_arch(level->level))) continue;
    levels.push_back({lower::level_name(level->level), make_units(kernels), entries_of(*level)});
    names.push_back(level->level);
  }
  const CheckContext context("compiling kernels for CPUs");
  TERN_ASSIGN(std::vector<toolchain::KernelImage> built, toolchain::compile_kernels(levels, compile));
  for (size_t i = 0; i < levels.size(); ++i) {
    toolchain::KernelImage& image = built[i];
    const std::vector<std::string>& entries = levels[i].entries;
    TERN_CHECK(image.kernels.size() == entries.size(), "the image has {} of {} kernels", image.kernels.size(),
               entries.size());
    pack::ExecutableImage executable{names[i], std::move(image.bytes), {}, entries};
    for (const toolchain::KernelEntry& entry : image.kernels)
      executable.entry_offsets.push_back(entry.offset);
    images.emplace(names[i], std::move(executable));
    out.units_compiled += image.units_compiled;
    out.units_cached += image.units_cached;
  }
  return Ok{};
}

// One image of a CUDA level still to be compiled: a unit of all its kernels, for one architecture.
struct CudaJob {
  const lower::ImageKind* kind;
  std::shared_ptr<const std::string> source;
  size_t image;  // where it goes in KernelBuildResult::images
};

void add_cuda_jobs(const Rendered& rendered, KernelBuildResult& out, std::vector<CudaJob>& jobs) {
  std::vector<const render::RenderedKernel*> all;
  for (const render::RenderedKernel& kernel : rendered.kernels) all.push_back(&kernel);
  const auto source = std::make_shared<const std::string>(render::unit_text(all));
  for (const lower::ImageKind& kind : rendered.level->images) {
    jobs.push_back({&kind, source, out.images.size()});
    out.images.push_back({rendered.level->level, {}, {}, entries_of(*rendered.level)});
  }
}

// The images of all levels side by side: one level's last image does not keep the next level's first waiting.
Status build_cuda(const std::vector<CudaJob>& jobs, const toolchain::CompileOptions& compile,
                  KernelBuildResult& out) {
  std::vector<Result<toolchain::CudaImage>> images(jobs.size(), Error{});
  parallel_for(jobs.size(), compile.jobs, [&](size_t i) {
    images[i] =
        toolchain::compile_cuda(jobs[i].kind->name, jobs[i].kind->architecture, *jobs[i].source, compile);
  });
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
  toolchain::CompileOptions compile;
  compile.jobs = options.jobs;
  compile.use_cache = options.use_cache;
  compile.dump_dir = options.dump_dir;
  compile.progress = options.progress;
  TERN_ASSIGN(const std::vector<Rendered> rendered, render_all(pool, options.jobs));
  std::map<lower::Level, pack::ExecutableImage> cpu_images;
  TERN_TRY(build_cpu(rendered, compile, cpu_images, out));
  // Images are in the pool's order.
  std::vector<CudaJob> cuda;
  auto next = rendered.begin();
  for (const program::KernelPool::LevelKernels& level : pool.levels()) {
    const lower::Arch arch = lower::level_arch(level.level);
    if (arch == lower::Arch::kVulkan) {
      const CheckContext context(fmt::format("compiling kernels for {}", lower::level_name(level.level)));
      TERN_ASSIGN(pack::ExecutableImage image, build_vulkan_kernels(level, options, out));
      out.images.push_back(std::move(image));
      continue;
    }
    if (arch == lower::Arch::kCuda)
      add_cuda_jobs(*next, out, cuda);
    else
      out.images.push_back(std::move(cpu_images.at(level.level)));
    ++next;
  }
  const CheckContext context("compiling CUDA kernels");
  TERN_TRY(build_cuda(cuda, compile, out));
  return out;
}

}  // namespace tern
