// 3 x 3 convolutions of the graph by Winograd's algorithm: contraction_body.h's request as
// winograd_kernel.h's operands.
#pragma once

#include <optional>

#include "compiler/lower/contraction_body.h"

namespace tern::lower {

ContractionBody build_winograd(const ContractionRequest& request);  // request.winograd is not 0
// Of bytes, where they suit it and gain (winograd_bytes.h).
std::optional<ContractionBody> build_byte_winograd(const ContractionRequest& request);

}  // namespace tern::lower
