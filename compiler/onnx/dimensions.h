// Dimensions as importers read them: checked. What a model gives them may be of any rank, and an operand that
// lacks a dimension is refused in a sentence.
#pragma once

#include <utility>
#include <vector>

#include "compiler/graph/ir.h"

namespace tern::onnx {

// How large the value is along the axis; refused where it has no such axis. tests/layering lets no importer
// read `type.shape` itself.
const Dim& dimension(const graph::Value* v, int64_t axis);
// The last one.
const Dim& last_dimension(const graph::Value* v);

// A copy of a shape, or one that is being made, whose dimensions are checked likewise.
class Shape : public tern::Shape {
 public:
  using tern::Shape::vector;
  Shape(tern::Shape dims) : tern::Shape(std::move(dims)) {}

  const Dim& operator[](size_t axis) const { return data()[inside(axis)]; }
  Dim& operator[](size_t axis) { return data()[inside(axis)]; }
  const Dim& front() const { return (*this)[0]; }
  Dim& front() { return (*this)[0]; }
  const Dim& back() const { return (*this)[size() - 1]; }
  Dim& back() { return (*this)[size() - 1]; }

  // Dimensions `first` to `last`, that one excluded; negative ones count from the end.
  Shape part(int64_t first, int64_t last) const;
  Shape part(int64_t first) const { return part(first, static_cast<int64_t>(size())); }
  // Puts dimensions behind those that there are.
  void append(const tern::Shape& dims) { insert(end(), dims.begin(), dims.end()); }

 private:
  size_t inside(size_t axis) const {
    if (axis >= size()) refuse(static_cast<int64_t>(axis));
    return axis;
  }
  [[noreturn]] void refuse(int64_t axis) const;
};

// A part of the value's shape.
Shape dimensions(const graph::Value* v, int64_t first, int64_t last);
Shape dimensions(const graph::Value* v, int64_t first);

}  // namespace tern::onnx
