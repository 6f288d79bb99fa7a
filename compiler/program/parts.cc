#include "compiler/program/parts.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <map>

#include "compiler/support/parallel.h"

namespace tern::program {
namespace {

uint64_t content_hash(const TensorData& data) {
  return XXH3_64bits(data.bytes().data(), data.bytes().size());
}

bool same_bytes(const TensorData& a, const TensorData& b) {
  return a.bytes().size() == b.bytes().size() &&
         std::equal(a.bytes().begin(), a.bytes().end(), b.bytes().begin());
}

std::string identifier(const std::string& text) {
  std::string out;
  for (char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    out += plain ? c : '_';
  }
  if (out.empty() || (out[0] >= '0' && out[0] <= '9')) out.insert(0, "k_");
  return out.substr(0, 80);
}

}  // namespace

std::string structure(const kernel::Kernel& kernel) {
  kernel::Kernel plain = kernel;
  plain.name = "k";
  plain.source.clear();
  plain.schedule.clear();
  plain.flops = plain.bytes_read = plain.bytes_written = 0;
  for (kernel::Param& param : plain.params) param.value = 0;
  for (kernel::GridAxis& axis : plain.grid) axis.extent = 0;
  return kernel::print_kernel(plain);
}

std::optional<size_t> ConstantPool::find(const TensorData& data) const {
  return find(data, content_hash(data));
}

std::optional<size_t> ConstantPool::find(const TensorData& data, uint64_t hash) const {
  const auto [first, last] = by_hash_.equal_range(hash);
  for (auto at = first; at != last; ++at) {
    if (same_bytes(*entries_[at->second].data, data)) return at->second;
  }
  return std::nullopt;
}

size_t ConstantPool::add(const TensorDataPtr& data, const std::string& name, int program, bool for_init) {
  const uint64_t bit = uint64_t{1} << program;
  if (const auto known = by_pointer_.find(data.get()); known != by_pointer_.end()) {
    entries_[known->second].programs |= bit;
    if (!for_init) entries_[known->second].running |= bit;
    return known->second;
  }
  const uint64_t hash = content_hash(*data);
  const size_t index = find(*data, hash).value_or(entries_.size());
  if (index == entries_.size()) {
    entries_.push_back({data, name});
    by_hash_.emplace(hash, index);
  }
  entries_[index].programs |= bit;
  if (!for_init) entries_[index].running |= bit;
  by_pointer_.emplace(data.get(), index);
  return index;
}

int64_t binding_alignment(lower::Arch arch) {
  return arch == lower::Arch::kVulkan ? 256 : ConstantPool::kAlignment;
}

void ConstantPool::layout(int64_t alignment, int64_t most) {
  alignment_ = alignment;
  most_ = most;
  std::map<std::pair<uint64_t, uint64_t>, uint32_t> open;  // users → the segment that theirs go to
  segment_bytes_.clear();
  for (Entry& entry : entries_) {
    const auto bytes = static_cast<int64_t>(entry.data->bytes().size());
    const auto [at, fresh] = open.try_emplace({entry.programs, entry.running}, 0);
    if (fresh || is_full(segment_bytes_[at->second], bytes)) {
      at->second = static_cast<uint32_t>(segment_bytes_.size());
      segment_bytes_.push_back(0);
    }
    entry.segment = at->second;
    entry.offset = segment_bytes_[entry.segment];
    segment_bytes_[entry.segment] += aligned(bytes);
  }
}

void KernelPool::expect(const std::vector<const kernel::Kernel*>& kernels, int threads) {
  std::vector<std::string> texts(kernels.size());
  parallel_for(kernels.size(), threads, [&](size_t i) { texts[i] = structure(*kernels[i]); });
  for (size_t i = 0; i < kernels.size(); ++i) expected_.emplace(kernels[i], std::move(texts[i]));
}

KernelPool::Place KernelPool::add(const lower::Target& target, lower::Level level,
                                  const std::shared_ptr<const kernel::Kernel>& kernel) {
  const auto at = std::find_if(levels_.begin(), levels_.end(),
                               [&](const LevelKernels& known) { return known.level == level; });
  const uint32_t index = static_cast<uint32_t>(at - levels_.begin());
  if (at == levels_.end()) {
    uint32_t first = 0;
    for (const LevelKernels& known : levels_) first += static_cast<uint32_t>(known.images.size());
    levels_.push_back({level, {}, target.images(level), first});
    by_text_.emplace_back();
  }
  std::vector<std::shared_ptr<const kernel::Kernel>>& kernels = levels_[index].kernels;
  const auto known = expected_.find(kernel.get());
  const auto [entry, fresh] = by_text_[index].try_emplace(
      known != expected_.end() ? known->second : structure(*kernel), static_cast<uint32_t>(kernels.size()));
  if (fresh) {
    auto named = std::make_shared<kernel::Kernel>(*kernel);
    named->name = identifier(kernel->name);
    const std::string stem = named->name;
    for (int number = 2; !names_.emplace(index, named->name).second; ++number)
      named->name = fmt::format("{}_{}", stem, number);
    kernels.push_back(std::move(named));
  }
  return {index, entry->second};
}

uint32_t SourcePool::add(const std::vector<std::shared_ptr<const graph::Source>>& sources,
                         const std::string& note, const std::string& work) {
  auto source = std::make_unique<module::SourceT>();
  source->note = note;
  source->work = work;
  std::string key = note + "\n" + work;
  for (const auto& node : sources) {
    if (!node) continue;
    source->nodes.push_back(node->node);
    source->ops.push_back(node->op);
    key += fmt::format("\n{}\t{}", node->node, node->op);
  }
  const auto [at, fresh] = by_text_.try_emplace(key, static_cast<uint32_t>(sources_.size()));
  if (fresh) sources_.push_back(std::move(source));
  return at->second;
}

}  // namespace tern::program
