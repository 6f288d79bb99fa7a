#include "compiler/lower/special_kernels.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace tern::lower {
namespace {

template <typename T>
kernel::EvalBinding bytes(std::vector<T>& v) {
  return {reinterpret_cast<uint8_t*>(v.data()), static_cast<int64_t>(v.size() * sizeof(T))};
}

int32_t run(SpecialKernel special, const kernel::ParamTable& params,
            const std::vector<kernel::EvalBinding>& bindings) {
  const kernel::Kernel k = finish_special("k", std::move(special), params);
  REQUIRE_MESSAGE(kernel::verify(k).empty(), kernel::verify(k));
  int64_t tiles = 1;
  for (const kernel::GridAxis& axis : k.grid) tiles *= axis.extent.value();
  const Result<int32_t> status = kernel::evaluate(k, bindings, {}, 0, tiles);
  REQUIRE_MESSAGE(status.ok(), status.error().text());
  return status.value();
}

TEST_CASE("top_k is a stable selection, NaN greatest") {
  for (const int64_t n : {1, 2, 7, 16, 33, 300, 777}) {
    for (const int way : {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}) {  // from 8 on lines are lanes
      const bool largest = way % 2 == 1;
      const SpecialMachine machine{way > 3 ? 8 : 1, way > 1};
      const int64_t outer = 2,
                    inner = way > 7   ? 11
                            : way > 3 ? 1
                                      : 3,
                    k = way > 5 ? std::min<int64_t>(n, 5) : (n + 1) / 2;
      std::vector<float> in(static_cast<size_t>(outer * n * inner)),
          values(static_cast<size_t>(outer * k * inner));
      std::vector<int64_t> indices(values.size()), work(static_cast<size_t>(outer * inner * 2 * n));
      // Of 777 the best come last.
      for (size_t i = 0; i < in.size(); ++i)
        in[i] =
            n < 777 ? static_cast<float>(i * 37 % 11) - 5 : static_cast<float>(i) * (largest ? 1.f : -1.f);
      in[0] = NAN;
      in[in.size() / 2] = -0.0f;
      in[in.size() - 1] = NAN;
      kernel::ParamTable params;
      CHECK(run(top_k_kernel(DType::kF32, outer, n, inner, k, largest, machine, params), params,
                {bytes(in), bytes(values), bytes(indices), bytes(work)}) == 0);
      for (int64_t o = 0; o < outer; ++o) {
        for (int64_t l = 0; l < inner; ++l) {
          const auto at = [&](int64_t p) { return in[static_cast<size_t>((o * n + p) * inner + l)]; };
          std::vector<int64_t> order(static_cast<size_t>(n));
          for (int64_t p = 0; p < n; ++p) order[static_cast<size_t>(p)] = p;
          const auto key = [&](int64_t p) { return std::isnan(at(p)) ? 1e9f : at(p); };
          std::sort(order.begin(), order.end(), [&](int64_t x, int64_t y) {
            return key(x) != key(y) ? (key(x) < key(y)) != largest : x < y;  // stable: equal ones by position
          });
          for (int64_t j = 0; j < k; ++j)
            CHECK(indices[static_cast<size_t>((o * k + j) * inner + l)] == order[static_cast<size_t>(j)]);
        }
      }
    }
  }
}

template <typename T>
void check_selection(DType dtype, int64_t n, int64_t k, bool largest, const SpecialMachine& machine,
                     const std::function<T(int64_t)>& element) {
  std::vector<T> in(static_cast<size_t>(n)), values(static_cast<size_t>(k));
  std::vector<int64_t> indices(values.size()), work(static_cast<size_t>(2 * n)), order(in.size());
  for (int64_t i = 0; i < n; ++i) in[static_cast<size_t>(i)] = element(i);
  kernel::ParamTable params;
  CHECK(run(top_k_kernel(dtype, Dim(1), n, Dim(1), k, largest, machine, params), params,
            {bytes(in), bytes(values), bytes(indices), bytes(work)}) == 0);
  for (size_t p = 0; p < order.size(); ++p) order[p] = static_cast<int64_t>(p);
  const auto less = [](T a, T b) { return a < b || (b != b && a == a); };  // NaN greatest
  std::sort(order.begin(), order.end(), [&](int64_t x, int64_t y) {
    const T a = in[static_cast<size_t>(x)], b = in[static_cast<size_t>(y)];
    return less(a, b) ? !largest : less(b, a) ? largest : x < y;
  });
  order.resize(indices.size());
  CHECK(indices == order);
}

TEST_CASE("top_k of many selects before it sorts") {
  const auto mixed = [](int64_t i) { return i * 7919 % 6007 - 3000; };
  const std::function<int64_t(int64_t)> patterns[] = {
      mixed, [](int64_t) { return 3; }, [](int64_t i) { return i * 37 % 11 - 5; },
      [](int64_t i) { return i; }, [](int64_t i) { return -i; }};
  for (const int64_t n : {70, 500, 3000}) {
    for (const int64_t k : {n / 10, n / 3}) {
      if (k < 1) continue;
      for (const bool largest : {false, true}) {
        for (const int lanes : {1, 8}) {
          for (const auto& pattern : patterns) {
            CAPTURE(n);
            CAPTURE(k);
            CAPTURE(lanes);
            check_selection<float>(DType::kF32, n, k, largest, {lanes, true},
                                   [&](int64_t i) { return static_cast<float>(pattern(i)) / 8; });
            check_selection<int64_t>(DType::kI64, n, k, largest, {lanes, true}, pattern);
            // Too far apart for keys of 32 bits.
            if (n < 3000)
              check_selection<int64_t>(DType::kI64, n, k, largest, {lanes, true},
                                       [&](int64_t i) { return pattern(i) * (int64_t{1} << 40); });
          }
        }
      }
    }
  }
}

TEST_CASE("top_k of more than there are below the greatest key") {
  for (const int64_t n : {70, 500, 3000}) {
    for (const int64_t others : {int64_t{0}, n / 10}) {
      for (const bool largest : {false, true}) {
        for (const int lanes : {1, 8}) {
          CAPTURE(n);
          CAPTURE(others);
          CAPTURE(largest);
          CAPTURE(lanes);
          const auto some = [&](int64_t i) { return i % 11 < 5 && i < 2 * others; };
          check_selection<float>(DType::kF32, n, n / 3, largest, {lanes, true}, [&](int64_t i) {
            return some(i) ? static_cast<float>(i % 7) : std::numeric_limits<float>::quiet_NaN();
          });
          check_selection<int32_t>(DType::kI32, n, n / 3, largest, {lanes, true}, [&](int64_t i) {
            return some(i) ? static_cast<int32_t>(i % 7) : largest ? INT32_MIN : INT32_MAX;
          });
        }
      }
    }
  }
}

TEST_CASE("nonzero counts and lists coordinates row-major") {
  std::vector<uint8_t> in = {0, 1, 0, 1, 1, 0};
  std::vector<int64_t> count(1), indices(6);
  kernel::ParamTable params;
  CHECK(run(nonzero_count_kernel(DType::kBool, {2, 3}, params), params, {bytes(in), bytes(count)}) == 0);
  CHECK(count[0] == 3);
  CHECK(run(nonzero_kernel(DType::kBool, {2, 3}, 3, params), params, {bytes(in), bytes(indices)}) == 0);
  CHECK(indices == std::vector<int64_t>{0, 1, 1, 1, 0, 1});
}

TEST_CASE("scatters combine in order and refuse bad indices") {
  std::vector<float> data = {1, 2, 3, 4, 5, 6}, updates = {10, 20};
  std::vector<int64_t> indices = {1, -1};
  kernel::ParamTable params;
  CHECK(run(scatter_elements_kernel(DType::kF32, DType::kI64, {2, 3}, {1, 2}, 1, "add", params), params,
            {bytes(data), bytes(indices), bytes(updates)}) == 0);
  CHECK(data == std::vector<float>{1, 12, 23, 4, 5, 6});
  std::vector<int64_t> rows = {1, 1};
  std::vector<float> slices = {1, 1, 1, 2, 2, 2};
  CHECK(run(scatter_nd_kernel(DType::kF32, DType::kI64, {2, 3}, {2, 1}, "none", {}, params), params,
            {bytes(data), bytes(rows), bytes(slices)}) == 0);
  CHECK(data == std::vector<float>{1, 12, 23, 2, 2, 2});
  rows[0] = 2;
  CHECK(run(scatter_nd_kernel(DType::kF32, DType::kI64, {2, 3}, {2, 1}, "none", {}, params), params,
            {bytes(data), bytes(rows), bytes(slices)}) == 1);
}

TEST_CASE("scatters of many updates are shared between tiles, in the order of the updates") {
  constexpr int64_t kUpdates = 700, kTargets = 9;
  for (const int64_t width : {1, 5, 64, 200}) {
    CAPTURE(width);
    const int64_t outer = 3;
    std::vector<float> updates(static_cast<size_t>(outer * kUpdates * width));
    std::vector<int64_t> indices(updates.size()), rows(static_cast<size_t>(kUpdates));
    for (size_t i = 0; i < updates.size(); ++i) updates[i] = static_cast<float>(i * 31 % 101) * 0.37f;
    for (size_t i = 0; i < indices.size(); ++i) indices[i] = static_cast<int64_t>(i * 7 % 18) - 9;
    for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<int64_t>(i * i % 18) - 9;
    const auto wrapped = [](int64_t i) { return i < 0 ? i + kTargets : i; };
    for (const char* reduction : {"none", "add", "max"}) {
      CAPTURE(reduction);
      const std::string how = reduction;
      const auto combine = [&](float& to, float value) {
        to = how == "add" ? to + value : how == "max" ? std::max(to, value) : value;
      };
      kernel::ParamTable params;
      // A row more and a column more than the updates have: strides of their own.
      const int64_t across = width + 1;
      std::vector<float> data(static_cast<size_t>((outer + 1) * kTargets * across), 1.5f), wanted = data;
      for (int64_t o = 0; o < outer; ++o)
        for (int64_t j = 0; j < kUpdates; ++j)
          for (int64_t e = 0; e < width; ++e) {
            const auto i = static_cast<size_t>((o * kUpdates + j) * width + e);
            combine(wanted[static_cast<size_t>((o * kTargets + wrapped(indices[i])) * across + e)],
                    updates[i]);
          }
      CHECK(run(scatter_elements_kernel(DType::kF32, DType::kI64, {outer + 1, kTargets, across},
                                        {outer, kUpdates, width}, 1, how, params),
                params, {bytes(data), bytes(indices), bytes(updates)}) == 0);
      CHECK(data == wanted);
      data.assign(static_cast<size_t>(kTargets * width), 1.5f);
      wanted = data;
      for (int64_t j = 0; j < kUpdates; ++j)
        for (int64_t e = 0; e < width; ++e)
          combine(wanted[static_cast<size_t>(wrapped(rows[static_cast<size_t>(j)]) * width + e)],
                  updates[static_cast<size_t>(j * width + e)]);
      CHECK(run(scatter_nd_kernel(DType::kF32, DType::kI64, {kTargets, width}, {kUpdates, 1}, how, {8, true},
                                  params),
                params, {bytes(data), bytes(rows), bytes(updates)}) == 0);
      CHECK(data == wanted);
    }
  }
}

TEST_CASE("scatters of many scalars, which a tile does not share by columns") {
  constexpr int64_t kUpdates = 20000, kTargets = 50;
  std::vector<float> data(kTargets, 1.5f), updates(kUpdates), wanted = data;
  std::vector<int64_t> rows(kUpdates);
  for (size_t j = 0; j < rows.size(); ++j) {
    rows[j] = static_cast<int64_t>(j * j % kTargets);
    updates[j] = static_cast<float>(j % 7);
    wanted[static_cast<size_t>(rows[j])] += updates[j];
  }
  kernel::ParamTable params;
  CHECK(run(scatter_nd_kernel(DType::kF32, DType::kI64, {kTargets}, {kUpdates, 1}, "add", {8, true}, params),
            params, {bytes(data), bytes(rows), bytes(updates)}) == 0);
  CHECK(data == wanted);
}

TEST_CASE("unique, sorted and in order of appearance") {
  std::vector<float> in = {2, 1, 1, 3, 4, 3};
  for (const int way : {0, 1, 2, 3}) {
    const bool sorted = way % 2 == 0;
    std::vector<float> values(6);
    std::vector<int64_t> first(6), inverse(6), counts(6), number(1), work(12);
    kernel::ParamTable params;
    CHECK(run(unique_kernel(DType::kF32, 6, sorted, {1, way > 1}, params), params,
              {bytes(in), bytes(values), bytes(first), bytes(inverse), bytes(counts), bytes(number),
               bytes(work)}) == 0);
    CHECK(number[0] == 4);
    values.resize(4), first.resize(4), counts.resize(4);
    CHECK(values == (sorted ? std::vector<float>{1, 2, 3, 4} : std::vector<float>{2, 1, 3, 4}));
    CHECK(first == (sorted ? std::vector<int64_t>{1, 0, 3, 4} : std::vector<int64_t>{0, 1, 3, 4}));
    CHECK(inverse ==
          (sorted ? std::vector<int64_t>{1, 0, 0, 2, 3, 2} : std::vector<int64_t>{0, 1, 1, 2, 3, 2}));
    CHECK(counts == (sorted ? std::vector<int64_t>{2, 1, 2, 1} : std::vector<int64_t>{1, 2, 2, 1}));
  }
}

TEST_CASE("non-maximum suppression keeps the best of overlapping boxes") {
  // Three clusters of two boxes, as in ONNX's own example; then many boxes, so that whole vectors are met.
  for (const int lanes : {1, 4, 16}) {
    std::vector<float> boxes = {0, 0,  1, 1,  0, 0.1f,  1, 1.1f,  0, -0.1f, 1, 0.9f,
                                0, 10, 1, 11, 0, 10.1f, 1, 11.1f, 0, 100,   1, 101};
    std::vector<float> scores = {0.9f, 0.75f, 0.6f, 0.95f, 0.5f, 0.3f}, thresholds = {0.5f, 0.0f};
    for (int i = 0; i < 40; ++i) {  // every other one is half covered by its neighbour
      const float y = 200 + 10 * static_cast<float>(i / 2) + 0.2f * static_cast<float>(i % 2);
      boxes.insert(boxes.end(), {y, 0, y + 1, 1});
      scores.push_back(i == 7 ? -1 : 0.2f - 0.001f * static_cast<float>(i));
    }
    const auto n = static_cast<int64_t>(scores.size());
    for (const int64_t limit : {3, 100}) {
      std::vector<int64_t> limits = {limit}, selected(scores.size() * 3), count(1), work(scores.size() * 2);
      std::vector<float> kept(scores.size() * 5);
      kernel::ParamTable params;
      CHECK(run(nms_kernel(1, 1, n, NmsForm{}, {lanes, lanes > 1}, params), params,
                {bytes(boxes), bytes(scores), bytes(limits), bytes(thresholds), bytes(selected), bytes(count),
                 bytes(work), bytes(kept)}) == 0);
      std::vector<int64_t> order = {3, 0, 5};
      for (int64_t i = 0; i < 20 && limit > 3; ++i) order.push_back(6 + 2 * i);
      CHECK(count[0] == static_cast<int64_t>(order.size()));
      for (size_t i = 0; i < order.size(); ++i) CHECK(selected[3 * i + 2] == order[i]);
    }
  }
}

}  // namespace
}  // namespace tern::lower
