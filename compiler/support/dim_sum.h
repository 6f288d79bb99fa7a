// The sum of many terms in one step. One `+` after the other interns each sum on the way, whose texts are as
// long as the sum is: megabytes for a few thousand terms.
#pragma once

#include <span>

#include "compiler/support/dim.h"

namespace tern {

Dim sum(std::span<const Dim> terms);

}  // namespace tern
