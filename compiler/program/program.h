// From dispatch-level IR to a program of the module: memory plan, command lists, bytecode.
//
// A program with static sizes only has constants everywhere: its bytecode is one submit. Else the bytecode
// reads the symbols, evaluates every size, offset, parameter and tile count that the command lists need
// (common parts once, overflow checked by the VM), writes them to the parameter block, and submits.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "compiler/lower/program_ir.h"
#include "compiler/program/memory_plan.h"
#include "compiler/program/parts.h"
#include "compiler/support/result.h"

namespace tern::program {

// What the end report of ternc says about a program.
struct ProgramReport {
  int64_t dispatches = 0, copies = 0, fills = 0, barriers = 0, lists = 0, instructions = 0;
  int64_t scratch_bytes = 0;                         // a worker, the largest kernel
  int64_t workgroup_bytes = 0;                       // GPUs: a workgroup, the largest kernel
  int64_t derived_constants = 0, derived_bytes = 0;  // computed by init
  std::vector<std::string> copy_notes;               // what each copy step copies: none is silent
};

struct BuiltProgram {
  std::unique_ptr<module::ProgramT> program;
  MemoryPlan plan;
  ProgramReport report;
};

// Before any build_program: adds the program's constants to the pool (then lay the pool out).
void add_constants(const lower::LoweredProgram& lowered, int program, ConstantPool& pool);

// `symbols` are the module's symbols in order (module_symbols). Errors are limits that the model exceeds.
Result<BuiltProgram> build_program(const lower::LoweredProgram& lowered, const lower::Target& target,
                                   int program, ModuleParts& parts);

// The signature: symbols bound at entry, in order, and the function with its inputs and outputs. Must be
// equal for all programs of a function.
std::vector<std::unique_ptr<module::SymbolT>> module_symbols(const lower::LoweredProgram& lowered);
Result<std::unique_ptr<module::FunctionT>> module_function(const lower::LoweredProgram& lowered);

// For --dump-dir and tests: slots, command lists, bytecode as text.
std::string print_program(const module::ProgramT& program);

}  // namespace tern::program
