#include "compiler/program/commands.h"

#include <algorithm>
#include <cstring>

namespace tern::program {
namespace {

using lower::BufferKind;
using lower::MemoryAccess;
using lower::Step;

constexpr uint32_t kNone = 0xffffffff;

module::Access to_module(kernel::Access access) {
  switch (access) {
    case kernel::Access::kRead:
      return module::Access::Read;
    case kernel::Access::kWrite:
      return module::Access::Write;
    case kernel::Access::kReadWrite:
      return module::Access::ReadWrite;
  }
  TERN_UNREACHABLE();
}

void mark_used(const std::vector<Step>& steps, const MemoryPlan& plan, std::vector<bool>& used) {
  const auto mark = [&](int buffer) {
    if (buffer >= 0) used[static_cast<size_t>(plan.resolved[static_cast<size_t>(buffer)].root)] = true;
  };
  for (const Step& step : steps) {
    for (const lower::Binding* binding : step_bindings(step)) mark(binding->buffer);
    if (step.kind == Step::Kind::kRead) mark(step.read->buffer);
    if (step.kind == Step::Kind::kCheck) mark(step.check->condition);
    if (step.kind == Step::Kind::kAllocate) mark(step.allocate->buffer);
    if (step.kind == Step::Kind::kSwap) {
      mark(step.swap->a);
      mark(step.swap->b);
    }
    if (step.kind == Step::Kind::kIf) {
      mark(step.branch->condition);
      mark_used(step.branch->then_steps, plan, used);
      mark_used(step.branch->else_steps, plan, used);
    }
    if (step.kind == Step::Kind::kLoop) {
      mark(step.loop->condition);
      mark_used(step.loop->body, plan, used);
    }
  }
}

}  // namespace

SlotTable::SlotTable(const lower::LoweredProgram& lowered, const MemoryPlan& plan, int program,
                     ModuleParts& parts, ProgramPools& pools)
    : plan_(plan), slot_of_(lowered.buffers.size(), kNone), base_(lowered.buffers.size()) {
  std::vector<bool> used(lowered.buffers.size());
  mark_used(lowered.init_steps, plan, used);
  mark_used(lowered.steps, plan, used);
  std::vector<module::Slot>& slots = pools.program().slots;
  const auto add = [&](int64_t bytes, uint32_t index, module::SlotKind kind) {
    slots.emplace_back(bytes, index, kind);
    return static_cast<uint32_t>(slots.size() - 1);
  };
  uint32_t arena = kNone, derived = kNone;
  std::map<uint32_t, uint32_t> constants;  // segment → slot
  for (size_t i = 0; i < lowered.buffers.size(); ++i) {
    const lower::BufferDef& buffer = lowered.buffers[i];
    if (buffer.alias_of >= 0 || !used[i]) continue;
    switch (buffer.kind) {
      case BufferKind::kTemporary:
        if (arena == kNone)
          arena = add(plan.arena_bytes.maybe_value().value_or(-1), 0, module::SlotKind::Arena);
        slot_of_[i] = arena;
        break;
      case BufferKind::kConstant: {
        const ConstantPool::Entry& entry =
            parts.constants.entry(parts.constants.add(buffer.data, buffer.name, program, buffer.for_init));
        const auto [at, fresh] = constants.try_emplace(entry.segment, kNone);
        const bool running = entry.running >> program & 1;
        if (fresh) {
          at->second =
              add(-1, entry.segment, running ? module::SlotKind::Constants : module::SlotKind::InitConstants);
        }
        slot_of_[i] = at->second;
        base_[i] = entry.offset;
        break;
      }
      case BufferKind::kDerived: {
        const ConstantPool& pool = parts.constants;
        const int64_t bytes = buffer.bytes.value();
        if (derived == kNone || pool.is_full(slots[derived].bytes(), bytes))
          derived = add(0, 0, module::SlotKind::Persistent);
        slot_of_[i] = derived;
        base_[i] = slots[derived].bytes();
        slots[derived].mutate_bytes(base_[i] + pool.aligned(bytes));
        break;
      }
      case BufferKind::kInput:
        slot_of_[i] = add(-1, static_cast<uint32_t>(buffer.io_index), module::SlotKind::Input);
        break;
      case BufferKind::kOutput:
        slot_of_[i] = add(-1, static_cast<uint32_t>(buffer.io_index), module::SlotKind::Output);
        break;
      case BufferKind::kDynamic:
        slot_of_[i] = add(-1, 0, module::SlotKind::Dynamic);
        break;
    }
  }
}

SlotTable::Place SlotTable::place(int buffer, const Dim& offset) const {
  const Resolved& resolved = plan_.resolved[static_cast<size_t>(buffer)];
  const size_t root = static_cast<size_t>(resolved.root);
  TERN_CHECK(slot_of_[root] != kNone, "buffer {} has no slot", buffer);
  Dim at = resolved.offset + offset + base_[root];
  if (plan_.has_place[root]) at = at + plan_.offsets[root];
  return {slot_of_[root], at, resolved.root};
}

uint32_t CommandWriter::block_entry(const Dim& dim) {
  return block_.try_emplace(dim, static_cast<uint32_t>(block_.size())).first->second;
}

uint32_t CommandWriter::operand(const Dim& dim) {
  if (dim.is_const()) return pools_.number(dim.value());
  if (std::find(list_->block_dims.begin(), list_->block_dims.end(), dim) == list_->block_dims.end())
    list_->block_dims.push_back(dim);
  return block_entry(dim) | 0x80000000u;
}

bool CommandWriter::conflict(const lower::MemoryAccess& a, const lower::MemoryAccess& b) const {
  if (a.space != b.space || !(a.write || b.write)) return false;
  // Two arena buffers that live at the same time are kept apart by the plan.
  const auto root = [&](const MemoryAccess& m) { return static_cast<size_t>(m.root); };
  if (a.root != b.root && plan_.has_place[root(a)] && plan_.has_place[root(b)] &&
      plan_.live.ranges[root(a)].meets(plan_.live.ranges[root(b)]) && !plan_.shares_memory(a.root, b.root))
    return false;
  return lower::ranges_may_meet(a.offset, a.length, b.offset, b.length);
}

void CommandWriter::barrier_if_needed(const Step& step) {
  std::vector<MemoryAccess> accesses;
  for (const lower::Binding* binding : step_bindings(step)) {
    const SlotTable::Place place = slots_.place(binding->buffer, binding->offset);
    bool write = binding->access != kernel::Access::kRead;
    if (step.kind == Step::Kind::kCopy) write = binding == &step.copy->to;
    if (step.kind == Step::Kind::kFill) write = true;
    accesses.push_back({static_cast<int>(place.slot), place.offset, binding->length, write, place.root});
  }
  const bool needed = std::any_of(accesses.begin(), accesses.end(), [&](const MemoryAccess& a) {
    return std::any_of(open_.begin(), open_.end(), [&](const MemoryAccess& b) { return conflict(a, b); });
  });
  if (needed) {
    pools_.program().commands.emplace_back(module::CommandKind::Barrier, uint8_t{0}, uint16_t{0}, 0u, 0u, 0u,
                                           0u, 0u, kNone);
    ++report_.barriers;
    open_.clear();
  }
  open_.insert(open_.end(), accesses.begin(), accesses.end());
}

void CommandWriter::bind(int buffer, const Dim& offset, const Dim& length, module::Access access) {
  const SlotTable::Place place = slots_.place(buffer, offset);
  if (lowered_.buffers[static_cast<size_t>(place.root)].kind == BufferKind::kOutput &&
      std::find(list_->output_roots.begin(), list_->output_roots.end(), place.root) ==
          list_->output_roots.end())
    list_->output_roots.push_back(place.root);
  const uint32_t at = operand(place.offset), bytes = operand(length);
  pools_.program().bindings.emplace_back(place.slot, at, bytes, access);
}

uint32_t CommandWriter::kernel_index(const lower::DispatchStep& step) {
  std::vector<uint64_t> key;
  std::vector<module::Variant> variants;
  KernelPool::Place best;
  for (auto variant = step.variants.rbegin(); variant != step.variants.rend(); ++variant) {
    const KernelPool::Place place = parts_.kernels.add(target_, variant->level, variant->kernel);
    key.push_back(uint64_t{place.level} << 32 | place.entry);
    if (variant == step.variants.rbegin()) best = place;
    const KernelPool::LevelKernels& level = parts_.kernels.levels()[place.level];
    for (uint32_t image = 0; image < level.images.size(); ++image)
      variants.emplace_back(level.first_executable + image, place.entry);
  }
  module::ProgramT& program = pools_.program();
  const auto [at, fresh] = kernels_.try_emplace(key, static_cast<uint32_t>(program.kernels.size()));
  if (fresh) {
    auto kernel = std::make_unique<module::KernelT>();
    kernel->name = parts_.kernels.levels()[best.level].kernels[best.entry]->name;
    for (const lower::Binding& binding : step.bindings) kernel->bindings.push_back(to_module(binding.access));
    kernel->param_count = static_cast<uint32_t>(step.params.size());
    kernel->variants = std::move(variants);
    program.kernels.push_back(std::move(kernel));
  }
  return at->second;
}

Status CommandWriter::dispatch(const lower::DispatchStep& step) {
  TERN_CHECK(!step.variants.empty(), "dispatch '{}' has no variant", step.label);
  module::ProgramT& program = pools_.program();
  for (const lower::KernelVariant& variant : step.variants) {
    const kernel::Kernel& kernel = *variant.kernel;
    TERN_CHECK(kernel.bindings.size() == step.bindings.size() && kernel.params.size() == step.params.size(),
               "dispatch '{}': kernel '{}' has other bindings or parameters", step.label, kernel.name);
    for (size_t i = 0; i < step.bindings.size(); ++i) {
      TERN_CHECK(kernel.bindings[i]->access == step.bindings[i].access,
                 "dispatch '{}': binding {} of kernel '{}' is accessed otherwise", step.label, i,
                 kernel.name);
    }
    report_.scratch_bytes = std::max(report_.scratch_bytes, kernel.scratch_bytes);
    report_.workgroup_bytes = std::max(report_.workgroup_bytes, kernel.workgroup_bytes);
  }
  if (step.bindings.size() > 0xffff) return error("Dispatch '{}' has too many bindings.", step.label);
  const uint32_t kernel = kernel_index(step);
  const uint32_t first_binding = static_cast<uint32_t>(program.bindings.size());
  for (const lower::Binding& b : step.bindings) bind(b.buffer, b.offset, b.length, to_module(b.access));
  const uint32_t first_param = static_cast<uint32_t>(program.params.size());
  for (const Dim& param : step.params) program.params.push_back(operand(param));
  const uint32_t first_launch = static_cast<uint32_t>(program.launches.size());
  const uint32_t one = pools_.number(1);
  for (auto variant = step.variants.rbegin(); variant != step.variants.rend(); ++variant) {
    const module::Launch launch(operand(variant->tiles), one, one,
                                pools_.number(variant->kernel->scratch_bytes));
    program.launches.insert(program.launches.end(), target_.images(variant->level).size(), launch);
  }
  const std::string& schedule = step.variants.back().kernel->schedule;
  const lower::Work& w = step.work;
  const uint32_t source =
      parts_.sources.add(step.sources, schedule.empty() ? step.label : step.label + "; " + schedule,
                         fmt::format("{};{};{}{}", w.flops.text(), w.read.text(), w.written.text(),
                                     w.on_bytes          ? ";bytes"
                                     : w.on_matrix_units ? ";matrix"
                                                         : ""));
  program.commands.emplace_back(module::CommandKind::Dispatch, uint8_t{0},
                                static_cast<uint16_t>(step.bindings.size()), kernel, first_binding,
                                first_param, static_cast<uint32_t>(step.params.size()), first_launch, source);
  ++report_.dispatches;
  return Ok{};
}

void CommandWriter::copy(const lower::CopyStep& step) {
  module::ProgramT& program = pools_.program();
  const uint32_t first_binding = static_cast<uint32_t>(program.bindings.size());
  bind(step.from.buffer, step.from.offset, step.to.length, module::Access::Read);
  bind(step.to.buffer, step.to.offset, step.to.length, module::Access::Write);
  program.commands.emplace_back(module::CommandKind::Copy, uint8_t{0}, uint16_t{2}, 0u, first_binding, 0u, 0u,
                                0u, kNone);
  ++report_.copies;
  const auto name = [&](int buffer) -> const std::string& {
    return lowered_.buffers[static_cast<size_t>(buffer)].name;
  };
  report_.copy_notes.push_back(fmt::format("'{}' to '{}' ({} bytes)", name(step.from.buffer),
                                           name(step.to.buffer), step.to.length.text()));
}

Status CommandWriter::fill(const lower::FillStep& step) {
  module::ProgramT& program = pools_.program();
  std::vector<uint8_t> pattern = step.pattern;
  while (pattern.size() > 1 && pattern.size() % 2 == 0 &&
         std::equal(pattern.begin(), pattern.begin() + static_cast<ptrdiff_t>(pattern.size() / 2),
                    pattern.begin() + static_cast<ptrdiff_t>(pattern.size() / 2)))
    pattern.resize(pattern.size() / 2);
  TERN_CHECK(pattern.size() == 1 || pattern.size() == 2 || pattern.size() == 4,
             "a fill's pattern has {} bytes that do not repeat", step.pattern.size());
  uint32_t value = 0;
  std::memcpy(&value, pattern.data(), pattern.size());
  const uint32_t first_binding = static_cast<uint32_t>(program.bindings.size());
  bind(step.to.buffer, step.to.offset, step.to.length, module::Access::Write);
  const uint32_t first_param = static_cast<uint32_t>(program.params.size());
  program.params.push_back(pools_.number(value));
  program.commands.emplace_back(module::CommandKind::Fill, static_cast<uint8_t>(pattern.size()), uint16_t{1},
                                0u, first_binding, first_param, 1u, 0u, kNone);
  ++report_.fills;
  return Ok{};
}

Result<CommandWriter::List> CommandWriter::write(const std::vector<Step>& steps, size_t begin, size_t end) {
  module::ProgramT& program = pools_.program();
  List list;
  list_ = &list;
  open_.clear();
  const uint32_t first = static_cast<uint32_t>(program.commands.size());
  for (size_t i = begin; i < end; ++i) {
    const Step& step = steps[i];
    barrier_if_needed(step);
    if (step.kind == Step::Kind::kDispatch) TERN_TRY(dispatch(*step.dispatch));
    if (step.kind == Step::Kind::kCopy) copy(*step.copy);
    if (step.kind == Step::Kind::kFill) TERN_TRY(fill(*step.fill));
  }
  list_ = nullptr;
  list.index = static_cast<uint32_t>(program.lists.size());
  program.lists.emplace_back(first, static_cast<uint32_t>(program.commands.size()) - first);
  ++report_.lists;
  return list;
}

}  // namespace tern::program
