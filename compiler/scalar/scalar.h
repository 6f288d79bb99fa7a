// The scalar ops of ops.def: enumeration, properties, type rule and value semantics. The evaluators of both
// IRs and the constant folder call eval_scalar and eval_cast, so they cannot disagree.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "compiler/support/dtype.h"
#include "compiler/support/result.h"

namespace tern::scalar {

enum class ScalarOp : uint8_t {
#define TERN_SCALAR_OP(name, text, arity, rule, domain, flags, meaning) k##name,
#include "compiler/scalar/ops.def"
#undef TERN_SCALAR_OP
  kCount
};

enum class TypeRule : uint8_t { kSame, kCompare, kSelect, kTest, kShift };
enum class Domain : uint8_t { kAny, kNumber, kFloat, kInt, kBool, kIntOrBool };

struct ScalarOpInfo {
  std::string_view name;
  int arity;
  TypeRule rule;
  Domain domain;
  bool commutative, associative, reassociable, expensive;
};

const ScalarOpInfo& info(ScalarOp op);
// kCount when unknown.
ScalarOp scalar_op_from_name(std::string_view name);
// The result type, or a sentence that says which operand type the op refuses.
Result<DType> result_type(ScalarOp op, std::span<const DType> operands);

// One element's value, wide enough for every type. Complex numbers use both doubles; integers and bool use i
// (unsigned 64-bit as its bits); floats use f, already rounded to their type.
struct ScalarValue {
  DType dtype = DType::kNone;
  int64_t i = 0;
  double f = 0;
  double imaginary = 0;
};

ScalarValue eval_scalar(ScalarOp op, std::span<const ScalarValue> operands);
// Numeric conversion: float to integer truncates toward zero and saturates at the type's ends, NaN gives 0;
// integer to narrower integer wraps; to bool is x != 0; to a float rounds to nearest even, to infinity on
// overflow (f8 types with `saturate`: to the largest finite).
ScalarValue eval_cast(const ScalarValue& value, DType to, bool saturate = true);
ScalarValue scalar_from_double(DType dtype, double value);
ScalarValue scalar_from_int(DType dtype, int64_t value);
// The least and greatest value of a number type (infinities for floats): identities of max and min.
ScalarValue lowest(DType dtype);
ScalarValue highest(DType dtype);

// Elements of dense arrays, packed as dtypes.def says. Not strings.
ScalarValue load_value(DType dtype, const uint8_t* bytes, int64_t i);
void store_value(DType dtype, uint8_t* bytes, int64_t i, const ScalarValue& value);

// Whole arrays, equal to eval_scalar and eval_cast element by element, at the speed of plain loops for the
// types that C++ has. `operand` is the operands' type (of select: the chosen values'); the output has the
// row's result type and may not overlap an input.
void eval_map(ScalarOp op, DType operand, int64_t count, std::span<const uint8_t* const> inputs,
              uint8_t* output);
void eval_cast_array(DType from, DType to, bool saturate, int64_t count, const uint8_t* input,
                     uint8_t* output);

// Conversions of 16- and 8-bit floats' bit patterns, round to nearest even.
double decode_float(DType dtype, uint64_t bits);
uint64_t encode_float(DType dtype, double value, bool saturate = true);

}  // namespace tern::scalar
