// The C text that a kernel needs beside its own body: type definitions and helper functions (vector math,
// masked accesses, conversions), each emitted once and only when used. A helper is instantiated for a number
// of lanes from a template row (helper_table.h).
#pragma once

#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "compiler/kernel/ir.h"
#include "compiler/render/c_target.h"

namespace tern::render {

// Dependencies come before what uses them; equal keys have equal text.
struct Helper {
  std::string key;
  std::string text;
};

// A template row: see helper_table.h for the notation.
struct HelperRow {
  std::string_view name;
  std::string_view text;
};

class HelperSet {
 public:
  explicit HelperSet(const CTarget& target) : target_(target) {}
  const CTarget& target() const { return target_; }

  // The C type of a value: narrow floats are carried as f32, sub-byte integers as bytes, bool vectors as
  // vectors of bits.
  std::string type(kernel::VType type);
  // The C type by its own name ("f32", "u16") and lanes.
  std::string named_type(std::string_view scalar, int lanes);
  // The unaligned, aliasing form of a vector type, for accesses to memory.
  std::string memory_type(std::string_view scalar, int lanes);
  // Instantiates the row "name" on element type `scalar`; the function's C name.
  std::string function(std::string_view name, std::string_view scalar, int lanes);

  bool has(std::string_view name, std::string_view scalar) const;
  const std::vector<Helper>& helpers() const { return helpers_; }

 private:
  std::string expand(std::string_view text, std::string_view scalar, int lanes, std::string_view self);
  std::string lane_by_lane(std::string_view text, std::string_view name, std::string_view scalar, int lanes,
                           std::string_view self);
  std::string spelled(std::string text) const;
  void emit(std::string key, std::string text);

  const CTarget& target_;
  std::unordered_set<std::string> known_;
  std::vector<Helper> helpers_;
};

// The name of the C type that carries a value of this element type: "f32" for f16, "i8" for i4, "b1" for
// bool.
std::string_view carrier(DType dtype);
// The name of the C type in memory: "u16" for f16, "u8" for bool, f8 and packed types.
std::string_view storage(DType dtype);
// Bits of a C scalar type by name.
int c_type_bits(std::string_view scalar);

}  // namespace tern::render
