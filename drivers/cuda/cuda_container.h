// The outer form of cubins and fatbins. The driver API takes an address without a length and believes what
// the headers say, so they are checked here first: everything that they point to lies inside the bytes.
#pragma once

#include "hal/base/span.h"
#include "hal/base/status.h"

namespace tern::cuda {

TERN_MUST_USE tern_status_t cuda_container_check(tern_allocator_t allocator, tern_const_bytes_t code);

}  // namespace tern::cuda
