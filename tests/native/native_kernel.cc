#include "tests/native/native_kernel.h"

#include <elf.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "compiler/render/render.h"

namespace tern::test {

std::vector<std::string> native_levels() {
  std::vector<std::string> levels;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("sse4.2")) levels.push_back("x86_64_v2");
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) levels.push_back("x86_64_v3");
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) levels.push_back("x86_64_v4");
#elif defined(__aarch64__)
  levels.push_back("aarch64");
#endif
  return levels;
}

std::vector<std::string> native_product_levels() {
  std::vector<std::string> levels = native_levels();
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avxvnni")) levels.push_back("x86_64_v3+vnni");
  if (__builtin_cpu_supports("avx512vnni")) levels.push_back("x86_64_v4+vnni");
  if (__builtin_cpu_supports("avx512bf16")) levels.push_back("x86_64_v4+bf16");
#endif
  return levels;
}

Result<toolchain::KernelImage> compile(const std::vector<kernel::Kernel>& kernels, const std::string& level) {
  std::vector<render::RenderedKernel> rendered;
  std::vector<const render::RenderedKernel*> pointers;
  std::vector<std::string> names;
  for (const kernel::Kernel& k : kernels) {
    TERN_ASSIGN(render::RenderedKernel r, render::render_c(k, *render::c_target(level)));
    rendered.push_back(std::move(r));
    names.push_back(k.name);
  }
  std::vector<std::string> units;
  for (size_t k = 0; k < rendered.size(); ++k) {
    pointers.push_back(&rendered[k]);
    if (pointers.size() < 150 && k + 1 < rendered.size()) continue;
    units.push_back(render::unit_text(pointers));
    pointers.clear();
  }
  // What is tested is the text; clang need not try hard.
  toolchain::CompileOptions options;
  options.optimization = "-O1";
  return toolchain::compile_kernels(level, units, names, options);
}

LoadedImage::LoadedImage(const toolchain::KernelImage& image) : kernels_(image.kernels) {
  Elf64_Ehdr header;
  std::memcpy(&header, image.bytes.data(), sizeof header);
  std::vector<Elf64_Phdr> loads(header.e_phnum);
  std::memcpy(loads.data(), image.bytes.data() + header.e_phoff, loads.size() * sizeof(Elf64_Phdr));
  for (const Elf64_Phdr& p : loads) size_ = std::max<uint64_t>(size_, p.p_vaddr + p.p_memsz);
  size_ = (size_ + 4095) / 4096 * 4096;
  base_ =
      static_cast<uint8_t*>(mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  TERN_CHECK(base_ != MAP_FAILED, "no memory");
  for (const Elf64_Phdr& p : loads)
    std::memcpy(base_ + p.p_vaddr, image.bytes.data() + p.p_offset, p.p_filesz);
  mprotect(base_, size_, PROT_READ | PROT_EXEC);
}

LoadedImage::~LoadedImage() {
  munmap(base_, size_);
}

tern_kernel_fn_t LoadedImage::function(size_t k) const {
  return reinterpret_cast<tern_kernel_fn_t>(base_ + kernels_[k].offset);
}

}  // namespace tern::test
