#include "compiler/lower/fitting_variants.h"

namespace tern::lower {

void keep_fitting(std::vector<KernelVariant>& variants) {
  for (size_t i = 1; i < variants.size();) {
    const KernelVariant& v = variants[i];
    if (level_arch(v.level) != Arch::kVulkan) return;  // other kernels are not finished yet
    const int64_t needed = v.kernel->workgroup_bytes;
    if (needed <= gpu_model(v.level).workgroup_memory) {
      ++i;
      continue;
    }
    auto told = std::make_shared<kernel::Kernel>(*variants[i - 1].kernel);
    told->schedule +=
        fmt::format(", on {} too (its own would take {} bytes of workgroup memory, the limit is {})",
                    level_name(v.level), needed, gpu_model(v.level).workgroup_memory);
    variants[i - 1].kernel = std::move(told);
    variants.erase(variants.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

}  // namespace tern::lower
