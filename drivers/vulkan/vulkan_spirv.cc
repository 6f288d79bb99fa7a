#include "drivers/vulkan/vulkan_spirv.h"

#include <string.h>

namespace tern::vulkan {
namespace {

constexpr uint32_t kMagic = 0x07230203, kHeadWords = 5;
constexpr uint32_t kMostIds = 0x3fffff;  // the universal limit
constexpr uint32_t kOpEntryPoint = 15, kOpExecutionMode = 16, kOpCapability = 17;
constexpr uint32_t kGlCompute = 5, kLocalSize = 17;
constexpr uint32_t kGroupNonUniform = 61, kGroupNonUniformQuad = 68, kCooperativeMatrixKHR = 6022;

struct Instruction {
  uint32_t op;
  uint32_t size;  // words, this one included
  const uint32_t* words;
};

// The instruction at `at`; false: it is not whole.
bool read(const uint32_t* words, size_t count, size_t at, Instruction* out) {
  *out = {words[at] & 0xffff, words[at] >> 16, words + at};
  return out->size != 0 && out->size <= count - at;
}

// The name in an OpEntryPoint; null: it does not end inside.
const char* name_of(const Instruction& entry) {
  if (entry.size < 4) return nullptr;
  const char* name = reinterpret_cast<const char*>(entry.words + 3);
  return memchr(name, 0, (entry.size - 3) * sizeof(uint32_t)) ? name : nullptr;
}

tern_status_t malformed([[maybe_unused]] tern_allocator_t allocator, [[maybe_unused]] const char* what,
                        [[maybe_unused]] size_t at) {
  return tern_status_make(allocator, TERN_STATUS_MALFORMED, "The SPIR-V module is damaged: %s (at word %zu).",
                          what, at);
}

tern_status_t check_head(tern_allocator_t allocator, const uint32_t* words, size_t count,
                         uint32_t most_version) {
  if (count < kHeadWords || words[0] != kMagic) return malformed(allocator, "it has no head", 0);
  if (words[1] > most_version) {
    return tern_status_make(allocator, TERN_STATUS_INCOMPATIBLE,
                            "The module's SPIR-V version (%u.%u) is later than the device takes (%u.%u).",
                            words[1] >> 16 & 255, words[1] >> 8 & 255, most_version >> 16 & 255,
                            most_version >> 8 & 255);
  }
  if (words[3] == 0 || words[3] > kMostIds || words[4] != 0)
    return malformed(allocator, "its head says what no head can", 3);
  return TERN_OK;
}

}  // namespace

tern_status_t vulkan_spirv_find(tern_allocator_t allocator, const uint32_t* words, size_t count,
                                uint32_t most_version, tern_string_view_t name, SpirvEntry* out_entry) {
  TERN_RETURN_IF_ERROR(check_head(allocator, words, count, most_version));
  uint32_t found = 0, id = 0;
  bool exact = false;
  *out_entry = {nullptr, {1, 1, 1}, false};
  Instruction instruction;
  for (size_t at = kHeadWords; at < count; at += instruction.size) {
    if (!read(words, count, at, &instruction)) return malformed(allocator, "an instruction is cut off", at);
    if (instruction.op == kOpCapability && instruction.size == 2) {
      const uint32_t capability = instruction.words[1];
      out_entry->subgroups |= (capability >= kGroupNonUniform && capability <= kGroupNonUniformQuad) ||
                              capability == kCooperativeMatrixKHR;
    } else if (instruction.op == kOpEntryPoint) {
      const char* its_name = name_of(instruction);
      if (!its_name) return malformed(allocator, "an entry point has no name", at);
      if (instruction.words[1] != kGlCompute) continue;
      ++found;
      const bool same = tern_string_view_equal(tern_string_view(its_name), name);
      if (!same && exact) continue;
      exact |= same;
      out_entry->name = its_name;
      id = instruction.words[2];
    } else if (instruction.op == kOpExecutionMode && instruction.size == 6 && instruction.words[1] == id &&
               instruction.words[2] == kLocalSize) {
      for (int i = 0; i < 3; ++i) out_entry->local_size[i] = instruction.words[3 + i];
    }
  }
  if (exact || found == 1) return TERN_OK;
  return tern_status_make(allocator, TERN_STATUS_MALFORMED,
                          "The SPIR-V module has (%u) compute entry points, none of the kernel's name.",
                          found);
}

}  // namespace tern::vulkan
