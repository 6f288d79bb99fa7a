// What dispatches compute: bindings, parameters, grids, scratch, order, failures.
#include <numeric>
#include <thread>

#include "tests/hal_cts/cts.h"

namespace tern::cts {
namespace {

int64_t tiles_of(int64_t elements) {
  return (elements + 63) / 64;
}

std::vector<int32_t> sequence(int64_t count, int32_t first) {
  std::vector<int32_t> values(static_cast<size_t>(count));
  std::iota(values.begin(), values.end(), first);
  return values;
}

Dispatch affine(Context& c, tern_hal_binding_t source, tern_hal_binding_t target, int64_t elements,
                int64_t mul, tern_hal_operand_t add) {
  Dispatch dispatch = {c.kernels(), CTS_KERNEL_affine, {source, target}, {}};
  dispatch.params = {constant(elements), constant(mul), add};
  dispatch.grid = {constant(tiles_of(elements))};
  return dispatch;
}

void adds(Context& c) {
  for (int64_t count : {1, 63, 64, 65, 1000}) {
    auto* commands = c.recording({kExternal, kExternal, kExternal});
    Dispatch dispatch = {c.kernels(), CTS_KERNEL_add, {}, {}};
    for (uint32_t i = 0; i < 3; ++i)
      dispatch.bindings.push_back(bind(i, i < 2 ? kRead : kWrite, 0, count * 4));
    dispatch.params = {constant(count)};
    dispatch.grid = {constant(tiles_of(count))};
    CTS_REQUIRE_OK(dispatch.record(commands));
    CTS_REQUIRE_OK(tern_hal_command_buffer_end(commands));
    tern_hal_buffer_t* output = c.buffer(count * 4);
    CTS_REQUIRE_OK(submit(commands, {whole(c.buffer_of(sequence(count, 5))),
                                     whole(c.buffer_of(sequence(count, -9))), whole(output)}));
    const std::vector<int32_t> values = c.values_of(output);
    for (int64_t i = 0; i < count; ++i)
      CTS_CHECK_EQ(values[static_cast<size_t>(i)], static_cast<int32_t>(2 * i - 4));
  }
}

void binds_at_offsets(Context& c) {
  auto* commands = c.recording({kExternal, kExternal});
  CTS_REQUIRE_OK(affine(c, bind(0, kRead, 8, 8), bind(1, kWrite, 4, 8), 2, 10, constant(1)).record(commands));
  CTS_REQUIRE_OK(tern_hal_command_buffer_end(commands));
  tern_hal_buffer_t* input = c.buffer_of({0, 1, 2, 3, 4, 5});
  tern_hal_buffer_t* output = c.buffer_of({-1, -1, -1, -1, -1});
  CTS_REQUIRE_OK(submit(commands, {{input, 4, 16}, {output, 4, 16}}));
  CTS_CHECK(c.values_of(output) == std::vector<int32_t>({-1, -1, 31, 41, -1}));
}

void sees_new_bindings(Context& c) {
  auto* commands = c.recording({kExternal, kExternal});
  CTS_REQUIRE_OK(affine(c, bind(0, kRead, 0, 4), bind(1, kWrite, 0, 4), 1, 1, constant(0)).record(commands));
  CTS_REQUIRE_OK(tern_hal_command_buffer_end(commands));
  for (int32_t i = 0; i < 5; ++i) {
    tern_hal_buffer_t* output = c.buffer_of({-1});
    CTS_REQUIRE_OK(submit(commands, {whole(c.buffer_of({i})), whole(output)}));
    CTS_CHECK_EQ(c.values_of(output)[0], i);
  }
}

void sees_new_contents(Context& c) {
  auto* commands = c.recording({kExternal, kExternal});
  CTS_REQUIRE_OK(affine(c, bind(0, kRead, 0, 4), bind(1, kWrite, 0, 4), 1, 1, constant(0)).record(commands));
  CTS_REQUIRE_OK(tern_hal_command_buffer_end(commands));
  tern_hal_buffer_t *input = c.buffer(4), *output = c.buffer(4);
  for (int32_t i = 0; i < 5; ++i) {
    CTS_REQUIRE_OK(tern_hal_buffer_write(input, 0, &i, 4));
    CTS_REQUIRE_OK(submit(commands, {whole(input), whole(output)}));
    CTS_CHECK_EQ(c.values_of(output)[0], i);
  }
}

void takes_parameters_from_the_block(Context& c) {
  auto* commands = c.recording({kExternal, kExternal}, 2);
  CTS_REQUIRE_OK(affine(c, bind(0, kRead, 0, 4), bind(1, kWrite, 0, 4), 1, 2, param(1)).record(commands));
  CTS_REQUIRE_OK(tern_hal_command_buffer_end(commands));
  tern_hal_buffer_t *input = c.buffer_of({100}), *output = c.buffer(4);
  for (int64_t add : {0, 1, -1, 7, 7, 0}) {
    CTS_REQUIRE_OK(submit(commands, {whole(input), whole(output)}, {12345, add}));
    CTS_CHECK_EQ(c.values_of(output)[0], static_cast<int32_t>(200 + add));
  }
}

void passes_all_64_bits(Context& c) {
  auto* commands = c.recording({kExternal}, 2);
  Dispatch dispatch = {c.kernels(), CTS_KERNEL_store_params, {bind(0, kWrite, 0, 32)}, {}};
  dispatch.params = {constant(INT64_MIN), param(0), constant(0x123456789abcdef0), param(1)};
  CTS_REQUIRE_OK(dispatch.record(commands));
  CTS_REQUIRE_OK(tern_hal_command_buffer_end(commands));
  tern_hal_buffer_t* output = c.buffer(32);
  CTS_REQUIRE_OK(submit(commands, {whole(output)}, {INT64_MAX, -2}));
  int64_t values[4];
  CTS_REQUIRE_OK(tern_hal_buffer_read(output, 0, values, 32));
  CTS_CHECK_EQ(values[0], INT64_MIN);
  CTS_CHECK_EQ(values[1], INT64_MAX);
  CTS_CHECK_EQ(values[2], int64_t{0x123456789abcdef0});
  CTS_CHECK_EQ(values[3], int64_t{-2});
}

void binds_where_the_block_says(Context& c) {
  auto* commands = c.recording({kExternal}, 1);
  CTS_REQUIRE_OK(affine(c, bind(0, kRead, 0, 4), bind(0, kWrite, param(0), constant(4)), 1, 1, constant(0))
                     .record(commands));
  CTS_REQUIRE_OK(tern_hal_command_buffer_end(commands));
  tern_hal_buffer_t* buffer = c.buffer_of({7, 0, 0, 0});
  CTS_REQUIRE_OK(submit(commands, {whole(buffer)}, {12}));
  CTS_REQUIRE_OK(submit(commands, {whole(buffer)}, {4}));
  CTS_CHECK(c.values_of(buffer) == std::vector<int32_t>({7, 7, 0, 7}));
}

void runs_every_tile_once(Context& c) {
  auto* commands = c.recording({kExternal}, 1);
  Dispatch dispatch = {c.kernels(), CTS_KERNEL_mark, {bind(0, kRead | kWrite, constant(0), param(0))}, {}};
  dispatch.grid = {param(0)};
  CTS_REQUIRE_OK(dispatch.record(commands));
  CTS_REQUIRE_OK(tern_hal_command_buffer_end(commands));
  for (int64_t tiles : {0, 1, 2, 3, 7, 64, 1001, 5, 5}) {
    tern_hal_buffer_t* buffer = c.buffer(1004);
    const std::vector<uint8_t> zeros(1004);
    CTS_REQUIRE_OK(tern_hal_buffer_write(buffer, 0, zeros.data(), 1004));
    CTS_REQUIRE_OK(submit(commands, {whole(buffer)}, {tiles}));
    std::vector<uint8_t> seen(1004);
    CTS_REQUIRE_OK(tern_hal_buffer_read(buffer, 0, seen.data(), 1004));
    int64_t wrong = 0;
    for (int64_t i = 0; i < 1004; ++i) wrong += seen[static_cast<size_t>(i)] != (i < tiles);
    CTS_CHECK_EQ(wrong, int64_t{0});
  }
}

void multiplies_the_grids_dimensions(Context& c) {
  auto* commands = c.recording({kExternal});
  Dispatch dispatch = {c.kernels(), CTS_KERNEL_mark, {bind(0, kRead | kWrite, 0, 24)}, {}};
  dispatch.grid = {constant(2), constant(3), constant(4)};
  CTS_REQUIRE_OK(dispatch.record(commands));
  CTS_REQUIRE_OK(tern_hal_command_buffer_end(commands));
  tern_hal_buffer_t* buffer = c.buffer_of({0, 0, 0, 0, 0, 0, 0});
  CTS_REQUIRE_OK(submit(commands, {whole(buffer)}));
  const int32_t ones = 0x01010101;
  CTS_CHECK(c.values_of(buffer) == std::vector<int32_t>({ones, ones, ones, ones, ones, ones, 0}));
}

void orders_dependent_dispatches(Context& c) {
  const int64_t count = 5000;
  auto* commands = c.recording({kExternal, kArena, kExternal}, 1);
  CTS_REQUIRE_OK(tern_hal_command_buffer_bind(commands, 1, whole(c.buffer(count * 8))));
  const int steps = 20;
  for (int i = 0; i < steps; ++i) {
    const tern_hal_binding_t source =
        i == 0 ? bind(0, kRead, 0, count * 4) : bind(1, kRead, (i - 1) % 2 * count * 4, count * 4);
    const tern_hal_binding_t target =
        i == steps - 1 ? bind(2, kWrite, 0, count * 4) : bind(1, kWrite, i % 2 * count * 4, count * 4);
    CTS_REQUIRE_OK(affine(c, source, target, count, -1, param(0)).record(commands));
    CTS_REQUIRE_OK(tern_hal_command_buffer_barrier(commands));
  }
  CTS_REQUIRE_OK(tern_hal_command_buffer_end(commands));
  tern_hal_buffer_t* output = c.buffer(count * 4);
  const std::vector<int32_t> input = sequence(count, 0);
  for (int64_t add = 1; add < 30; ++add) {
    CTS_REQUIRE_OK(submit(commands, {whole(c.buffer_of(input)), {}, whole(output)}, {add}));
    CTS_CHECK(c.values_of(output) == input);  // x → a - x, twenty times
  }
}

void runs_independent_dispatches_between_barriers(Context& c) {
  auto* commands = c.recording({kExternal});
  for (int64_t i = 0; i < 10; ++i) {
    Dispatch dispatch = {c.kernels(), CTS_KERNEL_mark, {bind(0, kRead | kWrite, i * 8, 8)}, {}};
    dispatch.grid = {constant(i % 3 == 0 ? 1 : 8)};
    CTS_REQUIRE_OK(dispatch.record(commands));
  }
  CTS_REQUIRE_OK(tern_hal_command_buffer_barrier(commands));
  Dispatch all = {c.kernels(), CTS_KERNEL_mark, {bind(0, kRead | kWrite, 0, 80)}, {}};
  all.grid = {constant(80)};
  CTS_REQUIRE_OK(all.record(commands));
  CTS_REQUIRE_OK(tern_hal_command_buffer_end(commands));
  tern_hal_buffer_t* buffer = c.buffer_of(std::vector<int32_t>(20, 0));
  CTS_REQUIRE_OK(submit(commands, {whole(buffer)}));
  uint8_t seen[80];
  CTS_REQUIRE_OK(tern_hal_buffer_read(buffer, 0, seen, 80));
  for (int i = 0; i < 80; ++i) CTS_CHECK_EQ(int{seen[i]}, i / 8 % 3 == 0 && i % 8 != 0 ? 1 : 2);
}

void gives_each_worker_scratch(Context& c) {
  for (int64_t scratch : {1, 64, 5000}) {
    auto* commands = c.recording({kExternal});
    Dispatch dispatch = {c.kernels(), CTS_KERNEL_scratch, {bind(0, kWrite, 0, 400)}, {constant(scratch)}};
    dispatch.grid = {constant(100)};
    dispatch.scratch = constant(scratch);
    CTS_REQUIRE_OK(dispatch.record(commands));
    CTS_REQUIRE_OK(tern_hal_command_buffer_end(commands));
    tern_hal_buffer_t* output = c.buffer(400);
    CTS_REQUIRE_OK(submit(commands, {whole(output)}));
    const std::vector<int32_t> sums = c.values_of(output);
    for (int64_t tile = 0; tile < 100; ++tile) {
      int32_t expected = 0;
      for (int64_t i = 0; i < scratch; ++i) expected += static_cast<int32_t>((i + tile) % 251);
      CTS_CHECK_EQ(sums[static_cast<size_t>(tile)], expected);
    }
  }
}

void takes_scratch_from_the_block(Context& c) {
  auto* commands = c.recording({kExternal}, 1);
  Dispatch dispatch = {c.kernels(), CTS_KERNEL_scratch, {bind(0, kWrite, 0, 40)}, {param(0)}};
  dispatch.grid = {constant(10)};
  dispatch.scratch = param(0);
  CTS_REQUIRE_OK(dispatch.record(commands));
  CTS_REQUIRE_OK(tern_hal_command_buffer_end(commands));
  tern_hal_buffer_t* output = c.buffer(40);
  for (int64_t scratch : {2, 2000, 10, 90000}) {
    CTS_REQUIRE_OK(submit(commands, {whole(output)}, {scratch}));
    int32_t expected = 0;
    for (int64_t i = 0; i < scratch; ++i) expected += static_cast<int32_t>((i + 9) % 251);
    CTS_CHECK_EQ(c.values_of(output)[9], expected);
  }
}

tern_hal_command_buffer_t* failing(Context& c) {
  auto* commands = c.recording({kExternal}, 2);
  Dispatch before = {c.kernels(), CTS_KERNEL_mark, {bind(0, kRead | kWrite, 0, 1)}, {}};
  Dispatch dispatch = {c.kernels(), CTS_KERNEL_fail, {}, {param(0), param(1)}};
  dispatch.grid = {constant(32)};
  dispatch.label = "Gather_3";
  const std::string text =
      text_of(before.record(commands)) + text_of(tern_hal_command_buffer_barrier(commands)) +
      text_of(dispatch.record(commands)) + text_of(tern_hal_command_buffer_end(commands));
  if (!text.empty()) c.fail(__FILE__, __LINE__, text);
  return commands;
}

void reports_a_kernels_failure(Context& c) {
  auto* commands = failing(c);
  tern_hal_buffer_t* buffer = c.buffer(1);
  for (int64_t tile : {0, 1, 15, 31}) {
    CTS_CHECK_EQ(
        text_of(submit(commands, {whole(buffer)}, {tile, TERN_KERNEL_INDEX_OUT_OF_RANGE})),
        std::string("DATA_ERROR: A kernel failed (1): an index in the input data lies outside its axis."
                    "\n - While dispatching 'Gather_3' (command 2)"));
  }
  CTS_CHECK_CODE(submit(commands, {whole(buffer)}, {0, TERN_KERNEL_BAD_VALUE}), DATA_ERROR);
  CTS_CHECK_CODE(submit(commands, {whole(buffer)}, {0, TERN_KERNEL_SCRATCH_TOO_SMALL}), INTERNAL);
  CTS_CHECK_CODE(submit(commands, {whole(buffer)}, {0, -77}), DATA_ERROR);
}

void runs_again_after_a_failure(Context& c) {
  auto* commands = failing(c);
  tern_hal_buffer_t* buffer = c.buffer_of({0});
  for (int i = 0; i < 10; ++i) {
    CTS_CHECK_CODE(submit(commands, {whole(buffer)}, {i, 1}), DATA_ERROR);
    CTS_CHECK_OK(submit(commands, {whole(buffer)}, {32, 1}));
  }
  CTS_CHECK_EQ(c.values_of(buffer)[0], 20);
}

void follows_a_new_arena(Context& c) {
  auto* commands = c.recording({kArena, kExternal});
  tern_hal_buffer_t* first = c.buffer_of({1, 2});
  CTS_REQUIRE_OK(tern_hal_command_buffer_bind(commands, 0, {first, 4, 4}));
  CTS_REQUIRE_OK(affine(c, bind(0, kRead, 0, 4), bind(1, kWrite, 0, 4), 1, 1, constant(0)).record(commands));
  CTS_REQUIRE_OK(tern_hal_command_buffer_end(commands));
  tern_hal_buffer_t* output = c.buffer(4);
  CTS_REQUIRE_OK(submit(commands, {{}, whole(output)}));
  CTS_CHECK_EQ(c.values_of(output)[0], 2);
  CTS_REQUIRE_OK(tern_hal_command_buffer_bind(commands, 0, whole(c.buffer_of({30}))));
  CTS_REQUIRE_OK(submit(commands, {{}, whole(output)}));
  CTS_CHECK_EQ(c.values_of(output)[0], 30);
}

void serves_several_threads(Context& c) {
  std::vector<std::thread> threads;
  std::vector<tern_hal_command_buffer_t*> recordings;
  std::vector<tern_hal_buffer_t*> buffers;
  for (int t = 0; t < 4; ++t) {
    auto* commands = c.recording({kExternal});
    for (int i = 0; i < 5; ++i) {
      Dispatch dispatch = {c.kernels(), CTS_KERNEL_mark, {bind(0, kRead | kWrite, 0, 64)}, {}};
      dispatch.grid = {constant(64)};
      CTS_REQUIRE_OK(dispatch.record(commands));
      CTS_REQUIRE_OK(tern_hal_command_buffer_barrier(commands));
    }
    CTS_REQUIRE_OK(tern_hal_command_buffer_end(commands));
    recordings.push_back(commands);
    buffers.push_back(c.buffer_of(std::vector<int32_t>(16, 0)));
  }
  std::atomic<int> failures{0};
  for (size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 40; ++i) failures += !text_of(submit(recordings[t], {whole(buffers[t])})).empty();
    });
  }
  for (auto& thread : threads) thread.join();
  CTS_CHECK_EQ(failures.load(), 0);
  for (auto* buffer : buffers) {
    CTS_CHECK(c.values_of(buffer) == std::vector<int32_t>(16, static_cast<int32_t>(0xc8c8c8c8)));  // 200 each
  }
}

}  // namespace

#define CASE(name) {"dispatch." #name, name}
std::vector<Case> dispatch_cases() {
  return {
      CASE(adds),
      CASE(binds_at_offsets),
      CASE(sees_new_bindings),
      CASE(sees_new_contents),
      CASE(takes_parameters_from_the_block),
      CASE(passes_all_64_bits),
      CASE(binds_where_the_block_says),
      CASE(runs_every_tile_once),
      CASE(multiplies_the_grids_dimensions),
      CASE(orders_dependent_dispatches),
      CASE(runs_independent_dispatches_between_barriers),
      CASE(gives_each_worker_scratch),
      CASE(takes_scratch_from_the_block),
      CASE(reports_a_kernels_failure),
      CASE(runs_again_after_a_failure),
      CASE(follows_a_new_arena),
      CASE(serves_several_threads),
  };
}

}  // namespace tern::cts
