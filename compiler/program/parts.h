// What the programs of one module share: constants interned by content, kernels interned by structure, source
// information. Programs are built against these pools; compiler/pack writes them into the file.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "compiler/lower/program_ir.h"
#include "compiler/support/rounding.h"
#include "schemas/module/module_generated.h"

namespace tern::program {

// Constants by content. Add all constants of all programs first, then lay out, then ask for places: constants
// that the same programs use share a segment, so that a device gets only what its program needs.
class ConstantPool {
 public:
  static constexpr int64_t kAlignment = 64;  // the least
  // What every Vulkan device allocates at once (maxMemoryAllocationSize is no less). Weights beyond it lie in
  // several segments, and what init makes of them in several slots: a buffer each.
  static constexpr int64_t kMostBytes = int64_t{1} << 30;
  struct Entry {
    TensorDataPtr data;
    std::string name;       // of the first value with these bytes
    uint64_t programs = 0;  // bit set
    uint64_t running = 0;   // of them, those that read it when they run, and not in their init alone
    uint32_t segment = 0;   // after layout(): number of the constant segment
    int64_t offset = 0;     // in it
  };
  // Returns the entry's index.
  size_t add(const TensorDataPtr& data, const std::string& name, int program, bool for_init = false);
  std::optional<size_t> find(const TensorData& data) const;  // the entry with these bytes
  // `alignment`: of each constant's place, for all programs. `most`: bytes of a segment of more than one.
  void layout(int64_t alignment = kAlignment, int64_t most = kMostBytes);
  int64_t alignment() const { return alignment_; }
  int64_t aligned(int64_t bytes) const { return round_up(bytes, alignment_); }
  // Whether `more` bytes behind the first `bytes` begin a segment or slot of their own.
  bool is_full(int64_t bytes, int64_t more) const { return bytes > 0 && aligned(more) > most_ - bytes; }
  const Entry& entry(size_t index) const { return entries_[index]; }
  const std::vector<Entry>& entries() const { return entries_; }
  const std::vector<int64_t>& segment_bytes() const { return segment_bytes_; }

 private:
  std::optional<size_t> find(const TensorData& data, uint64_t hash) const;

  std::vector<Entry> entries_;
  std::unordered_multimap<uint64_t, size_t> by_hash_;
  std::unordered_map<const TensorData*, size_t> by_pointer_;
  std::vector<int64_t> segment_bytes_;
  int64_t alignment_ = kAlignment, most_ = kMostBytes;
};

// What the offsets of a device's bindings are multiples of: the devices with the strictest rule decide.
int64_t binding_alignment(lower::Arch arch);

// The text that two kernels share exactly if one entry can serve both.
std::string structure(const kernel::Kernel& kernel);

// Kernels of each level, identical ones once. Identical: the same code; names, sources, grids and parameter
// values, which belong to the dispatch, do not count. A level becomes one executable or several (images),
// which follow each other in the module.
class KernelPool {
 public:
  struct LevelKernels {
    lower::Level level;
    std::vector<std::shared_ptr<const kernel::Kernel>> kernels;  // names unique within the level
    std::vector<lower::ImageKind> images;                        // best first
    uint32_t first_executable = 0;
  };
  struct Place {
    uint32_t level = 0;  // index into levels()
    uint32_t entry = 0;
  };
  // Kernels that will be added: their texts are made on several threads. They must not change until then.
  void expect(const std::vector<const kernel::Kernel*>& kernels, int threads);
  Place add(const lower::Target& target, lower::Level level,
            const std::shared_ptr<const kernel::Kernel>& kernel);
  const std::vector<LevelKernels>& levels() const { return levels_; }

 private:
  std::vector<LevelKernels> levels_;
  std::vector<std::unordered_map<std::string, uint32_t>> by_text_;
  std::unordered_map<const kernel::Kernel*, std::string> expected_;
  std::set<std::pair<uint32_t, std::string>> names_;
};

class SourcePool {
 public:
  uint32_t add(const std::vector<std::shared_ptr<const graph::Source>>& sources, const std::string& note,
               const std::string& work);
  std::vector<std::unique_ptr<module::SourceT>> take() { return std::move(sources_); }

 private:
  std::vector<std::unique_ptr<module::SourceT>> sources_;
  std::unordered_map<std::string, uint32_t> by_text_;
};

struct ModuleParts {
  ConstantPool constants;
  KernelPool kernels;
  SourcePool sources;
};

}  // namespace tern::program
