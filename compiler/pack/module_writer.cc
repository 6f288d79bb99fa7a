#include "compiler/pack/module_writer.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "compiler/kernel/expr_util.h"
#include "compiler/pack/atomic_file.h"
#include "compiler/support/capability_ids.h"
#include "compiler/support/rounding.h"
#include "schemas/module/file_header.h"

namespace tern::pack {
namespace {

constexpr const char* kProducer = "ternc 0.1.0";

}  // namespace

std::vector<module::Condition> image_conditions(lower::Level level, const lower::ImageKind& kind) {
  constexpr int64_t kX86 = 1, kArm = 2;  // the values of cpu_arch
  const auto x86 = [&](int64_t at_least) {
    return std::vector<module::Condition>{{kX86, k_cpu_arch, module::ConditionOp::Equal},
                                          {at_least, k_x86_level, module::ConditionOp::AtLeast}};
  };
  const module::Condition ampere{80, k_cuda_compute_capability, module::ConditionOp::AtLeast};
  const auto with = [](std::vector<module::Condition> conditions, uint16_t capability, int64_t memory = 0) {
    conditions.emplace_back(1, capability, module::ConditionOp::AtLeast);
    if (memory) conditions.emplace_back(memory, k_vulkan_workgroup_memory, module::ConditionOp::AtLeast);
    return conditions;
  };
  const std::vector<module::Condition> vulkan_f16 = {
      {102, k_vulkan_api_version, module::ConditionOp::AtLeast},
      {1, k_vulkan_float16, module::ConditionOp::AtLeast},
      {1, k_vulkan_storage_16bit, module::ConditionOp::AtLeast},
      {1, k_vulkan_storage_8bit, module::ConditionOp::AtLeast},
      {512, k_vulkan_workgroup_invocations, module::ConditionOp::AtLeast},
      {32 * 1024, k_vulkan_workgroup_memory, module::ConditionOp::AtLeast}};
  const auto subgroup_32 = [&](std::vector<module::Condition> conditions) {
    conditions.emplace_back(32, k_vulkan_subgroup_size, module::ConditionOp::Equal);
    return with(std::move(conditions), k_vulkan_subgroup_shuffle);
  };
  const auto dot_products = [&](int64_t at_least) {
    auto conditions = vulkan_f16;
    conditions.emplace_back(at_least, k_vulkan_integer_dot_product, module::ConditionOp::AtLeast);
    return conditions;
  };
  const auto matrices = [&](const lower::GpuModel& model) {
    auto conditions =
        model.subgroup == 32 ? subgroup_32(vulkan_f16) : with(vulkan_f16, k_vulkan_subgroup_shuffle);
    conditions = with(std::move(conditions), model.tile_capability, model.workgroup_memory);
    if (model.tiles == DType::kI8) conditions = with(std::move(conditions), k_vulkan_int8);
    // Six products for one, at some 60 % of the rate that the device says.
    constexpr int64_t kLeastRate = 12;
    if (model.tiles == DType::kF32)
      conditions.emplace_back(kLeastRate, k_vulkan_matrix_rate, module::ConditionOp::AtLeast);
    return conditions;
  };
  switch (level) {
    case lower::Level::kX86V2:
      return x86(2);
    case lower::Level::kX86V3:
      return x86(3);
    case lower::Level::kX86V4:
      return x86(4);
    case lower::Level::kX86V3Vnni:
      return with(x86(3), k_x86_avx_vnni);
    case lower::Level::kX86V4Vnni:
      return with(x86(4), k_x86_avx512_vnni);
    case lower::Level::kX86V4Bf16:
      return with(x86(4), k_x86_avx512_bf16);
    case lower::Level::kX86V4Amx:
      return with(x86(4), k_x86_amx);
    case lower::Level::kAArch64:
      return {{kArm, k_cpu_arch, module::ConditionOp::Equal}};
    case lower::Level::kAArch64Dot:
      return with({{kArm, k_cpu_arch, module::ConditionOp::Equal}}, k_arm_dotprod);
    case lower::Level::kAArch64I8mm:
      return with({{kArm, k_cpu_arch, module::ConditionOp::Equal}}, k_arm_i8mm);
    case lower::Level::kAArch64Bf16:
      return with({{kArm, k_cpu_arch, module::ConditionOp::Equal}}, k_arm_bf16);
    case lower::Level::kCudaSm80:
    case lower::Level::kCudaSm90:
      if (kind.architecture == "sm_90a") return {{1, k_cuda_wgmma, module::ConditionOp::AtLeast}};
      if (kind.format == lower::ImageFormat::kCubin)
        return {ampere, {89, k_cuda_compute_capability, module::ConditionOp::AtMost}};
      return {ampere};
    case lower::Level::kVulkan11:
      return {};
    case lower::Level::kVulkanF16:
      return vulkan_f16;
    case lower::Level::kVulkanSubgroup:
      return subgroup_32(vulkan_f16);
    case lower::Level::kVulkanDot4Signed:
      return dot_products(2);
    case lower::Level::kVulkanDot4:
      return dot_products(3);
#define TERN_MATRIX_LEVEL(level, ...) case lower::Level::level:
#include "compiler/lower/matrix_levels.def"
#undef TERN_MATRIX_LEVEL
      return matrices(lower::gpu_model(level));
  }
  TERN_UNREACHABLE();
}

module::EntryLaunch entry_launch(const kernel::Kernel& kernel) {
  constexpr uint32_t kReportsFaults = 1;  // TERN_HAL_ENTRY_REPORTS_FAULTS
  constexpr int kSubgroupShift = 8;       // TERN_HAL_ENTRY_SUBGROUP_SHIFT
  constexpr int kUsualSubgroup = 32;
  uint32_t flags = kernel::can_fail(kernel) ? kReportsFaults : 0;
  if (kernel.subgroup != kUsualSubgroup) flags |= static_cast<uint32_t>(kernel.subgroup) << kSubgroupShift;
  return {static_cast<uint32_t>(kernel.threads), 1, 1, static_cast<uint32_t>(kernel.workgroup_bytes), flags};
}

module::TensorAxis tensor_axis(const kernel::Kernel& kernel, const kernel::TensorAxis& axis) {
  uint32_t flags = 0;  // TERN_HAL_TENSOR_SIZE_PARAM, ..._STRIDE_PARAM
  const auto number = [&](const kernel::Expr& e, uint32_t is_param) -> int64_t {
    if (e->kind == kernel::ExprKind::kConst) return e->i;
    flags |= is_param;
    const auto at = std::find_if(kernel.params.begin(), kernel.params.end(),
                                 [&](const kernel::Param& p) { return p.var == e->var; });
    return at - kernel.params.begin();
  };
  const int64_t size = number(axis.size, 1), stride = number(axis.stride, 2);
  return {size, stride, static_cast<uint32_t>(axis.box), flags};
}

void add_tensors(const kernel::Kernel& kernel, uint32_t entry, ExecutableImage& image) {
  for (const kernel::Tensor& t : kernel.tensors) {
    const auto binding = std::find(kernel.bindings.begin(), kernel.bindings.end(), t->buffer);
    image.tensors.emplace_back(entry, static_cast<uint32_t>(binding - kernel.bindings.begin()),
                               static_cast<uint32_t>(dtype_bits(t->buffer->type.dtype) / 8),
                               t->swizzled ? 1 : 0, static_cast<uint32_t>(image.tensor_axes.size()),
                               static_cast<uint32_t>(t->axes.size()), static_cast<uint64_t>(t->offset));
    for (const kernel::TensorAxis& axis : t->axes) image.tensor_axes.push_back(tensor_axis(kernel, axis));
  }
}

module::ExecutableFormat module_format(lower::ImageFormat format) {
  switch (format) {
    case lower::ImageFormat::kElf:
      return module::ExecutableFormat::Elf;
    case lower::ImageFormat::kCubin:
      return module::ExecutableFormat::Cubin;
    case lower::ImageFormat::kPtx:
      return module::ExecutableFormat::Ptx;
    case lower::ImageFormat::kSpirv:
      return module::ExecutableFormat::Spirv;
  }
  TERN_UNREACHABLE();
}

void describe_image(const program::KernelPool::LevelKernels& level, const lower::ImageKind& kind,
                    ExecutableImage& image) {
  image.kind = kind;
  image.launches.clear();
  image.tensors.clear();
  image.tensor_axes.clear();
  if (!lower::is_gpu(lower::level_arch(level.level))) return;
  // Code for compute capability 9.0 waits for the grids before it (render/cuda_prelude.cc: grid_wait).
  constexpr uint32_t kWaitsForGrid = 2;  // TERN_HAL_ENTRY_WAITS_FOR_GRID
  const uint32_t waits = kind.architecture == "sm_90a" ? kWaitsForGrid : 0;
  constexpr uint32_t kTakesTensors = 4;  // TERN_HAL_ENTRY_TAKES_TENSORS
  for (const auto& kernel : level.kernels) {
    add_tensors(*kernel, static_cast<uint32_t>(image.launches.size()), image);
    const module::EntryLaunch l = entry_launch(*kernel);
    image.launches.emplace_back(l.workgroup_x(), l.workgroup_y(), l.workgroup_z(), l.workgroup_memory(),
                                l.flags() | waits | (kernel->tensors.empty() ? 0 : kTakesTensors));
  }
}

// The pieces, in the order of the file, become one segment.
uint64_t ModuleFile::add_segment(std::vector<Piece> pieces, module::SegmentKind kind, module::ModuleT& module,
                                 uint64_t offset) {
  XXH64_state_t hash;
  XXH64_reset(&hash, 0);
  static constexpr uint8_t kZeros[4096] = {};
  int64_t length = 0;
  for (const Piece& piece : pieces) {
    XXH64_update(&hash, piece.data.data(), piece.data.size());
    for (int64_t left = piece.padding; left > 0; left -= static_cast<int64_t>(sizeof(kZeros)))
      XXH64_update(&hash, kZeros, static_cast<size_t>(std::min<int64_t>(left, sizeof(kZeros))));
    length += static_cast<int64_t>(piece.data.size()) + piece.padding;
  }
  module.segments.emplace_back(offset, static_cast<uint64_t>(length), XXH64_digest(&hash), kind);
  // Constants come first, so that what follows one of them may be another one, which begins at a page.
  const bool pages = kind == module::SegmentKind::Constants;
  const int64_t gap = round_up(length, pages ? TERN_CONSTANTS_ALIGNMENT : TERN_SEGMENT_ALIGNMENT) - length;
  if (pieces.empty()) pieces.push_back({});
  pieces.back().padding += gap;
  pieces_.insert(pieces_.end(), pieces.begin(), pieces.end());
  return offset + static_cast<uint64_t>(length + gap);
}

uint64_t ModuleFile::add_constants(module::ModuleT& module) {
  uint64_t offset = 0;
  const auto& entries = input_.constants.entries();
  for (size_t segment = 0; segment < input_.constants.segment_bytes().size(); ++segment) {
    std::vector<Piece> pieces;
    for (const program::ConstantPool::Entry& entry : entries) {
      if (entry.segment != segment) continue;
      const int64_t bytes = static_cast<int64_t>(entry.data->bytes().size());
      pieces.push_back({entry.data->bytes(), round_up(bytes, input_.constants.alignment()) - bytes});
      auto constant = std::make_unique<module::ConstantT>();
      constant->name = entry.name;
      constant->segment = static_cast<uint32_t>(segment);
      constant->offset = static_cast<uint64_t>(entry.offset);
      constant->length = static_cast<uint64_t>(bytes);
      constant->dtype = static_cast<uint8_t>(entry.data->dtype());
      constant->shape = entry.data->shape();
      module.constants.push_back(std::move(constant));
      size_.weights += bytes;
    }
    offset = add_segment(std::move(pieces), module::SegmentKind::Constants, module, offset);
  }
  return offset;
}

namespace {

// The longest range that a dispatch binds, of those whose length is known, if not every Vulkan device takes
// it: told when a program is chosen, not by its first submission.
void add_range_condition(module::ProgramT& program) {
  constexpr int64_t kEveryDevice = int64_t{1} << 27;
  int64_t longest = 0;
  for (const module::Command& command : program.commands) {
    if (command.kind() != module::CommandKind::Dispatch) continue;
    for (uint32_t i = 0; i < command.binding_count(); ++i) {
      const uint32_t length = program.bindings[command.first_binding() + i].length();
      const bool known = length >> 31 == 0;  // else a parameter
      if (known) longest = std::max(longest, program.numbers[length]);
    }
  }
  if (longest > kEveryDevice)
    program.conditions.emplace_back(longest, k_vulkan_storage_range, module::ConditionOp::AtLeast);
}

}  // namespace

ModuleFile::ModuleFile(ModuleInput input) : input_(std::move(input)) {
  module::ModuleT module;
  module.producer = kProducer;
  module.symbols = std::move(input_.symbols);
  module.functions = std::move(input_.functions);
  module.programs = std::move(input_.programs);
  for (auto& program : module.programs)
    if (program->target == module::TargetClass::Vulkan) add_range_condition(*program);
  module.sources = std::move(input_.sources);
  uint64_t offset = add_constants(module);
  for (const ExecutableImage& image : input_.executables) {
    auto executable = std::make_unique<module::ExecutableT>();
    executable->name = std::string(image.kind.name);
    executable->format = module_format(image.kind.format);
    executable->conditions = image_conditions(image.level, image.kind);
    executable->conditions.insert(executable->conditions.end(), image.conditions.begin(),
                                  image.conditions.end());
    executable->segment = static_cast<uint32_t>(module.segments.size());
    executable->entry_offsets = image.entry_offsets;
    executable->entry_names = image.entry_names;
    executable->entry_launches = image.launches;
    executable->entry_tensors = image.tensors;
    executable->tensor_axes = image.tensor_axes;
    module.executables.push_back(std::move(executable));
    size_.code += static_cast<int64_t>(image.image.size());
    offset = add_segment({{image.image, 0}}, module::SegmentKind::Code, module, offset);
  }
  for (auto& [key, value] : input_.metadata) {
    auto entry = std::make_unique<module::KeyValueT>();
    entry->key = key;
    entry->value = value;
    module.metadata.push_back(std::move(entry));
  }
  flatbuffers::FlatBufferBuilder builder(1 << 16);
  builder.FinishSizePrefixed(module::Module::Pack(builder, &module));
  tern_file_header_t header = {};
  std::memcpy(header.magic, TERN_FILE_MAGIC, sizeof(header.magic));
  header.format_major = TERN_FORMAT_MAJOR;
  header.format_minor = TERN_FORMAT_MINOR;
  header.metadata_length = builder.GetSize();
  header.metadata_hash = XXH64(builder.GetBufferPointer(), builder.GetSize(), 0);
  const int64_t head_bytes = TERN_FILE_METADATA_OFFSET + static_cast<int64_t>(builder.GetSize());
  header.bulk_offset = static_cast<uint64_t>(round_up(head_bytes, TERN_CONSTANTS_ALIGNMENT));
  // The file ends with its last segment: the gap behind it is left out.
  if (!module.segments.empty()) {
    const module::Segment& last = module.segments.back();
    pieces_.back().padding -= static_cast<int64_t>(offset - (last.offset() + last.length()));
    offset = last.offset() + last.length();
  }
  header.file_length = header.bulk_offset + offset;
  head_.resize(static_cast<size_t>(header.bulk_offset));
  std::memcpy(head_.data(), &header, sizeof(header));
  std::memcpy(head_.data() + TERN_FILE_METADATA_OFFSET, builder.GetBufferPointer(), builder.GetSize());
  pieces_.insert(pieces_.begin(), Piece{head_, 0});
  size_.metadata = static_cast<int64_t>(builder.GetSize());
  size_.total = static_cast<int64_t>(header.file_length);
}

Status ModuleFile::write(const std::string& path) const {
  TERN_ASSIGN(AtomicFile file, AtomicFile::create(path));
  for (const Piece& piece : pieces_) {
    TERN_TRY(file.append(piece.data));
    TERN_TRY(file.append_zeros(piece.padding));
  }
  return file.commit();
}

std::vector<uint8_t> ModuleFile::bytes() const {
  std::vector<uint8_t> out;
  out.reserve(static_cast<size_t>(size_.total));
  for (const Piece& piece : pieces_) {
    out.insert(out.end(), piece.data.begin(), piece.data.end());
    out.insert(out.end(), static_cast<size_t>(piece.padding), 0);
  }
  return out;
}

}  // namespace tern::pack
