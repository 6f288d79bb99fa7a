// Expressions as C text. Names of variables and buffers come from the statement printer.
#pragma once

#include <functional>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "compiler/kernel/ir.h"
#include "compiler/kernel/narrow_indices.h"
#include "compiler/render/dialect.h"
#include "compiler/render/helpers.h"

namespace tern::render {

// How a local buffer of registers is spelled.
struct BufferSpelling {
  std::string name;
  bool separate = false;  // one C variable an element: name_0, name_1, …
};

class CExpr {
 public:
  // `narrow`: of dialects with 32-bit index arithmetic, else null.
  CExpr(HelperSet& helpers, std::unordered_map<const kernel::BufferNode*, BufferSpelling>& buffers,
        const kernel::NarrowIndices* narrow, std::function<std::string(const kernel::Var&)> name)
      : helpers_(helpers),
        dialect_(*helpers.target().dialect),
        buffers_(buffers),
        narrow_(narrow),
        name_(std::move(name)) {}

  std::string text(const kernel::Expr& e);       // an index, a bound or a condition, where it has one of i64
  std::string data_text(const kernel::Expr& e);  // what is kept or computed with
  std::string storage_text(const kernel::Expr& e);  // data in its storage type
  MemoryAccess access(const kernel::Buffer& buffer, const kernel::Expr& index, const kernel::Expr& limit,
                      int lanes);
  // What is known of a let of an index.
  void define_index(const kernel::Var& var, const kernel::Expr& value) {
    multiples_[var.get()] = known_multiple(value);
  }
  // The kernel holds no tile in registers: functions may keep tables there. (Where they do and a tile is
  // held, clang moves other constants in front of the tile's loops, and an element of it to memory.)
  void set_roomy() { roomy_ = true; }
  // A statement (with its semicolon) that stores.
  std::string store_text(const kernel::Stmt& s);
  const std::string& problem() const { return problem_; }

 private:
  std::string constant(const kernel::Expr& e);
  std::string op_text(const kernel::Expr& e, bool raw = false);
  std::string float_op(const kernel::Expr& e, std::string_view scalar, const std::vector<std::string>& a);
  std::string int_op(const kernel::Expr& e, std::string_view scalar, const std::vector<std::string>& a);
  std::string bool_op(const kernel::Expr& e, const std::vector<std::string>& a);
  std::string complex_op(const kernel::Expr& e, std::string_view scalar, const std::vector<std::string>& a);
  std::string compare_text(const kernel::Expr& e, const std::vector<std::string>& a);
  std::string select_text(const kernel::Expr& e);
  bool packs_bytes(int lanes) const;
  std::string quantise_text(const kernel::Expr& e);
  std::string cast_text(const kernel::Expr& e, bool raw = false);
  std::string load_text(const kernel::Expr& e, bool raw = false);
  std::string sub_byte_access(const kernel::Buffer& buffer, const kernel::Expr& index,
                              const kernel::Expr& limit, int lanes, const std::string& value);
  std::string limit_text(const kernel::Expr& limit, int lanes, bool as_mask);
  std::string index_text(const kernel::Expr& e);
  bool is_narrow(const kernel::Expr& e) const;
  std::string_view scalar_type(const kernel::Expr& e) const;
  int64_t known_multiple(const kernel::Expr& e) const;
  std::string elementwise(std::string_view which, const std::vector<std::string>& args) const;
  std::string number(double v, bool is_double) const;
  std::string reduce_text(const kernel::Expr& e);
  std::string shuffle_text(const kernel::Expr& e);
  std::string intrinsic_text(const kernel::Expr& e);
  std::string bitcast_text(const kernel::Expr& e, bool raw = false);
  // Operations that a dialect has on pairs of f16, and their bits.
  bool has_half_pairs(const kernel::Expr& e) const;
  std::string half_pairs_text(const kernel::Expr& e);
  std::string min_max(const kernel::Expr& e, std::string_view scalar, const std::vector<std::string>& a);
  // The result of an operation on a carrier, brought back to the values of its type.
  std::string rounded(DType dtype, int lanes, std::string text);
  std::string decode(DType dtype, int lanes, std::string text);  // storage to carrier
  std::string encode(DType dtype, int lanes, std::string text);  // carrier to storage
  std::string call(std::string_view helper, std::string_view scalar, int lanes,
                   const std::vector<std::string>& args);
  std::string convert(std::string_view to, int lanes, std::string text);
  std::string splat(std::string_view scalar, int lanes, const std::string& text);
  void fail(std::string text) {
    if (problem_.empty()) problem_ = std::move(text);
  }

  HelperSet& helpers_;
  const Dialect& dialect_;
  std::unordered_map<const kernel::BufferNode*, BufferSpelling>& buffers_;
  const kernel::NarrowIndices* narrow_;
  bool roomy_ = false;
  std::unordered_map<const kernel::VarNode*, int64_t> multiples_;
  bool wide_ = false;  // 32-bit variables take part in 64-bit arithmetic
  std::function<std::string(const kernel::Var&)> name_;
  std::string problem_;
};

bool is_emulated_float(DType dtype);
bool is_sub_byte(DType dtype);

}  // namespace tern::render
