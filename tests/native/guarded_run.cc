#include "tests/native/guarded_run.h"

#include <cstring>

namespace tern::test {

using kernel::Kernel;

namespace {

std::string text_of(const Fault& fault, const Kernel& kernel, const std::vector<GuardedMemory>& memories,
                    const GuardedMemory& scratch) {
  if (!fault.address) return "an access at an address that is not aligned";
  if (scratch.holds(fault.address)) return scratch.describe(fault.address, fault.store) + " of its scratch";
  for (size_t k = 0; k < memories.size(); ++k) {
    if (memories[k].holds(fault.address))
      return memories[k].describe(fault.address, fault.store) + " of binding " + kernel.bindings[k]->name;
  }
  return "an access to memory far from all that it is given";
}

}  // namespace

std::string run_guarded(tern_kernel_fn_t function, const Kernel& kernel,
                        const std::vector<kernel::EvalBinding>& memory, const std::vector<int64_t>& params,
                        int64_t tiles, GuardedMemory::Side side, int32_t* out_code) {
  std::vector<GuardedMemory> memories;
  std::vector<void*> pointers;
  for (size_t k = 0; k < memory.size(); ++k) {
    // Kernels take memory of any alignment, so that an end may touch the guard.
    GuardedMemory& own = memories.emplace_back(memory[k].bytes, side, side == GuardedMemory::kBack ? 1 : 64);
    if (memory[k].bytes) std::memcpy(own.data(), memory[k].data, static_cast<size_t>(memory[k].bytes));
    if (kernel.bindings[k]->access == kernel::Access::kRead) own.make_read_only();
    pointers.push_back(own.data());
  }
  GuardedMemory scratch(kernel.scratch_bytes, side, 64);
  const tern_kernel_args_t args{pointers.data(), params.data()};
  const Fault fault =
      call_guarded([&] { *out_code = function(&args, 0, tiles, scratch.data(), kernel.scratch_bytes); });
  if (fault.happened) return text_of(fault, kernel, memories, scratch);
  if (const std::string damage = scratch.damage(); !damage.empty()) return damage + " of its scratch";
  for (size_t k = 0; k < memory.size(); ++k) {
    if (kernel.bindings[k]->access == kernel::Access::kRead) continue;
    if (const std::string damage = memories[k].damage(); !damage.empty())
      return damage + " of binding " + kernel.bindings[k]->name;
    if (memory[k].bytes)
      std::memcpy(memory[k].data, memories[k].data(), static_cast<size_t>(memory[k].bytes));
  }
  return "";
}

std::string compare_runs(const Kernel& k, tern_kernel_fn_t native, std::mt19937& random, double ulps) {
  const Contents before = random_contents(k, random);
  for (const auto side : {GuardedMemory::kBack, GuardedMemory::kFront}) {
    Contents written = before;
    std::vector<kernel::EvalBinding> memory;
    for (size_t b = 0; b < written.size(); ++b)
      memory.push_back({written[b].data(), dtype_storage_bytes(k.bindings[b]->type.dtype, kCaseElements)});
    int32_t code = 0;
    std::string problem = run_guarded(native, k, memory, {}, 1, side, &code);
    if (problem.empty()) problem = compare_with_evaluator(k, before, code, written, ulps);
    if (!problem.empty()) return problem;
  }
  return "";
}

}  // namespace tern::test
