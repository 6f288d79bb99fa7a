#include <algorithm>
#include <cmath>

#include "compiler/graph/eval.h"
#include "compiler/scalar/apply.h"

namespace tern::graph {
namespace {

using scalar::ScalarOp;

// Calls body(values, identity, fold, finish) with the elements as double, int64 or uint64: the accumulation
// type. finish(vector, shape) makes the result tensor of the type `to`.
template <typename Body>
Result<TensorDataPtr> with_accumulator(ScalarOp op, const TensorData& in, DType to, Body body) {
  const DType dtype = in.dtype();
  const scalar::ScalarValue identity = fold_identity(op, dtype);
  TensorDataPtr result;
  bool known = false;
  const auto finish = [&](DType wide, const void* data, Indices shape) {
    const auto* bytes = static_cast<const uint8_t*>(data);
    auto out = TensorData::make(to, std::move(shape));
    scalar::eval_cast_array(wide, to, false, out->count(), bytes, out->mutable_bytes().data());
    result = out;
  };
  if (is_float(dtype)) {
    const std::vector<double> values = to_doubles(in);
    known = scalar::visit_float_binary<double>(op, [&](auto fold) {
      body(values, identity.f, fold, [&](const std::vector<double>& out, Indices shape) {
        finish(DType::kF64, out.data(), std::move(shape));
      });
    });
  } else if (!is_complex(dtype)) {
    const std::vector<int64_t> values = to_ints(in);
    const auto run = [&](auto type) {
      using T = typename decltype(type)::type;
      known = scalar::visit_int_binary<T>(op, 64, [&](auto fold) {
        body(values, static_cast<T>(identity.i), fold, [&](const std::vector<T>& out, Indices shape) {
          finish(DType::kI64, out.data(), std::move(shape));
        });
      });
    };
    if (dtype == DType::kU64) {
      run(std::type_identity<uint64_t>());
    } else {
      run(std::type_identity<int64_t>());
    }
  }
  if (!known) return error("A fold with '{}' does not accept {}.", scalar::info(op).name, dtype_name(dtype));
  return result;
}

Result<TensorDataPtr> reduce(const EvalNode& e) {
  const TensorData& in = *e.in[0];
  std::vector<bool> gone(in.shape().size());
  for (const int64_t a : e.node.ints("axes")) gone[static_cast<size_t>(a)] = true;
  Indices perm, shape;
  for (size_t i = 0; i < gone.size(); ++i) {
    if (gone[i]) continue;
    perm.push_back(static_cast<int64_t>(i));
    shape.push_back(in.shape()[i]);
  }
  int64_t length = 1;
  for (size_t i = 0; i < gone.size(); ++i) {
    if (!gone[i]) continue;
    perm.push_back(static_cast<int64_t>(i));
    length *= in.shape()[i];
  }
  // Reduced axes go last, so that each result element folds one contiguous row.
  const TensorDataPtr rows = dtype_bits(in.dtype()) < 8 ? nullptr : transpose_tensor(in, perm);
  if (!rows) return error("'reduce' does not accept {}.", dtype_name(in.dtype()));
  return with_accumulator(
      e.node.scalar_op(), *rows, in.dtype(), [&](const auto& values, auto identity, auto fold, auto finish) {
        std::vector<decltype(identity)> out(static_cast<size_t>(count_of(shape)), identity);
        const auto n = static_cast<size_t>(length);
        for (size_t r = 0; r < out.size(); ++r) {
          auto sum = identity;
          for (size_t i = 0; i < n; ++i) sum = fold(sum, static_cast<decltype(identity)>(values[r * n + i]));
          out[r] = sum;
        }
        finish(out, shape);
      });
}

Result<TensorDataPtr> scan(const EvalNode& e) {
  const TensorData& in = *e.in[0];
  const size_t axis = static_cast<size_t>(e.node.int_attr("axis"));
  const int64_t extent = in.shape()[axis], stride = strides_of(in.shape())[axis];
  const bool exclusive = e.node.bool_attr("exclusive"), reverse = e.node.bool_attr("reverse");
  return with_accumulator(
      e.node.scalar_op(), in, in.dtype(), [&](const auto& values, auto identity, auto fold, auto finish) {
        using T = decltype(identity);
        std::vector<T> out(values.size(), identity);
        const int64_t rows = extent ? in.count() / extent : 0;
        for (int64_t row = 0; row < rows; ++row) {
          const int64_t base = row / stride * stride * extent + row % stride;
          T sum = identity;
          for (int64_t k = 0; k < extent; ++k) {
            const auto at = static_cast<size_t>(base + (reverse ? extent - 1 - k : k) * stride);
            const T next = fold(sum, static_cast<T>(values[at]));
            out[at] = exclusive ? sum : next;
            sum = next;
          }
        }
        finish(out, in.shape());
      });
}

Result<TensorDataPtr> arg_reduce(const EvalNode& e) {
  const TensorData& in = *e.in[0];
  const size_t axis = static_cast<size_t>(e.node.int_attr("axis"));
  const int64_t extent = in.shape()[axis], stride = strides_of(in.shape())[axis];
  const bool largest = e.node.bool_attr("largest"), last = e.node.bool_attr("last");
  Indices shape = in.shape();
  shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(axis));
  const DType dtype = e.node.attr<DType>("dtype");
  auto out = TensorData::make(dtype, shape);
  if (extent == 0 && out->count() > 0) return error("'arg_reduce' along axis {}, which is empty.", axis);
  const auto run = [&](const auto& values) {
    for (int64_t row = 0; row < out->count(); ++row) {
      const int64_t base = row / stride * stride * extent + row % stride;
      int64_t best = 0;
      for (int64_t k = 1; k < extent; ++k) {
        const auto x = values[static_cast<size_t>(base + k * stride)];
        const auto y = values[static_cast<size_t>(base + best * stride)];
        // The first NaN wins, as in NumPy.
        const bool better = (largest ? x > y : x < y) || (last && x == y) || (x != x && y == y);
        if (better && y == y) best = k;
      }
      out->set_int(row, best);
    }
  };
  if (is_float(in.dtype())) {
    run(to_doubles(in));
  } else if (in.dtype() == DType::kU64) {
    const std::vector<int64_t> bits = to_ints(in);
    run(std::vector<uint64_t>(bits.begin(), bits.end()));
  } else {
    run(to_ints(in));
  }
  return TensorDataPtr(out);
}

// The windows of reduce_window: visit(out index, in index or -1 where padding is read) for every element.
struct Windows {
  Indices in_shape, out_shape;
  const Indices &window, &strides, &low, &dilations;

  Windows(const Node& node, const TensorData& in)
      : in_shape(in.shape()),
        window(node.ints("window")),
        strides(node.ints("strides")),
        low(node.ints("low")),
        dilations(node.ints("dilations")) {
    for (size_t i = 0; i < in_shape.size(); ++i) {
      const int64_t room = in_shape[i] + low[i] + node.ints("high")[i] - ((window[i] - 1) * dilations[i] + 1);
      out_shape.push_back(room < 0 ? 0 : room / strides[i] + 1);
    }
  }

  template <typename Visit>
  void visit(Visit f) const {
    const int64_t count = count_of(out_shape);
    if (count == 0 || count_of(window) == 0) return;
    const Indices in_strides = strides_of(in_shape);
    Indices position(out_shape.size(), 0);
    for (int64_t out = 0; out < count; ++out) {
      Indices offset(window.size(), 0);
      do {
        int64_t at = 0;
        for (size_t i = 0; i < window.size() && at >= 0; ++i) {
          const int64_t p = position[i] * strides[i] - low[i] + offset[i] * dilations[i];
          at = p < 0 || p >= in_shape[i] ? -1 : at + p * in_strides[i];
        }
        f(out, at);
      } while (advance(offset, window));
      advance(position, out_shape);
    }
  }
};

Result<TensorDataPtr> reduce_window(const EvalNode& e) {
  const Windows windows(e.node, *e.in[0]);
  const Attr* wide = e.node.find("accumulate");
  return with_accumulator(e.node.scalar_op(), *e.in[0], wide ? std::get<DType>(*wide) : e.in[0]->dtype(),
                          [&](const auto& values, auto identity, auto fold, auto finish) {
                            using T = decltype(identity);
                            std::vector<T> out(static_cast<size_t>(count_of(windows.out_shape)), identity);
                            windows.visit([&](int64_t to, int64_t from) {
                              if (from < 0) return;
                              T& sum = out[static_cast<size_t>(to)];
                              sum = fold(sum, static_cast<T>(values[static_cast<size_t>(from)]));
                            });
                            finish(out, windows.out_shape);
                          });
}

Result<TensorDataPtr> arg_reduce_window(const EvalNode& e) {
  const Windows windows(e.node, *e.in[0]);
  auto out = TensorData::make(DType::kI64, windows.out_shape);
  std::fill_n(out->mutable_as<int64_t>(), out->count(), -1);
  const auto run = [&](const auto& values) {
    windows.visit([&](int64_t to, int64_t from) {
      int64_t& best = out->mutable_as<int64_t>()[to];
      if (from < 0) return;
      const auto x = values[static_cast<size_t>(from)];
      if (best < 0 || x > values[static_cast<size_t>(best)] ||
          (x != x && values[static_cast<size_t>(best)] == values[static_cast<size_t>(best)]))
        best = from;
    });
  };
  if (is_float(e.in[0]->dtype())) {
    run(to_doubles(*e.in[0]));
  } else {
    run(to_ints(*e.in[0]));
  }
  for (int64_t i = 0; i < out->count(); ++i)  // a window of padding only
    if (out->as<int64_t>()[i] < 0) out->mutable_as<int64_t>()[i] = 0;
  return TensorDataPtr(out);
}

}  // namespace

Result<TensorDataPtr> eval_reduce(const EvalNode& e) {
  switch (e.node.kind) {
    case OpKind::kReduce:
      return reduce(e);
    case OpKind::kScan:
      return scan(e);
    case OpKind::kArgReduce:
      return arg_reduce(e);
    case OpKind::kReduceWindow:
      return reduce_window(e);
    case OpKind::kArgReduceWindow:
      return arg_reduce_window(e);
    default:
      TERN_UNREACHABLE();
  }
}

}  // namespace tern::graph
