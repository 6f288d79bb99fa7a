#include <cstdio>
#include <cstring>

#include "schemas/abi/dtypes.h"
#include "vm/text/lexer.h"
#include "vm/text/ops.h"
#include "vm/text/text.h"

namespace tern::vm {
namespace {

using namespace module;

std::string str(int64_t value) {
  return std::to_string(value);
}

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(tolower(c));
  return text;
}

template <typename T>
const T* at(const std::vector<T>& items, size_t index) {
  return index < items.size() ? &items[index] : nullptr;
}

// Everything of a program as text. Damaged indices print as "?".
struct ProgramPrinter {
  const ModuleT& module;
  const ProgramT& program;

  std::string operand(uint32_t code) const {
    if (code >> 31) return "$" + str(code & 0x7fffffff);
    const int64_t* number = at(program.numbers, code);
    return number ? str(*number) : "?";
  }

  std::string binding(const Binding& b) const {
    return "s" + str(b.slot()) + " +" + operand(b.offset()) + " " + operand(b.length());
  }
  std::string binding(uint32_t index) const {
    const Binding* b = at(program.bindings, index);
    return b ? binding(*b) : "?";
  }

  std::string slot(const Slot& slot) const {
    switch (slot.kind()) {
      case SlotKind::Arena:
        return slot.bytes() < 0 ? "arena dynamic" : "arena " + str(slot.bytes());
      case SlotKind::Constants:
        return "constants " + str(slot.index());
      case SlotKind::InitConstants:
        return "init_constants " + str(slot.index());
      case SlotKind::Input:
        return "input " + str(slot.index());
      case SlotKind::Output:
        return "output " + str(slot.index());
      case SlotKind::Dynamic:
        return "dynamic";
      case SlotKind::Persistent:
        return "persistent " + str(slot.bytes());
    }
    return "?";
  }

  std::string kernel(const KernelT& kernel) const {
    std::string out = word_or_quoted(kernel.name) + " (";
    for (size_t i = 0; i < kernel.bindings.size(); ++i) {
      const Access access = kernel.bindings[i];
      out += std::string(i ? ", " : "") + (access == Access::Read    ? "read"
                                           : access == Access::Write ? "write"
                                                                     : "readwrite");
    }
    out += ") params " + str(kernel.param_count) + " variants";
    for (const Variant& v : kernel.variants) out += " " + str(v.executable()) + ":" + str(v.entry());
    return out;
  }

  std::string dispatch(const Command& c) const {
    const std::unique_ptr<KernelT>* kernel = at(program.kernels, c.kernel());
    std::string out = "dispatch " + (kernel ? word_or_quoted((*kernel)->name) : std::string("?")) + " [";
    for (uint32_t i = 0; i < c.binding_count(); ++i) out += (i ? ", " : "") + binding(c.first_binding() + i);
    out += "]";
    if (c.param_count()) out += " params";
    for (uint32_t i = 0; i < c.param_count(); ++i) {
      const uint32_t* code = at(program.params, size_t{c.first_param()} + i);
      out += " " + (code ? operand(*code) : std::string("?"));
    }
    for (size_t i = 0; kernel && i < (*kernel)->variants.size(); ++i) {
      const Launch* launch = at(program.launches, c.first_launch() + i);
      if (!launch) break;
      out += " grid " + operand(launch->grid_x()) + " " + operand(launch->grid_y()) + " " +
             operand(launch->grid_z()) + " scratch " + operand(launch->scratch());
    }
    return out;
  }

  std::string command(const Command& c) const {
    std::string out;
    switch (c.kind()) {
      case CommandKind::Dispatch:
        out = dispatch(c);
        break;
      case CommandKind::Copy:
        out = "copy " + binding(c.first_binding()) + " to " + binding(c.first_binding() + 1);
        break;
      case CommandKind::Fill: {
        const uint32_t* code = at(program.params, c.first_param());
        out = "fill " + binding(c.first_binding()) + " value " + (code ? operand(*code) : "?") + " bytes " +
              str(c.pattern_bytes());
        break;
      }
      case CommandKind::Barrier:
        out = "barrier";
        break;
      default:
        out = "?";
    }
    return c.source() == kNone32 ? out : out + " source " + str(c.source());
  }

  std::string routine_name(uint32_t index) const {
    if (index == kNone32) return "none";
    const std::string* name = at(program.routine_names, index);
    return name ? word_or_quoted(*name) : "routine" + str(index);
  }

  std::string registers(uint16_t index) const {
    std::string out = "{";
    const module::List* list = index == kNone16 ? nullptr : at(program.bytecode_lists, index);
    for (uint32_t i = 0; list && i < list->count(); ++i) {
      const uint32_t* item = at(program.list_items, size_t{list->first()} + i);
      if (!item) break;
      out += (i ? ", " : "") + std::string(1, "ifr?"[*item >> 16 & 3]) + str(*item & 0xffff);
    }
    return out + "}";
  }

  std::string number(const OpText& op, uint32_t index) const {
    const int64_t* value = at(program.numbers, index);
    if (!value) return "?";
    if (op.number != kOpNumbers[kOp_const_f]) return str(*value);
    double real;
    char text[40];
    std::memcpy(&real, value, sizeof(real));
    std::snprintf(text, sizeof(text), "%.17g", real);
    if (real - real != 0)
      std::snprintf(text, sizeof(text), "0x%llx", static_cast<unsigned long long>(*value));
    return text;
  }

  std::string operand(const OpText& op, OperandKind kind, uint32_t value) const {
    switch (kind) {
      case X:
        return "";
      case I_W:
      case I_R:
        return "i" + str(value);
      case F_W:
      case F_R:
        return "f" + str(value);
      case B_W:
      case B_R:
      case B_T:
      case L_W:
      case L_R:
      case L_T:
        return "r" + str(value);
      case IMM:
        return str(static_cast<int16_t>(value));
      case IMM32:
        return str(static_cast<int32_t>(value));
      case NUM32:
        return number(op, value);
      case BLOCK32:
        return "$" + str(value);
      case TARGET32:
        return "L" + str(value);
      case ROUTINE:
        return routine_name(value);
      case SLOT:
      case SLOT_D:
        return "s" + str(value);
      case SYMBOL:
        return value < module.symbols.size() ? word_or_quoted(module.symbols[value]->name) : "?";
      case DTYPE:
        return tern_dtype_name(value);
      case MESSAGE:
        return value < program.messages.size() ? quoted(program.messages[value]) : "?";
      case HOST:
        return value < program.host_functions.size() ? quoted(program.host_functions[value]) : "?";
      case LIST_I:
      case LIST_REGS:
        return registers(static_cast<uint16_t>(value));
      default:
        return str(value);
    }
  }

  std::string instruction(uint64_t word) const {
    const Instruction in = decode(word);
    const OpText* op = find_op(in.op);
    if (!op) return "unknown_opcode " + str(in.op);
    std::string out = op->name;
    const bool wide = is_wide(op->operands.b);
    const std::string texts[] = {operand(*op, op->operands.a, in.a),
                                 operand(*op, op->operands.b, wide ? in.bc() : in.b),
                                 wide ? "" : operand(*op, op->operands.c, in.c)};
    const char* separator = " ";
    for (const std::string& text : texts) {
      if (text.empty()) continue;
      out += separator + text;
      separator = ", ";
    }
    return out;
  }

  std::string body(const Routine& routine, const char* indent) const {
    std::string out;
    std::vector<bool> target(size_t{routine.instruction_count()} + 1);
    const auto word = [&](uint32_t i) { return at(program.code, size_t{routine.first_instruction()} + i); };
    for (uint32_t i = 0; i < routine.instruction_count() && word(i); ++i) {
      const Instruction in = decode(*word(i));
      const OpText* op = find_op(in.op);
      if (op && op->operands.b == TARGET32 && in.bc() < target.size()) target[in.bc()] = true;
    }
    for (uint32_t i = 0; i < routine.instruction_count() && word(i); ++i) {
      if (target[i]) out += "L" + str(i) + ":\n";
      out += indent + instruction(*word(i)) + "\n";
    }
    return out;
  }

  std::string routine(uint32_t index) const {
    const Routine& r = program.routines[index];
    std::string out = "  routine " + routine_name(index);
    if (r.i_count()) out += " i " + str(r.i_count());
    if (r.f_count()) out += " f " + str(r.f_count());
    if (r.ref_count()) out += " refs";
    for (uint32_t i = 0; i < r.ref_count(); ++i) {
      const RefType* type = at(program.ref_types, size_t{r.first_ref_type()} + i);
      out += type && *type == RefType::List ? " list" : " buffer";
    }
    if (r.params() != kNone16) out += " params " + registers(r.params());
    if (r.results() != kNone16) out += " results " + registers(r.results());
    return out + " {\n" + body(r, "    ") + "  }\n";
  }

  std::string commands() const {
    std::string out;
    for (const auto& k : program.kernels) out += "  kernel " + kernel(*k) + "\n";
    for (const CommandList& list : program.lists) {
      out += "  list {\n";
      for (uint32_t i = 0; i < list.command_count(); ++i) {
        const Command* c = at(program.commands, size_t{list.first_command()} + i);
        if (!c) break;
        out += "    " + command(*c) + "\n";
      }
      out += "  }\n";
    }
    return out;
  }
};

std::string conditions(const std::vector<Condition>& all) {
  std::string out;
  for (const Condition& condition : all) {
    const char* name = "?";
    switch (condition.capability()) {
#define TERN_CAPABILITY(number, text, meaning) \
  case number:                                 \
    name = #text;                              \
    break;
#include "schemas/abi/capabilities.def"
#undef TERN_CAPABILITY
    }
    out += std::string(out.empty() ? " if " : " and ") + name +
           (condition.op() == ConditionOp::AtLeast  ? " >= "
            : condition.op() == ConditionOp::AtMost ? " <= "
                                                    : " == ") +
           str(condition.value());
  }
  return out;
}

std::string argument(const ModuleT& module, const char* word, const ArgumentT& a) {
  std::string out =
      std::string("  ") + word + " " + word_or_quoted(a.name) + " " + tern_dtype_name(a.dtype) + " [";
  for (size_t i = 0; i < a.dims.size(); ++i) {
    const Dim& dim = a.dims[i];
    if (i) out += ", ";
    if (dim.kind() == DimKind::Static) {
      out += str(dim.value());
    } else if (dim.kind() == DimKind::Symbol) {
      const auto* symbol = at(module.symbols, static_cast<size_t>(dim.value()));
      out += symbol ? word_or_quoted((*symbol)->name) : "?";
    } else {
      out += dim.value() < 0 ? "?" : "?<=" + str(dim.value());
    }
  }
  out += "]";
  if (a.optional) out += " optional";
  if (a.donor >= 0) out += " donor " + str(a.donor);
  if (!a.dim_text.empty()) out += " text";
  for (const std::string& text : a.dim_text) out += " " + quoted(text);
  return out + "\n";
}

std::string segment(const ModuleFile& file, size_t index, bool bytes) {
  static const char* const digits = "0123456789abcdef";
  std::string out = "segment " + lower(EnumNameSegmentKind(file.module.segments[index].kind()));
  const std::vector<uint8_t>* data = at(file.segments, index);
  bool zero = true;
  for (size_t i = 0; data && i < data->size(); ++i) zero = zero && (*data)[i] == 0;
  if (!bytes || !data) return out + " bytes " + str(static_cast<int64_t>(data ? data->size() : 0)) + "\n";
  if (zero) return out + " zero " + str(static_cast<int64_t>(data->size())) + "\n";
  out += " hex \"";
  for (uint8_t byte : *data) {
    out += digits[byte >> 4];
    out += digits[byte & 15];
  }
  return out + "\"\n";
}

std::string executable(const ExecutableT& e) {
  std::string out = "executable " + word_or_quoted(e.name) + " " + lower(EnumNameExecutableFormat(e.format));
  if (e.format != ExecutableFormat::Static && e.format != ExecutableFormat::None)
    out += " segment " + str(e.segment);
  out += conditions(e.conditions);
  const size_t entries =
      e.entry_names.size() > e.entry_offsets.size() ? e.entry_names.size() : e.entry_offsets.size();
  if (entries) out += " entries";
  for (size_t i = 0; i < entries; ++i) {
    out += " ";
    if (i < e.entry_names.size()) out += quoted(e.entry_names[i]);
    if (i < e.entry_offsets.size()) out += "@" + str(static_cast<int64_t>(e.entry_offsets[i]));
    if (i >= e.entry_launches.size()) continue;
    const EntryLaunch& launch = e.entry_launches[i];
    out += " workgroup " + str(launch.workgroup_x()) + " " + str(launch.workgroup_y()) + " " +
           str(launch.workgroup_z());
    if (launch.workgroup_memory()) out += " memory " + str(launch.workgroup_memory());
    if (launch.flags()) out += " flags " + str(launch.flags());
    for (const EntryTensor& t : e.entry_tensors) {
      if (t.entry() != i) continue;
      out += " tensor " + str(t.binding()) + " bytes " + str(t.element_size()) +
             (t.swizzled() ? " swizzled" : "");
      if (t.offset()) out += " offset " + str(static_cast<int64_t>(t.offset()));
      for (uint32_t k = 0; k < t.axis_count(); ++k) {
        const TensorAxis* axis = at(e.tensor_axes, t.first_axis() + k);
        if (!axis) break;
        out += " axis " + str(axis->size()) + " " + str(axis->stride()) + " " + str(axis->box());
        if (axis->flags()) out += " flags " + str(axis->flags());
      }
    }
  }
  return out + "\n";
}

std::string module_head(const ModuleFile& file, const DisassembleOptions& options) {
  const ModuleT& m = file.module;
  std::string out;
  if (!m.producer.empty()) out += "producer " + quoted(m.producer) + "\n";
  for (const auto& pair : m.metadata) out += "meta " + quoted(pair->key) + " " + quoted(pair->value) + "\n";
  for (const auto& s : m.symbols) {
    out += "symbol " + word_or_quoted(s->name) + " min " + str(s->min);
    if (s->max != INT64_MAX) out += " max " + str(s->max);
    if (s->hint >= 0) out += " hint " + str(s->hint);
    if (s->multiple_of != 1) out += " multiple " + str(s->multiple_of);
    out += "\n";
  }
  for (const auto& f : m.functions) {
    out += "function " + word_or_quoted(f->name) + "\n";
    for (const auto& a : f->inputs) out += argument(m, "input", *a);
    for (const auto& a : f->outputs) out += argument(m, "output", *a);
  }
  for (size_t i = 0; i < m.segments.size(); ++i) out += segment(file, i, options.segments);
  for (const auto& e : m.executables) out += executable(*e);
  for (const auto& c : m.constants) {
    out += "constant " + quoted(c->name) + " segment " + str(c->segment) + " offset " +
           str(static_cast<int64_t>(c->offset)) + " length " + str(static_cast<int64_t>(c->length)) + " " +
           tern_dtype_name(c->dtype) + " [";
    for (size_t i = 0; i < c->shape.size(); ++i) out += (i ? ", " : "") + str(c->shape[i]);
    out += c->encoding.empty() ? "]\n" : "] " + quoted(c->encoding) + "\n";
  }
  for (const auto& s : m.sources) {
    out += "source";
    for (size_t i = 0; i < s->nodes.size(); ++i)
      out += " " + quoted(s->nodes[i]) + " " + quoted(i < s->ops.size() ? s->ops[i] : "");
    if (!s->note.empty()) out += " note " + quoted(s->note);
    if (!s->work.empty()) out += " work " + quoted(s->work);
    out += "\n";
  }
  return out;
}

}  // namespace

std::string disassemble_routine(const ModuleT& module, const ProgramT& program, uint32_t routine) {
  return routine < program.routines.size()
             ? ProgramPrinter{module, program}.body(program.routines[routine], "  ")
             : "";
}

std::string disassemble_module(const ModuleFile& file, const DisassembleOptions& options) {
  std::string out = module_head(file, options);
  for (const auto& program : file.module.programs) {
    const ProgramPrinter printer{file.module, *program};
    out += "program " + lower(EnumNameTargetClass(program->target)) + conditions(program->conditions) + "\n";
    out += "  block " + str(program->block_size) + "\n";
    if (program->arena_bound >= 0) out += "  arena_bound " + str(program->arena_bound) + "\n";
    for (const Slot& slot : program->slots) out += "  slot " + printer.slot(slot) + "\n";
    if (options.commands) out += printer.commands();
    for (uint32_t i = 0; i < program->routines.size(); ++i) out += printer.routine(i);
    for (const Entry& entry : program->entries) {
      out += "  entry " + printer.routine_name(entry.main()) + " reserve " +
             printer.routine_name(entry.reserve()) + "\n";
    }
    if (program->init != kNone32) out += "  init " + printer.routine_name(program->init) + "\n";
  }
  return out;
}

}  // namespace tern::vm
