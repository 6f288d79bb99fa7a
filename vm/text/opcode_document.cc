#include <cstdio>

#include "vm/text/ops.h"
#include "vm/text/text.h"

namespace tern::vm {

std::string opcode_document() {
  std::string out =
      "# Opcodes\n\n"
      "Made from `schemas/abi/vm_ops.def` by `tern-as --opcodes`; the encoding and the operand kinds are "
      "explained there.\n"
      "A test compares this page with the table.\n\n"
      "| number | opcode | a | b | c | meaning |\n|---|---|---|---|---|---|\n";
  for (const OpText& op : kOpTexts) {
    char number[8];
    std::snprintf(number, sizeof(number), "0x%04x", op.number);
    out += std::string("| ") + number + " | `" + op.name + "`";
    for (const char* kind : op.kinds) out += std::string(" | ") + (std::string_view(kind) == "X" ? "" : kind);
    out += std::string(" | ") + op.semantics + " |\n";
  }
  return out;
}

}  // namespace tern::vm
