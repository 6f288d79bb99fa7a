// Shapes as text for messages: "2x3x224" and "Nx3x224x224 (N from 1 to 8)". Not built where messages are not.
#pragma once

#include "vm/session/session.h"

namespace tern::vm {

struct ShapeText {
  char text[320];
};

// dims of a tensor; "scalar" for rank 0.
ShapeText shape_text(const int64_t* dims, uint32_t rank);
// What an argument of the signature wants.
ShapeText expected_text(const module::Module* module, const module::Argument* argument);

}  // namespace tern::vm
