// What is asked of the caller's tensors before they are bound (bind.cc).
#pragma once

#include "vm/session/session.h"

namespace tern::vm {

// An input's type and shape; binds its symbols. *out_bytes is what it must have, and has.
tern_status_t check_input(Session& s, const module::Argument* argument, const tern_tensor_t& tensor,
                          uint64_t* out_bytes);

// That the tensor's buffer is of the session's device and has `bytes` from its offset on. `what`: "Input" or
// "Output".
tern_status_t check_buffer(Session& s, const char* what, const module::Argument* argument,
                           const tern_tensor_t& tensor, uint64_t bytes);

// That host memory is aligned to the argument's elements.
tern_status_t check_alignment(Session& s, const module::Argument* argument, const void* data);

// That an output's place, which the caller gave, is not that of an input or another output. Exactly that of
// the input that is its donor is fine: marks it as donated.
tern_status_t check_overlap(Session& s, uint32_t output, uint64_t bytes);

// Whether the caller gave the memory.
inline bool is_callers(const tern_tensor_t& tensor) {
  return tensor.buffer || (tensor.data && tensor.owner == TERN_OWNER_CALLER);
}

}  // namespace tern::vm
