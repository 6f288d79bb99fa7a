// How opcode handlers look. One handler a row of vm_ops.def, op_<name>, in ops_*.cc; a missing one does not
// link.
//
// A handler returns true to go on. It returns false to stop: at the end of the outermost routine, or after
// fail(). The code is verified: registers, indices and types are right. What depends on values is the
// handler's to check.
#pragma once

#include "vm/session/session.h"

namespace tern::vm {

using Handler = bool (*)(Session& s, Instruction in);

#define TERN_VM_OP(number, name, a, b, c, semantics) bool op_##name(Session& s, Instruction in);
#include "schemas/abi/vm_ops.def"
#undef TERN_VM_OP

#define OP(name) bool op_##name([[maybe_unused]] Session& s, [[maybe_unused]] Instruction in)

inline bool fail(Session& s, tern_status_t status) {
  s.machine.status = status;
  return false;
}
inline bool proceed(Session& s, tern_status_t status) {
  return status == TERN_OK || fail(s, status);
}

// A failure with a sentence.
#define FAIL(code, ...) fail(s, tern_status_make(s.allocator, TERN_STATUS_##code, __VA_ARGS__))

inline int64_t& reg_i(Session& s, uint16_t number) {
  return s.machine.i[number];
}
inline double& reg_f(Session& s, uint16_t number) {
  return s.machine.f[number];
}
inline Ref*& reg_r(Session& s, uint16_t number) {
  return s.machine.r[number];
}

// What a register refers to; null after failing when it is empty.
Ref* ref_in(Session& s, uint16_t number);
inline Buffer* buffer_in(Session& s, uint16_t number) {
  return static_cast<Buffer*>(ref_in(s, number));
}
inline List* list_in(Session& s, uint16_t number) {
  return static_cast<List*>(ref_in(s, number));
}
// Puts a reference (with its count) into a register, releasing what was there.
void put_ref(Session& s, uint16_t number, Ref* ref);

// Enters a routine: registers zeroed, pc at its start.
void push_frame(Session& s, uint32_t routine, uint16_t results_to);
// Leaves the innermost routine, handing its results to the caller. False when it was the outermost.
bool pop_frame(Session& s);
// Moves the registers of one list to another, which may be in another window. References are shared.
void copy_registers(Session& s, Slice<uint32_t> from, int64_t* from_i, double* from_f, Ref** from_r,
                    Slice<uint32_t> to);

}  // namespace tern::vm
