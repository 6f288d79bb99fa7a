// What a SPIR-V module asks of a device, read from its words.
#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <vector>

namespace tern::toolchain {

struct SpirvFacts {
  uint32_t version = 0;  // 0x00010300: 1.3
  std::vector<uint32_t> capabilities;
  std::vector<std::string> extensions;
  uint32_t local_size[3] = {1, 1, 1};
  int64_t workgroup_bytes = 0;  // of its variables; lengths that are specialised: as they are by default
  int64_t push_bytes = 0;       // to the end of the last push constant
  int storage_buffers = 0;
  std::set<uint32_t> storage_classes;  // of its variables
};

// `module`: a valid one.
SpirvFacts spirv_facts(std::span<const uint8_t> module);

}  // namespace tern::toolchain
