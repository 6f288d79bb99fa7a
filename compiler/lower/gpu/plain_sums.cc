#include "compiler/lower/gpu/plain_sums.h"

#include "compiler/lower/gpu/tile_ops.h"

namespace tern::lower::gpu {
namespace {

using kernel::Expr;
using kernel::int_const;
using kernel::ScalarOp;

// Whether a lane of an f32 vector is infinite or NaN: by its bits, since compilers may take either for
// impossible.
Expr none_finite(LoopWriter& w, const Expr& value) {
  constexpr int64_t kSize = 0x7fffffff, kInfinity = 0x7f800000;
  const int lanes = value->type.lanes;
  Expr size = kernel::op(ScalarOp::kAnd, {kernel::bitcast(value, {DType::kU32, lanes}),
                                          kernel::broadcast(int_const(kSize, DType::kU32), lanes)});
  for (int width = lanes / 2; width > 0; width /= 2) {
    std::vector<int> front, back;
    for (int i = 0; i < width; ++i) {
      front.push_back(i);
      back.push_back(width + i);
    }
    const Expr all = w.let("all", size);
    size = kernel::op(ScalarOp::kMax,
                      {kernel::shuffle(all, nullptr, front), kernel::shuffle(all, nullptr, back)});
  }
  return kernel::compare(ScalarOp::kGe, size, int_const(kInfinity, DType::kU32));
}

}  // namespace

Expr plain_unless_finite(LoopWriter& w, const Expr& sum, int64_t depth,
                         const std::function<Expr(const Expr& k, std::vector<kernel::Stmt>& lets)>& a,
                         const std::function<Expr(const Expr& k, int column)>& b) {
  const int lanes = sum->type.lanes;
  const kernel::Buffer plain =
      kernel::make_buffer("plain", sum->type, kernel::Scope::kRegister, kernel::Access::kReadWrite, 1);
  const Expr zero = int_const(0), none = kernel::broadcast(kernel::float_const(0.0), lanes);
  w.emit(kernel::alloc(plain));
  w.emit(kernel::store(plain, zero, sum));
  w.when(none_finite(w, sum), [&] {
    w.emit(kernel::store(plain, zero, none));
    w.loop("k", int_const(depth), [&](const Expr& k) {
      std::vector<kernel::Stmt> lets;
      const Expr row = a(k, lets);
      for (kernel::Stmt& let : lets) w.emit(std::move(let));
      const Expr element = w.let("row_element", row);
      std::vector<Expr> columns;
      for (int i = 0; i < lanes; ++i) columns.push_back(b(k, i));
      for (; columns.size() > 1; columns.resize(columns.size() / 2)) {
        for (size_t i = 0; i < columns.size() / 2; ++i)
          columns[i] = joined(columns[2 * i], columns[2 * i + 1]);
      }
      w.emit(kernel::store(plain, zero,
                           kernel::op(ScalarOp::kFma, {kernel::broadcast(element, lanes), columns.front(),
                                                       kernel::load(plain, zero, lanes)})));
    });
  });
  return w.let("sum", kernel::load(plain, zero, lanes));
}

}  // namespace tern::lower::gpu
