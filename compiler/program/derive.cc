#include "compiler/program/derive.h"

#include <algorithm>
#include <map>
#include <optional>

#include "compiler/lower/weight_encoding.h"
#include "compiler/program/parts.h"

namespace tern::program {
namespace {

using lower::BufferDef;
using lower::BufferKind;
using lower::LoweredProgram;
using lower::WeightEncoding;
using Encoding = std::shared_ptr<const WeightEncoding>;

int64_t bytes_of(const TensorDataPtr& data) {
  return static_cast<int64_t>(data->bytes().size());
}

class Deriver {
 public:
  Deriver(const std::vector<std::unique_ptr<LoweredProgram>>& programs,
          const std::vector<lower::Target>& targets)
      : programs_(programs), targets_(targets) {}

  void run() {
    for (size_t p = 0; p < programs_.size(); ++p) {
      for (size_t b = 0; b < programs_[p]->buffers.size(); ++b) {
        const BufferDef& buffer = programs_[p]->buffers[b];
        if (buffer.kind != BufferKind::kConstant || buffer.alias_of >= 0) continue;
        const size_t entry = pool_.add(buffer.data, buffer.name, static_cast<int>(p));
        if (entry == readers_.size()) readers_.emplace_back();
        readers_[entry].push_back({p, b});
      }
    }
    is_source_.resize(readers_.size());
    each_encoded(true, [&](const Reader& at, const BufferDef& buffer) { from_panels(at, buffer); });
    each_encoded(false, [&](const Reader&, const BufferDef& buffer) {
      to_panels(buffer.encoding, buffer);
      if (const Encoding turned = lower::with_steps_last(*buffer.encoding)) to_panels(turned, buffer);
    });
  }

 private:
  struct Reader {
    size_t program, buffer;
  };

  bool on_gpu(size_t program) const { return lower::is_gpu(targets_[program].arch); }
  BufferDef& buffer(const Reader& at) { return programs_[at.program]->buffers[at.buffer]; }

  template <typename Visit>
  void each_encoded(bool gpu, const Visit& visit) {
    for (size_t p = 0; p < programs_.size(); ++p) {
      if (on_gpu(p) != gpu) continue;
      const size_t count = programs_[p]->buffers.size();
      for (size_t b = 0; b < count; ++b) {
        const BufferDef at = programs_[p]->buffers[b];  // a copy: deriving adds buffers
        if (at.kind == BufferKind::kConstant && at.alias_of < 0 && at.encoding &&
            bytes_of(at.data) >= kLeastDerivedBytes)
          visit(Reader{p, b}, at);
      }
    }
  }

  // The reader's bytes (an entry of the pool) come from `source`: by one step for all buffers of its program
  // that have them.
  template <typename MakeStep>
  void derive(const Reader& at, size_t bytes, const TensorDataPtr& source, const std::string& name,
              const MakeStep& make) {
    LoweredProgram& program = *programs_[at.program];
    const auto [first, fresh] = derived_.try_emplace({at.program, bytes}, static_cast<int>(at.buffer));
    if (!fresh) {
      program.buffers[at.buffer].alias_of = first->second;
      return;
    }
    BufferDef constant;
    constant.kind = BufferKind::kConstant;
    constant.name = name;
    constant.dtype = source->dtype();
    constant.bytes = bytes_of(source);
    constant.data = source;
    constant.for_init = true;
    const int from = static_cast<int>(program.buffers.size());
    program.buffers.push_back(std::move(constant));
    BufferDef& derived = program.buffers[at.buffer];
    derived.kind = BufferKind::kDerived;
    derived.data = nullptr;
    derived.encoding = nullptr;
    program.init_steps.push_back(make(program, from, static_cast<int>(at.buffer)));
  }

  // A GPU's encoding of panels that some program stores.
  void from_panels(const Reader& at, const BufferDef& encoded) {
    const TensorDataPtr panels = encoded.encoding->panels();
    std::optional<size_t> entry = find_pairs(*panels);
    const bool paired = entry.has_value();
    if (!paired) entry = pool_.find(*panels);
    if (!entry || readers_[*entry].empty()) return;
    is_source_[*entry] = true;
    derive(at, *pool_.find(*encoded.data), pool_.entry(*entry).data, encoded.name,
           [&](const LoweredProgram& program, int from, int to) {
             return lower::derive_step(*encoded.encoding, targets_[at.program], program, from, to, paired);
           });
  }

  // The entry with the pairs of these panels, of those that CPU programs read.
  std::optional<size_t> find_pairs(const TensorData& panels) {
    if (panels.dtype() != DType::kBF16) return std::nullopt;
    if (!paired_known_) {
      paired_known_ = true;
      each_encoded(false, [&](const Reader& at, const BufferDef& buffer) {
        if (buffer.encoding->kind != WeightEncoding::Kind::kPairs) return;
        const size_t index =
            paired_.add(buffer.encoding->panels(), buffer.name, static_cast<int>(at.program));
        pairs_.resize(std::max(pairs_.size(), index + 1));
        pairs_[index] = *pool_.find(*buffer.data);
      });
    }
    const std::optional<size_t> index = paired_.find(panels);
    return index ? std::optional<size_t>(pairs_[*index]) : std::nullopt;
  }

  // Panels that only GPUs read, of weights that a CPU program stores otherwise.
  void to_panels(const Encoding& encoding, const BufferDef& encoded) {
    const TensorDataPtr panels = encoding->panels();
    const std::optional<size_t> entry = pool_.find(*panels);
    if (!entry || is_source_[*entry] || bytes_of(panels) < kLeastDerivedBytes) return;
    std::vector<Reader>& readers = readers_[*entry];
    if (!std::all_of(readers.begin(), readers.end(), [&](const Reader& r) { return on_gpu(r.program); }))
      return;
    if (readers.empty() || !encoding->has_inverse()) return;
    for (const Reader& at : readers) {
      derive(at, *entry, encoded.data, encoded.name, [&](const LoweredProgram& program, int from, int to) {
        return lower::derive_panels_step(*encoding, targets_[at.program], program, from, to);
      });
    }
    readers.clear();
  }

  const std::vector<std::unique_ptr<LoweredProgram>>& programs_;
  const std::vector<lower::Target>& targets_;
  ConstantPool pool_;
  std::vector<std::vector<Reader>> readers_;  // of each entry of the pool, as it is
  std::vector<bool> is_source_;
  ConstantPool paired_;        // panels of what is stored in pairs, once they are asked for
  std::vector<size_t> pairs_;  // the pool's entries with them
  bool paired_known_ = false;
  std::map<std::pair<size_t, size_t>, int> derived_;  // (program, entry) → its buffer
};

}  // namespace

void derive_constants(const std::vector<std::unique_ptr<LoweredProgram>>& programs,
                      const std::vector<lower::Target>& targets) {
  if (programs.size() > 1) Deriver(programs, targets).run();
}

}  // namespace tern::program
