#include "compiler/toolchain/spirv_facts.h"

#include <algorithm>
#include <cstring>
#include <map>

namespace tern::toolchain {
namespace {

// Numbers of the specification, section 3.
enum Op : uint32_t {
  kExtension = 10,
  kExecutionMode = 16,
  kCapability = 17,
  kTypeBool = 20,
  kTypeInt = 21,
  kTypeFloat = 22,
  kTypeVector = 23,
  kTypeArray = 28,
  kTypeStruct = 30,
  kTypePointer = 32,
  kConstant = 43,
  kSpecConstant = 50,
  kVariable = 59,
  kDecorate = 71,
  kMemberDecorate = 72,
};
constexpr uint32_t kLocalSize = 17, kBinding = 33, kOffset = 35;
constexpr uint32_t kWorkgroup = 4, kPushConstant = 9, kStorageBuffer = 12;

using Words = std::span<const uint32_t>;

class Reader {
 public:
  SpirvFacts read(Words words) {
    constexpr size_t kHead = 5;
    facts_.version = words[1];
    for (size_t at = kHead; at < words.size();) {
      const size_t size = words[at] >> 16;
      if (size == 0 || size > words.size() - at) break;
      take(words[at] & 0xffff, words.subspan(at + 1, size - 1));
      at += size;
    }
    return std::move(facts_);
  }

 private:
  void take(uint32_t op, Words w) {
    switch (op) {
      case kCapability:
        facts_.capabilities.push_back(w[0]);
        break;
      case kExtension:
        facts_.extensions.emplace_back(reinterpret_cast<const char*>(w.data()));
        break;
      case kExecutionMode:
        if (w[1] == kLocalSize) std::copy_n(w.begin() + 2, 3, facts_.local_size);
        break;
      case kTypeBool:
        bytes_[w[0]] = 4;
        break;
      case kTypeInt:
      case kTypeFloat:
        bytes_[w[0]] = w[1] / 8;
        break;
      case kTypeVector:
        bytes_[w[0]] = bytes_[w[1]] * w[2];
        break;
      case kTypeArray:
        bytes_[w[0]] = bytes_[w[1]] * constants_[w[2]];
        break;
      case kTypeStruct:
        bytes_[w[0]] = struct_bytes(w);
        break;
      case kTypePointer:
        pointee_[w[0]] = w[2];
        break;
      case kConstant:
      case kSpecConstant:
        constants_[w[1]] = w[2];
        break;
      case kMemberDecorate:
        if (w[2] == kOffset) offsets_[w[0]][w[1]] = w[3];
        break;
      case kVariable:
        take_variable(w[0], w[1], w[2]);
        break;
      case kDecorate:
        if (w[1] == kBinding) binding_[w[0]] = w[2];
        break;
      default:
        break;
    }
  }

  // To the end of its last member, of those that lie at stated places; else of all one after the other.
  int64_t struct_bytes(Words w) {
    const auto& offsets = offsets_[w[0]];
    int64_t sum = 0, end = 0;
    for (uint32_t i = 0; i + 1 < w.size(); ++i) {
      sum += bytes_[w[i + 1]];
      if (const auto at = offsets.find(i); at != offsets.end())
        end = std::max(end, at->second + bytes_[w[i + 1]]);
    }
    return offsets.empty() ? sum : end;
  }

  void take_variable(uint32_t pointer, uint32_t id, uint32_t storage_class) {
    facts_.storage_classes.insert(storage_class);
    const int64_t bytes = bytes_[pointee_[pointer]];
    if (storage_class == kWorkgroup) facts_.workgroup_bytes += bytes;
    if (storage_class == kPushConstant) facts_.push_bytes = std::max(facts_.push_bytes, bytes);
    // Several variables may be views of one buffer.
    if (storage_class == kStorageBuffer) buffers_.insert(binding_[id]);
    facts_.storage_buffers = static_cast<int>(buffers_.size());
  }

  SpirvFacts facts_;
  std::map<uint32_t, int64_t> bytes_;  // of types; those whose length is known at run time only have none
  std::map<uint32_t, int64_t> constants_;
  std::map<uint32_t, uint32_t> pointee_, binding_;
  std::set<uint32_t> buffers_;
  std::map<uint32_t, std::map<uint32_t, int64_t>> offsets_;
};

}  // namespace

SpirvFacts spirv_facts(std::span<const uint8_t> module) {
  std::vector<uint32_t> words(module.size() / sizeof(uint32_t));
  if (words.size() < 5) return {};
  std::memcpy(words.data(), module.data(), words.size() * sizeof(uint32_t));
  return Reader().read(words);
}

}  // namespace tern::toolchain
