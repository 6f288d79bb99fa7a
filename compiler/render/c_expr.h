// Expressions as C text. Names of variables and buffers come from the statement printer.
#pragma once

#include <functional>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "compiler/kernel/ir.h"
#include "compiler/render/helpers.h"

namespace tern::render {

// How a local buffer of registers is spelled.
struct BufferSpelling {
  std::string name;
  bool separate = false;  // one C variable an element: name_0, name_1, …
};

class CExpr {
 public:
  CExpr(HelperSet& helpers, std::unordered_map<const kernel::BufferNode*, BufferSpelling>& buffers,
        std::function<std::string(const kernel::Var&)> name)
      : helpers_(helpers), buffers_(buffers), name_(std::move(name)) {}

  std::string text(const kernel::Expr& e);
  // A statement (with its semicolon) that stores.
  std::string store_text(const kernel::Stmt& s);
  const std::string& problem() const { return problem_; }

 private:
  std::string constant(const kernel::Expr& e);
  std::string op_text(const kernel::Expr& e);
  std::string float_op(const kernel::Expr& e, std::string_view scalar, const std::vector<std::string>& a);
  std::string int_op(const kernel::Expr& e, std::string_view scalar, const std::vector<std::string>& a);
  std::string bool_op(const kernel::Expr& e, const std::vector<std::string>& a);
  std::string complex_op(const kernel::Expr& e, std::string_view scalar, const std::vector<std::string>& a);
  std::string compare_text(const kernel::Expr& e, const std::vector<std::string>& a);
  std::string select_text(const kernel::Expr& e);
  std::string quantise_text(const kernel::Expr& e);
  std::string cast_text(const kernel::Expr& e);
  std::string load_text(const kernel::Expr& e);
  std::string reduce_text(const kernel::Expr& e);
  std::string shuffle_text(const kernel::Expr& e);
  std::string intrinsic_text(const kernel::Expr& e);
  std::string bitcast_text(const kernel::Expr& e);
  std::string min_max(const kernel::Expr& e, std::string_view scalar, const std::vector<std::string>& a);
  // The result of an operation on a carrier, brought back to the values of its type.
  std::string rounded(DType dtype, int lanes, std::string text);
  std::string decode(DType dtype, int lanes, std::string text);  // storage to carrier
  std::string encode(DType dtype, int lanes, std::string text);  // carrier to storage
  std::string mask_as(const kernel::VType& type, std::string mask);
  std::string call(std::string_view helper, std::string_view scalar, int lanes,
                   const std::vector<std::string>& args);
  std::string convert(std::string_view to, int lanes, std::string text);
  std::string splat(std::string_view scalar, int lanes, const std::string& text);
  void fail(std::string text) {
    if (problem_.empty()) problem_ = std::move(text);
  }

  HelperSet& helpers_;
  std::unordered_map<const kernel::BufferNode*, BufferSpelling>& buffers_;
  std::function<std::string(const kernel::Var&)> name_;
  std::string problem_;
};

bool is_emulated_float(DType dtype);
bool is_sub_byte(DType dtype);

}  // namespace tern::render
