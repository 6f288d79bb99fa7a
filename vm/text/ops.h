// Names and operand kinds of opcodes for assembler, disassembler and docs.
#pragma once

#include <optional>
#include <string_view>

#include "vm/module/opcodes.h"

namespace tern::vm {

struct OpText {
  uint16_t number;
  Operands operands;
  const char* kinds[3];
  const char* name;
  const char* semantics;
};

constexpr OpText kOpTexts[] = {
#define TERN_VM_OP(number, name, a, b, c, semantics) {number, {a, b, c}, {#a, #b, #c}, #name, semantics},
#include "schemas/abi/vm_ops.def"
#undef TERN_VM_OP
};

// The row of a number or name; null if there is none.
inline const OpText* find_op(uint16_t number) {
  const uint16_t index = op_index(number);
  return index == kOpCount ? nullptr : &kOpTexts[index];
}
inline const OpText* find_op(std::string_view name) {
  for (const OpText& op : kOpTexts) {
    if (name == op.name) return &op;
  }
  return nullptr;
}

}  // namespace tern::vm
