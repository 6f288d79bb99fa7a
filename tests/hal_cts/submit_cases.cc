// Submissions: what depends on the binding table and the parameter block is checked each time it changes.
#include <thread>

#include "tests/hal_cts/cts.h"

namespace tern::cts {
namespace {

// One `mark` of bytes [p0, p0 + p1) of an external slot, on a grid of p2.
tern_hal_command_buffer_t* dynamic_mark(Context& c) {
  auto* commands = c.recording({kExternal}, 4);
  Dispatch dispatch = {c.kernels(), CTS_KERNEL_mark, {bind(0, kRead | kWrite, param(0), param(1))}, {}};
  dispatch.grid = {param(2)};
  dispatch.scratch = param(3);
  dispatch.label = "dynamic";
  const std::string text =
      text_of(dispatch.record(commands)) + text_of(tern_hal_command_buffer_end(commands));
  if (!text.empty()) c.fail(__FILE__, __LINE__, text);
  return commands;
}

tern_hal_command_buffer_t* static_mark(Context& c, int64_t bytes) {
  auto* commands = c.recording({kExternal});
  Dispatch dispatch = {c.kernels(), CTS_KERNEL_mark, {bind(0, kRead | kWrite, 0, bytes)}, {}};
  dispatch.grid = {constant(bytes)};
  const std::string text =
      text_of(dispatch.record(commands)) + text_of(tern_hal_command_buffer_end(commands));
  if (!text.empty()) c.fail(__FILE__, __LINE__, text);
  return commands;
}

void refuses_bad_arguments(Context& c) {
  const tern_hal_submit_t nothing = {};
  CTS_CHECK_CODE(tern_hal_device_submit(c.device(), &nothing), INVALID_ARGUMENT);
  CTS_CHECK_CODE(tern_hal_device_submit(c.device(), nullptr), INVALID_ARGUMENT);
  CTS_CHECK_CODE(tern_hal_device_submit(nullptr, &nothing), INVALID_ARGUMENT);
  auto* commands = static_mark(c, 4);
  tern_hal_submit_t no_table = {};
  no_table.command_buffer = commands;
  no_table.binding_count = 1;
  CTS_CHECK_CODE(tern_hal_device_submit(c.device(), &no_table), INVALID_ARGUMENT);
}

void refuses_a_recording_of_another_device(Context& c) {
  auto* commands = static_mark(c, 4);
  tern_hal_submit_t submit = {};
  submit.command_buffer = commands;
  CTS_CHECK_CODE(tern_hal_device_submit(c.another_device(c.device_desc()), &submit), INVALID_ARGUMENT);
}

void refuses_a_recording_that_has_not_ended(Context& c) {
  CTS_CHECK_EQ(text_of(submit(c.recording({}))),
               std::string("FAILED_PRECONDITION: The command buffer's recording has not ended."));
}

void refuses_tables_of_the_wrong_size(Context& c) {
  tern_hal_buffer_t* buffer = c.buffer(64);
  auto* commands = dynamic_mark(c);
  CTS_CHECK_EQ(
      text_of(submit(commands, {}, {0, 1, 1, 0})),
      std::string("INVALID_ARGUMENT: The binding table has (0) entries; the command buffer has (1) slots."));
  CTS_CHECK_CODE(submit(commands, {whole(buffer), whole(buffer)}, {0, 1, 1, 0}), INVALID_ARGUMENT);
  CTS_CHECK_EQ(
      text_of(submit(commands, {whole(buffer)}, {0, 1, 1})),
      std::string("INVALID_ARGUMENT: The parameter block has (3) entries; the command buffer takes (4)."));
}

void refuses_an_unbound_slot(Context& c) {
  CTS_CHECK_EQ(text_of(submit(static_mark(c, 4), {{nullptr, 0, 4}})),
               std::string("INVALID_ARGUMENT: The slot (0) is not bound to a buffer."));
}

void refuses_ranges_outside_the_buffer(Context& c) {
  auto* commands = static_mark(c, 4);
  tern_hal_buffer_t* buffer = c.buffer(16);
  const int64_t bad[][2] = {
      {0, 17}, {13, 4}, {17, 0}, {-1, 8}, {0, -8}, {INT64_MAX, 4}, {4, INT64_MAX - 1}, {17, TERN_HAL_WHOLE}};
  for (auto& [offset, length] : bad)
    CTS_CHECK_CODE(submit(commands, {{buffer, offset, length}}), OUT_OF_RANGE);
  CTS_CHECK_OK(submit(commands, {{buffer, 12, 4}}));
}

void refuses_ranges_shorter_than_the_commands_need(Context& c) {
  auto* commands = static_mark(c, 8);
  tern_hal_buffer_t* buffer = c.buffer(16);
  CTS_CHECK_EQ(
      text_of(submit(commands, {{buffer, 0, 7}})),
      std::string("OUT_OF_RANGE: The range bound to slot (0) has (7) bytes; the commands need (8)."));
  CTS_CHECK_CODE(submit(commands, {{buffer, 9, TERN_HAL_WHOLE}}), OUT_OF_RANGE);
  CTS_CHECK_OK(submit(commands, {{buffer, 8, TERN_HAL_WHOLE}}));
}

void refuses_a_smaller_buffer_at_a_later_submission(Context& c) {
  auto* commands = static_mark(c, 8);
  CTS_CHECK_OK(submit(commands, {whole(c.buffer(8))}));
  CTS_CHECK_CODE(submit(commands, {whole(c.buffer(7))}), OUT_OF_RANGE);
  CTS_CHECK_OK(submit(commands, {whole(c.buffer(9))}));
}

void tells_a_new_buffer_from_an_old_one_at_its_place(Context& c) {
  auto* commands = static_mark(c, 32);
  for (int i = 0; i < 20; ++i) {
    tern_hal_buffer_t *large = nullptr, *small = nullptr;
    CTS_REQUIRE_OK(tern_hal_device_allocate_buffer(c.device(), 0, 32, &large));
    CTS_CHECK_OK(submit(commands, {{large, 0, TERN_HAL_WHOLE}}));
    tern_hal_buffer_release(large);
    CTS_REQUIRE_OK(tern_hal_device_allocate_buffer(c.device(), 0, 31, &small));
    CTS_CHECK_CODE(submit(commands, {{small, 0, TERN_HAL_WHOLE}}), OUT_OF_RANGE);
    tern_hal_buffer_release(small);
  }
}

void refuses_to_write_a_read_only_buffer(Context& c) {
  char memory[16];
  const tern_hal_import_t desc = {memory, 16, TERN_HAL_MEMORY_READ_ONLY, nullptr, nullptr};
  tern_hal_buffer_t* read_only = nullptr;
  CTS_REQUIRE_OK(tern_hal_device_import_buffer(c.device(), &desc, &read_only));
  CTS_CHECK_EQ(
      text_of(submit(static_mark(c, 4), {whole(read_only)})),
      std::string("PERMISSION_DENIED: The commands write slot (0), which is bound to a read-only buffer."));
  tern_hal_buffer_release(read_only);
}

void refuses_a_buffer_of_another_device(Context& c) {
  tern_hal_buffer_t* foreign = nullptr;
  CTS_REQUIRE_OK(tern_hal_device_allocate_buffer(c.another_device(c.device_desc()), 0, 64, &foreign));
  CTS_CHECK_EQ(text_of(submit(static_mark(c, 4), {whole(foreign)})),
               std::string("INVALID_ARGUMENT: The buffer bound to slot (0) belongs to another device."));
  tern_hal_buffer_release(foreign);
}

void checks_dynamic_bindings(Context& c) {
  auto* commands = dynamic_mark(c);
  tern_hal_buffer_t* buffer = c.buffer(16);
  CTS_CHECK_OK(submit(commands, {whole(buffer)}, {0, 16, 16, 0}));
  CTS_CHECK_EQ(
      text_of(submit(commands, {whole(buffer)}, {1, 16, 16, 0})),
      std::string(
          "OUT_OF_RANGE: The binding at offset (1) of length (16) does not lie inside slot (0), which is "
          "bound to (16) bytes."));
  const int64_t bad[][2] = {{-1, 4},        {0, -1},       {17, 0}, {INT64_MAX, INT64_MAX},
                            {INT64_MIN, 1}, {8, INT64_MAX}};
  for (auto& [offset, length] : bad) {
    CTS_CHECK_CODE(submit(commands, {whole(buffer)}, {offset, length, 1, 0}), OUT_OF_RANGE);
  }
  CTS_CHECK_OK(submit(commands, {whole(buffer)}, {16, 0, 0, 0}));
}

void checks_the_same_bad_arguments_again(Context& c) {
  auto* commands = dynamic_mark(c);
  tern_hal_buffer_t* buffer = c.buffer(16);
  for (int i = 0; i < 3; ++i) CTS_CHECK_CODE(submit(commands, {whole(buffer)}, {10, 10, 1, 0}), OUT_OF_RANGE);
  CTS_CHECK_OK(submit(commands, {whole(buffer)}, {0, 10, 1, 0}));
  tern_hal_buffer_t* small = c.buffer(9);
  for (int i = 0; i < 3; ++i) CTS_CHECK_CODE(submit(commands, {whole(small)}, {0, 10, 1, 0}), OUT_OF_RANGE);
  CTS_CHECK_OK(submit(commands, {whole(buffer)}, {0, 10, 1, 0}));
}

void checks_dynamic_grids(Context& c) {
  auto* commands = dynamic_mark(c);
  tern_hal_buffer_t* buffer = c.buffer(16);
  CTS_CHECK_EQ(
      text_of(submit(commands, {whole(buffer)}, {0, 16, -1, 0})),
      std::string("OUT_OF_RANGE: The grid has a dimension (-1) that is negative or makes too many tiles."
                  "\n - While dispatching 'dynamic'"));
  CTS_CHECK_OK(submit(commands, {whole(buffer)}, {0, 16, 0, 0}));
}

void checks_dynamic_grids_for_overflow(Context& c) {
  auto* commands = c.recording({kExternal}, 2);
  Dispatch dispatch = {c.kernels(), CTS_KERNEL_mark, {bind(0, kRead | kWrite, 0, 1)}, {}};
  dispatch.grid = {param(0), param(1)};
  CTS_REQUIRE_OK(dispatch.record(commands));
  CTS_REQUIRE_OK(tern_hal_command_buffer_end(commands));
  tern_hal_buffer_t* buffer = c.buffer(16);
  CTS_CHECK_CODE(submit(commands, {whole(buffer)}, {1ll << 40, 1ll << 40}), OUT_OF_RANGE);
  CTS_CHECK_OK(submit(commands, {whole(buffer)}, {1, 1}));
  CTS_CHECK_OK(submit(commands, {whole(buffer)}, {0, 1ll << 40}));
}

void checks_dynamic_scratch(Context& c) {
  auto* commands = dynamic_mark(c);
  tern_hal_buffer_t* buffer = c.buffer(16);
  CTS_CHECK_EQ(
      text_of(submit(commands, {whole(buffer)}, {0, 1, 1, -1})),
      std::string("OUT_OF_RANGE: The scratch size (-1) is negative.\n - While dispatching 'dynamic'"));
  CTS_CHECK_OK(submit(commands, {whole(buffer)}, {0, 1, 1, 100000}));
}

void refuses_scratch_that_no_machine_has(Context& c) {
  auto* commands = dynamic_mark(c);
  tern_hal_buffer_t* buffer = c.buffer(16);
  CTS_CHECK_CODE(submit(commands, {whole(buffer)}, {0, 1, 1, INT64_MAX}), OUT_OF_MEMORY);
  CTS_CHECK_OK(submit(commands, {whole(buffer)}, {0, 1, 1, 64}));
}

void checks_dynamic_fills(Context& c) {
  auto* commands = c.recording({kExternal}, 2);
  const tern_hal_binding_t target = bind(0, kWrite, param(0), param(1));
  CTS_REQUIRE_OK(tern_hal_command_buffer_fill(commands, &target, 7, 4));
  CTS_REQUIRE_OK(tern_hal_command_buffer_end(commands));
  tern_hal_buffer_t* buffer = c.buffer(16);
  CTS_CHECK_CODE(submit(commands, {whole(buffer)}, {2, 4}), INVALID_ARGUMENT);
  CTS_CHECK_CODE(submit(commands, {whole(buffer)}, {0, 6}), INVALID_ARGUMENT);
  CTS_CHECK_CODE(submit(commands, {whole(buffer)}, {8, 12}), OUT_OF_RANGE);
  CTS_CHECK_OK(submit(commands, {whole(buffer)}, {8, 8}));
}

void takes_a_new_arena(Context& c) {
  auto* commands = c.recording({kArena, kExternal});
  tern_hal_buffer_t* first = c.buffer_of({1, 1});
  CTS_REQUIRE_OK(tern_hal_command_buffer_bind(commands, 0, whole(first)));
  const tern_hal_binding_t source = bind(0, kRead, 0, 8), target = bind(1, kWrite, 0, 8);
  CTS_REQUIRE_OK(tern_hal_command_buffer_copy(commands, &source, &target));
  CTS_REQUIRE_OK(tern_hal_command_buffer_end(commands));
  tern_hal_buffer_t* output = c.buffer_of({0, 0});
  CTS_CHECK_OK(submit(commands, {{}, whole(output)}));
  CTS_CHECK_CODE(tern_hal_command_buffer_bind(commands, 0, whole(c.buffer(7))), OUT_OF_RANGE);
  CTS_CHECK_OK(submit(commands, {{}, whole(output)}));
  CTS_CHECK_OK(tern_hal_command_buffer_bind(commands, 0, whole(c.buffer_of({5, 6, 7}))));
  CTS_CHECK_OK(submit(commands, {{}, whole(output)}));
}

void ignores_table_entries_of_bound_slots(Context& c) {
  auto* commands = c.recording({kArena, kExternal});
  tern_hal_buffer_t* arena = c.buffer(4);
  CTS_REQUIRE_OK(tern_hal_command_buffer_bind(commands, 0, whole(arena)));
  CTS_REQUIRE_OK(
      (Dispatch{c.kernels(), CTS_KERNEL_mark, {bind(0, kWrite | kRead, 0, 4)}, {}}.record(commands)));
  CTS_REQUIRE_OK(tern_hal_command_buffer_end(commands));
  CTS_CHECK_OK(submit(commands, {{nullptr, -5, 1}, {}}));
  CTS_CHECK_OK(submit(commands));
}

void is_refused_while_the_same_recording_runs(Context& c) {
  auto* commands = static_mark(c, 4);
  tern_hal_buffer_t* buffer = c.buffer(4);
  tern_hal_semaphore_t* gate = c.semaphore();
  Submission waiting = {commands};
  waiting.bindings = {whole(buffer)};
  waiting.waits = {{gate, 1}};
  std::thread other([&] { tern_status_free(waiting.run()); });
  while (!__atomic_load_n(&commands->busy, __ATOMIC_ACQUIRE)) std::this_thread::yield();
  CTS_CHECK_EQ(text_of(submit(commands, {whole(buffer)})),
               std::string("FAILED_PRECONDITION: The command buffer is being submitted by another thread."));
  CTS_CHECK_OK(tern_hal_semaphore_signal(gate, 1));
  other.join();
  CTS_CHECK_OK(submit(commands, {whole(buffer)}));
}

void allocates_nothing_when_replayed(Context& c) {
  auto* commands = dynamic_mark(c);
  tern_hal_buffer_t* buffers[2] = {c.buffer(64), c.buffer(64)};
  Submission submission = {commands};
  submission.bindings = {whole(buffers[0])};
  submission.params = {0, 64, 64, 256};
  CTS_REQUIRE_OK(submission.run());
  const size_t before = c.host_allocator().calls();
  for (int64_t i = 0; i < 50; ++i) {
    submission.bindings[0] = whole(buffers[i % 2]);
    submission.params = {i % 8, 56, i, 256};
    CTS_CHECK_OK(submission.run());
  }
  CTS_CHECK_EQ(c.host_allocator().calls(), before);
}

}  // namespace

#define CASE(name) {"submit." #name, name}
std::vector<Case> submit_cases() {
  return {
      CASE(refuses_bad_arguments),
      CASE(refuses_a_recording_of_another_device),
      CASE(refuses_a_recording_that_has_not_ended),
      CASE(refuses_tables_of_the_wrong_size),
      CASE(refuses_an_unbound_slot),
      CASE(refuses_ranges_outside_the_buffer),
      CASE(refuses_ranges_shorter_than_the_commands_need),
      CASE(refuses_a_smaller_buffer_at_a_later_submission),
      CASE(tells_a_new_buffer_from_an_old_one_at_its_place),
      CASE(refuses_to_write_a_read_only_buffer),
      CASE(refuses_a_buffer_of_another_device),
      CASE(checks_dynamic_bindings),
      CASE(checks_the_same_bad_arguments_again),
      CASE(checks_dynamic_grids),
      CASE(checks_dynamic_grids_for_overflow),
      CASE(checks_dynamic_scratch),
      CASE(refuses_scratch_that_no_machine_has),
      CASE(checks_dynamic_fills),
      CASE(takes_a_new_arena),
      CASE(ignores_table_entries_of_bound_slots),
      CASE(is_refused_while_the_same_recording_runs),
      CASE(allocates_nothing_when_replayed),
  };
}

}  // namespace tern::cts
