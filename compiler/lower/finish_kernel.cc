#include "compiler/lower/finish_kernel.h"

#include <algorithm>
#include <utility>

#include "compiler/kernel/assign_scratch.h"
#include "compiler/kernel/assign_workgroup.h"
#include "compiler/kernel/hoist_constants.h"
#include "compiler/kernel/simplify.h"
#include "compiler/kernel/stream_stores.h"
#include "compiler/kernel/text.h"
#include "compiler/kernel/unroll.h"

namespace tern::lower {
namespace {

thread_local FinishingThreads* finishing = nullptr;

void finish_gpu_kernel(kernel::Kernel& k, const KernelFacts& facts) {
  const Arch arch = level_arch(facts.level);
  // Where a dispatch may start before those that it depends on have ended.
  if (arch == Arch::kCuda) kernel::hoist_constants(k, facts.constants);
  // What a row's elements are scaled and shifted by: a thread's few of them.
  if (facts.root == RootKind::kRows && arch == Arch::kVulkan)
    kernel::hoist_last_loads(k, facts.elements, kernel::kMostHoisted, kernel::Behind::kWaits);
  if (is_gpu(arch) && gpu_model(facts.level).tiles != DType::kNone) {
    constexpr size_t kMostEarly = 8;  // vectors of four: bias and residual of a thread's results
    kernel::hoist_last_loads(k, facts.elements, kMostEarly);
  }
  kernel::assign_workgroup(k);
  TERN_CHECK(k.workgroup_bytes <= gpu_model(facts.level).workgroup_memory,
             "{} bytes of workgroup memory in the kernel of {}, {} has {}", k.workgroup_bytes, facts.label,
             level_name(facts.level), gpu_model(facts.level).workgroup_memory);
}

}  // namespace

void finish_kernel(kernel::Kernel& k, const KernelFacts& facts) {
  kernel::unroll(k);
  kernel::simplify(k);
  if (k.threads > 0) {
    finish_gpu_kernel(k, facts);
  } else {
    constexpr int kHalfLineBits = 256;
    const int vector_bits = machine(facts.level).vector_bits;
    kernel::stream_stores(k, facts.outgrows_caches,
                          facts.streams_halves ? std::min(vector_bits, kHalfLineBits) : vector_bits);
    kernel::assign_scratch(k);
  }
  const std::string problems = kernel::verify(k);
  TERN_CHECK(problems.empty(), "the kernel of {} does not verify:\n{}\n{}", facts.label, problems,
             kernel::print_kernel(k));
}

FinishingThreads::FinishingThreads(int threads) : background_(threads) {
  TERN_CHECK(finishing == nullptr, "two sets of threads are to finish the kernels of one");
  finishing = this;
}

FinishingThreads::~FinishingThreads() {
  finishing = nullptr;
}

void finish_later(std::shared_ptr<kernel::Kernel> kernel, const KernelFacts& facts) {
  if (finishing == nullptr) return finish_kernel(*kernel, facts);
  finishing->background_.add([kernel = std::move(kernel), facts] { finish_kernel(*kernel, facts); });
}

}  // namespace tern::lower
