// tern inspect: what is in a module file.
#include <algorithm>
#include <cstdio>

#include "schemas/abi/dtypes.h"
#include "tools/tern/commands.h"
#include "vm/module/module.h"
#include "vm/text/text.h"

namespace tern::cli {
namespace {

using namespace module;
using command_line::printable;

std::string count(uint64_t number, const char* one, const char* many) {
  return command_line::counted(static_cast<long long>(number), one, many);
}

class Inspector {
 public:
  // newer: how many programs more there are, which this reader does not know.
  Inspector(const vm::ModuleFile& file, size_t file_size, int newer)
      : file_(file), module_(file.module), file_size_(file_size), newer_(newer) {}

  void print(const InspectOptions& options) const {
    std::printf("%s by %s\n", bytes_text(static_cast<double>(file_size_)).c_str(),
                printable(module_.producer).c_str());
    for (const auto& function : module_.functions) {
      std::printf("\n%s %s\n", bold("function").c_str(), printable(function->name).c_str());
      for (const auto& input : function->inputs)
        std::printf("  input  %s %s%s\n", printable(input->name).c_str(), type(*input).c_str(),
                    input->optional ? " (optional)" : "");
      for (const auto& output : function->outputs)
        std::printf("  output %s %s\n", printable(output->name).c_str(), type(*output).c_str());
    }
    for (const auto& symbol : module_.symbols) {
      std::printf("  dimension %s from %lld", printable(symbol->name).c_str(),
                  static_cast<long long>(symbol->min));
      if (symbol->max != INT64_MAX) std::printf(" to %lld", static_cast<long long>(symbol->max));
      if (symbol->hint >= 0) std::printf(", usually %lld", static_cast<long long>(symbol->hint));
      std::printf("\n");
    }
    for (const auto& program : module_.programs) print_program(*program, options);
    if (newer_)
      std::printf("\n%s more for a newer tern\n",
                  count(static_cast<uint64_t>(newer_), "program", "programs").c_str());
    std::printf("\n%s\n", bold("sizes").c_str());
    for (const auto& executable : module_.executables) {
      std::printf("  code %s: %s, %s, %s%s\n", printable(executable->name).c_str(),
                  bytes_text(static_cast<double>(segment_bytes(executable->segment))).c_str(),
                  count(kernel_count(*executable), "kernel", "kernels").c_str(),
                  EnumNameExecutableFormat(executable->format),
                  conditions(executable->conditions, ", for devices of ").c_str());
    }
    std::printf("  weights: %s in %s\n", bytes_text(static_cast<double>(weight_bytes())).c_str(),
                count(module_.constants.size(), "constant", "constants").c_str());
  }

  std::string json(const InspectOptions& options) const {
    Json out;
    out.open('{').text("producer", module_.producer).integer("file_bytes", static_cast<int64_t>(file_size_));
    out.integer("weight_bytes", weight_bytes()).integer("newer_programs", newer_);
    out.open('[', "functions");
    for (const auto& function : module_.functions) {
      out.open('{').text("name", function->name);
      arguments(out, "inputs", function->inputs);
      arguments(out, "outputs", function->outputs);
      out.close();
    }
    out.close().open('[', "symbols");
    for (const auto& symbol : module_.symbols) {
      out.open('{').text("name", symbol->name).integer("min", symbol->min).integer("max", symbol->max);
      out.integer("hint", symbol->hint).close();
    }
    out.close().open('[', "executables");
    for (const auto& executable : module_.executables) {
      out.open('{').text("name", executable->name).integer("bytes", segment_bytes(executable->segment));
      out.integer("kernels", static_cast<int64_t>(kernel_count(*executable)));
      out.text("format", EnumNameExecutableFormat(executable->format));
      out.text("conditions", conditions(executable->conditions, ""));
      launches(out, *executable);
      out.close();
    }
    out.close().open('[', "programs");
    for (const auto& program : module_.programs) program_json(out, *program, options);
    return out.take();
  }

 private:
  const vm::ModuleFile& file_;
  const ModuleT& module_;
  size_t file_size_;
  int newer_;

  int64_t segment_bytes(uint32_t segment) const {
    return segment < file_.segments.size() ? static_cast<int64_t>(file_.segments[segment].size()) : 0;
  }
  int64_t weight_bytes() const {
    int64_t bytes = 0;
    for (const auto& constant : module_.constants) bytes += static_cast<int64_t>(constant->length);
    return bytes;
  }

  std::string dim(const ArgumentT& argument, size_t axis) const {
    if (axis < argument.dim_text.size()) return argument.dim_text[axis];
    const Dim& d = argument.dims[axis];
    const bool named = d.kind() == DimKind::Symbol && static_cast<size_t>(d.value()) < module_.symbols.size();
    return named                           ? module_.symbols[static_cast<size_t>(d.value())]->name
           : d.kind() == DimKind::Computed ? "?"
                                           : std::to_string(d.value());
  }
  std::string type(const ArgumentT& argument) const {
    std::string out = std::string(tern_dtype_name(argument.dtype)) + "[";
    for (size_t i = 0; i < argument.dims.size(); ++i) out += (i ? "x" : "") + dim(argument, i);
    return out + "]";
  }

  static size_t kernel_count(const ExecutableT& executable) {
    return std::max(executable.entry_names.size(), executable.entry_offsets.size());
  }

  // "cuda_compute_capability >= 80 and …"; with `before` if there are any.
  static std::string conditions(const std::vector<Condition>& all, const std::string& before) {
    std::string out;
    for (const Condition& condition : all) {
      std::string name = "capability " + std::to_string(condition.capability());
#define TERN_CAPABILITY(id, row, meaning) \
  if (condition.capability() == id) name = #row;
#include "schemas/abi/capabilities.def"
#undef TERN_CAPABILITY
      const char* op = condition.op() == ConditionOp::AtLeast  ? " >= "
                       : condition.op() == ConditionOp::AtMost ? " <= "
                                                               : " == ";
      out += (out.empty() ? before : " and ") + name + op + std::to_string(condition.value());
    }
    return out;
  }

  // "256 threads, 16384 B of workgroup memory"; empty on CPUs.
  std::string launch_text(const Variant& variant) const {
    const auto& executable = *module_.executables[variant.executable()];
    if (variant.entry() >= executable.entry_launches.size()) return {};
    const EntryLaunch& launch = executable.entry_launches[variant.entry()];
    const uint64_t threads = uint64_t{launch.workgroup_x()} * launch.workgroup_y() * launch.workgroup_z();
    std::string out = count(threads, "thread", "threads");
    if (launch.workgroup_memory())
      out += ", " + bytes_text(launch.workgroup_memory()) + " of workgroup memory";
    return out;
  }

  static void launches(Json& out, const ExecutableT& executable) {
    if (executable.entry_launches.empty()) return;
    out.open('[', "entries");
    for (size_t i = 0; i < executable.entry_launches.size() && i < executable.entry_names.size(); ++i) {
      const EntryLaunch& launch = executable.entry_launches[i];
      out.open('{').text("name", executable.entry_names[i]).open('[', "workgroup");
      out.integer({}, launch.workgroup_x())
          .integer({}, launch.workgroup_y())
          .integer({}, launch.workgroup_z());
      out.close().integer("workgroup_memory", launch.workgroup_memory());
      out.integer("flags", launch.flags()).close();
    }
    out.close();
  }

  static const char* target_name(TargetClass target) { return EnumNameTargetClass(target); }

  std::string source_text(uint32_t index) const {
    if (index >= module_.sources.size()) return {};
    const SourceT& source = *module_.sources[index];
    std::string out;
    for (size_t i = 0; i < source.nodes.size(); ++i) {
      const std::string op = i < source.ops.size() ? source.ops[i] : "";
      out += (i ? ", " : "") + (source.nodes[i].empty() ? op : source.nodes[i] + " (" + op + ")");
    }
    return out;
  }

  void print_program(const ProgramT& program, const InspectOptions& options) const {
    std::printf("\n%s for %s%s", bold("program").c_str(), target_name(program.target),
                conditions(program.conditions, " if ").c_str());
    for (const Slot& slot : program.slots) {
      if (slot.kind() == SlotKind::Arena && slot.bytes() >= 0)
        std::printf(", arena %s", bytes_text(static_cast<double>(slot.bytes())).c_str());
      if (slot.kind() == SlotKind::Arena && slot.bytes() < 0) std::printf(", arena by dimensions");
    }
    std::printf(", %s, %s\n", count(program.code.size(), "instruction", "instructions").c_str(),
                count(program.lists.size(), "command list", "command lists").c_str());
    int number = 0;
    for (size_t list = 0; list < program.lists.size(); ++list) {
      if (program.lists.size() > 1) std::printf("  list %zu\n", list);
      const CommandList& range = program.lists[list];
      for (uint32_t i = 0; i < range.command_count(); ++i) {
        const Command& command = program.commands[range.first_command() + i];
        if (command.kind() != CommandKind::Dispatch) {
          if (command.kind() != CommandKind::Barrier)
            std::printf("        %s\n", command.kind() == CommandKind::Copy ? "copy" : "fill");
          continue;
        }
        const std::string note =
            command.source() < module_.sources.size() ? module_.sources[command.source()]->note : "";
        const KernelT& kernel = *program.kernels[command.kernel()];
        const std::string launch = launch_text(kernel.variants[0]);
        std::printf("  %4d  %s: %s%s%s\n        %s\n", number++, printable(kernel.name).c_str(),
                    printable(note).c_str(), note.empty() || launch.empty() ? "" : ", ", launch.c_str(),
                    printable(source_text(command.source())).c_str());
      }
    }
    if (options.commands || options.bytecode) {
      vm::DisassembleOptions text;
      text.segments = false;
      text.commands = options.commands;
      if (options.commands)
        std::printf("\n%s\n", printable(vm::disassemble_module(file_, text), true).c_str());
      for (uint32_t i = 0; options.bytecode && i < program.routines.size(); ++i)
        std::printf("\n%s", printable(vm::disassemble_routine(module_, program, i), true).c_str());
    }
  }

  void arguments(Json& out, const char* key, const std::vector<std::unique_ptr<ArgumentT>>& list) const {
    out.open('[', key);
    for (const auto& argument : list) {
      out.open('{').text("name", argument->name).text("dtype", tern_dtype_name(argument->dtype));
      out.open('[', "dims");
      for (size_t i = 0; i < argument->dims.size(); ++i) {
        if (argument->dims[i].kind() == DimKind::Static)
          out.integer({}, argument->dims[i].value());
        else
          out.text({}, dim(*argument, i));
      }
      out.close().close();
    }
    out.close();
  }

  void program_json(Json& out, const ProgramT& program, const InspectOptions& options) const {
    out.open('{').text("target", target_name(program.target));
    out.text("conditions", conditions(program.conditions, ""));
    for (const Slot& slot : program.slots) {
      if (slot.kind() == SlotKind::Arena) out.integer("arena_bytes", slot.bytes());
    }
    out.integer("arena_bound", program.arena_bound);
    out.integer("instructions", static_cast<int64_t>(program.code.size()));
    out.integer("command_lists", static_cast<int64_t>(program.lists.size()));
    out.open('[', "dispatches");
    for (const Command& command : program.commands) {
      if (command.kind() != CommandKind::Dispatch) continue;
      out.open('{').text("kernel", program.kernels[command.kernel()]->name);
      if (command.source() < module_.sources.size()) {
        const SourceT& source = *module_.sources[command.source()];
        out.text("note", source.note).open('[', "nodes");
        for (const std::string& node : source.nodes) out.text({}, node);
        out.close().open('[', "ops");
        for (const std::string& op : source.ops) out.text({}, op);
        out.close();
      }
      out.close();
    }
    out.close();
    if (options.bytecode) {
      out.open('[', "bytecode");
      for (uint32_t i = 0; i < program.routines.size(); ++i)
        out.text({}, vm::disassemble_routine(module_, program, i));
      out.close();
    }
    out.close();
  }
};

}  // namespace

int inspect_command(const InspectOptions& options) {
  // Verified first: what is printed is what would run.
  const Handle<tern_instance_t> instance = make_instance();
  const Handle<tern_module_t> module = load_module(instance.get(), options.module);
  size_t bytes = 0;
  vm::ModuleFile file = read_module_file(options.module, &bytes);
  const size_t all = file.module.programs.size();
  // What is newer than the reader was verified as far as that alone.
  for (size_t i = all; i-- > 0;) {
    if (i < module.get()->program_count && module.get()->programs[i].unusable == TERN_STATUS_OK) continue;
    file.module.programs.erase(file.module.programs.begin() + static_cast<std::ptrdiff_t>(i));
  }
  const Inspector inspector(file, bytes, static_cast<int>(all - file.module.programs.size()));
  if (options.json) {
    std::fputs(inspector.json(options).c_str(), stdout);
  } else {
    inspector.print(options);
  }
  return kSuccess;
}

}  // namespace tern::cli
