// Statements as text: what the frames of the C family (c_frame.cc, cuda_frame.cc) share.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "compiler/render/c_expr.h"
#include "compiler/render/render.h"

namespace tern::render {

class KernelPrinter {
 public:
  KernelPrinter(const kernel::Kernel& kernel, const CTarget& target);
  virtual ~KernelPrinter() = default;
  Result<RenderedKernel> run();

 protected:
  // From the parameter list on; the function's declaration before it goes to `head`.
  virtual void frame(std::string& head) = 0;
  virtual std::string fail_text(int64_t code) = 0;
  virtual std::string workgroup_text(const std::string& element, const std::string& name,
                                     const kernel::Stmt& s) = 0;
  virtual std::string barrier_text(const kernel::Stmt& s) = 0;
  virtual std::string async_text(const kernel::Stmt& s) = 0;
  virtual void tile_stmt(const kernel::Stmt&) { fail("cooperative tiles have no form"); }
  // Declares a register buffer that holds tiles; false: it holds none.
  virtual bool tile_alloc(const kernel::Buffer&, const std::string&) { return false; }

  std::string name_of(const kernel::Var& var) { return name_of(var.get(), var->name); }
  std::string name_of(const void* node, const std::string& base);
  std::string fresh(const std::string& base);  // a name that nothing else has
  void line(std::string_view text) { out_ += std::string(2 * depth_, ' ') + std::string(text) + "\n"; }
  template <typename... Args>
  void linef(fmt::format_string<Args...> format, Args&&... args) {
    line(fmt::format(format, std::forward<Args>(args)...));
  }
  void body(const std::vector<kernel::Stmt>& statements);
  bool is_narrow(const kernel::Var& var) const { return narrow_ && narrow_->narrow(var.get()); }
  std::string_view index_type(const kernel::Var& var) const { return is_narrow(var) ? "i32" : "i64"; }
  void fail(std::string text) {
    if (problem_.empty()) problem_ = std::move(text);
  }

  const kernel::Kernel& kernel_;
  HelperSet helpers_;
  const Dialect& dialect_;
  std::unordered_map<const kernel::BufferNode*, BufferSpelling> buffers_;
  std::optional<kernel::NarrowIndices> narrow_;
  CExpr expr_;
  std::string out_;
  int depth_ = 0;
  int tiles_held_ = 0;  // by the blocks around the statement at hand

 private:
  bool is_reserved(const std::string& name) const;
  void stmt(const kernel::Stmt& s);
  void for_stmt(const kernel::Stmt& s);
  bool indexes_locals(const kernel::Stmt& loop) const;
  void alloc_stmt(const kernel::Stmt& s);
  void register_stmt(const kernel::Buffer& b, std::string name);
  std::string value_text(const kernel::Var& var, const kernel::Expr& value);
  void find_arrays();

  std::unordered_map<const void*, std::string> names_;
  std::unordered_set<std::string> taken_;
  std::unordered_set<const kernel::BufferNode*> arrays_;  // registers that need an address
  std::string problem_;
};

Result<RenderedKernel> render_c_kernel(const kernel::Kernel& kernel, const CTarget& target);
Result<RenderedKernel> render_cuda_kernel(const kernel::Kernel& kernel, const CTarget& target);

}  // namespace tern::render
