#include "vm/module/verify.h"

namespace tern::vm {
namespace {

using namespace module;

struct ProgramVerifier {
  tern_allocator_t allocator;
  const Module* module;
  const ProgramView& program;

  bool operand(uint32_t code) const {
    return code >> 31 ? (code & 0x7fffffffu) < program.table->block_size() : code < program.numbers.size;
  }

  tern_status_t slots() {
    const Slice<Segment> segments = slice(module->segments());
    uint32_t arenas = 0;
    for (uint32_t i = 0; i < program.slots.size; ++i) {
      const Slot& slot = program.slots[i];
      bool good = true;
      switch (slot.kind()) {
        case SlotKind::Arena:
          good = ++arenas == 1 && slot.bytes() >= -1;
          break;
        case SlotKind::Constants:
        case SlotKind::InitConstants:
          good = slot.index() < segments.size && segments[slot.index()].kind() == SegmentKind::Constants;
          break;
        case SlotKind::Input:
        case SlotKind::Output:
        case SlotKind::Dynamic:
          break;
        case SlotKind::Persistent:
          good = slot.bytes() >= 0;
          break;
        default:
          return tern_status_make(allocator, TERN_STATUS_INCOMPATIBLE,
                                  "Slot (%u) is of a kind (%u) that this reader does not know.", i,
                                  static_cast<unsigned>(slot.kind()));
      }
      if (!good) return MALFORMED("Slot (%u) of the binding table is impossible.", i);
    }
    return TERN_OK;
  }

  tern_status_t kernels() {
    for (uint32_t i = 0; i < count(program.table->kernels()); ++i) {
      const Kernel* kernel = program.table->kernels()->Get(i);
      if (count(kernel->bindings()) > kMaxBindings || kernel->param_count() > kMaxParams) {
        return MALFORMED("Kernel '%s' has too many bindings or parameters.", text(kernel->name()));
      }
      const Slice<Variant> variants = slice(kernel->variants());
      if (variants.size == 0 || variants.size > 64) {
        return MALFORMED("Kernel '%s' has %u variants.", text(kernel->name()), variants.size);
      }
      for (const Variant& variant : variants) {
        if (variant.executable() >= count(module->executables())) return bad_variant(kernel);
        const Executable* executable = module->executables()->Get(variant.executable());
        if (variant.entry() >= entry_count(executable)) return bad_variant(kernel);
      }
    }
    return TERN_OK;
  }
  tern_status_t bad_variant([[maybe_unused]] const Kernel* kernel) {
    return MALFORMED("A variant of kernel '%s' names no entry of an executable.", text(kernel->name()));
  }

  tern_status_t pools() {
    for (const Binding& binding : program.bindings) {
      if (binding.slot() >= program.slots.size || !operand(binding.offset()) || !operand(binding.length()) ||
          binding.access() == Access::None || binding.access() > Access::ReadWrite) {
        return MALFORMED("A binding names a slot or number that is not there.");
      }
      const SlotKind kind = program.slots[binding.slot()].kind();
      if (binding.access() != Access::Read && (kind == SlotKind::Constants || kind == SlotKind::InitConstants || kind == SlotKind::Input)) {
        return MALFORMED("A binding writes a slot (%u) that is read only.", binding.slot());
      }
    }
    for (uint32_t code : program.params) {
      if (!operand(code)) return MALFORMED("A kernel parameter names a number that is not there.");
    }
    for (const Launch& launch : program.launches) {
      if (!operand(launch.grid_x()) || !operand(launch.grid_y()) || !operand(launch.grid_z()) ||
          !operand(launch.scratch())) {
        return MALFORMED("A launch names a number that is not there.");
      }
    }
    for (const List& list : program.bytecode_lists) {
      if (list.count() > kMaxListItems || !program.list_items.holds(list.first(), list.count())) {
        return MALFORMED("A bytecode list lies outside the list items.");
      }
    }
    return TERN_OK;
  }

  tern_status_t command(uint32_t index, const Command& command) {
    const bool ranges = command.binding_count() <= kMaxBindings && command.param_count() <= kMaxParams &&
                        program.bindings.holds(command.first_binding(), command.binding_count()) &&
                        program.params.holds(command.first_param(), command.param_count());
    if (!ranges) return bad_command(index);
    const Binding* bindings = program.bindings.data + command.first_binding();
    switch (command.kind()) {
      case CommandKind::Dispatch: {
        if (command.kernel() >= count(program.table->kernels())) return bad_command(index);
        const Kernel* kernel = program.table->kernels()->Get(command.kernel());
        const Slice<Access> access = slice(kernel->bindings());
        if (access.size != command.binding_count() || kernel->param_count() != command.param_count() ||
            !program.launches.holds(command.first_launch(), count(kernel->variants()))) {
          return bad_command(index);
        }
        for (uint32_t i = 0; i < access.size; ++i) {
          if (bindings[i].access() != access[i]) return bad_command(index);
        }
        return TERN_OK;
      }
      case CommandKind::Copy:
        if (command.binding_count() != 2 || bindings[0].access() != Access::Read ||
            bindings[1].access() != Access::Write || bindings[0].length() != bindings[1].length()) {
          return bad_command(index);
        }
        return TERN_OK;
      case CommandKind::Fill: {
        const uint8_t bytes = command.pattern_bytes();
        if (command.binding_count() != 1 || bindings[0].access() != Access::Write ||
            command.param_count() != 1 || program.params[command.first_param()] >> 31 ||
            (bytes != 1 && bytes != 2 && bytes != 4)) {
          return bad_command(index);
        }
        return TERN_OK;
      }
      case CommandKind::Barrier:
        return TERN_OK;
      default:
        return tern_status_make(allocator, TERN_STATUS_INCOMPATIBLE,
                                "Command (%u) is of a kind (%u) that this reader does not know.", index,
                                static_cast<unsigned>(command.kind()));
    }
  }
  tern_status_t bad_command([[maybe_unused]] uint32_t index) {
    return MALFORMED(
        "Command (%u) does not match its kernel or names bindings, parameters or launches that are not "
        "there.",
        index);
  }

  tern_status_t commands() {
    for (uint32_t i = 0; i < program.commands.size; ++i)
      TERN_RETURN_IF_ERROR(command(i, program.commands[i]));
    uint64_t listed = 0;
    for (const CommandList& list : program.lists) {
      listed += list.command_count();
      if (!program.commands.holds(list.first_command(), list.command_count()) ||
          listed > program.commands.size) {
        return MALFORMED("The command lists name more commands than there are.");
      }
    }
    return TERN_OK;
  }
};

}  // namespace

tern_status_t verify_program(tern_allocator_t allocator, const Module* module, const ProgramView& program) {
  ProgramVerifier verifier{allocator, module, program};
  if (program.table->block_size() > kMaxBlock)
    return MALFORMED("The parameter block (%u) is too large.", program.table->block_size());
  if (count(program.table->conditions()) > kMaxConditions)
    return MALFORMED("A program has too many conditions.");
  if (program.entries.size != count(module->functions())) {
    return MALFORMED("A program has %u entries for %u functions.", program.entries.size,
                     count(module->functions()));
  }
  TERN_RETURN_IF_ERROR(verifier.slots());
  TERN_RETURN_IF_ERROR(verifier.kernels());
  TERN_RETURN_IF_ERROR(verifier.pools());
  return verifier.commands();
}

}  // namespace tern::vm
