#include "compiler/lower/gpu/scatter.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "compiler/kernel/assign_workgroup.h"
#include "compiler/lower/gpu/kernel_test_util.h"
#include "compiler/lower/gpu/sorted_scatter.h"

namespace tern::lower::gpu {
namespace {

int32_t run(SpecialKernel special, const kernel::ParamTable& params,
            const std::vector<kernel::EvalBinding>& bindings) {
  kernel::Kernel k = finish_special("k", std::move(special), params);
  kernel::assign_workgroup(k);
  REQUIRE_MESSAGE(kernel::verify(k).empty(), kernel::verify(k));
  int64_t tiles = 1;
  for (const kernel::GridAxis& axis : k.grid) tiles *= axis.extent.value();
  const Result<int32_t> status = kernel::evaluate(k, bindings, {}, 0, tiles);
  REQUIRE_MESSAGE(status.ok(), status.error().text());
  return status.value();
}

struct Case {
  std::vector<int64_t> data, indices, updates;
  int axis;  // of scatter_elements; -1: scatter_nd
};

Shape shape_of(const std::vector<int64_t>& extents) {
  return Shape(extents.begin(), extents.end());
}

// By sorted updates, in tiles of 16.
int32_t run_sorted(const ScatterProblem& problem, const TensorDataPtr& data, const TensorDataPtr& indices,
                   const TensorDataPtr& updates) {
  const SpecialMachine machine{1, false, 128, 0};
  kernel::ParamTable params;
  const ScatterLines lines(problem, params);
  const int64_t rows = lines.one_target ? 1 : (lines.outer * lines.inner).value(), n = lines.updates.value();
  const RowSort sort({rows, n, n}, n, 16);
  const SortResult order = scatter_order(problem, params);
  std::vector<int32_t> keys[2], places[2];
  for (int i : {0, 1}) keys[i].resize(static_cast<size_t>(rows * n)), places[i].resize(keys[i].size());
  const auto bytes = [](std::vector<int32_t>& v) {
    return kernel::EvalBinding{reinterpret_cast<uint8_t*>(v.data()), static_cast<int64_t>(v.size() * 4)};
  };
  const int32_t status =
      run(sort.tiles(machine, scatter_source(problem, params), sort.rounds() == 0 ? &order : nullptr, params),
          params, {binding_of(indices), bytes(keys[0]), bytes(places[0])});
  int from = 0;
  for (int r = 0; r < sort.rounds(); ++r, from = 1 - from)
    run(sort.merge(machine, r, r + 1 == sort.rounds() ? &order : nullptr, params), params,
        {bytes(keys[from]), bytes(places[from]), bytes(keys[1 - from]), bytes(places[1 - from])});
  run(sorted_scatter_kernel(problem, machine, params), params,
      {binding_of(data), bytes(keys[from]), bytes(places[from]), binding_of(updates)});
  return status;
}

// The serial kernel of CPUs is what it must agree with, in every bit. Classes of 0: by sorted updates.
void compare(const Case& c, const std::string& how, const ScatterSchedule& schedule, bool bad_index) {
  const auto index_count = static_cast<int64_t>(c.indices.back());
  const TensorDataPtr random_indices = seeded(DType::kI64, c.indices, 7, [&](uint64_t r) {
    const int64_t extent = c.data[static_cast<size_t>(std::max(c.axis, 0))];
    return static_cast<double>(static_cast<int64_t>(r % static_cast<uint64_t>(2 * extent)) - extent);
  });
  auto indices = std::const_pointer_cast<TensorData>(random_indices);
  if (c.axis < 0) {  // a column an indexed axis
    for (int64_t i = 0; i < indices->count(); ++i)
      indices->set_int(i, indices->int_at(i) % c.data[static_cast<size_t>(i % index_count)]);
  }
  if (bad_index) indices->set_int(indices->count() - 1, 1000);
  const auto value = [](uint64_t r) { return static_cast<double>(r) / 3e6; };
  const auto updates = seeded(DType::kF32, c.updates, 11, value);
  const DType f32 = DType::kF32, i64 = DType::kI64;
  TensorDataPtr results[2];
  int32_t status[2];
  for (const int gpu : {0, 1}) {
    results[gpu] = seeded(DType::kF32, c.data, 5, value);
    kernel::ParamTable params;
    const Shape data = shape_of(c.data), rows = shape_of(c.indices);
    if (gpu && schedule.classes == 0) {
      status[gpu] = run_sorted({f32, i64, data, rows, c.axis, how}, results[gpu], indices, updates);
      continue;
    }
    SpecialKernel k =
        gpu ? scatter_kernel({f32, i64, data, rows, c.axis, how}, schedule, {1, false, 256, 0}, params)
        : c.axis >= 0 ? lower::scatter_elements_kernel(f32, i64, data, rows, c.axis, how, params)
                      : lower::scatter_nd_kernel(f32, i64, data, rows, how, {}, params);
    status[gpu] =
        run(std::move(k), params, {binding_of(results[gpu]), binding_of(indices), binding_of(updates)});
  }
  CAPTURE(how);
  CAPTURE(schedule.classes);
  CAPTURE(c.axis);
  CHECK(status[0] == status[1]);
  CHECK(status[1] == (bad_index ? 1 : 0));
  if (bad_index) return;
  for (int64_t i = 0; i < results[0]->count(); ++i) CHECK(results[0]->float_at(i) == results[1]->float_at(i));
}

TEST_CASE("scatters by many threads are the serial ones: the order of updates of one element is kept") {
  const Case cases[] = {
      {{7, 5}, {40, 5}, {40, 5}, 0},           // graph network: many updates an element
      {{3, 9, 4}, {2, 13, 3}, {2, 13, 3}, 1},  // fewer coordinates than the data has
      {{6, 33}, {6, 50}, {6, 50}, 1},         {{1, 300}, {1, 20}, {1, 20}, 1},
      {{5, 6, 3}, {17, 2}, {17, 3}, -1},      {{4, 3}, {25, 2}, {25}, -1},
      {{4, 40}, {3, 1}, {3, 40}, -1},
  };
  for (const Case& c : cases) {
    for (const char* reduction : {"none", "add", "mul", "min", "max"}) {
      for (const int classes : {1, 16, 512}) {
        ScatterSchedule schedule{classes, 1};
        if (c.axis < 0 && classes > 1) schedule = {256, classes == 16 ? 4 : 32};
        compare(c, reduction, schedule, false);
      }
      compare(c, reduction, {0, 1}, false);
    }
    compare(c, "add", {256, 1}, true);
    compare(c, "add", {0, 1}, true);
  }
}

TEST_CASE("a scatter's threads are as many as pay, not more than there are targets or updates") {
  const GpuModel& model = gpu_model(Level::kCudaSm90);
  const auto classes = [&](const ScatterSize& size, bool one_target) {
    return default_scatter_schedule(size, one_target, model).classes;
  };
  CHECK(classes({64, 500, 3000}, false) == 512);
  CHECK(classes({64, 500, 3000}, true) == 256);
  CHECK(classes({1, 1 << 20, 1 << 20}, true) == 16384);
  CHECK(classes({1 << 28, 64, 64}, false) == 1);
  CHECK(classes({1, 3, 1000}, false) == 4);
  CHECK(default_scatter_schedule({40, 500, 3000}, true, model).columns == 32);
  CHECK(default_scatter_schedule({1, 500, 3000}, true, model).columns == 1);
}

}  // namespace
}  // namespace tern::lower::gpu
