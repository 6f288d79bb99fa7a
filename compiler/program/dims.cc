#include "compiler/program/dims.h"

#include <algorithm>

#include "compiler/support/check.h"

namespace tern::program {
namespace {

bool fits_16(int64_t value) {
  return value >= INT16_MIN && value <= INT16_MAX;
}

// -1 * x: x, for a subtraction.
const Dim* negated(const Dim& dim) {
  const bool negative = dim.op() == Dim::Op::kMul && dim.args().size() == 2 && dim.args()[1].is_const(-1);
  return negative ? &dim.args()[0] : nullptr;
}

}  // namespace

bool uses_symbol(const Dim& dim, const std::string& name) {
  std::vector<std::string> names;
  dim.collect_symbols(names);
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool uses_any(const Dim& dim, const std::unordered_set<std::string>& names) {
  if (names.empty() || dim.is_const()) return false;
  std::vector<std::string> used;
  dim.collect_symbols(used);
  return std::any_of(used.begin(), used.end(),
                     [&](const std::string& name) { return names.count(name) > 0; });
}

uint32_t DimWriter::symbol_register(const std::string& name) {
  const auto known = symbol_registers_.find(name);
  if (known != symbol_registers_.end()) return known->second;
  return symbol_registers_[name] = writer_.int_register();
}

void DimWriter::bound(const std::string& name) {
  forget(name);
  state_.bound.insert(name);
}

void DimWriter::forget(const std::string& name) {
  state_.stored.erase(Dim::symbol(name));
  const auto users = users_.find(name);
  if (users == users_.end()) return;
  for (const Dim& dim : users->second) {
    state_.computed.erase(dim);
    state_.stored.erase(dim);
  }
}

bool DimWriter::known(const Dim& dim) const {
  std::vector<std::string> names;
  dim.collect_symbols(names);
  return std::all_of(names.begin(), names.end(),
                     [&](const std::string& name) { return state_.bound.count(name) > 0; });
}

uint32_t DimWriter::value(const Dim& dim) {
  if (dim.op() == Dim::Op::kSymbol) {
    TERN_CHECK(state_.bound.count(dim.symbol_name()), "symbol '{}' is used before it is bound",
               dim.symbol_name());
    return symbol_register(dim.symbol_name());
  }
  auto at = registers_.find(dim);
  if (at == registers_.end()) {
    at = registers_.emplace(dim, writer_.int_register()).first;
    std::vector<std::string> names;
    dim.collect_symbols(names);
    for (const std::string& name : names) users_[name].push_back(dim);
  }
  const uint32_t to = at->second;
  if (!state_.computed.count(dim)) {
    compute(dim, to);
    state_.computed.insert(dim);
  }
  return to;
}

void DimWriter::store(const Dim& dim, uint32_t block_entry) {
  if (state_.stored.count(dim)) return;
  writer_.emit_wide(VmOp::op_param_store, value(dim), block_entry);
  state_.stored.insert(dim);
}

void DimWriter::compute(const Dim& dim, uint32_t to) {
  switch (dim.op()) {
    case Dim::Op::kConst:
      return writer_.load_constant(to, dim.value());
    case Dim::Op::kAdd:
      return add_terms(dim, to);
    case Dim::Op::kMul:
      return fold(VmOp::op_mul, dim.args(), to);
    case Dim::Op::kFloorDiv:
      return fold(VmOp::op_floor_div, dim.args(), to);
    case Dim::Op::kCeilDiv:
      return fold(VmOp::op_ceil_div, dim.args(), to);
    case Dim::Op::kMod:
      return fold(VmOp::op_mod, dim.args(), to);
    case Dim::Op::kMin:
      return fold(VmOp::op_min, dim.args(), to);
    case Dim::Op::kMax:
      return fold(VmOp::op_max, dim.args(), to);
    case Dim::Op::kSymbol:
      break;
  }
  TERN_UNREACHABLE();
}

void DimWriter::add_terms(const Dim& dim, uint32_t to) {
  // A term that is added comes first, so that the rest can be added to or subtracted from it.
  std::vector<Dim> terms = dim.args();
  const auto positive = std::find_if(terms.begin(), terms.end(), [](const Dim& d) { return !negated(d); });
  if (positive != terms.end()) std::rotate(terms.begin(), positive, positive + 1);
  uint32_t sum = value(terms[0]);
  for (size_t i = 1; i < terms.size(); ++i) {
    if (terms[i].is_const() && fits_16(terms[i].value())) {
      writer_.emit(VmOp::op_add_imm, to, sum, static_cast<uint32_t>(terms[i].value()));
    } else if (const Dim* rest = negated(terms[i])) {
      writer_.emit(VmOp::op_sub, to, sum, value(*rest));
    } else {
      writer_.emit(VmOp::op_add, to, sum, value(terms[i]));
    }
    sum = to;
  }
}

void DimWriter::fold(VmOp op, const std::vector<Dim>& args, uint32_t to) {
  uint32_t first = value(args[0]);
  for (size_t i = 1; i < args.size(); ++i) {
    if (op == VmOp::op_mul && args[i].is_const() && fits_16(args[i].value())) {
      writer_.emit(VmOp::op_mul_imm, to, first, static_cast<uint32_t>(args[i].value()));
    } else {
      writer_.emit(op, to, first, value(args[i]));
    }
    first = to;
  }
}

}  // namespace tern::program
