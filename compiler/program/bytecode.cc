#include "compiler/program/bytecode.h"

#include "compiler/support/check.h"

namespace tern::program {
namespace {

uint64_t encode(VmOp op, uint32_t a, uint32_t b, uint32_t c) {
  return static_cast<uint64_t>(op) | static_cast<uint64_t>(a & 0xffff) << 16 |
         static_cast<uint64_t>(b & 0xffff) << 32 | static_cast<uint64_t>(c & 0xffff) << 48;
}

}  // namespace

uint32_t ProgramPools::number(int64_t value) {
  const auto [at, fresh] = numbers_.try_emplace(value, static_cast<uint32_t>(program_.numbers.size()));
  if (fresh) program_.numbers.push_back(value);
  return at->second;
}

uint32_t ProgramPools::message(const std::string& text) {
  const auto [at, fresh] = messages_.try_emplace(text, static_cast<uint32_t>(program_.messages.size()));
  if (fresh) program_.messages.push_back(text);
  return at->second;
}

uint32_t ProgramPools::list(const std::vector<uint32_t>& items) {
  program_.bytecode_lists.emplace_back(static_cast<uint32_t>(program_.list_items.size()),
                                       static_cast<uint32_t>(items.size()));
  program_.list_items.insert(program_.list_items.end(), items.begin(), items.end());
  return static_cast<uint32_t>(program_.bytecode_lists.size() - 1);
}

void RoutineWriter::emit(VmOp op, uint32_t a, uint32_t b, uint32_t c) {
  code_.push_back(encode(op, a, b, c));
}

void RoutineWriter::emit_wide(VmOp op, uint32_t a, uint32_t bc) {
  code_.push_back(encode(op, a, bc & 0xffff, bc >> 16));
}

void RoutineWriter::load_constant(uint32_t to, int64_t value) {
  if (value >= INT32_MIN && value <= INT32_MAX) {
    emit_wide(VmOp::op_const_i, to, static_cast<uint32_t>(value));
  } else {
    emit_wide(VmOp::op_const_wide, to, pools_.number(value));
  }
}

uint32_t RoutineWriter::emit_jump(VmOp op, uint32_t condition) {
  emit_wide(op, condition, 0);
  return next() - 1;
}

void RoutineWriter::land(uint32_t jump) {
  const uint64_t instruction = code_[jump];
  const uint32_t target = next();
  code_[jump] = encode(static_cast<VmOp>(instruction & 0xffff), (instruction >> 16) & 0xffff, target & 0xffff,
                       target >> 16);
}

void RoutineWriter::emit_jump_to(uint32_t target) {
  emit_wide(VmOp::op_jump, 0, target);
}

uint32_t RoutineWriter::finish(const std::string& name, bool& fits) {
  module::ProgramT& program = pools_.program();
  fits = int_count_ <= 0xffff && ref_count_ <= 0xffff && program.bytecode_lists.size() <= 0xffff &&
         program.messages.size() <= 0xffff;
  constexpr uint16_t kNone = 0xffff;
  program.routines.emplace_back(
      static_cast<uint32_t>(program.code.size()), static_cast<uint32_t>(code_.size()),
      static_cast<uint32_t>(program.ref_types.size()), static_cast<uint16_t>(int_count_), uint16_t{0},
      static_cast<uint16_t>(ref_count_), kNone, kNone);
  program.routine_names.push_back(name);
  program.code.insert(program.code.end(), code_.begin(), code_.end());
  program.ref_types.insert(program.ref_types.end(), ref_count_, module::RefType::Buffer);
  return static_cast<uint32_t>(program.routines.size() - 1);
}

}  // namespace tern::program
