// Handlers: integers and floats.
#include <math.h>
#include <string.h>

#include "hal/base/checked_math.h"
#include "vm/session/interpreter.h"

namespace tern::vm {
namespace {

bool overflow(Session& s) {
  return FAIL(OUT_OF_RANGE, "The arithmetic of sizes overflows: the dimensions are too large.");
}

// Rounds to minus infinity; INT64_MIN / -1 and division by zero fail.
bool floor_divide(Session& s, int64_t a, int64_t b, int64_t* quotient, int64_t* remainder) {
  if (b == 0) return FAIL(OUT_OF_RANGE, "The arithmetic of sizes divides by zero.");
  if (a == INT64_MIN && b == -1) return overflow(s);
  *quotient = a / b;
  *remainder = a % b;
  if (*remainder != 0 && (*remainder < 0) != (b < 0)) {
    --*quotient;
    *remainder += b;
  }
  return true;
}

}  // namespace

OP(const_i) {
  reg_i(s, in.a) = in.imm32();
  return true;
}
OP(const_wide) {
  reg_i(s, in.a) = s.program->numbers[in.bc()];
  return true;
}
OP(move_i) {
  reg_i(s, in.a) = reg_i(s, in.b);
  return true;
}
OP(add) {
  return !__builtin_add_overflow(reg_i(s, in.b), reg_i(s, in.c), &reg_i(s, in.a)) || overflow(s);
}
OP(sub) {
  return !__builtin_sub_overflow(reg_i(s, in.b), reg_i(s, in.c), &reg_i(s, in.a)) || overflow(s);
}
OP(mul) {
  return !__builtin_mul_overflow(reg_i(s, in.b), reg_i(s, in.c), &reg_i(s, in.a)) || overflow(s);
}
OP(add_imm) {
  return !__builtin_add_overflow(reg_i(s, in.b), int64_t{in.imm()}, &reg_i(s, in.a)) || overflow(s);
}
OP(mul_imm) {
  return !__builtin_mul_overflow(reg_i(s, in.b), int64_t{in.imm()}, &reg_i(s, in.a)) || overflow(s);
}

OP(floor_div) {
  int64_t quotient, remainder;
  if (!floor_divide(s, reg_i(s, in.b), reg_i(s, in.c), &quotient, &remainder)) return false;
  reg_i(s, in.a) = quotient;
  return true;
}
OP(ceil_div) {
  int64_t quotient, remainder;
  if (!floor_divide(s, reg_i(s, in.b), reg_i(s, in.c), &quotient, &remainder)) return false;
  reg_i(s, in.a) = quotient + (remainder != 0);
  return true;
}
OP(mod) {
  int64_t quotient, remainder;
  if (!floor_divide(s, reg_i(s, in.b), reg_i(s, in.c), &quotient, &remainder)) return false;
  reg_i(s, in.a) = remainder;
  return true;
}
OP(align) {
  int64_t quotient, remainder;
  if (!floor_divide(s, reg_i(s, in.b), in.imm(), &quotient, &remainder)) return false;
  const int64_t up = remainder ? in.imm() - remainder : 0;
  return !__builtin_add_overflow(reg_i(s, in.b), up, &reg_i(s, in.a)) || overflow(s);
}

// Rows whose handler is one expression of b and c.
#define TERN_SIMPLE_I(name, expression)                   \
  OP(name) {                                              \
    const int64_t b = reg_i(s, in.b), c = reg_i(s, in.c); \
    reg_i(s, in.a) = (expression);                        \
    return true;                                          \
  }
TERN_SIMPLE_I(min, b < c ? b : c)
TERN_SIMPLE_I(max, b > c ? b : c)
TERN_SIMPLE_I(eq, b == c)
TERN_SIMPLE_I(ne, b != c)
TERN_SIMPLE_I(lt, b < c)
TERN_SIMPLE_I(le, b <= c)
TERN_SIMPLE_I(and, b != 0 && c != 0)
TERN_SIMPLE_I(or, b != 0 || c != 0)
#undef TERN_SIMPLE_I

OP(not) {
  reg_i(s, in.a) = reg_i(s, in.b) == 0;
  return true;
}
OP(select) {
  if (reg_i(s, in.b) != 0) reg_i(s, in.a) = reg_i(s, in.c);
  return true;
}

OP(const_f) {
  memcpy(&reg_f(s, in.a), &s.program->numbers[in.bc()], sizeof(double));
  return true;
}
OP(move_f) {
  reg_f(s, in.a) = reg_f(s, in.b);
  return true;
}
OP(int_to_float) {
  reg_f(s, in.a) = static_cast<double>(reg_i(s, in.b));
  return true;
}
OP(float_to_int) {
  const double value = reg_f(s, in.b);
  if (!(value >= -0x1p63 && value < 0x1p63))
    return FAIL(OUT_OF_RANGE, "A size computed in floating point (%g) is no 64-bit integer.", value);
  reg_i(s, in.a) = static_cast<int64_t>(value);
  return true;
}

#define TERN_SIMPLE_F(name, bank, expression)                             \
  OP(name) {                                                              \
    [[maybe_unused]] const double b = reg_f(s, in.b), c = reg_f(s, in.c); \
    reg_##bank(s, in.a) = (expression);                                   \
    return true;                                                          \
  }
TERN_SIMPLE_F(add_f, f, b + c)
TERN_SIMPLE_F(sub_f, f, b - c)
TERN_SIMPLE_F(mul_f, f, b* c)
TERN_SIMPLE_F(div_f, f, b / c)
TERN_SIMPLE_F(eq_f, i, b == c)
TERN_SIMPLE_F(lt_f, i, b < c)
TERN_SIMPLE_F(le_f, i, b <= c)
#undef TERN_SIMPLE_F

OP(floor_f) {
  reg_f(s, in.a) = floor(reg_f(s, in.b));
  return true;
}
OP(ceil_f) {
  reg_f(s, in.a) = ceil(reg_f(s, in.b));
  return true;
}
OP(round_f32) {
  reg_f(s, in.a) = static_cast<double>(static_cast<float>(reg_f(s, in.b)));
  return true;
}

}  // namespace tern::vm
