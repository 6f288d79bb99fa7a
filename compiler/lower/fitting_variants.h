// Which variants of a dispatch may stand. A Vulkan level promises its kernels as much workgroup memory as
// devices of the level have at least (GpuModel); a device without that much for one kernel refuses the whole
// executable, so that all of the module's kernels would be those of a lower level.
#pragma once

#include <vector>

#include "compiler/lower/program_ir.h"

namespace tern::lower {

// Takes out variants that need more than their level has, where a lower level has one that runs instead; the
// schedule of that one says so.
void keep_fitting(std::vector<KernelVariant>& variants);

}  // namespace tern::lower
