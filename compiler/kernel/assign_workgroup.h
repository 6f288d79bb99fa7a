// assign_workgroup: gives every Alloc of scope kWorkgroup its byte offset (128-byte aligned) and sets the
// kernel's workgroup_bytes. Buffers of scopes that never live together share memory; where a scope takes
// bytes that an earlier one used, a barrier is put before it unless one stands there, so such scopes must
// begin in uniform control flow. See gpu_kernel_test.cc.
#pragma once

#include "compiler/kernel/ir.h"

namespace tern::kernel {

void assign_workgroup(Kernel& kernel);

}  // namespace tern::kernel
