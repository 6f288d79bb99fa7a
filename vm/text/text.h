// Modules as text (.tvm): an assembler and a disassembler, with assemble(disassemble(m)) meaning the same and
// disassemble(assemble(text)) printing the same. docs/module-format.md describes the language; in short, one
// item a line:
//
//   symbol N min 1 max 64 hint 8
//   function main
//     input x f32 [N, 4]
//     output y f32 [N, 4]
//   segment constants f32 1 2 3
//   executable "x" static entries "add"
//   program any
//     block 2
//     slot input 0
//     slot output 0
//     kernel add (read, write) params 1 variants 0:0
//     list                                    ; a command list
//       dispatch add [s0 +0 64, s1 +0 $1] params 7 grid $0 1 1 scratch 0
//     routine main i 2
//       load_symbol i0, N
//       param_store i0, $0
//       submit 0
//       return
//     entry main reserve none
//
// Operands: a number is a constant, $n is entry n of the parameter block, s3 is slot 3. `;` begins a comment.
#pragma once

#include <string>
#include <string_view>

#include "vm/text/module_file.h"

namespace tern::vm {

struct DisassembleOptions {
  bool segments = true;  // write segments' bytes (false: only their sizes, which cannot be assembled)
  bool commands = true;  // write kernels, bindings and command lists
};

struct AssembleOptions {
  std::string files;  // the folder of `segment … file "name"` lines
};

// False with "line 12: …" in *error. ELF entries that have a name and no offset get the offset of their
// symbol.
bool assemble_module(std::string_view text, ModuleFile* out, std::string* error,
                     const AssembleOptions& options = {});
std::string disassemble_module(const ModuleFile& file, const DisassembleOptions& options = {});

// One routine's instructions, a line each.
std::string disassemble_routine(const module::ModuleT& module, const module::ProgramT& program,
                                uint32_t routine);

// The opcode table as Markdown: vm/OPCODES.md.
std::string opcode_document();

}  // namespace tern::vm
