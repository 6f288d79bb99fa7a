// Writes one routine of bytecode: encodes instructions (schemas/abi/vm_ops.def), hands out registers, fills
// the program's side pools (numbers, lists, messages), patches jumps.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "schemas/module/module_generated.h"

namespace tern::program {

enum class VmOp : uint16_t {
#define TERN_VM_OP(number, name, a, b, c, meaning) op_##name = number,
#include "schemas/abi/vm_ops.def"
#undef TERN_VM_OP
};

// The pools of a program that its routines and command lists share.
class ProgramPools {
 public:
  explicit ProgramPools(module::ProgramT& program) : program_(program) {}
  module::ProgramT& program() { return program_; }
  uint32_t number(int64_t value);
  uint32_t message(const std::string& text);
  uint32_t list(const std::vector<uint32_t>& items);

 private:
  module::ProgramT& program_;
  std::unordered_map<int64_t, uint32_t> numbers_;
  std::unordered_map<std::string, uint32_t> messages_;
};

class RoutineWriter {
 public:
  explicit RoutineWriter(ProgramPools& pools) : pools_(pools) {}

  uint32_t int_register() { return int_count_++; }
  uint32_t buffer_register() { return ref_count_++; }
  uint32_t next() const { return static_cast<uint32_t>(code_.size()); }

  void emit(VmOp op, uint32_t a = 0, uint32_t b = 0, uint32_t c = 0);
  void emit_wide(VmOp op, uint32_t a, uint32_t bc);
  void load_constant(uint32_t to, int64_t value);
  // A jump whose target is set later by land().
  uint32_t emit_jump(VmOp op, uint32_t condition = 0);
  void land(uint32_t jump);
  void emit_jump_to(uint32_t target);

  // Appends the routine to the program; its number. False in `fits` if it needs more registers than an
  // instruction can name.
  uint32_t finish(const std::string& name, bool& fits);

 private:
  ProgramPools& pools_;
  std::vector<uint64_t> code_;
  uint32_t int_count_ = 0, ref_count_ = 0;
};

}  // namespace tern::program
