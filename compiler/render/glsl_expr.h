// Expressions as GLSL text. Variables' and buffers' names come from the statement printer; accesses go
// through functions that GlslMemory makes.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "compiler/kernel/narrow_indices.h"
#include "compiler/render/glsl_helpers.h"
#include "compiler/render/glsl_memory.h"
#include "compiler/render/glsl_tiles.h"

namespace tern::render {

class GlslExpr {
 public:
  // `exact_quotients`: f32 divisions are rounded as IEEE 754 says, at the price of a remainder.
  GlslExpr(GlslHelpers& helpers, GlslMemory& memory, const kernel::NarrowIndices& narrow,
           bool exact_quotients, std::function<std::string(const kernel::Var&)> name)
      : helpers_(helpers),
        memory_(memory),
        narrow_(narrow),
        exact_quotients_(exact_quotients),
        name_(std::move(name)) {}

  // In the type that carries e's values.
  std::string text(const kernel::Expr& e);
  // A scalar i64 as int: an index, a bound, a count.
  std::string index(const kernel::Expr& e);
  // From now on `var` has this value, of which accesses need to know what it is a multiple of.
  void note_let(const kernel::Var& var, const kernel::Expr& value);
  // A statement, or several.
  std::string store_text(const kernel::Stmt& s);
  std::string tile_text(const kernel::Stmt& s, const GlslTiles& tiles);  // of kTile
  // The first thing that has no form in GLSL, or "".
  const std::string& problem() const { return problem_; }

 private:
  using Texts = std::vector<std::string>;
  kernel::Expr of_element(const kernel::Expr& e, std::vector<std::pair<kernel::Var, kernel::Expr>>& loads);
  std::string map_text(const kernel::Stmt& s, const std::string& here);
  bool is_multiple(const kernel::Expr& e, int64_t n) const;
  std::string narrow_text(const kernel::Expr& e);
  std::string raw_load_text(const kernel::Expr& e);
  std::string raw_store_text(const kernel::Stmt& s);
  std::string constant(const kernel::Expr& e);
  std::string op_text(const kernel::Expr& e);
  std::string compare_text(const kernel::Expr& e);
  std::string bool_op(const kernel::Expr& e, const Texts& a);
  std::string float_op(const kernel::Expr& e, std::string_view scalar, const Texts& a);
  std::string int_op(const kernel::Expr& e, std::string_view scalar, const Texts& a);
  std::string complex_op(const kernel::Expr& e, std::string_view scalar, const Texts& a);
  std::string select_text(const kernel::Expr& e);
  std::string cast_text(const kernel::Expr& e);
  std::string cast_from_float(const kernel::Expr& e, std::string_view from, const std::string& x);
  std::string cast_complex(const kernel::Expr& e);
  std::string bitcast_text(const kernel::Expr& e);
  std::string words_text(const kernel::Expr& e);
  std::string halves_text(const kernel::Expr& e);
  std::string reduce_text(const kernel::Expr& e);
  std::string shuffle_text(const kernel::Expr& e);
  std::string intrinsic_text(const kernel::Expr& e);
  std::string load_text(const kernel::Expr& e);
  // A result brought back to the values of its type: narrow floats rounded, narrow integers wrapped.
  std::string rounded(DType dtype, int lanes, std::string text);
  std::string wrapped(DType dtype, std::string text);
  std::string call(std::string_view helper, std::string_view scalar, int lanes, const Texts& arguments);
  std::string limit(const kernel::Expr& e, GlslAccess& access);
  void fail(std::string text) {
    if (problem_.empty()) problem_ = std::move(text);
  }

  GlslHelpers& helpers_;
  GlslMemory& memory_;
  const kernel::NarrowIndices& narrow_;
  const bool exact_quotients_;
  std::unordered_map<const kernel::VarNode*, int64_t> multiples_;  // lets: a power of two that divides them
  std::function<std::string(const kernel::Var&)> name_;
  std::string problem_;
};

}  // namespace tern::render
