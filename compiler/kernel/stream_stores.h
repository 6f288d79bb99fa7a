// Which stores of a kernel go past the caches: whole vectors into bindings that are larger than the caches,
// so that a line that is written need not be read first and nothing else is driven out. The kernel reads none
// of these bindings. Where vectors end, other stores may write the rest of a line. `least_bits`: of a vector
// that does not leave a line half written.
#pragma once

#include <unordered_set>

#include "compiler/kernel/ir.h"

namespace tern::kernel {

void stream_stores(Kernel& kernel, const std::unordered_set<const BufferNode*>& bindings, int least_bits);
bool has_streaming_stores(const std::vector<Stmt>& body);

}  // namespace tern::kernel
