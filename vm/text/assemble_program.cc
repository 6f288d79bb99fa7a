// The lines of a program: slots, kernels, command lists, routines and their instructions.
#include <bit>

#include "vm/text/assembler.h"

namespace tern::vm {

using namespace module;

bool Assembler::program_line(const std::string& word, LineReader& in) {
  if (word == "block") {
    program().block_size = in.index();
  } else if (word == "arena_bound") {
    program().arena_bound = in.number();
  } else if (word == "slot") {
    slot(in);
  } else if (word == "kernel") {
    kernel(in);
  } else if (word == "list") {
    in.expect("{");
    program().lists.emplace_back(static_cast<uint32_t>(program().commands.size()), 0);
    in_list_ = true;
  } else if (word == "routine") {
    begin_routine(in);
  } else if (word == "entry") {
    entry(in);
  } else if (word == "init") {
    program().init = routine_index(in);
  } else {
    return false;
  }
  return true;
}

void Assembler::slot(LineReader& in) {
  const std::string kind = in.name();
  if (kind == "arena") {
    const bool dynamic = in.accept("dynamic");
    program().slots.emplace_back(dynamic ? -1 : in.number(), 0, SlotKind::Arena);
  } else if (kind == "persistent") {
    program().slots.emplace_back(in.number(), 0, SlotKind::Persistent);
  } else if (kind == "dynamic") {
    program().slots.emplace_back(-1, 0, SlotKind::Dynamic);
  } else if (kind == "constants" || kind == "init_constants" || kind == "input" || kind == "output") {
    const SlotKind which = kind == "constants"        ? SlotKind::Constants
                           : kind == "init_constants" ? SlotKind::InitConstants
                           : kind == "input"          ? SlotKind::Input
                                                      : SlotKind::Output;
    program().slots.emplace_back(-1, in.index(), which);
  } else {
    in.fail("'" + kind + "' is no kind of slot");
  }
}

void Assembler::kernel(LineReader& in) {
  auto kernel = std::make_unique<KernelT>();
  kernel->name = in.name();
  in.expect("(");
  while (in.ok() && !in.accept(")")) {
    const std::string access = in.name();
    if (access != "read" && access != "write" && access != "readwrite")
      in.fail("'" + access + "' is no access");
    kernel->bindings.push_back(access == "read"    ? Access::Read
                               : access == "write" ? Access::Write
                                                   : Access::ReadWrite);
  }
  in.expect("params");
  kernel->param_count = in.index();
  in.expect("variants");
  while (in.ok() && !in.at_end()) {
    const uint32_t executable = in.index();
    in.expect(":");
    kernel->variants.emplace_back(executable, in.index());
  }
  kernels_[kernel->name] = static_cast<uint32_t>(program().kernels.size());
  program().kernels.push_back(std::move(kernel));
}

uint32_t Assembler::number_index(int64_t value) {
  const auto [at, added] = numbers_.try_emplace(value, static_cast<uint32_t>(program().numbers.size()));
  if (added) program().numbers.push_back(value);
  return at->second;
}

uint32_t Assembler::operand(LineReader& in) {
  if (in.accept("$")) return in.index() | 0x80000000u;
  return number_index(in.number());
}

// s0 +offset length
Binding Assembler::binding(LineReader& in, Access access) {
  const uint32_t slot = register_number(in, 's');
  in.expect("+");
  const uint32_t offset = operand(in);
  const uint32_t length = operand(in);
  return Binding(slot, offset, length, access);
}

bool Assembler::command_line(const std::string& word, LineReader& in) {
  const uint32_t first_binding = static_cast<uint32_t>(program().bindings.size());
  const uint32_t first_param = static_cast<uint32_t>(program().params.size());
  CommandKind kind = CommandKind::Barrier;
  uint8_t pattern_bytes = 0;
  uint32_t params = 0;
  if (word == "dispatch") {
    dispatch(in);
    return true;
  }
  if (word == "copy") {
    kind = CommandKind::Copy;
    program().bindings.push_back(binding(in, Access::Read));
    in.expect("to");
    program().bindings.push_back(binding(in, Access::Write));
  } else if (word == "fill") {
    kind = CommandKind::Fill;
    program().bindings.push_back(binding(in, Access::Write));
    in.expect("value");
    program().params.push_back(operand(in));
    params = 1;
    in.expect("bytes");
    pattern_bytes = static_cast<uint8_t>(in.number());
  } else if (word != "barrier") {
    return false;
  }
  const uint32_t source = in.accept("source") ? in.index() : kNone32;
  program().commands.emplace_back(kind, pattern_bytes,
                                  static_cast<uint16_t>(program().bindings.size() - first_binding), 0u,
                                  first_binding, first_param, params, 0u, source);
  program().lists.back().mutate_command_count(program().lists.back().command_count() + 1);
  return true;
}

// dispatch NAME [s0 +0 64, …] params 1 $2 grid 4 1 1 scratch 0 [grid … scratch …] source 0
void Assembler::dispatch(LineReader& in) {
  const std::string name = in.name();
  const auto found = kernels_.find(name);
  if (found == kernels_.end()) {
    in.fail("there is no kernel '" + name + "'");
    return;
  }
  const KernelT& kernel = *program().kernels[found->second];
  const uint32_t first_binding = static_cast<uint32_t>(program().bindings.size());
  const uint32_t first_param = static_cast<uint32_t>(program().params.size());
  const uint32_t first_launch = static_cast<uint32_t>(program().launches.size());
  in.expect("[");
  for (uint16_t i = 0; in.ok() && !in.accept("]"); ++i) {
    program().bindings.push_back(binding(in, i < kernel.bindings.size() ? kernel.bindings[i] : Access::Read));
  }
  if (in.accept("params")) {
    while (in.ok() && (in.peek().kind == Token::kNumber || in.peek().text == "$"))
      program().params.push_back(operand(in));
  }
  while (in.ok() && in.accept("grid")) {
    const uint32_t x = operand(in), y = operand(in), z = operand(in);
    in.expect("scratch");
    program().launches.emplace_back(x, y, z, operand(in));
  }
  const uint32_t source = in.accept("source") ? in.index() : kNone32;
  program().commands.emplace_back(
      CommandKind::Dispatch, uint8_t{0}, static_cast<uint16_t>(program().bindings.size() - first_binding),
      found->second, first_binding, first_param, static_cast<uint32_t>(program().params.size()) - first_param,
      first_launch, source);
  program().lists.back().mutate_command_count(program().lists.back().command_count() + 1);
}

uint32_t Assembler::routine_index(LineReader& in) {
  const std::string name = in.name();
  if (name == "none") return kNone32;
  const auto found = routines_.find(name);
  if (found != routines_.end()) return found->second;
  in.fail("there is no routine '" + name + "' before this line");
  return 0;
}

// entry MAIN reserve R: of the next function
void Assembler::entry(LineReader& in) {
  const uint32_t main = routine_index(in);
  const uint32_t reserve = in.accept("reserve") ? routine_index(in) : kNone32;
  program().entries.emplace_back(main, reserve);
}

// routine NAME i 3 f 1 refs buffer list params {i0} results {r1} {
void Assembler::begin_routine(LineReader& in) {
  const std::string name = in.name();
  uint16_t i_count = 0, f_count = 0, ref_count = 0;
  const uint32_t first_ref = static_cast<uint32_t>(program().ref_types.size());
  if (in.accept("i")) i_count = static_cast<uint16_t>(in.number());
  if (in.accept("f")) f_count = static_cast<uint16_t>(in.number());
  if (in.accept("refs")) {
    for (;; ++ref_count) {
      if (in.accept("buffer")) {
        program().ref_types.push_back(RefType::Buffer);
      } else if (in.accept("list")) {
        program().ref_types.push_back(RefType::List);
      } else {
        break;
      }
    }
  }
  const uint16_t params = in.accept("params") ? register_list(in, false) : kNone16;
  const uint16_t results = in.accept("results") ? register_list(in, false) : kNone16;
  in.expect("{");
  routines_[name] = static_cast<uint32_t>(program().routines.size());
  program().routines.emplace_back(static_cast<uint32_t>(program().code.size()), 0u, first_ref, i_count,
                                  f_count, ref_count, params, results);
  program().routine_names.push_back(name);
  labels_.clear();
  fixups_.clear();
  in_routine_ = true;
}

void Assembler::end_routine() {
  Routine& routine = program().routines.back();
  routine.mutate_instruction_count(static_cast<uint32_t>(program().code.size()) -
                                   routine.first_instruction());
  for (const Fixup& fixup : fixups_) {
    const auto label = labels_.find(fixup.label);
    if (label == labels_.end()) {
      *error_ = "there is no label '" + fixup.label + "' in the routine";
      return;
    }
    program().code[fixup.instruction] |= static_cast<uint64_t>(label->second) << 32;
  }
  in_routine_ = false;
}

void Assembler::instruction(const std::string& word, LineReader& in) {
  const uint32_t here =
      static_cast<uint32_t>(program().code.size()) - program().routines.back().first_instruction();
  if (in.accept(":")) {
    if (!labels_.try_emplace(word, here).second) in.fail("the label '" + word + "' stands twice");
    return;
  }
  const OpText* op = find_op(word);
  if (!op) {
    in.fail("there is no opcode '" + word + "'");
    return;
  }
  const uint32_t a = instruction_operand(*op, op->operands.a, in);
  uint32_t b = instruction_operand(*op, op->operands.b, in);
  uint32_t c = instruction_operand(*op, op->operands.c, in);
  if (is_wide(op->operands.b)) {
    c = b >> 16;
    b &= 0xffff;
  }
  program().code.push_back(
      encode(op->number, static_cast<uint16_t>(a), static_cast<uint16_t>(b), static_cast<uint16_t>(c)));
}

uint16_t Assembler::register_number(LineReader& in, char bank) {
  const std::string word = in.name();
  const bool good = word.size() > 1 && word.size() < 7 && word[0] == bank &&
                    word.find_first_not_of("0123456789", 1) == std::string::npos;
  if (in.ok() && !good)
    in.fail("expected " + std::string(1, bank) + "0, " + bank + "1 … instead of '" + word + "'");
  return good ? static_cast<uint16_t>(std::stoul(word.substr(1))) : uint16_t{0};
}

uint16_t Assembler::intern_list(const std::vector<uint32_t>& items) {
  if (items.empty()) return kNone16;
  const auto [at, added] = lists_.try_emplace(items, static_cast<uint16_t>(program().bytecode_lists.size()));
  if (added) {
    program().bytecode_lists.emplace_back(static_cast<uint32_t>(program().list_items.size()),
                                          static_cast<uint32_t>(items.size()));
    program().list_items.insert(program().list_items.end(), items.begin(), items.end());
  }
  return at->second;
}

// {i0, f1, r2}
uint16_t Assembler::register_list(LineReader& in, bool only_i) {
  std::vector<uint32_t> items;
  in.expect("{");
  while (in.ok() && !in.accept("}")) {
    const char bank = in.peek().text.empty() ? '?' : in.peek().text[0];
    if (only_i && bank != 'i') in.fail("only integer registers can stand here");
    const uint32_t high = bank == 'f' ? kBankF : bank == 'r' ? kBankR : kBankI;
    items.push_back(high << 16 | register_number(in, high == kBankI ? 'i' : bank));
  }
  return intern_list(items);
}

uint32_t Assembler::intern(std::vector<std::string>* pool, const std::string& text) {
  for (size_t i = 0; i < pool->size(); ++i) {
    if ((*pool)[i] == text) return static_cast<uint32_t>(i);
  }
  pool->push_back(text);
  return static_cast<uint32_t>(pool->size() - 1);
}

uint32_t Assembler::instruction_operand(const OpText& op, OperandKind kind, LineReader& in) {
  switch (kind) {
    case X:
      return 0;
    case I_W:
    case I_R:
      return register_number(in, 'i');
    case F_W:
    case F_R:
      return register_number(in, 'f');
    case B_W:
    case B_R:
    case B_T:
    case L_W:
    case L_R:
    case L_T:
      return register_number(in, 'r');
    case IMM: {
      const int64_t value = in.number();
      if (value < INT16_MIN || value > INT16_MAX) in.fail("the number does not fit 16 bits");
      return static_cast<uint16_t>(value);
    }
    case IMM32: {
      const int64_t value = in.number();
      if (value < INT32_MIN || value > INT32_MAX) in.fail("the number does not fit 32 bits");
      return static_cast<uint32_t>(value);
    }
    case NUM32: {
      const Token token = in.peek();
      const int64_t value = in.number();
      const double real = static_cast<double>(value);
      const bool as_double = op.number == kOpNumbers[kOp_const_f] && !token.is_float &&
                             token.text.find('x') == std::string::npos;
      return number_index(as_double ? std::bit_cast<int64_t>(real) : value);
    }
    case BLOCK32:
      in.expect("$");
      return in.index();
    case TARGET32:
      fixups_.push_back({static_cast<uint32_t>(program().code.size()), in.name()});
      return 0;
    case ROUTINE:
      return routine_index(in);
    case LISTS32:
    case INPUT:
    case OUTPUT:
    case AXIS:
      return in.index();
    case SLOT:
    case SLOT_D:
      return register_number(in, 's');
    case SYMBOL:
      return symbol_index(in.name(), in);
    case DTYPE: {
      const std::string name = in.name();
#define TERN_DTYPE(id, enumerator, text, bits, what) \
  if (name == text) return id;
#include "schemas/abi/dtypes.def"
#undef TERN_DTYPE
      in.fail("'" + name + "' is no element type");
      return 0;
    }
    case MESSAGE:
      return intern(&program().messages, in.name());
    case HOST:
      return intern(&program().host_functions, in.name());
    case LIST_I:
      return register_list(in, true);
    case LIST_REGS:
      return register_list(in, false);
  }
  return 0;
}

}  // namespace tern::vm
