// Dim: an integer expression of symbols, for dimensions, sizes, offsets and grids.
//
// Immutable, interned for the life of the process (so copying and comparing cost one pointer; interning is
// thread-safe) and canonical: polynomials with integer coefficients over atoms, where an atom is a symbol or
// floordiv, ceildiv, mod, min, max of canonical expressions. Equal polynomials are the same Dim: (N+1)*2 ==
// 2*N+2. Arithmetic is on unbounded-looking int64: an overflow while building is an internal error for
// constants; at run time the bytecode checks every step.
//
// Text: `4`, `N`, `2*N+1`, `floordiv(N+1,2)`, `max(N,1)*H`. Symbols are C identifiers; `parse` reads what
// `text` prints.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "compiler/support/result.h"

namespace tern {

class Dim {
 public:
  enum class Op : uint8_t { kConst, kSymbol, kAdd, kMul, kFloorDiv, kCeilDiv, kMod, kMin, kMax };
  struct Node;  // dim.cc

  Dim() : Dim(int64_t{0}) {}
  Dim(int64_t value);
  Dim(int value) : Dim(static_cast<int64_t>(value)) {}
  static Dim symbol(std::string_view name);
  static Result<Dim> parse(std::string_view text);

  bool is_const() const;
  int64_t value() const;  // is_const() must hold
  std::optional<int64_t> maybe_value() const;
  bool is_const(int64_t v) const { return is_const() && value() == v; }
  // Structure, for code that walks an expression (bytecode emission, renderers). kAdd and kMul are n-ary with
  // n ≥ 2; a constant factor or term comes last. kConst: value(); kSymbol: symbol_name().
  Op op() const;
  const std::string& symbol_name() const;
  const std::vector<Dim>& args() const;

  bool operator==(const Dim& other) const { return node_ == other.node_; }
  bool operator!=(const Dim& other) const { return node_ != other.node_; }
  size_t hash() const { return reinterpret_cast<size_t>(node_) >> 4; }

  // Adds this expression's symbol names to `out`, each once, in first-seen order.
  void collect_symbols(std::vector<std::string>& out) const;
  Dim substitute(const std::function<std::optional<Dim>(const std::string&)>& f) const;
  // The value when every symbol has one (f returns it); nullopt when a symbol is unknown, on overflow, or on
  // division by zero.
  std::optional<int64_t> evaluate(const std::function<std::optional<int64_t>(const std::string&)>& f) const;
  std::string text() const;

 private:
  explicit Dim(const Node* node) : node_(node) {}
  const Node* node_;
  friend struct DimInterner;
};

Dim operator+(Dim a, Dim b);
Dim operator-(Dim a, Dim b);
Dim operator*(Dim a, Dim b);
Dim floordiv(Dim a, Dim b);
Dim ceildiv(Dim a, Dim b);
Dim mod(Dim a, Dim b);  // floor modulo: result has b's sign
Dim min(Dim a, Dim b);
Dim max(Dim a, Dim b);

using Shape = std::vector<Dim>;

Dim product(const Shape& shape);
bool is_static(const Shape& shape);
std::vector<int64_t> static_dims(const Shape& shape);  // is_static() must hold
std::string shape_text(const Shape& shape);            // "2x3xN"; "scalar" is ""

}  // namespace tern

template <>
struct std::hash<tern::Dim> {
  size_t operator()(const tern::Dim& d) const { return d.hash(); }
};
