// Event logs, cancellation and deadlines.
#include "tests/hal_cts/cts.h"

namespace tern::cts {
namespace {

struct Log {
  tern_hal_event_log_t* log = nullptr;
  Log(Context& c, uint32_t capacity) {
    const std::string text = text_of(tern_hal_event_log_create(c.host_allocator().get(), capacity, &log));
    if (!text.empty()) c.fail(__FILE__, __LINE__, text);
  }
  ~Log() { tern_hal_event_log_destroy(log); }
};

// Three dispatches, a barrier after each.
tern_hal_command_buffer_t* three(Context& c) {
  static const char* const labels[3] = {"first", "second", "third"};
  auto* commands = c.recording({kExternal});
  std::string text;
  for (const char* label : labels) {
    Dispatch dispatch = {c.kernels(), CTS_KERNEL_mark, {bind(0, kRead | kWrite, 0, 16)}, {}};
    dispatch.grid = {constant(16)};
    dispatch.label = label;
    text += text_of(dispatch.record(commands)) + text_of(tern_hal_command_buffer_barrier(commands));
  }
  text += text_of(tern_hal_command_buffer_end(commands));
  if (!text.empty()) c.fail(__FILE__, __LINE__, text);
  return commands;
}

void logs_every_dispatch(Context& c) {
  Log log(c, 10);
  Submission submission = {three(c)};
  submission.bindings = {whole(c.buffer(16))};
  submission.event_log = log.log;
  CTS_REQUIRE_OK(submission.run());
  CTS_REQUIRE(tern_hal_event_log_count(log.log) == 3);
  CTS_CHECK_EQ(tern_hal_event_log_dropped(log.log), uint64_t{0});
  const tern_hal_event_t* events = tern_hal_event_log_events(log.log);
  for (uint32_t i = 0; i < 3; ++i) {
    CTS_CHECK_EQ(events[i].command, 2 * i);
    CTS_CHECK(events[i].begin_ns <= events[i].end_ns);
    if (i) CTS_CHECK(events[i - 1].end_ns <= events[i].begin_ns);
  }
  CTS_CHECK(tern_string_view_equal(events[1].label, tern_string_view("second")));
}

void measures_time(Context& c) {
  Log log(c, 10);
  const int64_t begin = tern_hal_now();
  Submission submission = {three(c)};
  submission.bindings = {whole(c.buffer(16))};
  submission.event_log = log.log;
  CTS_REQUIRE_OK(submission.run());
  const int64_t end = tern_hal_now();
  CTS_REQUIRE(tern_hal_event_log_count(log.log) == 3);
  const tern_hal_event_t* events = tern_hal_event_log_events(log.log);
  CTS_CHECK(events[2].end_ns - events[0].begin_ns > 0);
  CTS_CHECK(events[2].end_ns - events[0].begin_ns <= end - begin);
}

void counts_what_it_drops(Context& c) {
  Log log(c, 2);
  Submission submission = {three(c)};
  submission.bindings = {whole(c.buffer(16))};
  submission.event_log = log.log;
  CTS_REQUIRE_OK(submission.run());
  CTS_REQUIRE_OK(submission.run());
  CTS_CHECK_EQ(tern_hal_event_log_count(log.log), 2u);
  CTS_CHECK_EQ(tern_hal_event_log_dropped(log.log), uint64_t{4});
  tern_hal_event_log_clear(log.log);
  CTS_CHECK_EQ(tern_hal_event_log_count(log.log), 0u);
  CTS_CHECK_EQ(tern_hal_event_log_dropped(log.log), uint64_t{0});
  CTS_REQUIRE_OK(submission.run());
  CTS_CHECK_EQ(tern_hal_event_log_count(log.log), 2u);
}

void takes_a_log_of_no_room(Context& c) {
  Log log(c, 0);
  Submission submission = {three(c)};
  submission.bindings = {whole(c.buffer(16))};
  submission.event_log = log.log;
  CTS_REQUIRE_OK(submission.run());
  CTS_CHECK_EQ(tern_hal_event_log_count(log.log), 0u);
  CTS_CHECK_EQ(tern_hal_event_log_dropped(log.log), uint64_t{3});
}

void logging_changes_no_result(Context& c) {
  Log log(c, 10);
  tern_hal_buffer_t* buffer = c.buffer_of({0, 0, 0, 0});
  Submission submission = {three(c)};
  submission.bindings = {whole(buffer)};
  for (int i = 0; i < 4; ++i) {
    submission.event_log = i % 2 ? log.log : nullptr;
    CTS_REQUIRE_OK(submission.run());
  }
  CTS_CHECK(c.values_of(buffer) == std::vector<int32_t>(4, 0x0c0c0c0c));
}

void is_cancelled(Context& c) {
  tern_hal_cancel_t cancel = {};
  Submission submission = {three(c)};
  submission.bindings = {whole(c.buffer(16))};
  submission.cancel = &cancel;
  CTS_CHECK_OK(submission.run());
  tern_hal_cancel_request(&cancel);
  CTS_CHECK_EQ(text_of(submission.run()), std::string("CANCELLED: The caller cancelled the submission."));
  tern_hal_cancel_reset(&cancel);
  CTS_CHECK_OK(submission.run());
}

void fails_its_signals_when_cancelled(Context& c) {
  tern_hal_cancel_t cancel = {1};
  tern_hal_semaphore_t* done = c.semaphore();
  Submission submission = {three(c)};
  submission.bindings = {whole(c.buffer(16))};
  submission.cancel = &cancel;
  submission.signals = {{done, 1}};
  CTS_CHECK_CODE(submission.run(), CANCELLED);
  CTS_CHECK_CODE(tern_hal_semaphore_wait(done, 1, TERN_HAL_NEVER), CANCELLED);
}

void keeps_its_deadline(Context& c) {
  Submission submission = {three(c)};
  submission.bindings = {whole(c.buffer(16))};
  submission.deadline = 1;
  CTS_CHECK_EQ(text_of(submission.run()),
               std::string("DEADLINE_EXCEEDED: The submission's deadline has passed."));
  submission.deadline = TERN_HAL_NEVER;
  CTS_CHECK_OK(submission.run());
}

}  // namespace

#define CASE(name) {"profiling." #name, name}
std::vector<Case> profiling_cases() {
  return {
      CASE(logs_every_dispatch),
      CASE(measures_time),
      CASE(counts_what_it_drops),
      CASE(takes_a_log_of_no_room),
      CASE(logging_changes_no_result),
      CASE(is_cancelled),
      CASE(fails_its_signals_when_cancelled),
      CASE(keeps_its_deadline),
  };
}

}  // namespace tern::cts
