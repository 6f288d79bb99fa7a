// The rows of schemas/abi/vm_ops.def as C++: opcode enumeration, operand kinds, and the 8-byte instruction.
//
// A module stores sparse opcode numbers; the verifier rewrites the private copy of the code to dense row
// indices, so that the interpreter's dispatch is one table look-up.
#pragma once

#include <stdint.h>

namespace tern::vm {

// One operand of a row; schemas/abi/vm_ops.def explains each.
enum OperandKind : uint8_t {
  X,
  I_W,
  I_R,
  F_W,
  F_R,
  B_W,
  B_R,
  B_T,
  L_W,
  L_R,
  L_T,
  IMM,
  IMM32,
  NUM32,
  BLOCK32,
  TARGET32,
  ROUTINE,
  LISTS32,
  SLOT,
  SLOT_D,
  INPUT,
  OUTPUT,
  AXIS,
  SYMBOL,
  DTYPE,
  MESSAGE,
  HOST,
  LIST_I,
  LIST_REGS,
};

struct Operands {
  OperandKind a, b, c;
};

// Dense index of each row, in the table's order: kOp_add and so on.
enum OpIndex : uint16_t {
#define TERN_VM_OP(number, name, a, b, c, semantics) kOp_##name,
#include "schemas/abi/vm_ops.def"
#undef TERN_VM_OP
  kOpCount,
};

constexpr uint16_t kOpNumbers[] = {
#define TERN_VM_OP(number, name, a, b, c, semantics) number,
#include "schemas/abi/vm_ops.def"
#undef TERN_VM_OP
};

constexpr Operands kOpOperands[] = {
#define TERN_VM_OP(number, name, a, b, c, semantics) {a, b, c},
#include "schemas/abi/vm_ops.def"
#undef TERN_VM_OP
};

constexpr bool op_numbers_ascend() {
  for (int i = 1; i < kOpCount; ++i) {
    if (kOpNumbers[i] <= kOpNumbers[i - 1]) return false;
  }
  return true;
}
static_assert(op_numbers_ascend(), "vm_ops.def: numbers must be unique and ascend");

// The dense index of an opcode number, or kOpCount.
constexpr uint16_t op_index(uint16_t number) {
  uint16_t low = 0, high = kOpCount;
  while (low < high) {
    uint16_t middle = (low + high) / 2;
    if (kOpNumbers[middle] < number) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < kOpCount && kOpNumbers[low] == number ? low : uint16_t{kOpCount};
}

constexpr bool is_wide(OperandKind kind) {
  return kind == IMM32 || kind == NUM32 || kind == BLOCK32 || kind == TARGET32 || kind == LISTS32;
}

struct Instruction {
  uint16_t op, a, b, c;
  uint32_t bc() const { return b | static_cast<uint32_t>(c) << 16; }
  int32_t imm32() const { return static_cast<int32_t>(bc()); }
  int16_t imm() const { return static_cast<int16_t>(c); }
};

constexpr uint64_t encode(uint16_t op, uint16_t a, uint16_t b, uint16_t c) {
  return op | static_cast<uint64_t>(a) << 16 | static_cast<uint64_t>(b) << 32 |
         static_cast<uint64_t>(c) << 48;
}
constexpr Instruction decode(uint64_t word) {
  return {static_cast<uint16_t>(word), static_cast<uint16_t>(word >> 16), static_cast<uint16_t>(word >> 32),
          static_cast<uint16_t>(word >> 48)};
}

// Banks of registers in lists of kind LIST_REGS: bank << 16 | register.
enum Bank : uint32_t { kBankI = 0, kBankF = 1, kBankR = 2 };

constexpr uint32_t kNone32 = 0xffffffffu;
constexpr uint16_t kNone16 = 0xffffu;

}  // namespace tern::vm
