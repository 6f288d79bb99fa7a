#include "schemas/abi/dtypes.h"
#include "schemas/module/file_header.h"
#include "vm/module/verify.h"

namespace tern::vm {
namespace {

using namespace module;

// One routine at a time, in ascending order, so that callees are known before their callers.
struct CodeVerifier {
  tern_allocator_t allocator;
  const Module* module;
  const ProgramView& program;
  uint32_t index = 0;  // of the routine at hand
  const Routine* routine = nullptr;
  RoutineFacts* facts = nullptr;
  RoutineFacts callees = {};  // maxima over the routines that this one calls

  bool register_fits(uint32_t item, const Routine& owner) const {
    const uint32_t number = item & 0xffffu;
    switch (item >> 16) {
      case kBankI:
        return number < owner.i_count();
      case kBankF:
        return number < owner.f_count();
      case kBankR:
        return number < owner.ref_count();
      default:
        return false;
    }
  }
  RefType ref_type(const Routine& owner, uint32_t number) const {
    return program.ref_types[owner.first_ref_type() + number];
  }
  bool ref(uint16_t number, RefType type) const {
    return number < routine->ref_count() && ref_type(*routine, number) == type;
  }

  // Items of a list that must match another routine's, bank by bank and type by type.
  bool lists_match(uint16_t mine, const Routine& callee, uint16_t theirs) const {
    const Slice<uint32_t> a = program.list(mine), b = program.list(theirs);
    if (a.size != b.size) return false;
    for (uint32_t i = 0; i < a.size; ++i) {
      if (!register_fits(a[i], *routine) || !register_fits(b[i], callee) || a[i] >> 16 != b[i] >> 16)
        return false;
      if (a[i] >> 16 == kBankR && ref_type(*routine, a[i] & 0xffff) != ref_type(callee, b[i] & 0xffff))
        return false;
    }
    return true;
  }
  bool list_of(uint16_t list, bool any_bank) const {
    if (list == kNone16) return true;
    if (list >= program.bytecode_lists.size) return false;
    for (uint32_t item : program.list(list)) {
      if (any_bank ? !register_fits(item, *routine) : item >= routine->i_count()) return false;
    }
    return true;
  }

  static void raise(uint32_t* value, uint32_t to) {
    if (to > *value) *value = to;
  }

  // value: the field, or both fields of a wide kind.
  bool operand(OperandKind kind, uint32_t value) {
    const uint16_t number = static_cast<uint16_t>(value);
    switch (kind) {
      case X:
        return value == 0;
      case I_W:
      case I_R:
        return value < routine->i_count();
      case F_W:
      case F_R:
        return value < routine->f_count();
      case B_W:
      case B_R:
      case B_T:
        return ref(number, RefType::Buffer);
      case L_W:
      case L_R:
      case L_T:
        return ref(number, RefType::List);
      case IMM:
      case IMM32:
        return true;
      case NUM32:
        return value < program.numbers.size;
      case BLOCK32:
        return value < program.table->block_size();
      case TARGET32:
        return value < routine->instruction_count();
      case ROUTINE:
        return value < index;
      case LISTS32:
        facts->submits = true;
        return value < program.lists.size;
      case SLOT:
        return value < program.slots.size && slot_reads(number);
      case SLOT_D:
        return value < program.slots.size && program.slots[value].kind() == SlotKind::Dynamic;
      case INPUT:
        raise(&facts->inputs, value + 1);
        return true;
      case OUTPUT:
        raise(&facts->outputs, value + 1);
        return true;
      case AXIS:
        return value < TERN_MAX_RANK;
      case SYMBOL:
        return value < count(module->symbols());
      case DTYPE:
        return tern_dtype_bits(value) != 0;
      case MESSAGE:
        return value < count(program.table->messages());
      case HOST:
        return value < count(program.table->host_functions());
      case LIST_I:
        return list_of(number, false);
      case LIST_REGS:
        return list_of(number, true);
    }
    return false;
  }

  bool call(Instruction in) {
    if (in.a >= index) return false;
    const Routine& callee = program.routines[in.a];
    if (!lists_match(in.b, callee, callee.params()) || !lists_match(in.c, callee, callee.results()))
      return false;
    const RoutineFacts& other = program.facts[in.a];
    raise(&callees.stack_i, other.stack_i);
    raise(&callees.stack_f, other.stack_f);
    raise(&callees.stack_r, other.stack_r);
    raise(&callees.depth, other.depth);
    raise(&facts->inputs, other.inputs);
    raise(&facts->outputs, other.outputs);
    facts->submits |= other.submits;
    return true;
  }

  bool slot_reads(uint16_t slot) {
    const SlotKind kind = program.slots[slot].kind();
    facts->submits = true;
    if (kind == SlotKind::Input) raise(&facts->inputs, program.slots[slot].index() + 1);
    if (kind == SlotKind::Output) raise(&facts->outputs, program.slots[slot].index() + 1);
    return true;
  }

  // The few rules that operand kinds do not say.
  bool special(uint16_t op, Instruction in) {
    switch (op) {
      case kOp_call:
        return call(in);
      case kOp_align:
        return in.imm() > 0;
      case kOp_buffer_set_dims:
        return program.list(in.b).size <= TERN_MAX_RANK;
      default:
        return true;
    }
  }

  tern_status_t instruction([[maybe_unused]] uint32_t at, uint64_t* word) {
    const Instruction in = decode(*word);
    const uint16_t op = op_index(in.op);
    if (op == kOpCount) {
      return tern_status_make(allocator, TERN_STATUS_INCOMPATIBLE,
                              "Opcode (0x%04x) of instruction %u in routine %u is newer than this reader.",
                              in.op, at, index);
    }
    const Operands kinds = kOpOperands[op];
    const bool good = operand(kinds.a, in.a) && operand(kinds.b, is_wide(kinds.b) ? in.bc() : in.b) &&
                      (is_wide(kinds.b) || operand(kinds.c, in.c)) && special(op, in);
    if (!good)
      return MALFORMED("An operand of instruction %u (opcode 0x%04x) in routine %u is impossible.", at, in.op,
                       index);
    *word = encode(op, in.a, in.b, in.c);
    return TERN_OK;
  }

  tern_status_t header() {
    const Routine& r = *routine;
    bool good = r.instruction_count() > 0 &&
                program.code.holds(r.first_instruction(), r.instruction_count()) &&
                program.ref_types.holds(r.first_ref_type(), r.ref_count());
    for (uint32_t i = 0; good && i < r.ref_count(); ++i) good = ref_type(r, i) <= RefType::List;
    for (uint16_t list : {r.params(), r.results()}) good = good && list_of(list, true);
    return good ? TERN_OK : MALFORMED("The header of routine %u is impossible.", index);
  }

  tern_status_t verify(uint64_t* code) {
    callees = {};
    TERN_RETURN_IF_ERROR(header());
    for (uint32_t i = 0; i < routine->instruction_count(); ++i)
      TERN_RETURN_IF_ERROR(instruction(i, code + i));
    const uint16_t last = decode(code[routine->instruction_count() - 1]).op;
    if (last != kOp_return && last != kOp_jump && last != kOp_fail && last != kOp_trap) {
      return MALFORMED("Routine %u runs past its end.", index);
    }
    facts->stack_i = callees.stack_i + routine->i_count();
    facts->stack_f = callees.stack_f + routine->f_count();
    facts->stack_r = callees.stack_r + routine->ref_count();
    facts->depth = callees.depth + 1;
    if (facts->depth > kMaxDepth || facts->stack_i > kMaxStack || facts->stack_f > kMaxStack ||
        facts->stack_r > kMaxStack) {
      return MALFORMED("Routine %u needs too deep a stack.", index);
    }
    return TERN_OK;
  }
};

tern_status_t verify_entries(tern_allocator_t allocator, const Module* module, const ProgramView& program) {
  const auto takes_no_arguments = [&](uint32_t routine) {
    return routine < program.routines.size && program.list(program.routines[routine].params()).size == 0;
  };
  const auto stands_alone = [&](uint32_t routine) {
    return routine == kNone32 || (takes_no_arguments(routine) && program.facts[routine].inputs == 0 &&
                                  program.facts[routine].outputs == 0);
  };
  for (uint32_t i = 0; i < program.entries.size; ++i) {
    const Entry& entry = program.entries[i];
    const Function* function = module->functions()->Get(i);
    const bool main =
        entry.main() == kNone32 || (takes_no_arguments(entry.main()) &&
                                    program.facts[entry.main()].inputs <= count(function->inputs()) &&
                                    program.facts[entry.main()].outputs <= count(function->outputs()));
    const bool reserve = stands_alone(entry.reserve()) &&
                         (entry.reserve() == kNone32 || !program.facts[entry.reserve()].submits);
    if (!main || !reserve)
      return MALFORMED("The entry of function '%s' is impossible.", text(function->name()));
  }
  if (!stands_alone(program.table->init())) return MALFORMED("The init routine is impossible.");
  return TERN_OK;
}

}  // namespace

tern_status_t verify_code(tern_allocator_t allocator, const Module* module, const ProgramView& program) {
  CodeVerifier verifier{allocator, module, program};
  // Each instruction belongs to one routine: in order, none twice. So the rewriting below sees each word
  // once.
  uint64_t end = 0;
  for (uint32_t i = 0; i < program.routines.size; ++i) {
    const Routine& routine = program.routines[i];
    if (routine.first_instruction() < end) return MALFORMED("Routine %u overlaps another.", i);
    end = uint64_t{routine.first_instruction()} + routine.instruction_count();
    verifier.index = i;
    verifier.routine = &routine;
    verifier.facts = &program.facts[i];
    *verifier.facts = {};
    if (end > program.code.size) return MALFORMED("Routine %u lies outside the code.", i);
    TERN_RETURN_IF_ERROR(
        verifier.verify(const_cast<uint64_t*>(program.code.data) + routine.first_instruction()));
  }
  return verify_entries(allocator, module, program);
}

}  // namespace tern::vm
