// What this processor and its operating system can do, as rows of schemas/abi/capabilities.def.
#pragma once

#include <stdint.h>

namespace tern::cpu {

// The answer to a row; 0 for what is absent or not known to this build. An x86 level counts only if the
// operating system saves the registers it uses. `x86_level_limit`: see tern_cpu_options_t.
int64_t cpu_capability(uint32_t id, uint32_t x86_level_limit);

}  // namespace tern::cpu
