// Handlers: control flow, checks, inputs and outputs.
#include <stdio.h>

#include "vm/session/interpreter.h"

namespace tern::vm {
namespace {

// What may be done without end looks at cancellation, the deadline and the budget: a back edge, and a call,
// since routines that each call the one before them twice run for ever without a loop.
bool spend_step(Session& s) {
  Machine& m = s.machine;
  if (++m.steps > s.step_limit) {
    return FAIL(OUT_OF_RANGE, "The program went over its budget of %llu loop iterations and calls.",
                static_cast<unsigned long long>(s.step_limit));
  }
  if (__atomic_load_n(&s.cancel.requested, __ATOMIC_ACQUIRE))
    return FAIL(CANCELLED, "The invocation was cancelled.");
  if (s.deadline && (m.steps & 63) == 0 && tern_hal_now() > s.deadline) {
    return FAIL(DEADLINE_EXCEEDED, "The invocation ran past its timeout.");
  }
  return true;
}

bool jump_to(Session& s, uint32_t target) {
  Machine& m = s.machine;
  if (target < m.pc && !spend_step(s)) return false;
  m.pc = target;
  return true;
}

// "{0}" and so on replaced by register values.
bool fail_with_message(Session& s, [[maybe_unused]] uint16_t message, [[maybe_unused]] uint16_t list) {
#if TERN_STATUS_NO_MESSAGES
  return fail(s, tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT));
#else
  char out[512];
  size_t length = 0;
  const Slice<uint32_t> values = s.program->list(list);
  for (const char* p = text(s.program->table->messages()->Get(message)); *p && length < sizeof(out) - 32;
       ++p) {
    if (p[0] == '{' && p[1] >= '0' && p[1] <= '9' && p[2] == '}' &&
        static_cast<uint32_t>(p[1] - '0') < values.size) {
      const int64_t value = reg_i(s, static_cast<uint16_t>(values[p[1] - '0']));
      length += static_cast<size_t>(
          snprintf(out + length, sizeof(out) - length, "%lld", static_cast<long long>(value)));
      p += 2;
    } else {
      out[length++] = *p;
    }
  }
  out[length] = 0;
  return FAIL(INVALID_ARGUMENT, "%s", out);
#endif
}

}  // namespace

OP(trap) {
  return FAIL(MALFORMED, "The program reached a point that it says it cannot reach.");
}
OP(return) {
  return pop_frame(s);
}
OP(jump) {
  return jump_to(s, in.bc());
}
OP(jump_if) {
  return reg_i(s, in.a) == 0 || jump_to(s, in.bc());
}
OP(jump_unless) {
  return reg_i(s, in.a) != 0 || jump_to(s, in.bc());
}

OP(call) {
  if (!spend_step(s)) return false;
  int64_t* from_i = s.machine.i;
  double* from_f = s.machine.f;
  Ref** from_r = s.machine.r;
  push_frame(s, in.a, in.c);
  copy_registers(s, s.program->list(in.b), from_i, from_f, from_r,
                 s.program->list(s.program->routines[in.a].params()));
  return true;
}

OP(fail) {
  return fail_with_message(s, in.b, in.c);
}
OP(check) {
  return reg_i(s, in.a) != 0 || fail_with_message(s, in.b, in.c);
}

OP(load_dim) {
  const tern_tensor_t* tensor = s.inputs[in.b].tensor;
  if (!tensor || in.c >= tensor->rank)
    return FAIL(FAILED_PRECONDITION, "Input (%u) has no dimension (%u).", in.b, in.c);
  reg_i(s, in.a) = tensor->dims[in.c];
  return true;
}

OP(load_symbol) {
  const int64_t value = s.symbols[in.b];
  if (value < 0) {
    return FAIL(FAILED_PRECONDITION, "Symbol '%s' has no value: no input with it was given.",
                text(s.module->root->symbols()->Get(in.b)->name()));
  }
  reg_i(s, in.a) = value;
  return true;
}

OP(input_given) {
  reg_i(s, in.a) = s.inputs[in.b].tensor != nullptr;
  return true;
}

OP(output_dim) {
  const Slice<module::Dim> dims = slice(s.function->outputs()->Get(in.a)->dims());
  const int64_t value = reg_i(s, in.c);
  if (in.b >= dims.size || dims[in.b].kind() != module::DimKind::Computed) {
    return FAIL(MALFORMED, "Dimension (%u) of output (%u) is not the program's to set.", in.b, in.a);
  }
  if (value < 0 || (dims[in.b].value() >= 0 && value > dims[in.b].value())) {
    return FAIL(OUT_OF_RANGE, "Dimension %u of output '%s' (%lld) is impossible.", in.b,
                text(s.function->outputs()->Get(in.a)->name()), static_cast<long long>(value));
  }
  s.outputs[in.a].dims[in.b] = value;
  return true;
}

OP(output_reserve) {
  const int64_t bytes = reg_i(s, in.b);
  if (bytes < 0)
    return FAIL(OUT_OF_RANGE, "The size of output (%u) is negative (%lld).", in.a,
                static_cast<long long>(bytes));
  return proceed(s, await_all(s)) && proceed(s, reserve_output(s, in.a, static_cast<uint64_t>(bytes)));
}

OP(is_donated) {
  reg_i(s, in.a) = s.outputs[in.b].donated;
  return true;
}

}  // namespace tern::vm
