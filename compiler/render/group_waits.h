// What waits for products of groups say of registers: those that such a product may be touching while its
// wait ends, or still after it. Others need not be held there, so that work on them moves across the wait.
#pragma once

#include <unordered_map>
#include <vector>

#include "compiler/kernel/ir.h"

namespace tern::render {

using RegistersOfWaits = std::unordered_map<const kernel::StmtNode*, std::vector<kernel::Buffer>>;

// `registers`: all that products in the body touch; where it is not plain which are on their way, a wait has
// all of them.
RegistersOfWaits registers_of_waits(const std::vector<kernel::Stmt>& body,
                                    const std::vector<kernel::Buffer>& registers);

}  // namespace tern::render
