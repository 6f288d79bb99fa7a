// assign_scratch: gives every Alloc of scope kScratch its byte offset (64-byte aligned; buffers of scopes
// that never live together share memory) and sets the kernel's scratch_bytes. See assign_scratch_test.cc.
#pragma once

#include "compiler/kernel/ir.h"

namespace tern::kernel {

void assign_scratch(Kernel& kernel);

}  // namespace tern::kernel
