// Proves every static fact of a module whose structure is sound (vm/module/flatbuffer_check.h), before
// anything of it is used.
//
// Linear in the module's size: each table, command and instruction is looked at once, and whatever an item
// refers to by a range is bounded by a small constant (limits below) or by a budget. Afterwards every index
// that the interpreter and the session follow is inside what it indexes. Sizes, grids and bindings that
// depend on the invocation are checked by the HAL when they are known.
#pragma once

#include "vm/module/view.h"

namespace tern::vm {

// A failure sentence; an `allocator` must be in scope.
#define MALFORMED(...) tern_status_make(allocator, TERN_STATUS_MALFORMED, __VA_ARGS__)

enum {
  kMaxPrograms = 64,
  kMaxConditions = 64,            // of one program or executable
  kMaxBindings = 64,              // of one command
  kMaxParams = 4096,              // of one command
  kMaxListItems = 256,            // of one bytecode list
  kMaxDepth = 64,                 // frames of nested calls
  kMaxStack = 1 << 20,            // registers of nested calls
  kMaxBlock = 1 << 20,            // entries of the parameter block
  kMaxThreads = 1 << 16,          // of a workgroup
  kMaxWorkgroupMemory = 1 << 28,  // bytes of a workgroup
};

// Functions, symbols, segments, executables, constants. bulk_size: bytes behind the header's bulk_offset.
tern_status_t verify_module(tern_allocator_t allocator, const module::Module* module, uint64_t bulk_size);

// One program, without its bytecode. TERN_STATUS_INCOMPATIBLE: it uses something newer than this reader;
// others may be fine.
tern_status_t verify_program(tern_allocator_t allocator, const module::Module* module,
                             const ProgramView& program);

// The bytecode of a program: fills program.facts (as many as routines) and rewrites opcodes to their dense
// indices in place.
tern_status_t verify_code(tern_allocator_t allocator, const module::Module* module,
                          const ProgramView& program);

}  // namespace tern::vm
