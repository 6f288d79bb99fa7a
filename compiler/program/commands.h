// Command lists: what runs of dispatches, copies and fills become, with barriers only where two commands
// touch the same bytes and one of them writes.
#pragma once

#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "compiler/lower/step_access.h"
#include "compiler/program/bytecode.h"
#include "compiler/program/memory_plan.h"
#include "compiler/program/parts.h"
#include "compiler/program/program.h"

namespace tern::program {

// The program's binding-slot table, made from its buffers.
class SlotTable {
 public:
  SlotTable(const lower::LoweredProgram& lowered, const MemoryPlan& plan, int program, ModuleParts& parts,
            ProgramPools& pools);

  struct Place {
    uint32_t slot = 0;
    Dim offset;
    int root = -1;
  };
  // Where byte `offset` of a buffer is. The buffer must be used by some step.
  Place place(int buffer, const Dim& offset) const;

 private:
  const MemoryPlan& plan_;
  std::vector<uint32_t> slot_of_;  // by root; ~0u: none
  std::vector<int64_t> base_;      // by root: bytes before it in its slot (constants)
};

class CommandWriter {
 public:
  CommandWriter(const lower::LoweredProgram& lowered, const lower::Target& target, const MemoryPlan& plan,
                const SlotTable& slots, ModuleParts& parts, ProgramPools& pools, ProgramReport& report)
      : lowered_(lowered),
        target_(target),
        plan_(plan),
        slots_(slots),
        parts_(parts),
        pools_(pools),
        report_(report) {}

  struct List {
    uint32_t index = 0;  // of Program.lists
    std::vector<Dim>
        block_dims;  // what must be in the parameter block before it is submitted, first-seen order
    std::vector<int> output_roots;  // output buffers that it binds
  };
  // steps[begin, end) must all be commands.
  Result<List> write(const std::vector<lower::Step>& steps, size_t begin, size_t end);

  uint32_t block_entry(const Dim& dim);
  uint32_t block_size() const { return static_cast<uint32_t>(block_.size()); }

 private:
  const lower::LoweredProgram& lowered_;
  const lower::Target& target_;
  const MemoryPlan& plan_;
  const SlotTable& slots_;
  ModuleParts& parts_;
  ProgramPools& pools_;
  ProgramReport& report_;
  std::unordered_map<Dim, uint32_t> block_;
  std::map<std::vector<uint64_t>, uint32_t> kernels_;  // places of the variants → Program.kernels
  List* list_ = nullptr;
  std::vector<lower::MemoryAccess> open_;  // since the last barrier

  uint32_t operand(const Dim& dim);
  void barrier_if_needed(const lower::Step& step);
  bool conflict(const lower::MemoryAccess& a, const lower::MemoryAccess& b) const;
  void bind(int buffer, const Dim& offset, const Dim& length, module::Access access);
  Status dispatch(const lower::DispatchStep& step);
  void copy(const lower::CopyStep& step);
  Status fill(const lower::FillStep& step);
  uint32_t kernel_index(const lower::DispatchStep& step);
};

}  // namespace tern::program
