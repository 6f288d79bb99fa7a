// C text of streaming stores (stream) and of limited and indexed accesses: load_count, load_mask,
// store_count, store_mask, gather, gather_mask, scatter, scatter_mask on an element's storage type. Hardware
// masks where the target has them for the element's width, else halves, else lane by lane; never a touch of
// memory that is off.
#pragma once

#include <string>
#include <string_view>

#include "compiler/render/helpers.h"

namespace tern::render {

// Empty when `name` is no memory helper.
std::string memory_helper_text(HelperSet& set, std::string_view name, std::string_view scalar, int lanes,
                               std::string_view self);

// reduce_add, …, packed sub-byte accesses, and the rows of intrinsics.def, spelled out in vector C.
std::string intrinsic_helper_text(HelperSet& set, std::string_view name, std::string_view scalar, int lanes,
                                  std::string_view self);
// The helper's text comes from one of the two functions above.
bool is_generated(std::string_view name);

}  // namespace tern::render
