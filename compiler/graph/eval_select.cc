// top_k, nonzero, unique, nms: ops that choose elements.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "compiler/graph/eval.h"

namespace tern::graph {
namespace {

// A total order on a numeric tensor's elements: NaN above all numbers, equal to itself.
class Ordering {
 public:
  explicit Ordering(const TensorData& t) : unsigned_(t.dtype() == DType::kU64) {
    if (is_float(t.dtype())) {
      floats_ = to_doubles(t);
    } else {
      ints_ = to_ints(t);
    }
  }
  bool less(int64_t a, int64_t b) const {
    const size_t i = static_cast<size_t>(a), j = static_cast<size_t>(b);
    if (floats_.empty())
      return unsigned_ ? static_cast<uint64_t>(ints_[i]) < static_cast<uint64_t>(ints_[j])
                       : ints_[i] < ints_[j];
    return floats_[i] < floats_[j] || (!std::isnan(floats_[i]) && std::isnan(floats_[j]));
  }

 private:
  bool unsigned_;
  std::vector<double> floats_;
  std::vector<int64_t> ints_;
};

void copy_element(TensorData& to, int64_t i, const TensorData& from, int64_t j) {
  const int bits = dtype_bits(to.dtype());
  if (bits > 64) {
    scalar::store_value(to.dtype(), to.mutable_bytes().data(), i,
                        scalar::load_value(to.dtype(), from.bytes().data(), j));
    return;
  }
  store_element_bits(to.mutable_bytes().data(), bits, i, load_element_bits(from.bytes().data(), bits, j));
}

Result<Tensors> top_k(const EvalNode& e) {
  const TensorData& in = *e.in[0];
  const size_t axis = static_cast<size_t>(e.node.int_attr("axis"));
  TERN_ASSIGN(const int64_t k, e.resolve(e.node.dims("k")[0]));
  const int64_t extent = in.shape()[axis];
  if (k < 0 || k > extent) return error("'top_k' takes {} elements of {}.", k, extent);
  const bool largest = e.node.bool_attr("largest");
  Indices shape = in.shape();
  shape[axis] = k;
  auto values = TensorData::make(in.dtype(), shape);
  auto indices = TensorData::make(DType::kI64, shape);
  const int64_t stride = strides_of(in.shape())[axis];
  const Ordering order(in);
  const int64_t rows = extent ? in.count() / extent : 0;
  std::vector<int64_t> ranked(static_cast<size_t>(extent));
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t base = row / stride * stride * extent + row % stride;
    std::iota(ranked.begin(), ranked.end(), 0);
    std::sort(ranked.begin(), ranked.end(), [&](int64_t a, int64_t b) {
      const int64_t x = base + a * stride, y = base + b * stride;
      if (largest ? order.less(y, x) : order.less(x, y)) return true;
      return !(largest ? order.less(x, y) : order.less(y, x)) && a < b;
    });
    const int64_t out_base = row / stride * stride * k + row % stride;
    for (int64_t i = 0; i < k; ++i) {
      copy_element(*values, out_base + i * stride, in, base + ranked[static_cast<size_t>(i)] * stride);
      indices->mutable_as<int64_t>()[out_base + i * stride] = ranked[static_cast<size_t>(i)];
    }
  }
  return Tensors{values, indices};
}

TensorDataPtr i64_scalar(int64_t v) {
  auto t = TensorData::make(DType::kI64, {});
  t->mutable_as<int64_t>()[0] = v;
  return t;
}

Result<Tensors> nonzero(const EvalNode& e) {
  const TensorData& in = *e.in[0];
  const size_t rank = in.shape().size();
  const TensorDataPtr flags = cast_tensor(in, DType::kBool);
  std::vector<int64_t> found;
  for (int64_t i = 0; i < in.count(); ++i)
    if (flags->as<uint8_t>()[i]) found.push_back(i);
  const auto count = static_cast<int64_t>(found.size());
  auto out = TensorData::make(DType::kI64, {static_cast<int64_t>(rank), count});
  const Indices strides = strides_of(in.shape());
  for (size_t axis = 0; axis < rank; ++axis)
    for (int64_t i = 0; i < count; ++i)
      out->mutable_as<int64_t>()[static_cast<int64_t>(axis) * count + i] =
          found[static_cast<size_t>(i)] / strides[axis] % in.shape()[axis];
  return Tensors{out, i64_scalar(count)};
}

Result<Tensors> unique(const EvalNode& e) {
  const TensorData& in = *e.in[0];
  const int64_t n = in.count();
  std::vector<int64_t> sorted(static_cast<size_t>(n));
  std::iota(sorted.begin(), sorted.end(), 0);
  const bool strings = in.dtype() == DType::kString;
  const std::vector<std::string>& texts = in.string_values();
  std::unique_ptr<Ordering> order = strings ? nullptr : std::make_unique<Ordering>(in);
  const auto less = [&](int64_t a, int64_t b) {
    return strings ? texts[static_cast<size_t>(a)] < texts[static_cast<size_t>(b)] : order->less(a, b);
  };
  std::sort(sorted.begin(), sorted.end(),
            [&](int64_t a, int64_t b) { return less(a, b) || (!less(b, a) && a < b); });
  // Groups of equal elements; the first member of each has the lowest index.
  std::vector<int64_t> first, count, group(static_cast<size_t>(n));
  for (size_t i = 0; i < sorted.size(); ++i) {
    if (i == 0 || less(sorted[i - 1], sorted[i])) {
      first.push_back(sorted[i]);
      count.push_back(0);
    }
    ++count.back();
    group[static_cast<size_t>(sorted[i])] = static_cast<int64_t>(first.size()) - 1;
  }
  std::vector<int64_t> place(first.size());  // result position -> group
  std::iota(place.begin(), place.end(), 0);
  if (!e.node.bool_attr("sorted"))
    std::sort(place.begin(), place.end(), [&](int64_t a, int64_t b) {
      return first[static_cast<size_t>(a)] < first[static_cast<size_t>(b)];
    });
  const auto groups = static_cast<int64_t>(first.size());
  auto firsts = TensorData::make(DType::kI64, {groups}), counts = TensorData::make(DType::kI64, {groups});
  auto inverse = TensorData::make(DType::kI64, {n});
  std::vector<int64_t> position(first.size());
  std::vector<std::string> picked;
  std::shared_ptr<TensorData> values = TensorData::make(in.dtype(), {groups});
  for (int64_t i = 0; i < groups; ++i) {
    const size_t g = static_cast<size_t>(place[static_cast<size_t>(i)]);
    position[g] = i;
    firsts->mutable_as<int64_t>()[i] = first[g];
    counts->mutable_as<int64_t>()[i] = count[g];
    if (strings) {
      picked.push_back(texts[static_cast<size_t>(first[g])]);
    } else {
      copy_element(*values, i, in, first[g]);
    }
  }
  if (strings) values = TensorData::strings({groups}, std::move(picked));
  for (int64_t i = 0; i < n; ++i)
    inverse->mutable_as<int64_t>()[i] = position[static_cast<size_t>(group[static_cast<size_t>(i)])];
  return Tensors{values, firsts, inverse, counts, i64_scalar(groups)};
}

struct Box {
  float y1, x1, y2, x2;
};

Box read_box(const float* p, bool center) {
  if (center) return {p[1] - p[3] / 2, p[0] - p[2] / 2, p[1] + p[3] / 2, p[0] + p[2] / 2};
  return {std::min(p[0], p[2]), std::min(p[1], p[3]), std::max(p[0], p[2]), std::max(p[1], p[3])};
}

float overlap(const Box& a, const Box& b) {
  const float h = std::min(a.y2, b.y2) - std::max(a.y1, b.y1),
              w = std::min(a.x2, b.x2) - std::max(a.x1, b.x1);
  if (h <= 0 || w <= 0) return 0;
  const float both = h * w;
  const float area_a = (a.y2 - a.y1) * (a.x2 - a.x1), area_b = (b.y2 - b.y1) * (b.x2 - b.x1);
  return area_a <= 0 || area_b <= 0 ? 0 : both / (area_a + area_b - both);
}

Result<Tensors> nms(const EvalNode& e) {
  const TensorData &boxes = *e.in[0], &scores = *e.in[1];
  const int64_t batches = scores.shape()[0], classes = scores.shape()[1], n = scores.shape()[2];
  const int64_t limit = e.in.size() > 2 ? e.in[2]->int_at(0) : 0;
  const float iou = e.in.size() > 3 ? static_cast<float>(e.in[3]->float_at(0)) : 0;
  const bool has_floor = e.in.size() > 4;
  const float floor = has_floor ? static_cast<float>(e.in[4]->float_at(0)) : 0;
  const bool center = e.node.bool_attr("center_point_box");
  const Ordering order(scores);
  std::vector<int64_t> out;
  for (int64_t b = 0; b < batches; ++b) {
    for (int64_t c = 0; c < classes; ++c) {
      const int64_t first = (b * classes + c) * n;
      const float* row = scores.as<float>() + first;
      std::vector<int64_t> ranked;
      for (int64_t i = 0; i < n; ++i)
        if (!has_floor || row[i] > floor) ranked.push_back(i);
      std::sort(ranked.begin(), ranked.end(), [&](int64_t i, int64_t j) {
        if (order.less(first + j, first + i)) return true;
        return !order.less(first + i, first + j) && i < j;
      });
      std::vector<Box> kept;
      for (const int64_t i : ranked) {
        if (static_cast<int64_t>(kept.size()) >= limit) break;
        const Box box = read_box(boxes.as<float>() + (b * n + i) * 4, center);
        if (std::any_of(kept.begin(), kept.end(), [&](const Box& k) { return overlap(k, box) > iou; }))
          continue;
        kept.push_back(box);
        out.insert(out.end(), {b, c, i});
      }
    }
  }
  const auto count = static_cast<int64_t>(out.size() / 3);
  auto indices = TensorData::make(DType::kI64, {count, 3});
  std::copy(out.begin(), out.end(), indices->mutable_as<int64_t>());
  return Tensors{indices, i64_scalar(count)};
}

}  // namespace

Result<Tensors> eval_select(const EvalNode& e) {
  switch (e.node.kind) {
    case OpKind::kTopK:
      return top_k(e);
    case OpKind::kNonZero:
      return nonzero(e);
    case OpKind::kUnique:
      return unique(e);
    case OpKind::kNms:
      return nms(e);
    default:
      TERN_UNREACHABLE();
  }
}

}  // namespace tern::graph
