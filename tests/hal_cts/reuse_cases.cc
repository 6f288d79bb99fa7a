// Recordings under ever new arguments, many submissions under way, and objects that go before the work that
// uses them. Every case looks at what was computed.
#include "tests/hal_cts/cts.h"

namespace tern::cts {
namespace {

tern_hal_binding_t whole_of(uint32_t slot, Access access, int64_t words) {
  return bind(slot, access, 0, words * 4);
}

// target = source * mul + add, element by element.
Dispatch affine(tern_hal_executable_t* kernels, tern_hal_binding_t source, tern_hal_binding_t target,
                int64_t count, tern_hal_operand_t mul, tern_hal_operand_t add) {
  Dispatch dispatch = {kernels, CTS_KERNEL_affine, {source, target}, {constant(count), mul, add}};
  dispatch.grid = {constant((count + 63) / 64)};
  return dispatch;
}

std::string record(tern_hal_command_buffer_t* commands, const std::vector<Dispatch>& dispatches) {
  std::string text;
  for (const Dispatch& dispatch : dispatches) {
    text += text_of(dispatch.record(commands)) + text_of(tern_hal_command_buffer_barrier(commands));
  }
  return text + text_of(tern_hal_command_buffer_end(commands));
}

// Doubles slot 0 into slot 1, one word, `steps` times over: 2, 4, 8, … through slot 1.
tern_hal_command_buffer_t* doubling(Context& c, tern_hal_executable_t* kernels, int steps) {
  auto* commands = c.recording({kExternal, kExternal});
  std::vector<Dispatch> dispatches;
  for (int i = 0; i < steps; ++i) {
    dispatches.push_back(
        affine(kernels, whole_of(i ? 1 : 0, kRead, 1), whole_of(1, kWrite, 1), 1, constant(2), constant(0)));
  }
  const std::string text = record(commands, dispatches);
  if (!text.empty()) c.fail(__FILE__, __LINE__, text);
  return commands;
}

// A buffer that the case releases itself.
tern_hal_buffer_t* loose_buffer(Context& c, std::vector<int32_t> values) {
  tern_hal_buffer_t* made = nullptr;
  const auto size = static_cast<int64_t>(values.size() * 4);
  const std::string text = text_of(tern_hal_device_allocate_buffer(c.device(), 0, size, &made)) +
                           text_of(tern_hal_buffer_write(made, 0, values.data(), size));
  if (!text.empty()) c.fail(__FILE__, __LINE__, text);
  return made;
}

void alternates_between_two_bindings(Context& c) {
  auto* commands = doubling(c, c.kernels(), 3);
  tern_hal_buffer_t *one = c.buffer_of({1}), *ten = c.buffer_of({10});
  std::vector<tern_hal_buffer_t*> outputs;
  for (int i = 0; i < 40; ++i) {
    outputs.push_back(c.buffer_of({-1}));
    CTS_REQUIRE_OK(submit(commands, {whole(i % 2 ? ten : one), whole(outputs.back())}));
  }
  for (size_t i = 0; i < 40; ++i) CTS_CHECK_EQ(c.values_of(outputs[i])[0], i % 2 ? 80 : 8);
}

void changes_some_commands_and_leaves_others(Context& c) {
  auto* commands = c.recording({kExternal, kArena}, 1);
  CTS_REQUIRE_OK(tern_hal_command_buffer_bind(commands, 1, whole(c.buffer_of({1}))));
  std::vector<Dispatch> dispatches;
  auto step = [&](uint32_t slot, tern_hal_operand_t add) {
    dispatches.push_back(
        affine(c.kernels(), whole_of(slot, kRead, 1), whole_of(slot, kWrite, 1), 1, constant(3), add));
  };
  for (int i = 0; i < 9; ++i) step(1, constant(i));
  step(0, param(0));
  for (int i = 0; i < 9; ++i) step(1, constant(-i));
  step(1, param(0));
  dispatches.push_back(
      affine(c.kernels(), whole_of(1, kRead, 1), whole_of(0, kWrite, 1), 1, constant(1), param(0)));
  CTS_CHECK_EQ(record(commands, dispatches), std::string());
  uint32_t arena = 1;
  tern_hal_buffer_t* last = nullptr;
  for (uint32_t run = 0; run < 30; ++run) {
    last = c.buffer_of({5});
    CTS_REQUIRE_OK(submit(commands, {whole(last), {}}, {run / 2}));
    for (uint32_t i = 0; i < 9; ++i) arena = 3 * arena + i;
    for (uint32_t i = 0; i < 9; ++i) arena = 3 * arena - i;
    arena = 3 * arena + run / 2;
  }
  CTS_CHECK_EQ(c.values_of(last)[0], static_cast<int32_t>(arena + 14));
}

void brings_back_commands_of_empty_grids(Context& c) {
  auto* commands = c.recording({kExternal}, 2);
  std::vector<Dispatch> dispatches;
  for (uint32_t i = 0; i < 2; ++i) {
    dispatches.push_back({c.kernels(), CTS_KERNEL_mark, {bind(0, kRead | kWrite, i * 16, 4)}, {}});
    dispatches.back().grid = {param(i)};
  }
  CTS_CHECK_EQ(record(commands, dispatches), std::string());
  tern_hal_buffer_t* buffer = c.buffer_of(std::vector<int32_t>(5, 0));
  for (int64_t i = 0; i < 12; ++i) CTS_REQUIRE_OK(submit(commands, {whole(buffer)}, {i % 2, i % 3 ? 0 : 4}));
  CTS_CHECK(c.values_of(buffer) == std::vector<int32_t>({6, 0, 0, 0, 0x04040404}));
}

void runs_two_recordings_in_turn(Context& c) {
  tern_hal_buffer_t* arena = c.buffer_of({1});
  tern_hal_command_buffer_t* commands[2];
  for (int which = 0; which < 2; ++which) {
    commands[which] = c.recording({kArena});
    CTS_REQUIRE_OK(tern_hal_command_buffer_bind(commands[which], 0, whole(arena)));
    CTS_CHECK_EQ(record(commands[which], {affine(c.kernels(), whole_of(0, kRead, 1), whole_of(0, kWrite, 1),
                                                 1, constant(which ? 1 : 3), constant(which ? 1 : 0))}),
                 std::string());
  }
  uint32_t expected = 1;
  for (int i = 0; i < 50; ++i) {
    CTS_REQUIRE_OK(submit(commands[i % 2]));
    expected = i % 2 ? expected + 1 : expected * 3;
  }
  CTS_CHECK_EQ(c.values_of(arena)[0], static_cast<int32_t>(expected));
}

tern_hal_command_buffer_t* marking(Context& c) {
  auto* commands = c.recording({kExternal});
  Dispatch mark = {c.kernels(), CTS_KERNEL_mark, {bind(0, kRead | kWrite, 0, 1)}, {}};
  const std::string text = record(commands, {mark});
  if (!text.empty()) c.fail(__FILE__, __LINE__, text);
  return commands;
}

void has_many_submissions_under_way(Context& c) {
  auto* commands = marking(c);
  tern_hal_buffer_t* buffer = c.buffer_of({0});
  for (int i = 0; i < 200; ++i) CTS_REQUIRE_OK(submit(commands, {whole(buffer)}));
  CTS_REQUIRE_OK(tern_hal_device_wait_idle(c.device()));
  CTS_CHECK_EQ(c.values_of(buffer)[0], 200);
}

void signals_many_points_ahead(Context& c) {
  auto* commands = marking(c);
  tern_hal_buffer_t* buffer = c.buffer_of({0});
  tern_hal_semaphore_t* semaphore = c.semaphore();
  for (uint64_t i = 1; i <= 60; ++i) {
    Submission submission = {commands, {whole(buffer)}};
    if (i > 1) submission.waits = {{semaphore, i - 1}};
    submission.signals = {{semaphore, i}};
    CTS_REQUIRE_OK(submission.run());
  }
  CTS_REQUIRE_OK(tern_hal_semaphore_wait(semaphore, 60, TERN_HAL_NEVER));
  CTS_CHECK_EQ(c.values_of(buffer)[0], 60);
}

void sees_what_the_host_writes_between(Context& c) {
  auto* commands = doubling(c, c.kernels(), 2);
  tern_hal_buffer_t *input = c.buffer_of({0}), *output = c.buffer_of({0});
  for (int32_t i = 0; i < 20; ++i) {
    CTS_REQUIRE_OK(tern_hal_buffer_write(input, 0, &i, 4));
    CTS_REQUIRE_OK(submit(commands, {whole(input), whole(output)}));
    CTS_CHECK_EQ(c.values_of(output)[0], 4 * i);
  }
}

void shows_mappings_what_was_computed(Context& c) {
  auto* commands = doubling(c, c.kernels(), 2);
  tern_hal_buffer_t *input = c.buffer_of({0}), *output = c.buffer_of({0});
  for (int32_t i = 0; i < 5; ++i) {
    void* pointer = nullptr;
    CTS_REQUIRE_OK(tern_hal_buffer_map(input, kWrite, 0, 4, &pointer));
    *static_cast<int32_t*>(pointer) = i;
    CTS_REQUIRE_OK(tern_hal_buffer_unmap(input, 0, 4));
    CTS_REQUIRE_OK(submit(commands, {whole(input), whole(output)}));
    CTS_REQUIRE_OK(tern_hal_buffer_map(output, kRead, 0, 4, &pointer));
    CTS_CHECK_EQ(*static_cast<int32_t*>(pointer), 4 * i);
    CTS_REQUIRE_OK(tern_hal_buffer_unmap(output, 0, 4));
  }
}

void lets_buffers_go_under_way(Context& c) {
  auto* commands = doubling(c, c.kernels(), 10);
  tern_hal_buffer_t* output = c.buffer_of({0});
  for (int32_t i = 1; i < 10; ++i) {
    tern_hal_buffer_t* input = loose_buffer(c, {i});
    const std::string text = text_of(submit(commands, {whole(input), whole(output)}));
    tern_hal_buffer_release(input);
    CTS_CHECK_EQ(text, std::string());
    // What takes its place is written at once.
    tern_hal_buffer_release(loose_buffer(c, {-1000}));
    CTS_CHECK_EQ(c.values_of(output)[0], 1024 * i);
  }
}

void lets_recordings_go_under_way(Context& c) {
  tern_hal_buffer_t *input = c.buffer_of({1}), *output = c.buffer_of({0});
  for (int i = 0; i < 5; ++i) {
    const uint8_t classes[2] = {kExternal, kExternal};
    const tern_hal_command_buffer_desc_t desc = {classes, 2, 0};
    tern_hal_command_buffer_t* commands = nullptr;
    CTS_REQUIRE_OK(tern_hal_command_buffer_create(c.device(), &desc, &commands));
    const std::string text = record(commands, {affine(c.kernels(), whole_of(0, kRead, 1),
                                                      whole_of(1, kWrite, 1), 1, constant(7), constant(i))}) +
                             text_of(submit(commands, {whole(input), whole(output)}));
    tern_hal_command_buffer_release(commands);
    CTS_CHECK_EQ(text, std::string());
    CTS_CHECK_EQ(c.values_of(output)[0], 7 + i);
  }
}

void keeps_executables_that_were_let_go(Context& c) {
  tern_hal_executable_t* kernels = nullptr;
  CTS_REQUIRE_OK(c.try_kernels(c.device(), &kernels));
  auto* commands = doubling(c, kernels, 4);
  tern_hal_executable_release(kernels);
  tern_hal_buffer_t* output = c.buffer_of({0});
  CTS_REQUIRE_OK(submit(commands, {whole(c.buffer_of({3})), whole(output)}));
  CTS_CHECK_EQ(c.values_of(output)[0], 48);
}

void lets_semaphores_go_under_way(Context& c) {
  auto* commands = doubling(c, c.kernels(), 4);
  tern_hal_buffer_t *input = c.buffer_of({5}), *output = c.buffer_of({0});
  for (int i = 0; i < 5; ++i) {
    tern_hal_semaphore_t* semaphore = nullptr;
    CTS_REQUIRE_OK(tern_hal_semaphore_create(c.device(), 0, &semaphore));
    Submission submission = {commands, {whole(input), whole(output)}};
    submission.signals = {{semaphore, 1}};
    const std::string text = text_of(submission.run());
    tern_hal_semaphore_release(semaphore);
    CTS_CHECK_EQ(text, std::string());
  }
  CTS_CHECK_EQ(c.values_of(output)[0], 80);
}

// Neighbours of a few bytes, written side by side, do not touch each other.
void writes_no_neighbours(Context& c) {
  const int64_t count = 24;
  auto* commands = c.recording({kExternal, kExternal});
  for (int64_t i = 0; i < count; ++i) {
    CTS_REQUIRE_OK(affine(c.kernels(), bind(0, kRead, i * 4, 4), bind(1, kWrite, (count - 1 - i) * 4, 4), 1,
                          constant(1), constant(100))
                       .record(commands));
  }
  CTS_REQUIRE_OK(tern_hal_command_buffer_end(commands));
  std::vector<int32_t> input, expected;
  for (int32_t i = 0; i < count; ++i) input.push_back(i);
  for (int32_t i = 0; i < count; ++i) expected.push_back(static_cast<int32_t>(count) - 1 - i + 100);
  tern_hal_buffer_t* output = c.buffer_of(std::vector<int32_t>(count, -1));
  CTS_REQUIRE_OK(submit(commands, {whole(c.buffer_of(input)), whole(output)}));
  CTS_CHECK(c.values_of(output) == expected);
}

void works_in_place_at_any_offset(Context& c) {
  for (int64_t offset : {0, 4, 8, 12, 16, 20, 60, 64, 252, 256}) {
    auto* commands = c.recording({kExternal});
    CTS_REQUIRE_OK(affine(c.kernels(), bind(0, kRead, offset, 8), bind(0, kRead | kWrite, offset, 8), 2,
                          constant(2), constant(1))
                       .record(commands));
    CTS_REQUIRE_OK(tern_hal_command_buffer_end(commands));
    std::vector<int32_t> values(70, 3);
    tern_hal_buffer_t* buffer = c.buffer_of(values);
    CTS_REQUIRE_OK(submit(commands, {whole(buffer)}));
    const auto at = static_cast<size_t>(offset / 4);
    values[at] = values[at + 1] = 7;
    CTS_CHECK(c.values_of(buffer) == values);
  }
}

void fails_alone(Context& c) {
  auto* good = marking(c);
  auto* bad = c.recording({}, 1);
  Dispatch fail = {c.kernels(), CTS_KERNEL_fail, {}, {param(0), constant(TERN_KERNEL_BAD_VALUE)}};
  CTS_CHECK_EQ(record(bad, {fail}), std::string());
  tern_hal_buffer_t* buffer = c.buffer_of({0});
  for (int64_t i = 0; i < 20; ++i) {
    CTS_CHECK_OK(submit(good, {whole(buffer)}));
    const tern_status_code_t code = code_of(submit(bad, {}, {i % 3}));
    CTS_CHECK_EQ(code, i % 3 ? TERN_STATUS_OK : TERN_STATUS_DATA_ERROR);
  }
  CTS_CHECK_EQ(c.values_of(buffer)[0], 20);
}

void logs_between_submissions_without_a_log(Context& c) {
  auto* commands = doubling(c, c.kernels(), 5);
  tern_hal_event_log_t* log = nullptr;
  CTS_REQUIRE_OK(tern_hal_event_log_create(c.host_allocator().get(), 100, &log));
  tern_hal_buffer_t* outputs[2] = {c.buffer_of({0}), c.buffer_of({0})};
  std::string text;
  for (int i = 0; i < 12; ++i) {
    Submission submission = {commands, {whole(c.buffer_of({i})), whole(outputs[i % 2])}};
    submission.event_log = i % 3 == 1 ? log : nullptr;
    text += text_of(submission.run());
  }
  const uint32_t count = tern_hal_event_log_count(log);
  tern_hal_event_log_destroy(log);
  CTS_CHECK_EQ(text, std::string());
  CTS_CHECK_EQ(count, 20u);
  CTS_CHECK_EQ(c.values_of(outputs[0])[0], 320);
  CTS_CHECK_EQ(c.values_of(outputs[1])[0], 352);
}

// Host memory at every alignment, read and written by kernels without a copy of ours. Devices may refuse the
// import.
void computes_on_imported_memory(Context& c) {
  alignas(64) static int32_t memory[2][64];
  auto* commands = c.recording({kExternal, kExternal});
  CTS_CHECK_EQ(record(commands, {affine(c.kernels(), whole_of(0, kRead, 8), whole_of(1, kWrite, 8), 8,
                                        constant(2), constant(1))}),
               std::string());
  for (int64_t shift = 0; shift < 20; ++shift) {
    tern_hal_buffer_t* buffers[2] = {};
    std::string text;
    tern_status_code_t code = TERN_STATUS_OK;
    for (int i = 0; i < 2 && code == TERN_STATUS_OK; ++i) {
      for (int32_t w = 0; w < 64; ++w) memory[i][w] = w;
      const tern_hal_import_t import = {memory[i] + shift, 8 * 4, 0, nullptr, nullptr};
      code = code_of(tern_hal_device_import_buffer(c.device(), &import, &buffers[i]));
    }
    if (code == TERN_STATUS_OK) text = text_of(submit(commands, {whole(buffers[0]), whole(buffers[1])}));
    if (code == TERN_STATUS_OK) text += text_of(tern_hal_device_wait_idle(c.device()));
    for (tern_hal_buffer_t* buffer : buffers) tern_hal_buffer_release(buffer);
    CTS_CHECK(code == TERN_STATUS_OK || code == TERN_STATUS_INCOMPATIBLE);
    CTS_CHECK_EQ(text, std::string());
    if (code != TERN_STATUS_OK) return;
    for (int64_t w = 0; w < 64; ++w) {
      const bool inside = w >= shift && w < shift + 8;
      CTS_CHECK_EQ(memory[1][w], static_cast<int32_t>(inside ? 2 * w + 1 : w));
    }
  }
}

}  // namespace

#define CASE(name) {"reuse." #name, name}
std::vector<Case> reuse_cases() {
  return {
      CASE(alternates_between_two_bindings),
      CASE(changes_some_commands_and_leaves_others),
      CASE(brings_back_commands_of_empty_grids),
      CASE(runs_two_recordings_in_turn),
      CASE(has_many_submissions_under_way),
      CASE(signals_many_points_ahead),
      CASE(sees_what_the_host_writes_between),
      CASE(shows_mappings_what_was_computed),
      CASE(lets_buffers_go_under_way),
      CASE(lets_recordings_go_under_way),
      CASE(keeps_executables_that_were_let_go),
      CASE(lets_semaphores_go_under_way),
      CASE(writes_no_neighbours),
      CASE(works_in_place_at_any_offset),
      CASE(fails_alone),
      CASE(logs_between_submissions_without_a_log),
      CASE(computes_on_imported_memory),
  };
}

}  // namespace tern::cts
