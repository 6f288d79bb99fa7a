// Recording command buffers: everything that can be found wrong before a submission.
#include "tests/hal_cts/cts.h"

namespace tern::cts {
namespace {

Dispatch mark(Context& c, tern_hal_binding_t binding) {
  return {c.kernels(), CTS_KERNEL_mark, {binding}, {}};
}

// Records a dispatch that must fail with this text, and checks that nothing was recorded.
void check_refused(Context& c, tern_hal_command_buffer_t* commands, const Dispatch& dispatch,
                   const std::string& text) {
  const uint32_t before = tern_hal_command_buffer_command_count(commands);
  const std::string got = text_of(dispatch.record(commands));
  if (got.compare(0, text.size(), text) != 0)
    c.fail(__FILE__, __LINE__, "the text is: " + got + "\n  not: " + text);
  CTS_CHECK_EQ(tern_hal_command_buffer_command_count(commands), before);
}

void may_be_empty(Context& c) {
  auto* commands = c.recording({});
  CTS_REQUIRE_OK(tern_hal_command_buffer_end(commands));
  CTS_CHECK_EQ(tern_hal_command_buffer_command_count(commands), 0u);
  CTS_CHECK_OK(submit(commands));
}

void may_hold_only_barriers(Context& c) {
  auto* commands = c.recording({});
  for (int i = 0; i < 3; ++i) CTS_REQUIRE_OK(tern_hal_command_buffer_barrier(commands));
  CTS_REQUIRE_OK(tern_hal_command_buffer_end(commands));
  CTS_CHECK_OK(submit(commands));
}

void counts_its_commands(Context& c) {
  auto* commands = c.recording({kExternal});
  const tern_hal_binding_t target = bind(0, kWrite, 0, 4);
  CTS_CHECK_OK(mark(c, bind(0, kWrite, 0, 1)).record(commands));
  CTS_CHECK_OK(tern_hal_command_buffer_barrier(commands));
  CTS_CHECK_OK(tern_hal_command_buffer_fill(commands, &target, 0, 1));
  CTS_CHECK_EQ(tern_hal_command_buffer_command_count(commands), 3u);
}

void refuses_bad_arguments(Context& c) {
  auto* commands = c.recording({kExternal});
  const tern_hal_binding_t target = bind(0, kWrite, 0, 4);
  const tern_hal_dispatch_t dispatch = {};
  CTS_CHECK_CODE(tern_hal_command_buffer_dispatch(nullptr, &dispatch), INVALID_ARGUMENT);
  CTS_CHECK_CODE(tern_hal_command_buffer_dispatch(commands, nullptr), INVALID_ARGUMENT);
  CTS_CHECK_CODE(tern_hal_command_buffer_copy(commands, &target, nullptr), INVALID_ARGUMENT);
  CTS_CHECK_CODE(tern_hal_command_buffer_copy(commands, nullptr, &target), INVALID_ARGUMENT);
  CTS_CHECK_CODE(tern_hal_command_buffer_fill(commands, nullptr, 0, 1), INVALID_ARGUMENT);
  CTS_CHECK_CODE(tern_hal_command_buffer_barrier(nullptr), INVALID_ARGUMENT);
  CTS_CHECK_CODE(tern_hal_command_buffer_end(nullptr), INVALID_ARGUMENT);
  tern_hal_command_buffer_t* made = nullptr;
  const tern_hal_command_buffer_desc_t no_classes = {nullptr, 1, 0};
  CTS_CHECK_CODE(tern_hal_command_buffer_create(c.device(), &no_classes, &made), INVALID_ARGUMENT);
  CTS_CHECK_CODE(tern_hal_command_buffer_create(c.device(), nullptr, &made), INVALID_ARGUMENT);
}

void refuses_an_unknown_slot_class(Context& c) {
  const uint8_t classes[2] = {0, 9};
  const tern_hal_command_buffer_desc_t desc = {classes, 2, 0};
  tern_hal_command_buffer_t* made = nullptr;
  CTS_CHECK_EQ(text_of(tern_hal_command_buffer_create(c.device(), &desc, &made)),
               std::string("INVALID_ARGUMENT: The slot (1) has an unknown class (9)."));
  CTS_CHECK(made == nullptr);
}

void refuses_more_params_than_sense(Context& c) {
  const tern_hal_command_buffer_desc_t desc = {nullptr, 0, 1u << 30};
  tern_hal_command_buffer_t* made = nullptr;
  CTS_CHECK_CODE(tern_hal_command_buffer_create(c.device(), &desc, &made), OUT_OF_RANGE);
}

void refuses_a_slot_that_is_not_there(Context& c) {
  check_refused(c, c.recording({kExternal}), mark(c, bind(1, kWrite, 0, 1)),
                "OUT_OF_RANGE: The binding's slot (1) is not below the slot count (1)."
                "\n - While checking bindings[0]\n - While recording dispatch ''");
}

void refuses_a_write_to_a_constant_slot(Context& c) {
  check_refused(c, c.recording({kConstant}), mark(c, bind(0, kWrite, 0, 1)),
                "PERMISSION_DENIED: The binding writes slot (0), which is constant.");
}

void refuses_a_binding_without_access(Context& c) {
  check_refused(c, c.recording({kExternal}), mark(c, bind(0, 0, 0, 1)),
                "INVALID_ARGUMENT: The binding's access (0)");
  check_refused(c, c.recording({kExternal}), mark(c, bind(0, 8, 0, 1)),
                "INVALID_ARGUMENT: The binding's access (8)");
}

void refuses_negative_offsets_and_lengths(Context& c) {
  auto* commands = c.recording({kExternal});
  check_refused(c, commands, mark(c, bind(0, kWrite, -1, 1)),
                "OUT_OF_RANGE: The binding's offset (-1) is negative.");
  check_refused(c, commands, mark(c, bind(0, kWrite, 0, -5)),
                "OUT_OF_RANGE: The binding's length (-5) is negative.");
}

void refuses_an_offset_and_length_that_overflow(Context& c) {
  check_refused(c, c.recording({kExternal}), mark(c, bind(0, kWrite, INT64_MAX, 1)),
                "OUT_OF_RANGE: The binding's offset (9223372036854775807) and length (1) overflow.");
}

void refuses_a_parameter_that_is_not_there(Context& c) {
  auto* commands = c.recording({kExternal}, 2);
  check_refused(
      c, commands, mark(c, bind(0, kWrite, param(2), constant(1))),
      "OUT_OF_RANGE: The binding's offset is the parameter (2), which is not below the parameter count (2).");
  Dispatch dispatch = mark(c, bind(0, kWrite, 0, 1));
  dispatch.grid = {param(7)};
  check_refused(c, commands, dispatch, "OUT_OF_RANGE: The grid's dimension is the parameter (7)");
  dispatch.grid = {constant(1)};
  dispatch.scratch = {-1, TERN_HAL_OPERAND_PARAMETER};
  check_refused(c, commands, dispatch, "OUT_OF_RANGE: The scratch size is the parameter (-1)");
}

void refuses_an_unknown_operand(Context& c) {
  check_refused(c, c.recording({kExternal}), mark(c, bind(0, kWrite, {0, 5}, constant(1))),
                "INVALID_ARGUMENT: The binding's offset has an unknown kind of operand (5).");
}

void refuses_a_wrong_number_of_bindings(Context& c) {
  Dispatch dispatch = mark(c, bind(0, kWrite, 0, 1));
  dispatch.bindings.push_back(bind(0, kRead, 0, 1));
  check_refused(c, c.recording({kExternal}), dispatch,
                "INVALID_ARGUMENT: The dispatch brings (2) bindings and (0) parameters; the kernel 'mark' "
                "takes (1) and (0).");
}

void refuses_a_wrong_number_of_params(Context& c) {
  Dispatch dispatch = mark(c, bind(0, kWrite, 0, 1));
  dispatch.params = {constant(1), constant(2)};
  check_refused(c, c.recording({kExternal}), dispatch,
                "INVALID_ARGUMENT: The dispatch brings (1) bindings and (2) parameters");
}

void refuses_an_entry_that_is_not_there(Context& c) {
  Dispatch dispatch = mark(c, bind(0, kWrite, 0, 1));
  dispatch.entry = CTS_KERNEL_COUNT;
  check_refused(c, c.recording({kExternal}), dispatch,
                "OUT_OF_RANGE: The dispatch's entry (6) is not below the executable's entry count (6).");
}

void refuses_no_executable_or_a_foreign_one(Context& c) {
  Dispatch dispatch = mark(c, bind(0, kWrite, 0, 1));
  dispatch.executable = nullptr;
  check_refused(c, c.recording({kExternal}), dispatch, "INVALID_ARGUMENT: The dispatch has no executable");
  dispatch.executable = c.kernels_of(c.another_device(c.device_desc()));
  check_refused(c, c.recording({kExternal}), dispatch, "INVALID_ARGUMENT: The dispatch has no executable");
}

void refuses_a_grid_of_no_or_too_many_dimensions(Context& c) {
  Dispatch dispatch = mark(c, bind(0, kWrite, 0, 1));
  dispatch.grid = {};
  check_refused(c, c.recording({kExternal}), dispatch,
                "INVALID_ARGUMENT: The grid's rank (0) is not 1, 2 or 3.");
  dispatch.grid = {constant(1), constant(1), constant(1), constant(1)};
  check_refused(c, c.recording({kExternal}), dispatch,
                "INVALID_ARGUMENT: The grid's rank (4) is not 1, 2 or 3.");
}

void refuses_a_negative_grid(Context& c) {
  Dispatch dispatch = mark(c, bind(0, kWrite, 0, 1));
  dispatch.grid = {constant(1), constant(-2)};
  check_refused(c, c.recording({kExternal}), dispatch,
                "OUT_OF_RANGE: The grid's dimension (-2) is negative.");
}

void refuses_a_grid_that_overflows(Context& c) {
  Dispatch dispatch = mark(c, bind(0, kWrite, 0, 1));
  dispatch.grid = {constant(1ll << 40), constant(1ll << 40)};
  check_refused(c, c.recording({kExternal}), dispatch, "OUT_OF_RANGE: The grid has too many tiles.");
}

void refuses_negative_scratch(Context& c) {
  Dispatch dispatch = mark(c, bind(0, kWrite, 0, 1));
  dispatch.scratch = constant(-64);
  check_refused(c, c.recording({kExternal}), dispatch, "OUT_OF_RANGE: The scratch size (-64) is negative.");
}

void takes_negative_kernel_params(Context& c) {
  auto* commands = c.recording({kExternal});
  Dispatch dispatch = {c.kernels(), CTS_KERNEL_affine, {bind(0, kRead, 0, 4), bind(0, kWrite, 0, 4)}, {}};
  dispatch.params = {constant(1), constant(-3), constant(INT64_MIN)};
  CTS_CHECK_OK(dispatch.record(commands));
}

void names_the_dispatch_in_its_message(Context& c) {
  Dispatch dispatch = mark(c, bind(3, kWrite, 0, 1));
  dispatch.label = "conv_12+relu";
  check_refused(c, c.recording({kExternal}), dispatch,
                "OUT_OF_RANGE: The binding's slot (3) is not below the slot count (1)."
                "\n - While checking bindings[0]\n - While recording dispatch 'conv_12+relu'");
}

void goes_on_after_a_refusal(Context& c) {
  auto* commands = c.recording({kExternal});
  check_refused(c, commands, mark(c, bind(1, kWrite, 0, 1)), "OUT_OF_RANGE");
  CTS_CHECK_OK(mark(c, bind(0, kWrite, 0, 1)).record(commands));
  CTS_CHECK_OK(tern_hal_command_buffer_end(commands));
  CTS_CHECK_OK(submit(commands, {whole(c.buffer(1))}));
}

void refuses_copies_of_different_lengths(Context& c) {
  auto* commands = c.recording({kExternal}, 1);
  const tern_hal_binding_t a = bind(0, kRead, 0, 4), b = bind(0, kWrite, 4, 8),
                           p = bind(0, kWrite, constant(4), param(0));
  CTS_CHECK_CODE(tern_hal_command_buffer_copy(commands, &a, &b), INVALID_ARGUMENT);
  CTS_CHECK_CODE(tern_hal_command_buffer_copy(commands, &a, &p), INVALID_ARGUMENT);
}

void refuses_a_copy_into_a_constant_slot(Context& c) {
  auto* commands = c.recording({kExternal, kConstant});
  const tern_hal_binding_t a = bind(0, kRead, 0, 4), b = bind(1, kWrite, 0, 4);
  CTS_CHECK_CODE(tern_hal_command_buffer_copy(commands, &a, &b), PERMISSION_DENIED);
  CTS_CHECK_OK(tern_hal_command_buffer_copy(commands, &b, &a));
}

void refuses_fill_patterns_of_odd_sizes(Context& c) {
  auto* commands = c.recording({kExternal});
  const tern_hal_binding_t target = bind(0, kWrite, 0, 12);
  for (uint32_t size : {0u, 3u, 8u}) {
    CTS_CHECK_CODE(tern_hal_command_buffer_fill(commands, &target, 0, size), INVALID_ARGUMENT);
  }
}

void refuses_a_fill_between_patterns(Context& c) {
  auto* commands = c.recording({kExternal});
  const tern_hal_binding_t offset = bind(0, kWrite, 2, 8), length = bind(0, kWrite, 0, 6);
  CTS_CHECK_CODE(tern_hal_command_buffer_fill(commands, &offset, 0, 4), INVALID_ARGUMENT);
  CTS_CHECK_CODE(tern_hal_command_buffer_fill(commands, &length, 0, 4), INVALID_ARGUMENT);
  CTS_CHECK_OK(tern_hal_command_buffer_fill(commands, &offset, 0, 2));
}

void takes_nothing_after_its_end(Context& c) {
  auto* commands = c.recording({kExternal});
  CTS_REQUIRE_OK(tern_hal_command_buffer_end(commands));
  const tern_hal_binding_t target = bind(0, kWrite, 0, 4);
  CTS_CHECK_CODE(tern_hal_command_buffer_end(commands), FAILED_PRECONDITION);
  CTS_CHECK_CODE(tern_hal_command_buffer_barrier(commands), FAILED_PRECONDITION);
  CTS_CHECK_CODE(tern_hal_command_buffer_fill(commands, &target, 0, 1), FAILED_PRECONDITION);
  CTS_CHECK_CODE(tern_hal_command_buffer_copy(commands, &target, &target), FAILED_PRECONDITION);
  CTS_CHECK_CODE(mark(c, bind(0, kWrite, 0, 1)).record(commands), FAILED_PRECONDITION);
}

void wants_its_arena_before_its_end(Context& c) {
  auto* commands = c.recording({kArena, kConstant});
  CTS_CHECK_OK(mark(c, bind(0, kWrite, 0, 1)).record(commands));
  CTS_CHECK_EQ(
      text_of(tern_hal_command_buffer_end(commands)),
      std::string("FAILED_PRECONDITION: The slot (0) is constant or arena and used, but not bound."));
  CTS_CHECK_CODE(submit(commands), FAILED_PRECONDITION);
}

void needs_no_binding_for_unused_slots(Context& c) {
  auto* commands = c.recording({kArena, kConstant, kExternal});
  CTS_CHECK_OK(tern_hal_command_buffer_end(commands));
  CTS_CHECK_OK(submit(commands));
}

void refuses_bad_arena_bindings(Context& c) {
  auto* commands = c.recording({kArena, kExternal});
  tern_hal_buffer_t* buffer = c.buffer(64);
  CTS_CHECK_CODE(tern_hal_command_buffer_bind(commands, 0, {nullptr, 0, 4}), INVALID_ARGUMENT);
  CTS_CHECK_CODE(tern_hal_command_buffer_bind(commands, 2, whole(buffer)), OUT_OF_RANGE);
  CTS_CHECK_CODE(tern_hal_command_buffer_bind(commands, 1, whole(buffer)), FAILED_PRECONDITION);
  CTS_CHECK_CODE(tern_hal_command_buffer_bind(commands, 0, {buffer, 60, 8}), OUT_OF_RANGE);
  CTS_CHECK_CODE(tern_hal_command_buffer_bind(commands, 0, {buffer, -4, 8}), OUT_OF_RANGE);
  CTS_CHECK_CODE(tern_hal_command_buffer_bind(commands, 0, {buffer, 65, TERN_HAL_WHOLE}), OUT_OF_RANGE);
  CTS_CHECK_CODE(tern_hal_command_buffer_bind(nullptr, 0, whole(buffer)), INVALID_ARGUMENT);
}

void refuses_a_command_outside_its_arena(Context& c) {
  auto* commands = c.recording({kArena});
  CTS_REQUIRE_OK(tern_hal_command_buffer_bind(commands, 0, {c.buffer(64), 32, 16}));
  check_refused(c, commands, mark(c, bind(0, kWrite, 10, 7)),
                "OUT_OF_RANGE: The binding at offset (10) of length (7) does not lie inside slot (0), which "
                "is bound to (16) bytes.");
  CTS_CHECK_OK(mark(c, bind(0, kWrite, 10, 6)).record(commands));
}

void refuses_an_arena_smaller_than_its_commands(Context& c) {
  auto* commands = c.recording({kArena});
  CTS_CHECK_OK(mark(c, bind(0, kWrite, 10, 90)).record(commands));
  CTS_CHECK_EQ(
      text_of(tern_hal_command_buffer_bind(commands, 0, whole(c.buffer(99)))),
      std::string("OUT_OF_RANGE: The range bound to slot (0) has (99) bytes; the commands need (100)."));
  CTS_CHECK_OK(tern_hal_command_buffer_bind(commands, 0, whole(c.buffer(100))));
  CTS_CHECK_OK(tern_hal_command_buffer_end(commands));
}

void refuses_a_buffer_of_another_device(Context& c) {
  tern_hal_buffer_t* foreign = nullptr;
  CTS_REQUIRE_OK(tern_hal_device_allocate_buffer(c.another_device(c.device_desc()), 0, 64, &foreign));
  auto* commands = c.recording({kArena});
  CTS_CHECK_CODE(tern_hal_command_buffer_bind(commands, 0, whole(foreign)), INVALID_ARGUMENT);
  tern_hal_buffer_release(foreign);
}

void refuses_writes_to_a_read_only_arena(Context& c) {
  char memory[64];
  const tern_hal_import_t desc = {memory, 64, TERN_HAL_MEMORY_READ_ONLY, nullptr, nullptr};
  tern_hal_buffer_t* read_only = nullptr;
  CTS_REQUIRE_OK(tern_hal_device_import_buffer(c.device(), &desc, &read_only));
  auto* bound_first = c.recording({kArena}, 1);
  CTS_CHECK_OK(tern_hal_command_buffer_bind(bound_first, 0, whole(read_only)));
  check_refused(c, bound_first, mark(c, bind(0, kWrite, 0, 1)),
                "PERMISSION_DENIED: The binding writes slot (0), which is bound to a read-only buffer.");
  check_refused(c, bound_first, mark(c, bind(0, kWrite, param(0), constant(1))), "PERMISSION_DENIED");
  auto* bound_last = c.recording({kArena});
  CTS_CHECK_OK(mark(c, bind(0, kWrite, 0, 1)).record(bound_last));
  CTS_CHECK_CODE(tern_hal_command_buffer_bind(bound_last, 0, whole(read_only)), PERMISSION_DENIED);
  tern_hal_buffer_release(read_only);
}

void keeps_its_arena(Context& c) {
  tern_hal_buffer_t* arena = nullptr;
  CTS_REQUIRE_OK(tern_hal_device_allocate_buffer(c.device(), 0, 64, &arena));
  auto* commands = c.recording({kArena});
  CTS_CHECK_OK(tern_hal_command_buffer_bind(commands, 0, whole(arena)));
  CTS_CHECK_OK(mark(c, bind(0, kWrite, 0, 1)).record(commands));
  CTS_CHECK_OK(tern_hal_command_buffer_end(commands));
  tern_hal_buffer_release(arena);
  CTS_CHECK_EQ(tern_hal_device_memory_stats(c.device()).bytes_now, uint64_t{64});
  CTS_CHECK_OK(submit(commands));
}

void may_be_dropped_at_any_time(Context& c) {
  c.recording({kExternal});
  auto* commands = c.recording({kArena});
  CTS_CHECK_OK(mark(c, bind(0, kWrite, 0, 1)).record(commands));
  auto* retained = c.recording({});
  tern_hal_command_buffer_retain(retained);
  tern_hal_command_buffer_release(retained);
}

void holds_many_commands(Context& c) {
  auto* commands = c.recording({kExternal});
  for (int i = 0; i < 5000; ++i) CTS_REQUIRE_OK(mark(c, bind(0, kWrite | kRead, i, 1)).record(commands));
  CTS_REQUIRE_OK(tern_hal_command_buffer_end(commands));
  CTS_CHECK_OK(submit(commands, {whole(c.buffer(5000))}));
}

}  // namespace

#define CASE(name) {"recording." #name, name}
std::vector<Case> recording_cases() {
  return {
      CASE(may_be_empty),
      CASE(may_hold_only_barriers),
      CASE(counts_its_commands),
      CASE(refuses_bad_arguments),
      CASE(refuses_an_unknown_slot_class),
      CASE(refuses_more_params_than_sense),
      CASE(refuses_a_slot_that_is_not_there),
      CASE(refuses_a_write_to_a_constant_slot),
      CASE(refuses_a_binding_without_access),
      CASE(refuses_negative_offsets_and_lengths),
      CASE(refuses_an_offset_and_length_that_overflow),
      CASE(refuses_a_parameter_that_is_not_there),
      CASE(refuses_an_unknown_operand),
      CASE(refuses_a_wrong_number_of_bindings),
      CASE(refuses_a_wrong_number_of_params),
      CASE(refuses_an_entry_that_is_not_there),
      CASE(refuses_no_executable_or_a_foreign_one),
      CASE(refuses_a_grid_of_no_or_too_many_dimensions),
      CASE(refuses_a_negative_grid),
      CASE(refuses_a_grid_that_overflows),
      CASE(refuses_negative_scratch),
      CASE(takes_negative_kernel_params),
      CASE(names_the_dispatch_in_its_message),
      CASE(goes_on_after_a_refusal),
      CASE(refuses_copies_of_different_lengths),
      CASE(refuses_a_copy_into_a_constant_slot),
      CASE(refuses_fill_patterns_of_odd_sizes),
      CASE(refuses_a_fill_between_patterns),
      CASE(takes_nothing_after_its_end),
      CASE(wants_its_arena_before_its_end),
      CASE(needs_no_binding_for_unused_slots),
      CASE(refuses_bad_arena_bindings),
      CASE(refuses_a_command_outside_its_arena),
      CASE(refuses_an_arena_smaller_than_its_commands),
      CASE(refuses_a_buffer_of_another_device),
      CASE(refuses_writes_to_a_read_only_arena),
      CASE(keeps_its_arena),
      CASE(may_be_dropped_at_any_time),
      CASE(holds_many_commands),
  };
}

}  // namespace tern::cts
