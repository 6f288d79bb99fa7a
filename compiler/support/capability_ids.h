// The rows of schemas/abi/capabilities.def by name: k_vulkan_int64 and so on.
#pragma once

#include <cstdint>

namespace tern {

enum Capability : uint16_t {
#define TERN_CAPABILITY(id, name, meaning) k_##name = id,
#include "schemas/abi/capabilities.def"
#undef TERN_CAPABILITY
};

}  // namespace tern
