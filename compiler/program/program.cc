#include "compiler/program/program.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "compiler/lower/donation.h"
#include "compiler/program/commands.h"
#include "compiler/program/dims.h"

namespace tern::program {
namespace {

using lower::BufferKind;
using lower::Step;
using Steps = std::vector<Step>;

constexpr uint32_t kNoRoutine = 0xffffffff;
// Room below 2^31 for what the last workgroup computes past the end.
constexpr int64_t kGpuIndexLimit = (int64_t{1} << 31) - (int64_t{1} << 20);

// Names of the symbols that the steps bind, nested ones too; a swap rebinds its buffers' offsets.
void collect_bound(const Steps& steps, const MemoryPlan& plan, std::vector<std::string>& out) {
  const auto swapped = [&](int buffer) {
    const size_t root = static_cast<size_t>(plan.resolved[static_cast<size_t>(buffer)].root);
    if (plan.has_place[root]) out.push_back(plan.offsets[root].symbol_name());
  };
  for (const Step& step : steps) {
    if (step.kind == Step::Kind::kBind) out.push_back(step.bind->symbol);
    if (step.kind == Step::Kind::kRead) out.push_back(step.read->symbol);
    if (step.kind == Step::Kind::kSwap) {
      swapped(step.swap->a);
      swapped(step.swap->b);
    }
    if (step.kind == Step::Kind::kIf) {
      collect_bound(step.branch->then_steps, plan, out);
      collect_bound(step.branch->else_steps, plan, out);
    }
    if (step.kind == Step::Kind::kLoop) {
      if (!step.loop->iteration_symbol.empty()) out.push_back(step.loop->iteration_symbol);
      if (!step.loop->count_symbol.empty()) out.push_back(step.loop->count_symbol);
      collect_bound(step.loop->body, plan, out);
    }
  }
}

// A division by something that may be 0 must not run before the branch that guards it.
bool may_divide_by_zero(const Dim& dim) {
  const bool divides =
      dim.op() == Dim::Op::kFloorDiv || dim.op() == Dim::Op::kCeilDiv || dim.op() == Dim::Op::kMod;
  if (divides && !dim.args()[1].is_const()) return true;
  if (dim.is_const() || dim.op() == Dim::Op::kSymbol) return false;
  return std::any_of(dim.args().begin(), dim.args().end(), may_divide_by_zero);
}

class MainRoutine {
 public:
  MainRoutine(const lower::LoweredProgram& lowered, const lower::Target& target, const MemoryPlan& plan,
              const SlotTable& slots, CommandWriter& commands, ProgramPools& pools)
      : lowered_(lowered),
        index_limit_(lower::is_gpu(target.arch) ? kGpuIndexLimit : 0),
        plan_(plan),
        slots_(slots),
        commands_(commands),
        pools_(pools),
        writer_(pools),
        dims_(writer_),
        reserved_(lowered.outputs.size()) {}

  Result<uint32_t> write() {
    TERN_TRY(make_lists(lowered_.steps));
    bind_entry_symbols();
    TERN_TRY(check_known_sizes());
    hoist(lowered_.steps, true);
    reserve_known_outputs();
    TERN_TRY(steps(lowered_.steps));
    finish_outputs();
    writer_.emit(VmOp::op_return);
    bool fits = false;
    const uint32_t routine = writer_.finish("main", fits);
    if (!fits) return error("The model needs more registers for its dimensions than bytecode has (65535).");
    return routine;
  }

 private:
  const lower::LoweredProgram& lowered_;
  const int64_t index_limit_;  // elements that kernels can index; 0: any number
  const MemoryPlan& plan_;
  const SlotTable& slots_;
  CommandWriter& commands_;
  ProgramPools& pools_;
  RoutineWriter writer_;
  DimWriter dims_;
  std::vector<bool> reserved_;         // outputs that have memory on this path
  std::vector<std::string> changing_;  // symbols that the loops around set: sizes of them are not final yet
  std::unordered_map<const Step*, CommandWriter::List> lists_;  // by the first step of the run

  // ---- Command lists

  static size_t run_end(const Steps& steps, size_t begin) {
    size_t end = begin;
    while (end < steps.size() && is_command(steps[end])) ++end;
    return end;
  }

  Status make_lists(const Steps& steps) {
    for (size_t i = 0; i < steps.size();) {
      const Step& step = steps[i];
      if (is_command(step)) {
        const size_t end = run_end(steps, i);
        TERN_ASSIGN(CommandWriter::List list, commands_.write(steps, i, end));
        lists_.emplace(&step, std::move(list));
        i = end;
        continue;
      }
      if (step.kind == Step::Kind::kIf) {
        TERN_TRY(make_lists(step.branch->then_steps));
        TERN_TRY(make_lists(step.branch->else_steps));
      }
      if (step.kind == Step::Kind::kLoop) TERN_TRY(make_lists(step.loop->body));
      ++i;
    }
    return Ok{};
  }

  // ---- Entry

  void bind_entry_symbols() {
    uint32_t number = 0;
    for (const graph::SymbolInfo& symbol : lowered_.symbols) {
      if (symbol.origin != graph::SymbolInfo::Origin::kInput) continue;
      if (symbol_is_used(symbol.name)) {
        writer_.emit(VmOp::op_load_symbol, dims_.symbol_register(symbol.name), number);
        dims_.bound(symbol.name);
      }
      ++number;
    }
    if (!plan_.arena_bytes.is_const() || !plan_.definitions.empty()) define_memory();
  }

  bool symbol_is_used(const std::string& name) const {
    // A program without a parameter block, formulas and control steps needs no symbol.
    const bool only_commands = std::all_of(lowered_.steps.begin(), lowered_.steps.end(), lower::is_command);
    if (!only_commands || commands_.block_size() > 0 || !plan_.arena_bytes.is_const()) return true;
    return std::any_of(lowered_.outputs.begin(), lowered_.outputs.end(), [&](const lower::IoDef& output) {
      return std::any_of(output.shape.begin(), output.shape.end(),
                         [&](const Dim& d) { return d.op() != Dim::Op::kSymbol && uses_symbol(d, name); });
    });
  }

  void define_memory() {
    for (const auto& [name, dim] : plan_.definitions) {
      writer_.emit(VmOp::op_move_i, dims_.symbol_register(name), dims_.value(dim));
      dims_.bound(name);
    }
    if (!plan_.arena_bytes.is_const()) writer_.emit(VmOp::op_arena_reserve, dims_.value(plan_.arena_bytes));
  }

  // ---- 32-bit indices of GPU kernels

  Status check_known_sizes() {
    if (!index_limit_) return Ok{};
    std::vector<std::pair<Dim, int64_t>> checked;
    for (const lower::BufferDef& buffer : lowered_.buffers) {
      const std::pair<Dim, int64_t> key{buffer.bytes, dtype_bits(buffer.dtype)};
      if (std::find(checked.begin(), checked.end(), key) != checked.end()) continue;
      checked.push_back(key);
      if (buffer.bytes.is_const()) {
        if (buffer.bytes.value() > most_bytes(buffer.dtype))
          return error("'{}' has {} bytes of type {}; GPU kernels index at most {} elements.", buffer.name,
                       buffer.bytes.value(), dtype_name(buffer.dtype), index_limit_);
        continue;
      }
      if (dims_.known(buffer.bytes) && !may_divide_by_zero(buffer.bytes)) check_size(buffer, buffer.bytes);
    }
    return Ok{};
  }
  int64_t most_bytes(DType dtype) const { return index_limit_ / 8 * std::max(dtype_bits(dtype), 1); }
  void check_size(const lower::BufferDef& buffer, const Dim& bytes) {
    if (!index_limit_ || bytes.is_const()) return;
    const uint32_t ok = writer_.int_register(), value = dims_.value(bytes);
    writer_.emit(VmOp::op_le, ok, value, dims_.value(most_bytes(buffer.dtype)));
    const std::string text =
        fmt::format("'{}' would have {{0}} bytes of type {}; GPU kernels index at most {} elements.",
                    buffer.name, dtype_name(buffer.dtype), index_limit_);
    writer_.emit(VmOp::op_check, ok, pools_.message(text), pools_.list({value}));
  }

  // Computes what the lists of these steps need and what the steps themselves do not change.
  void hoist(const Steps& body, bool top) {
    std::vector<std::string> changing;
    collect_bound(body, plan_, changing);
    hoist_from(body, {changing.begin(), changing.end()}, top);
  }
  void hoist_from(const Steps& body, const std::unordered_set<std::string>& changing, bool certain) {
    for (const Step& step : body) {
      if (const auto list = lists_.find(&step); list != lists_.end()) {
        for (const Dim& dim : list->second.block_dims) {
          if (!uses_any(dim, changing) && dims_.known(dim) && (certain || !may_divide_by_zero(dim)))
            dims_.store(dim, commands_.block_entry(dim));
        }
      }
      if (step.kind == Step::Kind::kIf) {
        hoist_from(step.branch->then_steps, changing, false);
        hoist_from(step.branch->else_steps, changing, false);
      }
      if (step.kind == Step::Kind::kLoop) hoist_from(step.loop->body, changing, false);
    }
  }

  // ---- Outputs

  static bool is_computed(const Dim& dim, const lower::LoweredProgram& lowered) {
    if (dim.is_const()) return false;
    if (dim.op() != Dim::Op::kSymbol) return true;
    return std::none_of(lowered.symbols.begin(), lowered.symbols.end(), [&](const graph::SymbolInfo& s) {
      return s.name == dim.symbol_name() && s.origin == graph::SymbolInfo::Origin::kInput;
    });
  }
  bool has_computed_dims(const lower::IoDef& output) const {
    return std::any_of(output.shape.begin(), output.shape.end(),
                       [&](const Dim& dim) { return is_computed(dim, lowered_); });
  }
  // The VM itself binds outputs whose dimensions it knows.
  void reserve_output(size_t index) {
    const lower::IoDef& output = lowered_.outputs[index];
    if (reserved_[index]) return;
    reserved_[index] = true;
    if (!has_computed_dims(output)) return;
    const Dim& bytes = lowered_.buffers[static_cast<size_t>(output.buffer)].bytes;
    TERN_CHECK(dims_.known(bytes), "the size ({}) of output '{}' is not known where it is written",
               bytes.text(), output.name);
    check_size(lowered_.buffers[static_cast<size_t>(output.buffer)], bytes);
    writer_.emit(VmOp::op_output_reserve, static_cast<uint32_t>(index), dims_.value(bytes));
  }
  void reserve_known_outputs() {
    const std::unordered_set<std::string> changing(changing_.begin(), changing_.end());
    for (size_t i = 0; i < lowered_.outputs.size(); ++i) {
      const Dim& bytes = lowered_.buffers[static_cast<size_t>(lowered_.outputs[i].buffer)].bytes;
      if (!uses_any(bytes, changing) && dims_.known(bytes)) reserve_output(i);
    }
  }
  void finish_outputs() {
    for (size_t i = 0; i < lowered_.outputs.size(); ++i) {
      reserve_output(i);
      const lower::IoDef& output = lowered_.outputs[i];
      for (size_t axis = 0; axis < output.shape.size(); ++axis) {
        if (!is_computed(output.shape[axis], lowered_)) continue;
        writer_.emit(VmOp::op_output_dim, static_cast<uint32_t>(i), static_cast<uint32_t>(axis),
                     dims_.value(output.shape[axis]));
      }
    }
  }

  // ---- Steps

  Status steps(const Steps& body) {
    for (size_t i = 0; i < body.size();) {
      if (is_command(body[i])) {
        submit(lists_.at(&body[i]));
        i = run_end(body, i);
      } else {
        TERN_TRY(control(body[i]));
        ++i;
      }
    }
    return Ok{};
  }

  void submit(const CommandWriter::List& list) {
    for (const Dim& dim : list.block_dims) dims_.store(dim, commands_.block_entry(dim));
    for (int root : list.output_roots) {
      for (size_t i = 0; i < lowered_.outputs.size(); ++i) {
        if (lowered_.outputs[i].buffer == root) reserve_output(i);
      }
    }
    writer_.emit_wide(VmOp::op_submit, 0, list.index);
  }

  Status control(const Step& step) {
    switch (step.kind) {
      case Step::Kind::kBind:
        if (const auto asked = lower::donation_of(*step.bind)) {
          reserve_output(static_cast<size_t>(asked->output));
          writer_.emit(VmOp::op_is_donated, dims_.symbol_register(step.bind->symbol),
                       static_cast<uint32_t>(asked->output));
          dims_.bound(step.bind->symbol);
          return Ok{};
        }
        writer_.emit(VmOp::op_move_i, dims_.symbol_register(step.bind->symbol),
                     dims_.value(step.bind->value));
        dims_.bound(step.bind->symbol);
        return Ok{};
      case Step::Kind::kRead:
        return read(*step.read);
      case Step::Kind::kAllocate:
        allocate(*step.allocate);
        return Ok{};
      case Step::Kind::kSwap:
        swap(*step.swap);
        return Ok{};
      case Step::Kind::kCheck: {
        const lower::CheckStep& check = *step.check;
        const uint32_t condition =
            check.condition < 0 ? dims_.value(check.holds) : read_bool(check.condition);
        writer_.emit(VmOp::op_check, condition, pools_.message(step.check->message), 0xffff);
        return Ok{};
      }
      case Step::Kind::kIf:
        return branch(*step.branch);
      case Step::Kind::kLoop:
        return loop(*step.loop);
      default:
        TERN_UNREACHABLE();
    }
  }

  Status read(const lower::ReadStep& step) {
    VmOp op = VmOp::op_read_i;
    switch (step.dtype) {
      case DType::kI64:
        break;
      case DType::kI32:
        op = VmOp::op_read_i32;
        break;
      case DType::kU8:
      case DType::kBool:
        op = VmOp::op_read_u8;
        break;
      default:
        return error("A dimension is read from a value of type {}; i64, i32, u8 and bool can be.",
                     dtype_name(step.dtype));
    }
    const SlotTable::Place place = slots_.place(step.buffer, step.offset);
    const uint32_t to = dims_.symbol_register(step.symbol);
    writer_.emit(op, to, place.slot, dims_.value(place.offset));
    if (step.min != INT64_MIN) check_bound(step, to, dims_.value(step.min), true);
    if (step.max != INT64_MAX) check_bound(step, to, dims_.value(step.max), false);
    dims_.bound(step.symbol);
    return Ok{};
  }
  void check_bound(const lower::ReadStep& step, uint32_t value, uint32_t bound, bool lower_bound) {
    const uint32_t ok = writer_.int_register();
    writer_.emit(VmOp::op_le, ok, lower_bound ? bound : value, lower_bound ? value : bound);
    const std::string text =
        fmt::format("A size that the data gives ({} = {{0}}) is {} than {}.", step.symbol,
                    lower_bound ? "less" : "more", lower_bound ? step.min : step.max);
    writer_.emit(VmOp::op_check, ok, pools_.message(text), pools_.list({value}));
  }
  uint32_t read_bool(int buffer) {
    const SlotTable::Place place = slots_.place(buffer, 0);
    const uint32_t to = writer_.int_register();
    writer_.emit(VmOp::op_read_u8, to, place.slot, dims_.value(place.offset));
    return to;
  }

  void allocate(const lower::AllocateStep& step) {
    const SlotTable::Place place = slots_.place(step.buffer, 0);
    const uint32_t buffer = writer_.buffer_register();
    check_size(lowered_.buffers[static_cast<size_t>(step.buffer)], step.bytes);
    writer_.emit(VmOp::op_buffer_alloc, buffer, dims_.value(step.bytes));
    writer_.emit(VmOp::op_slot_set, place.slot, buffer);
    writer_.emit(VmOp::op_buffer_drop, buffer);
  }

  void swap(const lower::SwapStep& step) {
    const size_t a = static_cast<size_t>(plan_.resolved[static_cast<size_t>(step.a)].root);
    const size_t b = static_cast<size_t>(plan_.resolved[static_cast<size_t>(step.b)].root);
    TERN_CHECK(lowered_.buffers[a].kind == lowered_.buffers[b].kind, "a swap of buffers of different kinds");
    if (plan_.has_place[a]) {
      TERN_CHECK(lowered_.buffers[a].bytes == lowered_.buffers[b].bytes,
                 "a swap of buffers of different sizes");
      const std::string &name_a = plan_.offsets[a].symbol_name(), &name_b = plan_.offsets[b].symbol_name();
      const uint32_t keep = writer_.int_register();
      writer_.emit(VmOp::op_move_i, keep, dims_.symbol_register(name_a));
      writer_.emit(VmOp::op_move_i, dims_.symbol_register(name_a), dims_.symbol_register(name_b));
      writer_.emit(VmOp::op_move_i, dims_.symbol_register(name_b), keep);
      dims_.bound(name_a);
      dims_.bound(name_b);
      return;
    }
    TERN_CHECK(lowered_.buffers[a].kind == BufferKind::kDynamic, "a swap of buffers without memory");
    const uint32_t slot_a = slots_.place(step.a, 0).slot, slot_b = slots_.place(step.b, 0).slot;
    const uint32_t from_a = writer_.buffer_register(), from_b = writer_.buffer_register();
    writer_.emit(VmOp::op_slot_get, from_a, slot_a);
    writer_.emit(VmOp::op_slot_get, from_b, slot_b);
    writer_.emit(VmOp::op_slot_set, slot_a, from_b);
    writer_.emit(VmOp::op_slot_set, slot_b, from_a);
    writer_.emit(VmOp::op_buffer_drop, from_a);
    writer_.emit(VmOp::op_buffer_drop, from_b);
  }

  Status branch(const lower::IfStep& step) {
    const uint32_t condition = read_bool(step.condition);
    const DimWriter::State before = dims_.state();
    const std::vector<bool> reserved_before = reserved_;
    const uint32_t to_else = writer_.emit_jump(VmOp::op_jump_unless, condition);
    TERN_TRY(steps(step.then_steps));
    const DimWriter::State after_then = dims_.state();
    const std::vector<bool> reserved_then = reserved_;
    const uint32_t to_end = writer_.emit_jump(VmOp::op_jump);
    writer_.land(to_else);
    dims_.restore(before);
    reserved_ = reserved_before;
    TERN_TRY(steps(step.else_steps));
    writer_.land(to_end);
    const DimWriter::State after_else = dims_.state();
    // Behind the branch: what was computed before and is still true, and symbols that both arms bound.
    dims_.restore(before);
    std::vector<std::string> changed;
    collect_bound(step.then_steps, plan_, changed);
    collect_bound(step.else_steps, plan_, changed);
    for (const std::string& name : changed) {
      dims_.forget(name);
      if (after_then.bound.count(name) && after_else.bound.count(name)) dims_.bound(name);
    }
    for (size_t i = 0; i < reserved_.size(); ++i) reserved_[i] = reserved_[i] && reserved_then[i];
    return Ok{};
  }

  Status loop(const lower::LoopStep& step) {
    hoist(step.body, false);
    std::vector<std::string> changing;
    collect_bound(step.body, plan_, changing);
    if (!step.iteration_symbol.empty()) changing.push_back(step.iteration_symbol);
    const size_t outer = changing_.size();
    changing_.insert(changing_.end(), changing.begin(), changing.end());
    reserve_known_outputs();
    const bool counted = !step.trip_count.is_const(INT64_MAX);
    const uint32_t trips = counted ? dims_.value(step.trip_count) : 0;
    const uint32_t i = writer_.int_register();
    writer_.load_constant(i, 0);
    for (const std::string& name : changing) dims_.forget(name);
    Dim condition_at;  // computed once, before the loop, if no swap moves it
    if (step.condition >= 0) condition_at = slots_.place(step.condition, 0).offset;
    if (step.condition >= 0 && std::none_of(changing.begin(), changing.end(), [&](const std::string& name) {
          return uses_symbol(condition_at, name);
        }))
      dims_.value(condition_at);
    const DimWriter::State before = dims_.state();
    const std::vector<bool> reserved_before = reserved_;
    const uint32_t top = writer_.next();
    std::vector<uint32_t> exits;
    if (counted) {
      const uint32_t more = writer_.int_register();
      writer_.emit(VmOp::op_lt, more, i, trips);
      exits.push_back(writer_.emit_jump(VmOp::op_jump_unless, more));
    }
    if (step.condition >= 0)
      exits.push_back(writer_.emit_jump(VmOp::op_jump_unless, read_bool(step.condition)));
    if (!step.iteration_symbol.empty()) {
      writer_.emit(VmOp::op_move_i, dims_.symbol_register(step.iteration_symbol), i);
      dims_.bound(step.iteration_symbol);
    }
    TERN_TRY(steps(step.body));
    writer_.emit(VmOp::op_add_imm, i, i, 1);
    writer_.emit_jump_to(top);
    for (uint32_t exit : exits) writer_.land(exit);
    dims_.restore(before);
    changing_.resize(outer);
    reserved_ = reserved_before;
    if (!step.count_symbol.empty()) {
      writer_.emit(VmOp::op_move_i, dims_.symbol_register(step.count_symbol), i);
      dims_.bound(step.count_symbol);
    }
    return Ok{};
  }
};

// Only sizes: run when a session is created, with every symbol at its bound.
Result<uint32_t> write_reserve(const lower::LoweredProgram& lowered, const MemoryPlan& plan,
                               ProgramPools& pools) {
  RoutineWriter writer(pools);
  DimWriter dims(writer);
  uint32_t number = 0;
  for (const graph::SymbolInfo& symbol : lowered.symbols) {
    if (symbol.origin != graph::SymbolInfo::Origin::kInput) continue;
    writer.emit(VmOp::op_load_symbol, dims.symbol_register(symbol.name), number++);
    dims.bound(symbol.name);
  }
  for (const auto& [name, dim] : plan.definitions) {
    writer.emit(VmOp::op_move_i, dims.symbol_register(name), dims.value(dim));
    dims.bound(name);
  }
  writer.emit(VmOp::op_arena_reserve, dims.value(plan.arena_bytes));
  writer.emit(VmOp::op_return);
  bool fits = false;
  const uint32_t routine = writer.finish("reserve", fits);
  if (!fits) return error("The memory plan needs more registers than bytecode has (65535).");
  return routine;
}

// Fills derived buffers: run when a session is created.
Result<uint32_t> write_init(const lower::LoweredProgram& lowered, CommandWriter& commands,
                            ProgramPools& pools, ProgramReport& report) {
  const ProgramReport before = report;
  TERN_ASSIGN(const CommandWriter::List list,
              commands.write(lowered.init_steps, 0, lowered.init_steps.size()));
  TERN_CHECK(list.block_dims.empty(), "init needs numbers of an invocation");
  report = before;  // what an invocation does
  for (const lower::BufferDef& buffer : lowered.buffers) {
    if (buffer.kind != BufferKind::kDerived || buffer.alias_of >= 0) continue;
    ++report.derived_constants;
    report.derived_bytes += buffer.bytes.value();
  }
  RoutineWriter writer(pools);
  writer.emit_wide(VmOp::op_submit, 0, list.index);
  writer.emit(VmOp::op_return);
  bool fits = false;
  return writer.finish("init", fits);
}

// The arena at the symbols' largest values, or -1.
int64_t arena_bound(const lower::LoweredProgram& lowered, const MemoryPlan& plan) {
  std::unordered_map<std::string, int64_t> values;
  for (const graph::SymbolInfo& symbol : lowered.symbols) {
    if (symbol.max != INT64_MAX) values[symbol.name] = symbol.max;
  }
  const auto lookup = [&](const std::string& name) -> std::optional<int64_t> {
    const auto at = values.find(name);
    return at == values.end() ? std::nullopt : std::optional<int64_t>(at->second);
  };
  for (const auto& [name, dim] : plan.definitions) {
    if (const std::optional<int64_t> value = dim.evaluate(lookup)) values[name] = *value;
  }
  return plan.arena_bytes.evaluate(lookup).value_or(-1);
}

module::TargetClass target_class(lower::Arch arch) {
  switch (arch) {
    case lower::Arch::kX86_64:
      return module::TargetClass::CpuX86_64;
    case lower::Arch::kAArch64:
      return module::TargetClass::CpuAarch64;
    case lower::Arch::kCuda:
      return module::TargetClass::Cuda;
    case lower::Arch::kVulkan:
      return module::TargetClass::Vulkan;
  }
  TERN_UNREACHABLE();
}

}  // namespace

void add_constants(const lower::LoweredProgram& lowered, int program, ConstantPool& pool) {
  for (const lower::BufferDef& buffer : lowered.buffers) {
    if (buffer.kind == BufferKind::kConstant && buffer.alias_of < 0)
      pool.add(buffer.data, buffer.name, program, buffer.for_init);
  }
}

Result<BuiltProgram> build_program(const lower::LoweredProgram& lowered, const lower::Target& target,
                                   int program, ModuleParts& parts) {
  const CheckContext context("building the program of function '" + lowered.function + "'");
  BuiltProgram built;
  TERN_ASSIGN(built.plan, plan_memory(lowered, binding_alignment(target.arch)));
  built.program = std::make_unique<module::ProgramT>();
  built.program->target = target_class(target.arch);
  ProgramPools pools(*built.program);
  const SlotTable slots(lowered, built.plan, program, parts, pools);
  CommandWriter commands(lowered, target, built.plan, slots, parts, pools, built.report);
  uint32_t reserve = kNoRoutine;
  if (!built.plan.arena_bytes.is_const()) {
    TERN_ASSIGN(reserve, write_reserve(lowered, built.plan, pools));
  }
  TERN_ASSIGN(const uint32_t main, MainRoutine(lowered, target, built.plan, slots, commands, pools).write());
  built.program->entries.emplace_back(main, reserve);
  if (!lowered.init_steps.empty()) {
    TERN_ASSIGN(built.program->init, write_init(lowered, commands, pools, built.report));
  }
  built.program->block_size = commands.block_size();
  built.program->arena_bound = arena_bound(lowered, built.plan);
  built.report.instructions = static_cast<int64_t>(built.program->code.size());
  return built;
}

}  // namespace tern::program
