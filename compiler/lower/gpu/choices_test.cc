#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "compiler/kernel/assign_workgroup.h"
#include "compiler/lower/gpu/block_scan.h"
#include "compiler/lower/gpu/compact.h"
#include "compiler/lower/gpu/index_math.h"
#include "compiler/lower/gpu/nms.h"
#include "compiler/lower/gpu/row_sort.h"
#include "compiler/lower/loop_writer.h"

namespace tern::lower::gpu {
namespace {

using kernel::Access;
using kernel::Expr;
using kernel::ScalarOp;

// What the floor of Vulkan has, and what CUDA has.
const SpecialMachine kMachines[] = {{1, false, 128, 0}, {1, false, 512, 32}};

template <typename T>
kernel::EvalBinding bytes(std::vector<T>& v) {
  return {reinterpret_cast<uint8_t*>(v.data()), static_cast<int64_t>(v.size() * sizeof(T))};
}

int32_t run(SpecialKernel special, const kernel::ParamTable& params,
            const std::vector<kernel::EvalBinding>& bindings) {
  kernel::Kernel k = finish_special("k", std::move(special), params);
  kernel::assign_workgroup(k);
  REQUIRE_MESSAGE(kernel::verify(k).empty(), kernel::verify(k));
  CHECK(k.workgroup_bytes <= 16 << 10);
  int64_t tiles = 1;
  for (const kernel::GridAxis& axis : k.grid) tiles *= axis.extent.value();
  const Result<int32_t> status = kernel::evaluate(k, bindings, {}, 0, tiles);
  REQUIRE_MESSAGE(status.ok(), status.error().text());
  return status.value();
}

// Positions of the first `most` of each row, by the dispatches of a sort; wanted: above `least`.
struct Sorted {
  std::vector<int32_t> positions, counts;
};
Sorted sorted(std::vector<float> in, int64_t rows, int64_t n, int64_t most, int64_t tile, bool largest,
              const float* least, const SpecialMachine& machine) {
  const SortProblem problem{rows, n, most, DType::kI32, least != nullptr};
  const RowSort sort(problem, n, tile);
  std::vector<int32_t> keys[2], places[2], counts[2];
  for (int i : {0, 1}) {
    keys[i].resize(in.size()), places[i].resize(in.size());
    counts[i].resize(static_cast<size_t>(rows * n));
  }
  Sorted out{std::vector<int32_t>(static_cast<size_t>(rows * most), -1),
             std::vector<int32_t>(static_cast<size_t>(rows), -1)};
  kernel::ParamTable params;
  SortSource source;
  const kernel::Buffer input = global("input", DType::kF32, Access::kRead);
  source.bindings = {input};
  source.element = [&](LoopWriter& w, const Expr& row, const Expr& p) -> SortSource::Element {
    const Expr x = w.let("x", w.load(input, plus(times(row, n), p)));
    return {order_key(w, x, largest), least ? w.lt(kernel::float_const(*least), x) : nullptr, nullptr};
  };
  SortResult result;
  const kernel::Buffer to = global("to", DType::kI32, Access::kWrite),
                       found = global("found", DType::kI32, Access::kWrite);
  result.bindings = {to};
  if (least) result.bindings.push_back(found);
  result.take = [&](LoopWriter& w, const Expr& row, const Expr& rank, const Expr&, const Expr& p) {
    w.store(to, plus(times(row, most), rank), kernel::cast(p, DType::kI32));
  };
  result.take_count = [&](LoopWriter& w, const Expr& row, const Expr& count) {
    w.store(found, row, kernel::cast(count, DType::kI32));
  };
  const auto lists = [&](int i) {
    std::vector<kernel::EvalBinding> b = {bytes(keys[i]), bytes(places[i])};
    if (least) b.push_back(bytes(counts[i]));
    return b;
  };
  std::vector<kernel::EvalBinding> last = {bytes(out.positions)};
  if (least) last.push_back(bytes(out.counts));
  const auto joined = [](std::vector<kernel::EvalBinding> a, const std::vector<kernel::EvalBinding>& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  };
  const bool once = sort.rounds() == 0;
  CHECK(run(sort.tiles(machine, source, once ? &result : nullptr, params), params,
            joined({bytes(in)}, once ? last : lists(0))) == 0);
  for (int r = 0; r < sort.rounds(); ++r) {
    const bool end = r + 1 == sort.rounds();
    CHECK(run(sort.merge(machine, r, end ? &result : nullptr, params), params,
              joined(lists(r % 2), end ? last : lists(1 - r % 2))) == 0);
  }
  return out;
}

TEST_CASE("rows are sorted by tiles and merges: stable, NaN greatest, the first few, or what is wanted") {
  struct Case {
    int64_t n, most, tile;
  };
  for (const Case c : {Case{1, 1, 16}, Case{7, 3, 16}, Case{16, 16, 16}, Case{300, 300, 16}, Case{300, 5, 32},
                       Case{1100, 60, 16}, Case{150, 40, 1024}}) {
    for (const int way : {0, 1, 2, 3}) {
      const bool largest = way % 2 == 1;
      const float floor = -2, *least = way > 1 ? &floor : nullptr;
      const int64_t rows = 2;
      std::vector<float> in(static_cast<size_t>(rows * c.n));
      for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<float>(i * 37 % 11) - 5;
      in[0] = NAN, in[in.size() / 2] = -0.0f, in[in.size() - 1] = NAN;
      const Sorted got =
          sorted(in, rows, c.n, c.most, c.tile, largest, least, kMachines[static_cast<size_t>(way / 2)]);
      CAPTURE(c.n);
      CAPTURE(c.tile);
      CAPTURE(way);
      for (int64_t r = 0; r < rows; ++r) {
        const auto at = [&](int64_t p) { return in[static_cast<size_t>(r * c.n + p)]; };
        std::vector<int64_t> order;
        for (int64_t p = 0; p < c.n; ++p)
          if (!least || at(p) > *least) order.push_back(p);
        const auto key = [&](int64_t p) { return std::isnan(at(p)) ? 1e9f : at(p); };
        std::sort(order.begin(), order.end(), [&](int64_t x, int64_t y) {
          if (key(x) == key(y)) return x < y;
          return (key(x) > key(y)) == largest;
        });
        if (least) CHECK(got.counts[static_cast<size_t>(r)] == static_cast<int64_t>(order.size()));
        const auto end = std::min(c.most, static_cast<int64_t>(order.size()));
        for (int64_t j = 0; j < end; ++j)
          CHECK(got.positions[static_cast<size_t>(r * c.most + j)] == order[static_cast<size_t>(j)]);
      }
    }
  }
}

TEST_CASE("a scan of a workgroup gives each thread what comes before it, in order") {
  for (const int subgroup : {0, 32}) {
    for (const int threads : {32, 128}) {
      SpecialKernel k;
      const kernel::Buffer in = global("in", DType::kI64, Access::kRead),
                           out = global("out", DType::kI64, Access::kWrite);
      k.bindings = {in, out};
      k.threads = threads, k.subgroup = subgroup, k.thread = kernel::make_var("t");
      LoopWriter w;
      const Expr t = kernel::var_expr(k.thread);
      const BlockScan scan = block_scan(w, {threads, subgroup, t}, ScalarOp::kAdd, w.let("x", w.load(in, t)));
      const BlockScan greatest = block_scan(w, {threads, subgroup, t}, ScalarOp::kMax, scan.before);
      w.store(out, times(t, 3), scan.before);
      w.store(out, plus(times(t, 3), w.i(1)), scan.total);
      w.store(out, plus(times(t, 3), w.i(2)), greatest.total);
      k.body = w.take();
      std::vector<int64_t> x(static_cast<size_t>(threads)), y(x.size() * 3);
      for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<int64_t>(i * 7 % 10) - 3;
      kernel::ParamTable params;
      CHECK(run(std::move(k), params, {bytes(x), bytes(y)}) == 0);
      int64_t sum = 0, most = INT64_MIN;
      for (const int64_t v : x) most = std::max(most, sum), sum += v;
      int64_t before = 0;
      for (size_t i = 0; i < x.size(); before += x[i++]) {
        CHECK(y[3 * i] == before);
        CHECK(y[3 * i + 1] == sum);
        CHECK(y[3 * i + 2] == most);
      }
    }
  }
}

TEST_CASE("nonzero by blocks lists coordinates row-major") {
  for (const SpecialMachine& machine : kMachines) {
    for (const int64_t height : {1, 2, 700}) {
      const Shape shape = {height, 7};
      std::vector<float> in(static_cast<size_t>(height * 7));
      std::vector<int64_t> want;
      for (size_t i = 0; i < in.size(); ++i) {
        if (i * 31 % 7 >= 3) continue;
        in[i] = i % 2 ? -1.f : NAN;
        want.push_back(static_cast<int64_t>(i));
      }
      std::vector<int32_t> counts(3, -1), starts(3, -1);
      std::vector<int64_t> total(1), places(want.size() * 2);
      const auto stride = static_cast<int64_t>(want.size());
      const Dim blocks = compact_blocks(product(shape));
      counts.resize(static_cast<size_t>(blocks.value())), starts.resize(counts.size());
      kernel::ParamTable params;
      CHECK(run(compact_counts_kernel(product(shape), nonzero_source(DType::kF32), machine, params), params,
                {bytes(in), bytes(counts)}) == 0);
      CHECK(run(starts_kernel(blocks, machine, params), params,
                {bytes(counts), bytes(starts), bytes(total)}) == 0);
      CHECK(total[0] == stride);
      CHECK(run(compact_kernel(product(shape), nonzero_source(DType::kF32),
                               coordinates_result(shape, stride, params), machine, params),
                params, {bytes(in), bytes(starts), bytes(places)}) == 0);
      for (size_t i = 0; i < want.size(); ++i) {
        CHECK(places[i] == want[i] / 7);
        CHECK(places[want.size() + i] == want[i] % 7);
      }
    }
  }
}

TEST_CASE("suppression by blocks keeps what the serial order keeps") {
  const int64_t batches = 2, classes = 2, n = 300;
  std::vector<float> boxes, thresholds = {0.4f, 0.0f};
  uint32_t state = 5;
  const auto next = [&](int range) {
    state = state * 1664525 + 1013904223;
    return static_cast<float>((state >> 10) % static_cast<uint32_t>(range));
  };
  for (int64_t i = 0; i < batches * n; ++i) {
    const float y = next(60), x = next(60);
    boxes.insert(boxes.end(), {y, x, y + next(20), x + 8 + next(8)});
  }
  const auto rows = static_cast<size_t>(batches * classes);
  std::vector<int32_t> order, candidates = {300, 0, 131, 300};
  for (size_t r = 0; r < rows; ++r)
    for (int64_t j = 0; j < n; ++j)
      order.push_back(static_cast<int32_t>((j * 77 + 13 * static_cast<int64_t>(r)) % n));
  for (const SpecialMachine& machine : kMachines) {
    for (const int64_t limit : {1000, 5, 0, -1}) {
      for (const bool center : {false, true}) {
        std::vector<int64_t> limits = {limit}, selected(rows * n * 3, -1), count(1);
        std::vector<int32_t> kept(order.size(), -1), numbers(rows, -1);
        kernel::ParamTable params;
        CHECK(run(nms_select_kernel(batches, classes, n, center, machine, params), params,
                  {bytes(boxes), bytes(order), bytes(candidates), bytes(limits), bytes(thresholds),
                   bytes(kept), bytes(numbers)}) == 0);
        CHECK(run(nms_list_kernel(batches, classes, n, machine, params), params,
                  {bytes(kept), bytes(numbers), bytes(selected), bytes(count)}) == 0);
        std::vector<int64_t> want;
        for (size_t r = 0; r < rows; ++r) {
          struct Box {
            float y1, x1, y2, x2;
          };
          std::vector<Box> mine;
          for (size_t j = 0; j < static_cast<size_t>(candidates[r]); ++j) {
            if (static_cast<int64_t>(mine.size()) >= limit) break;
            const int32_t p = order[r * n + j];
            const float* v = &boxes[(r / classes * n + static_cast<size_t>(p)) * 4];
            const Box b =
                center ? Box{v[1] - v[3] * 0.5f, v[0] - v[2] * 0.5f, v[1] + v[3] * 0.5f, v[0] + v[2] * 0.5f}
                       : Box{std::min(v[0], v[2]), std::min(v[1], v[3]), std::max(v[0], v[2]),
                             std::max(v[1], v[3])};
            const auto area = [](const Box& x) { return (x.y2 - x.y1) * (x.x2 - x.x1); };
            const bool over = std::any_of(mine.begin(), mine.end(), [&](const Box& k) {
              const float h = std::min(k.y2, b.y2) - std::max(k.y1, b.y1),
                          w = std::min(k.x2, b.x2) - std::max(k.x1, b.x1);
              if (h <= 0 || w <= 0 || area(k) <= 0 || area(b) <= 0) return false;
              return h * w / (area(k) + area(b) - h * w) > thresholds[0];
            });
            if (over) continue;
            mine.push_back(b);
            want.insert(want.end(),
                        {static_cast<int64_t>(r / classes), static_cast<int64_t>(r % classes), p});
          }
        }
        CHECK(count[0] == static_cast<int64_t>(want.size() / 3));
        selected.resize(want.size());
        CHECK(selected == want);
      }
    }
  }
}

}  // namespace
}  // namespace tern::lower::gpu
