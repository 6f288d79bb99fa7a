// The kernel passes that every kernel needs, whatever made it; other threads may do them while lowering goes
// on.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "compiler/kernel/ir.h"
#include "compiler/lower/region.h"
#include "compiler/lower/target.h"
#include "compiler/support/parallel.h"

namespace tern::lower {

// What the passes ask about a kernel's buffers and its dispatch.
struct KernelFacts {
  Level level;
  RootKind root;
  std::string label;
  std::unordered_set<const kernel::BufferNode*> constants;          // weights, which no dispatch writes
  std::unordered_map<const kernel::BufferNode*, int64_t> elements;  // of what is only read; 0: unknown
  std::unordered_set<const kernel::BufferNode*> outgrows_caches;    // of what is written
  bool streams_halves = false;                                      // DispatchBuilder::stream_halves
};

// Afterwards the kernel verifies.
void finish_kernel(kernel::Kernel& kernel, const KernelFacts& facts);

// While one lives, what its thread lowers is finished by other threads, and is not to be read before wait().
// Results do not depend on it.
class FinishingThreads {
 public:
  explicit FinishingThreads(int threads);
  ~FinishingThreads();
  FinishingThreads(const FinishingThreads&) = delete;
  FinishingThreads& operator=(const FinishingThreads&) = delete;
  void wait() { background_.wait(); }

 private:
  friend void finish_later(std::shared_ptr<kernel::Kernel> kernel, const KernelFacts& facts);
  Background background_;
};

// By the thread's FinishingThreads; at once where there are none.
void finish_later(std::shared_ptr<kernel::Kernel> kernel, const KernelFacts& facts);

}  // namespace tern::lower
