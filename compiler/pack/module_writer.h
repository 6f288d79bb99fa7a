// Writes a module file: header, FlatBuffer metadata, segments (docs/module-format.md). The same module gives
// the same bytes. The file appears whole or not at all: it is written beside its place and renamed.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "compiler/program/parts.h"
#include "compiler/support/result.h"
#include "schemas/module/module_generated.h"

namespace tern::pack {

// The kernels of one level, compiled to one of its image kinds.
struct ExecutableImage {
  lower::Level level;
  std::vector<uint8_t> image;           // ELF, cubin, PTX text, SPIR-V modules one after the other
  std::vector<uint64_t> entry_offsets;  // of the pool's kernels, in order (module.fbs: Executable)
  std::vector<std::string> entry_names;
  std::vector<module::Condition> conditions = {};  // beside those of the level
  // By describe_image:
  lower::ImageKind kind = {};
  std::vector<module::EntryLaunch> launches = {};  // GPUs: one an entry
  std::vector<module::EntryTensor> tensors = {};   // CUDA
  std::vector<module::TensorAxis> tensor_axes = {};
};
// What the pool says about an image that the toolchain has made.
void describe_image(const program::KernelPool::LevelKernels& level, const lower::ImageKind& kind,
                    ExecutableImage& image);

struct ModuleInput {
  std::vector<std::unique_ptr<module::SymbolT>> symbols;
  std::vector<std::unique_ptr<module::FunctionT>> functions;
  std::vector<std::unique_ptr<module::ProgramT>> programs;
  std::vector<ExecutableImage> executables;  // in the order of the pool's levels and their image kinds
  std::vector<std::unique_ptr<module::SourceT>> sources;
  program::ConstantPool constants;  // laid out
  std::vector<std::pair<std::string, std::string>> metadata;
};

// What the file's bytes are for.
struct ModuleSize {
  int64_t metadata = 0, weights = 0, code = 0, total = 0;
};

// A module in pieces, so that weights are written from where they are.
class ModuleFile {
 public:
  ModuleFile(ModuleInput input);
  const ModuleSize& size() const { return size_; }
  // Never leaves a part of a file behind, also when the process is ended by a signal that can be handled.
  Status write(const std::string& path) const;
  std::vector<uint8_t> bytes() const;

 private:
  struct Piece {
    std::span<const uint8_t> data;
    int64_t padding = 0;  // zeros behind it
  };
  ModuleInput input_;
  std::vector<uint8_t> head_;  // header and metadata
  std::vector<Piece> pieces_;  // everything, in order
  ModuleSize size_;

  uint64_t add_segment(std::vector<Piece> pieces, module::SegmentKind kind, module::ModuleT& module,
                       uint64_t offset);
  uint64_t add_constants(module::ModuleT& module);
};

// What an executable of this level and kind asks of the device.
std::vector<module::Condition> image_conditions(lower::Level level, const lower::ImageKind& kind);

}  // namespace tern::pack
