// The conformance suite's kernels (tests/hal_cts/cuda_kernels.cu) as host functions of one block each.
#include "drivers/cuda/fake/fake_cuda.h"

namespace tern::cuda::fake {
namespace {

using Args = const unsigned long long*;

template <typename T>
T* pointer(unsigned long long address) {
  return reinterpret_cast<T*>(address);
}

void add(Args args, const Block& block) {
  for (long long i = block.index * 64; i < block.index * 64 + block.threads; ++i) {
    if (i >= static_cast<long long>(args[3])) return;
    pointer<int>(args[2])[i] = pointer<const int>(args[0])[i] + pointer<const int>(args[1])[i];
  }
}
void affine(Args args, const Block& block) {
  for (long long i = block.index * 64; i < block.index * 64 + block.threads; ++i) {
    if (i >= static_cast<long long>(args[2])) return;
    pointer<int>(args[1])[i] = static_cast<int>(
        pointer<const int>(args[0])[i] * static_cast<long long>(args[3]) + static_cast<long long>(args[4]));
  }
}
void fail(Args args, const Block& block) {
  if (block.index == static_cast<long long>(args[0])) *pointer<int>(args[2]) = static_cast<int>(args[1]);
}
void scratch(Args args, const Block& block) {
  auto* bytes = static_cast<volatile unsigned char*>(block.shared);
  const auto size = static_cast<long long>(args[1]);
  int sum = 0;
  for (long long i = 0; i < size; ++i) bytes[i] = static_cast<unsigned char>((i + block.index) % 251);
  for (long long i = 0; i < size; ++i) sum += bytes[i];
  pointer<int>(args[0])[block.index] = sum;
}
void store_params(Args args, const Block&) {
  for (int i = 0; i < 4; ++i) pointer<unsigned long long>(args[0])[i] = args[1 + i];
}
void mark(Args args, const Block& block) {
  auto* target = pointer<unsigned char>(args[0]);
  target[block.index] = static_cast<unsigned char>(target[block.index] + 1);
}

// Marks what the tensor map of its binding shows.
void mark_tensor(Args args, const Block& block) {
  if (block.index == 0) ++*pointer<unsigned char>(args[2]);
}

constexpr Kernel kKernels[] = {{"add", 4, add},
                               {"affine", 5, affine},
                               {"fail", 3, fail},
                               {"scratch", 2, scratch},
                               {"store_params", 5, store_params},
                               {"mark", 1, mark},
                               {"mark_tensor", 3, mark_tensor},
                               {"mark_clusters", 1, mark, 4}};

}  // namespace

const Kernel* find_kernel(const std::string& name) {
  for (const Kernel& kernel : kKernels) {
    if (name == kernel.name) return &kernel;
  }
  return nullptr;
}

}  // namespace tern::cuda::fake
