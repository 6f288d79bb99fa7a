// A program as text for --dump-dir and golden tests. Only for reading; `tern inspect` and vm/text have the
// form that can be assembled again.
#include <algorithm>

#include "compiler/program/bytecode.h"
#include "compiler/program/program.h"

namespace tern::program {
namespace {

struct OpRow {
  uint16_t number;
  const char* name;
  const char* operands[3];
};
constexpr OpRow kOps[] = {
#define TERN_VM_OP(number, name, a, b, c, meaning) {number, #name, {#a, #b, #c}},
#include "schemas/abi/vm_ops.def"
#undef TERN_VM_OP
};

class Printer {
 public:
  explicit Printer(const module::ProgramT& program) : program_(program) {}

  std::string text() {
    for (size_t i = 0; i < program_.slots.size(); ++i) slot(i);
    for (size_t i = 0; i < program_.lists.size(); ++i) list(i);
    for (size_t i = 0; i < program_.routines.size(); ++i) routine(i);
    return std::move(out_);
  }

 private:
  const module::ProgramT& program_;
  std::string out_;

  template <typename... Args>
  void line(fmt::format_string<Args...> format, Args&&... args) {
    out_ += fmt::format(format, std::forward<Args>(args)...) + '\n';
  }

  void slot(size_t index) {
    const module::Slot& slot = program_.slots[index];
    std::string what = module::EnumNameSlotKind(slot.kind());
    std::transform(what.begin(), what.end(), what.begin(), [](char c) { return c | 0x20; });
    if (slot.kind() == module::SlotKind::Arena)
      what += slot.bytes() < 0 ? " of computed size" : fmt::format(" of {} bytes", slot.bytes());
    else if (slot.kind() != module::SlotKind::Dynamic)
      what += fmt::format(" {}", slot.index());
    line("slot s{}: {}", index, what);
  }

  std::string operand(uint32_t code) const {
    return code >> 31 ? fmt::format("${}", code & 0x7fffffff) : fmt::format("{}", program_.numbers[code]);
  }

  std::string bindings(const module::Command& command) const {
    std::string out;
    for (uint32_t i = 0; i < command.binding_count(); ++i) {
      const module::Binding& b = program_.bindings[command.first_binding() + i];
      const char* access = b.access() == module::Access::Read    ? ""
                           : b.access() == module::Access::Write ? "="
                                                                 : "+=";
      out += fmt::format("{}{}s{}[{}, {}]", out.empty() ? "" : " ", access, b.slot(), operand(b.offset()),
                         operand(b.length()));
    }
    return out;
  }

  void list(size_t index) {
    const module::CommandList& list = program_.lists[index];
    line("list {}:", index);
    for (uint32_t i = 0; i < list.command_count(); ++i) {
      const module::Command& command = program_.commands[list.first_command() + i];
      switch (command.kind()) {
        case module::CommandKind::Dispatch:
          dispatch(command);
          break;
        case module::CommandKind::Copy:
          line("  copy {}", bindings(command));
          break;
        case module::CommandKind::Fill:
          line("  fill {} with {} ({} bytes)", bindings(command),
               operand(program_.params[command.first_param()]), command.pattern_bytes());
          break;
        default:
          line("  barrier");
          break;
      }
    }
  }

  void dispatch(const module::Command& command) {
    const module::KernelT& kernel = *program_.kernels[command.kernel()];
    std::string params, launches;
    for (uint32_t i = 0; i < command.param_count(); ++i)
      params += (i ? ", " : "") + operand(program_.params[command.first_param() + i]);
    for (size_t i = 0; i < kernel.variants.size(); ++i) {
      const module::Launch& launch = program_.launches[command.first_launch() + i];
      launches += fmt::format("{}{} tiles", i ? " | " : "", operand(launch.grid_x()));
      if (operand(launch.scratch()) != "0")
        launches += fmt::format(", scratch {}", operand(launch.scratch()));
    }
    line("  dispatch {}({}) {}{}", kernel.name, params, bindings(command), ": " + launches);
  }

  void routine(size_t index) {
    const module::Routine& routine = program_.routines[index];
    line("routine {}:", index < program_.routine_names.size() ? program_.routine_names[index] : "?");
    for (uint32_t i = 0; i < routine.instruction_count(); ++i)
      line("  {:4} {}", i, instruction(program_.code[routine.first_instruction() + i]));
  }

  std::string instruction(uint64_t code) const {
    const uint16_t number = static_cast<uint16_t>(code);
    const auto row =
        std::find_if(std::begin(kOps), std::end(kOps), [&](const OpRow& r) { return r.number == number; });
    if (row == std::end(kOps)) return fmt::format("? {:#x}", code);
    std::string out = row->name;
    bool first = true;
    for (int field = 0; field < 3; ++field) {
      const std::string_view kind = row->operands[field];
      if (kind == "X") continue;
      const bool wide = kind.size() > 2 && kind.substr(kind.size() - 2) == "32";
      const uint32_t value = static_cast<uint32_t>(wide ? code >> 32 : (code >> (16 * (field + 1))) & 0xffff);
      out += (first ? " " : ", ") + field_text(kind, value);
      first = false;
    }
    return out;
  }

  std::string field_text(std::string_view kind, uint32_t value) const {
    if (kind == "IMM") return fmt::format("{}", static_cast<int16_t>(value));
    if (kind == "IMM32") return fmt::format("{}", static_cast<int32_t>(value));
    if (kind == "NUM32") return fmt::format("{}", program_.numbers[value]);
    if (kind == "BLOCK32") return fmt::format("${}", value);
    if (kind == "LISTS32") return fmt::format("list {}", value);
    if (kind == "MESSAGE") return fmt::format("\"{}\"", program_.messages[value]);
    if (kind == "SLOT" || kind == "SLOT_D") return fmt::format("s{}", value);
    if (kind == "SYMBOL") return fmt::format("symbol {}", value);
    if (kind.substr(0, 2) == "I_") return fmt::format("i{}", value);
    if (kind.substr(0, 2) == "F_") return fmt::format("f{}", value);
    if (kind.substr(0, 2) == "B_" || kind.substr(0, 2) == "L_") return fmt::format("r{}", value);
    return fmt::format("{}", value);
  }
};

}  // namespace

std::string print_program(const module::ProgramT& program) {
  return Printer(program).text();
}

}  // namespace tern::program
