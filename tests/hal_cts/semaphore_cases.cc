// Timeline semaphores: from the host, from submissions, across threads.
#include <thread>

#include "tests/hal_cts/cts.h"

namespace tern::cts {
namespace {

constexpr int64_t kMillisecond = 1000000;

uint64_t value_of(Context& c, tern_hal_semaphore_t* semaphore) {
  uint64_t value = 0;
  const std::string text = text_of(tern_hal_semaphore_query(semaphore, &value));
  if (!text.empty()) c.fail(__FILE__, __LINE__, text);
  return value;
}

tern_hal_command_buffer_t* empty_recording(Context& c) {
  auto* commands = c.recording({});
  const std::string text = text_of(tern_hal_command_buffer_end(commands));
  if (!text.empty()) c.fail(__FILE__, __LINE__, text);
  return commands;
}

void has_its_first_value(Context& c) {
  for (uint64_t value : {uint64_t{0}, uint64_t{7}, uint64_t{1} << 60})
    CTS_CHECK_EQ(value_of(c, c.semaphore(value)), value);
}

void grows_when_signalled(Context& c) {
  tern_hal_semaphore_t* semaphore = c.semaphore(2);
  for (uint64_t value : {uint64_t{3}, uint64_t{10}, uint64_t{1} << 40}) {
    CTS_CHECK_OK(tern_hal_semaphore_signal(semaphore, value));
    CTS_CHECK_EQ(value_of(c, semaphore), value);
  }
}

void refuses_to_shrink_or_stay(Context& c) {
  tern_hal_semaphore_t* semaphore = c.semaphore(5);
  CTS_CHECK_CODE(tern_hal_semaphore_signal(semaphore, 4), FAILED_PRECONDITION);
  CTS_CHECK_EQ(
      text_of(tern_hal_semaphore_signal(semaphore, 5)),
      std::string("FAILED_PRECONDITION: The signalled value (5) is not larger than the semaphore's (5)."));
  CTS_CHECK_EQ(value_of(c, semaphore), uint64_t{5});
}

void refuses_bad_arguments(Context& c) {
  uint64_t value = 0;
  CTS_CHECK_CODE(tern_hal_semaphore_create(c.device(), 0, nullptr), INVALID_ARGUMENT);
  CTS_CHECK_CODE(tern_hal_semaphore_query(nullptr, &value), INVALID_ARGUMENT);
  CTS_CHECK_CODE(tern_hal_semaphore_query(c.semaphore(), nullptr), INVALID_ARGUMENT);
  CTS_CHECK_CODE(tern_hal_semaphore_signal(nullptr, 1), INVALID_ARGUMENT);
  CTS_CHECK_CODE(tern_hal_semaphore_wait(nullptr, 1, 0), INVALID_ARGUMENT);
  tern_hal_semaphore_fail(nullptr, TERN_STATUS_CANCELLED);
}

void does_not_wait_for_what_is_reached(Context& c) {
  tern_hal_semaphore_t* semaphore = c.semaphore(5);
  for (uint64_t value : {0, 4, 5}) {
    CTS_CHECK_OK(tern_hal_semaphore_wait(semaphore, value, 0));
    CTS_CHECK_OK(tern_hal_semaphore_wait(semaphore, value, TERN_HAL_NEVER));
  }
}

void polls(Context& c) {
  CTS_CHECK_EQ(
      text_of(tern_hal_semaphore_wait(c.semaphore(5), 6, 0)),
      std::string("DEADLINE_EXCEEDED: The semaphore's value (5) did not reach (6) before the deadline."));
}

void waits_until_the_deadline(Context& c) {
  const int64_t begin = tern_hal_now();
  CTS_CHECK_CODE(tern_hal_semaphore_wait(c.semaphore(), 1, begin + 20 * kMillisecond), DEADLINE_EXCEEDED);
  const int64_t waited = tern_hal_now() - begin;
  CTS_CHECK(waited >= 20 * kMillisecond);
  CTS_CHECK(waited < 10000 * kMillisecond);
}

void wakes_a_waiting_thread(Context& c) {
  tern_hal_semaphore_t* semaphore = c.semaphore();
  std::string text = "did not end";
  std::thread waiter([&] { text = text_of(tern_hal_semaphore_wait(semaphore, 3, TERN_HAL_NEVER)); });
  for (uint64_t value = 1; value <= 3; ++value) CTS_CHECK_OK(tern_hal_semaphore_signal(semaphore, value));
  waiter.join();
  CTS_CHECK_EQ(text, std::string());
}

void wakes_many_threads(Context& c) {
  tern_hal_semaphore_t* semaphore = c.semaphore();
  std::atomic<int> done{0};
  std::vector<std::thread> waiters;
  for (uint64_t i = 1; i <= 6; ++i) {
    waiters.emplace_back([&, i] {
      if (text_of(tern_hal_semaphore_wait(semaphore, i, TERN_HAL_NEVER)).empty()) ++done;
    });
  }
  CTS_CHECK_OK(tern_hal_semaphore_signal(semaphore, 6));
  for (auto& waiter : waiters) waiter.join();
  CTS_CHECK_EQ(done.load(), 6);
}

void may_go_once_its_value_is_seen(Context& c) {
  for (int round = 0; round < 100; ++round) {
    tern_hal_semaphore_t* semaphore = nullptr;
    CTS_CHECK_OK(tern_hal_semaphore_create(c.device(), 0, &semaphore));
    std::string text;
    std::thread other([&] {
      if (round % 2)
        tern_hal_semaphore_fail(semaphore, TERN_STATUS_CANCELLED);
      else
        text = text_of(tern_hal_semaphore_signal(semaphore, 1));
    });
    const tern_status_code_t code = code_of(tern_hal_semaphore_wait(semaphore, 1, TERN_HAL_NEVER));
    tern_hal_semaphore_release(semaphore);  // the other thread may not have returned yet
    other.join();
    CTS_CHECK_EQ(code, round % 2 ? TERN_STATUS_CANCELLED : TERN_STATUS_OK);
    CTS_CHECK_EQ(text, std::string());
  }
}

void plays_ping_pong(Context& c) {
  tern_hal_semaphore_t *ping = c.semaphore(), *pong = c.semaphore();
  std::atomic<int> failures{0};
  std::thread other([&] {
    for (uint64_t i = 1; i <= 200; ++i) {
      failures += !text_of(tern_hal_semaphore_wait(ping, i, TERN_HAL_NEVER)).empty();
      failures += !text_of(tern_hal_semaphore_signal(pong, i)).empty();
    }
  });
  for (uint64_t i = 1; i <= 200; ++i) {
    failures += !text_of(tern_hal_semaphore_signal(ping, i)).empty();
    failures += !text_of(tern_hal_semaphore_wait(pong, i, TERN_HAL_NEVER)).empty();
  }
  other.join();
  CTS_CHECK_EQ(failures.load(), 0);
}

void fails_for_good(Context& c) {
  tern_hal_semaphore_t* semaphore = c.semaphore(5);
  tern_hal_semaphore_fail(semaphore, TERN_STATUS_DATA_ERROR);
  tern_hal_semaphore_fail(semaphore, TERN_STATUS_CANCELLED);
  uint64_t value = 0;
  CTS_CHECK_CODE(tern_hal_semaphore_query(semaphore, &value), DATA_ERROR);
  CTS_CHECK_CODE(tern_hal_semaphore_signal(semaphore, 9), DATA_ERROR);
  CTS_CHECK_CODE(tern_hal_semaphore_wait(semaphore, 1, TERN_HAL_NEVER), DATA_ERROR);
}

void wakes_waiting_threads_when_it_fails(Context& c) {
  tern_hal_semaphore_t* semaphore = c.semaphore();
  tern_status_code_t code = TERN_STATUS_OK;
  std::thread waiter([&] { code = code_of(tern_hal_semaphore_wait(semaphore, 1, TERN_HAL_NEVER)); });
  tern_hal_semaphore_fail(semaphore, TERN_STATUS_DEVICE_LOST);
  waiter.join();
  CTS_CHECK_EQ(code, TERN_STATUS_DEVICE_LOST);
}

void is_signalled_by_a_submission(Context& c) {
  tern_hal_semaphore_t *first = c.semaphore(), *second = c.semaphore(10);
  Submission submission = {empty_recording(c)};
  submission.signals = {{first, 4}, {second, 11}};
  CTS_CHECK_OK(submission.run());
  CTS_CHECK_OK(tern_hal_semaphore_wait(first, 4, TERN_HAL_NEVER));
  CTS_CHECK_OK(tern_hal_semaphore_wait(second, 11, TERN_HAL_NEVER));
}

void is_waited_for_by_a_submission(Context& c) {
  tern_hal_semaphore_t *gate = c.semaphore(), *done = c.semaphore();
  auto* commands = empty_recording(c);
  std::string text;
  std::thread other([&] {
    Submission submission = {commands};
    submission.waits = {{gate, 2}};
    submission.signals = {{done, 1}};
    text = text_of(submission.run());
  });
  CTS_CHECK_OK(tern_hal_semaphore_signal(gate, 1));
  CTS_CHECK_EQ(value_of(c, done), uint64_t{0});
  CTS_CHECK_OK(tern_hal_semaphore_signal(gate, 2));
  CTS_CHECK_OK(tern_hal_semaphore_wait(done, 1, TERN_HAL_NEVER));
  other.join();
  CTS_CHECK_EQ(text, std::string());
}

void orders_submissions_of_two_threads(Context& c) {
  tern_hal_buffer_t* buffer = c.buffer_of({1});
  auto affine = [&](int64_t mul, int64_t add) {
    auto* commands = c.recording({kExternal});
    Dispatch dispatch = {c.kernels(), CTS_KERNEL_affine, {bind(0, kRead, 0, 4), bind(0, kWrite, 0, 4)}, {}};
    dispatch.params = {constant(1), constant(mul), constant(add)};
    const std::string text =
        text_of(dispatch.record(commands)) + text_of(tern_hal_command_buffer_end(commands));
    if (!text.empty()) c.fail(__FILE__, __LINE__, text);
    return commands;
  };
  tern_hal_semaphore_t* timeline = c.semaphore();
  Submission doubles = {affine(2, 0)}, adds = {affine(1, 3)};
  doubles.bindings = adds.bindings = {whole(buffer)};
  std::thread other([&] {
    for (uint64_t i = 0; i < 5; ++i) {
      adds.waits = {{timeline, 2 * i + 1}};
      adds.signals = {{timeline, 2 * i + 2}};
      tern_status_free(adds.run());
    }
  });
  for (uint64_t i = 0; i < 5; ++i) {
    if (i) doubles.waits = {{timeline, 2 * i}};
    doubles.signals = {{timeline, 2 * i + 1}};
    CTS_CHECK_OK(doubles.run());
  }
  other.join();
  CTS_CHECK_OK(tern_hal_semaphore_wait(timeline, 10, TERN_HAL_NEVER));
  CTS_CHECK_EQ(c.values_of(buffer)[0], 125);  // five times 2x + 3
}

void keeps_a_submissions_deadline_while_waiting(Context& c) {
  Submission submission = {empty_recording(c)};
  submission.waits = {{c.semaphore(), 1}};
  submission.deadline = tern_hal_now() + 5 * kMillisecond;
  CTS_CHECK_CODE(submission.run(), DEADLINE_EXCEEDED);
}

void hands_its_failure_to_a_waiting_submission(Context& c) {
  tern_hal_semaphore_t *failed = c.semaphore(), *done = c.semaphore();
  tern_hal_semaphore_fail(failed, TERN_STATUS_DATA_ERROR);
  Submission submission = {empty_recording(c)};
  submission.waits = {{failed, 1}};
  submission.signals = {{done, 1}};
  CTS_CHECK_CODE(submission.run(), DATA_ERROR);
  CTS_CHECK_CODE(tern_hal_semaphore_wait(done, 1, TERN_HAL_NEVER), DATA_ERROR);
}

void fails_with_its_submission(Context& c) {
  tern_hal_semaphore_t* done = c.semaphore();
  Submission submission = {c.recording({})};  // has not ended
  submission.signals = {{done, 1}};
  CTS_CHECK_CODE(submission.run(), FAILED_PRECONDITION);
  CTS_CHECK_CODE(tern_hal_semaphore_wait(done, 1, TERN_HAL_NEVER), FAILED_PRECONDITION);
}

void refuses_a_wait_for_no_semaphore(Context& c) {
  Submission submission = {empty_recording(c)};
  submission.waits = {{nullptr, 1}};
  CTS_CHECK_CODE(submission.run(), INVALID_ARGUMENT);
  submission.waits = {};
  submission.signals = {{nullptr, 1}};
  CTS_CHECK_CODE(submission.run(), INVALID_ARGUMENT);
}

void works_between_devices(Context& c) {
  tern_hal_device_t* other = c.another_device(c.device_desc());
  const tern_hal_command_buffer_desc_t desc = {};
  tern_hal_command_buffer_t* commands = nullptr;
  CTS_REQUIRE_OK(tern_hal_command_buffer_create(other, &desc, &commands));
  CTS_CHECK_OK(tern_hal_command_buffer_end(commands));
  tern_hal_semaphore_t* semaphore = c.semaphore();
  Submission submission = {commands};
  submission.signals = {{semaphore, 1}};
  CTS_CHECK_OK(submission.run());
  CTS_CHECK_OK(tern_hal_semaphore_wait(semaphore, 1, TERN_HAL_NEVER));
  tern_hal_command_buffer_release(commands);
}

}  // namespace

#define CASE(name) {"semaphore." #name, name}
std::vector<Case> semaphore_cases() {
  return {
      CASE(has_its_first_value),
      CASE(grows_when_signalled),
      CASE(refuses_to_shrink_or_stay),
      CASE(refuses_bad_arguments),
      CASE(does_not_wait_for_what_is_reached),
      CASE(polls),
      CASE(waits_until_the_deadline),
      CASE(wakes_a_waiting_thread),
      CASE(wakes_many_threads),
      CASE(may_go_once_its_value_is_seen),
      CASE(plays_ping_pong),
      CASE(fails_for_good),
      CASE(wakes_waiting_threads_when_it_fails),
      CASE(is_signalled_by_a_submission),
      CASE(is_waited_for_by_a_submission),
      CASE(orders_submissions_of_two_threads),
      CASE(keeps_a_submissions_deadline_while_waiting),
      CASE(hands_its_failure_to_a_waiting_submission),
      CASE(fails_with_its_submission),
      CASE(refuses_a_wait_for_no_semaphore),
      CASE(works_between_devices),
  };
}

}  // namespace tern::cts
