#include "compiler/onnx/dimensions.h"

#include "compiler/onnx/emit.h"

namespace tern::onnx {

const Dim& dimension(const Value* v, int64_t axis) {
  if (axis < 0 || axis >= v->type.rank()) fail("The operand ({}) has no dimension {}.", v->type.text(), axis);
  return v->type.shape[static_cast<size_t>(axis)];
}

const Dim& last_dimension(const Value* v) {
  if (v->type.rank() < 1) fail("The operand ({}) has no dimensions.", v->type.text());
  return v->type.shape.back();
}

void Shape::refuse(int64_t axis) const {
  fail("An operand of {} dimensions ({}) has no dimension {}.", size(), shape_text(*this), axis);
}

Shape Shape::part(int64_t first, int64_t last) const {
  const auto rank = static_cast<int64_t>(size());
  const int64_t from = first < 0 ? first + rank : first, to = last < 0 ? last + rank : last;
  if (from < 0 || from > to || to > rank)
    fail("An operand of {} dimensions ({}) has too few of them.", size(), shape_text(*this));
  return Shape(begin() + from, begin() + to);
}

Shape dimensions(const Value* v, int64_t first, int64_t last) {
  return Shape(v->type.shape).part(first, last);
}

Shape dimensions(const Value* v, int64_t first) {
  return Shape(v->type.shape).part(first);
}

}  // namespace tern::onnx
