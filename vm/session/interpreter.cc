#include "vm/session/interpreter.h"

#include <string.h>

namespace tern::vm {
namespace {

constexpr Handler kHandlers[] = {
#define TERN_VM_OP(number, name, a, b, c, semantics) op_##name,
#include "schemas/abi/vm_ops.def"
#undef TERN_VM_OP
};

// The largest stack that any entry of the program needs.
RoutineFacts largest_stack(const ProgramView& program) {
  RoutineFacts all = {};
  for (uint32_t i = 0; i < program.routines.size; ++i) {
    const RoutineFacts& facts = program.facts[i];
    if (facts.stack_i > all.stack_i) all.stack_i = facts.stack_i;
    if (facts.stack_f > all.stack_f) all.stack_f = facts.stack_f;
    if (facts.stack_r > all.stack_r) all.stack_r = facts.stack_r;
    if (facts.depth > all.depth) all.depth = facts.depth;
  }
  return all;
}

void unwind(Session& s) {
  Machine& m = s.machine;
  m.depth = 0;
  for (uint32_t i = 0; i < m.size_r; ++i) {
    release_ref(s, m.stack_r[i]);
    m.stack_r[i] = nullptr;
  }
  for (uint32_t i = 0; i < s.program->slots.size; ++i) {
    if (s.slot_refs[i]) set_slot(s, i, nullptr);
  }
}

}  // namespace

tern_status_t make_machine(Session& s) {
  Machine& m = s.machine;
  const RoutineFacts need = largest_stack(*s.program);
  m.size_r = need.stack_r;
  if (!session_array(s, need.stack_i, &m.stack_i) || !session_array(s, need.stack_f, &m.stack_f) ||
      !session_array(s, need.stack_r, &m.stack_r) || !session_array(s, need.depth, &m.frames)) {
    return out_of_memory();
  }
  return TERN_OK;
}

void push_frame(Session& s, uint32_t index, uint16_t results_to) {
  Machine& m = s.machine;
  const module::Routine& routine = s.program->routines[index];
  if (m.depth) {
    Frame& caller = m.frames[m.depth - 1];
    caller.pc = m.pc;
    m.i += caller.routine->i_count();
    m.f += caller.routine->f_count();
    m.r += caller.routine->ref_count();
  } else {
    m.i = m.stack_i;
    m.f = m.stack_f;
    m.r = m.stack_r;
  }
  if (routine.i_count()) memset(m.i, 0, routine.i_count() * sizeof(int64_t));
  if (routine.f_count()) memset(m.f, 0, routine.f_count() * sizeof(double));
  m.code = s.program->code.data + routine.first_instruction();
  m.pc = 0;
  m.frames[m.depth++] = {&routine, m.code, 0, index, results_to};
}

void copy_registers(Session& s, Slice<uint32_t> from, int64_t* from_i, double* from_f, Ref** from_r,
                    Slice<uint32_t> to) {
  for (uint32_t k = 0; k < from.size; ++k) {
    const uint16_t source = static_cast<uint16_t>(from[k]), target = static_cast<uint16_t>(to[k]);
    switch (from[k] >> 16) {
      case kBankI:
        s.machine.i[target] = from_i[source];
        break;
      case kBankF:
        s.machine.f[target] = from_f[source];
        break;
      default:
        if (from_r[source]) ++from_r[source]->count;
        put_ref(s, target, from_r[source]);
    }
  }
}

bool pop_frame(Session& s) {
  Machine& m = s.machine;
  const Frame done = m.frames[--m.depth];
  if (m.depth) {
    int64_t* from_i = m.i;
    double* from_f = m.f;
    Ref** from_r = m.r;
    const Frame& caller = m.frames[m.depth - 1];
    m.i -= caller.routine->i_count();
    m.f -= caller.routine->f_count();
    m.r -= caller.routine->ref_count();
    m.code = caller.code;
    m.pc = caller.pc;
    copy_registers(s, s.program->list(done.routine->results()), from_i, from_f, from_r,
                   s.program->list(done.results_to));
    for (uint32_t k = 0; k < done.routine->ref_count(); ++k) {
      release_ref(s, from_r[k]);
      from_r[k] = nullptr;
    }
  }
  return m.depth != 0;
}

tern_status_t run_routine(Session& s, uint32_t routine) {
  Machine& m = s.machine;
  m.status = TERN_OK;
  m.steps = 0;
  push_frame(s, routine, kNone16);
  for (;;) {
    const Instruction in = decode(m.code[m.pc++]);
    if (!kHandlers[in.op](s, in)) break;
  }
  tern_status_t status = m.status;
#if !TERN_STATUS_NO_MESSAGES
  if (status != TERN_OK && m.depth) {
    const uint32_t index = m.frames[m.depth - 1].routine_index;
    const auto* names = s.program->table->routine_names();
    status = tern_status_annotate(status, "\n - While running instruction %u of routine %u '%s'", m.pc - 1,
                                  index, index < count(names) ? text(names->Get(index)) : "");
  }
#endif
  const tern_status_t waited = await_all(s);
  if (status == TERN_OK) {
    status = waited;
  } else {
    tern_status_free(waited);
  }
  unwind(s);
  return status;
}

Ref* ref_in(Session& s, uint16_t number) {
  Ref* ref = reg_r(s, number);
  if (!ref) FAIL(FAILED_PRECONDITION, "Reference register r%u is empty.", number);
  return ref;
}

void put_ref(Session& s, uint16_t number, Ref* ref) {
  release_ref(s, s.machine.r[number]);
  s.machine.r[number] = ref;
}

}  // namespace tern::vm
