// Bytecode for dimension expressions: evaluates Dims into registers and the parameter block, each at most
// once as long as its symbols keep their values.
#pragma once

#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "compiler/program/bytecode.h"
#include "compiler/support/dim.h"

namespace tern::program {

class DimWriter {
 public:
  explicit DimWriter(RoutineWriter& writer) : writer_(writer) {}

  // The register of a symbol, the same for the whole routine.
  uint32_t symbol_register(const std::string& name);
  // Says that the symbol's register has just been written: it is known from here on, and what was computed
  // from its former value is forgotten.
  void bound(const std::string& name);
  // Forgets what depends on the symbol without saying that it is known (it will be bound in a loop's body).
  void forget(const std::string& name);
  bool known(const Dim& dim) const;  // all symbols are bound

  // The register that holds the value; emits what is missing. known(dim) must hold.
  uint32_t value(const Dim& dim);
  // Makes the dimension's entry of the parameter block hold its value.
  void store(const Dim& dim, uint32_t block_entry);

  // What is computed on the path up to here. Saved before a branch or loop, restored behind it.
  struct State {
    std::unordered_set<Dim> computed, stored;
    std::unordered_set<std::string> bound;
  };
  State state() const { return state_; }
  void restore(State state) { state_ = std::move(state); }

 private:
  RoutineWriter& writer_;
  std::unordered_map<std::string, uint32_t> symbol_registers_;
  std::unordered_map<Dim, uint32_t> registers_;
  std::unordered_map<std::string, std::vector<Dim>> users_;  // of each symbol, among what has a register
  State state_;

  void compute(const Dim& dim, uint32_t to);
  void add_terms(const Dim& dim, uint32_t to);
  void fold(VmOp op, const std::vector<Dim>& args, uint32_t to);
};

bool uses_symbol(const Dim& dim, const std::string& name);
bool uses_any(const Dim& dim, const std::unordered_set<std::string>& names);

}  // namespace tern::program
