// The frame of a CPU kernel: schemas/abi/kernel_abi.h's function, its bindings, and the loop over tiles.
#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/stream_stores.h"
#include "compiler/render/c_tiles.h"
#include "compiler/render/kernel_printer.h"
#include "schemas/abi/kernel_abi.h"

namespace tern::render {

using kernel::Buffer;
using kernel::Stmt;
using kernel::Var;

namespace {

class CKernelPrinter : public KernelPrinter {
 public:
  CKernelPrinter(const kernel::Kernel& kernel, const CTarget& target)
      : KernelPrinter(kernel, target), tiles_(kernel, helpers_) {}

 private:
  void frame(std::string& head) override;
  std::string fail_text(int64_t code) override {
    fence();
    return fmt::format("return {};", code);
  }
  std::string workgroup_text(const std::string&, const std::string&, const Stmt&) override {
    fail("workgroup memory has no C form");
    return "";
  }
  std::string barrier_text(const Stmt&) override {
    fail("a barrier has no C form");
    return "";
  }
  std::string async_text(const Stmt&) override {
    fail("an asynchronous copy has no C form");
    return "";
  }
  bool tile_alloc(const Buffer& buffer, const std::string& name) override;
  void tile_stmt(const Stmt& s) override;
  void bindings();
  void tile_loop();
  void fence();

  CTiles tiles_;
};

bool CKernelPrinter::tile_alloc(const Buffer& buffer, const std::string& name) {
  if (!tiles_.has(buffer)) return false;
  if (tiles_held_ + buffer->size > kernel::kCpuTiles)
    fail(fmt::format("more than {} tiles are held at a time", kernel::kCpuTiles));
  const std::string declared = tiles_.declare(buffer, name, tiles_held_);
  if (!declared.empty()) line(declared);
  tiles_held_ += static_cast<int>(buffer->size);
  return true;
}

void CKernelPrinter::tile_stmt(const Stmt& s) {
  const std::string text = tiles_.text(
      s, [this](const kernel::Expr& e) { return expr_.text(e); },
      [this](const Buffer& b) { return buffers_.at(b.get()).name; });
  if (text.empty()) return fail("tiles of such a shape, or of such an operation, have no form");
  line(text);
}

// x86's streaming stores are ordered by nothing else, not by the release with which a worker says that it is
// done.
void CKernelPrinter::fence() {
  if (helpers_.target().arch == CArch::kX86_64 && kernel::has_streaming_stores(kernel_.body))
    line("__builtin_ia32_sfence();");
  if (const std::string release = tiles_.release(); !release.empty()) line(release);
}

void CKernelPrinter::bindings() {
  bool aliased = false;
  for (const Buffer& b : kernel_.bindings) aliased |= b->may_alias;
  for (size_t k = 0; k < kernel_.bindings.size(); ++k) {
    const Buffer& b = kernel_.bindings[k];
    bool reads = b->access == kernel::Access::kRead;
    bool unique = !aliased || !(b->may_alias || reads);
    std::string name = name_of(b.get(), b->name);
    buffers_[b.get()] = {name, false};
    std::string element = helpers_.named_type(storage(b->type.dtype), 1);
    linef("{}{}* {}const {} = ({}{}*)args->bindings[{}];", reads ? "const " : "", element,
          unique ? "restrict " : "", name, reads ? "const " : "", element, k);
  }
  for (size_t k = 0; k < kernel_.params.size(); ++k) {
    const Var& v = kernel_.params[k].var;
    linef("const i64 {} = args->params[{}];", name_of(v), k);
  }
}

// Coordinates count up with the tiles: one division a call, none a tile.
void CKernelPrinter::tile_loop() {
  const auto& grid = kernel_.grid;
  std::vector<std::string> axes, counters, extents;
  for (const kernel::GridAxis& g : grid) {
    axes.push_back(name_of(g.var));
    counters.push_back(fresh(axes.back() + "_tile"));
    extents.push_back(expr_.text(g.extent_expr));
  }
  if (!grid.empty()) {
    line("if (tile_begin >= tile_end) return 0;");
    std::string rest = "tile_begin";
    for (size_t k = grid.size(); k-- > 1;) {
      std::string above = fresh(axes[k] + "_rest");
      linef("i64 {} = {} % {};", counters[k], rest, extents[k]);
      linef("const i64 {} = {} / {};", above, rest, extents[k]);
      rest = above;
    }
    linef("i64 {} = {};", counters[0], rest);
  }
  if (const std::string configure = tiles_.configure(); !configure.empty()) line(configure);
  line(dialect_.stays_loop);
  line("for (i64 tile = tile_begin; tile < tile_end; ++tile) {");
  ++depth_;
  for (size_t k = 0; k < grid.size(); ++k) linef("const i64 {} = {};", axes[k], counters[k]);
  --depth_;
  body(kernel_.body);
  if (!grid.empty()) {
    ++depth_;
    for (size_t k = grid.size(); k-- > 1;) {
      linef("if (++{} == {}) {{", counters[k], extents[k]);
      ++depth_;
      linef("{} = 0;", counters[k]);
    }
    linef("++{};", counters[0]);
    for (size_t k = grid.size(); k-- > 1;) {
      --depth_;
      line("}");
    }
    --depth_;
  }
  line("}");
}

void CKernelPrinter::frame(std::string& head) {
  head = "i32 ";
  line("(const kernel_args* args, i64 tile_begin, i64 tile_end, void* scratch, i64 scratch_size) {");
  depth_ = 1;
  if (kernel_.scratch_bytes > 0) {
    linef("if (scratch_size < {}) return {};", kernel_.scratch_bytes,
          static_cast<int>(TERN_KERNEL_SCRATCH_TOO_SMALL));
  }
  bindings();
  tile_loop();
  fence();
  line("return 0;");
  depth_ = 0;
  line("}");
}

}  // namespace

Result<RenderedKernel> render_c_kernel(const kernel::Kernel& kernel, const CTarget& target) {
  return CKernelPrinter(kernel, target).run();
}

}  // namespace tern::render
