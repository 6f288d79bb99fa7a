// An allocator that fails the n-th call, for every n: a status each time, nothing leaked, and the objects
// that are there go on working. (Leaks are found by the runner.)
#include <functional>

#include "tests/hal_cts/cts.h"

namespace tern::cts {
namespace {

// Runs `body` with the first allocation failing, then the second, … until it succeeds.
void fail_each_allocation(Context& c, const std::function<tern_status_t()>& body) {
  for (size_t n = 1; n < 1000; ++n) {
    const size_t before = c.host_allocator().live_count();
    c.host_allocator().fail_at(n);
    const tern_status_code_t code = code_of(body());
    c.host_allocator().fail_at(0);
    if (code == TERN_STATUS_OK) {
      CTS_CHECK(n > 1);  // something was allocated
      return;
    }
    CTS_CHECK_EQ(code, TERN_STATUS_OUT_OF_MEMORY);
    CTS_CHECK_EQ(c.host_allocator().live_count(), before);
  }
  c.fail(__FILE__, __LINE__, "never succeeds");
}

void device_creation(Context& c) {
  const tern_hal_driver_t* driver = c.driver();
  fail_each_allocation(c, [&] {
    tern_hal_device_t* made = nullptr;
    const tern_hal_device_desc_t desc = c.device_desc();
    tern_status_t status = tern_hal_driver_create_device(driver, &desc, c.host_allocator().get(), &made);
    tern_hal_device_release(made);
    return status;
  });
}

void buffer_allocation(Context& c) {
  tern_hal_device_t* device = c.device();
  fail_each_allocation(c, [&] {
    tern_hal_buffer_t* made = nullptr;
    tern_status_t status = tern_hal_device_allocate_buffer(device, 0, 1000, &made);
    tern_hal_buffer_release(made);
    return status;
  });
  CTS_CHECK_EQ(tern_hal_device_memory_stats(device).bytes_now, uint64_t{0});
}

void buffer_import(Context& c) {
  tern_hal_device_t* device = c.device();
  char memory[16];
  int released = 0;
  const tern_hal_import_t desc = {memory, 16, 0,
                                  [](void* self, void*, uint64_t) { ++*static_cast<int*>(self); }, &released};
  fail_each_allocation(c, [&] {
    tern_hal_buffer_t* made = nullptr;
    tern_status_t status = tern_hal_device_import_buffer(device, &desc, &made);
    tern_hal_buffer_release(made);
    return status;
  });
  CTS_CHECK_EQ(released, 1);
}

void executable_creation(Context& c) {
  tern_hal_device_t* device = c.device();
  c.kernels();  // what a driver or the suite keeps for all executables is there
  fail_each_allocation(c, [&] {
    tern_hal_executable_t* made = nullptr;
    tern_status_t status = c.try_kernels(device, &made);
    tern_hal_executable_release(made);
    return status;
  });
}

void semaphore_creation(Context& c) {
  tern_hal_device_t* device = c.device();
  fail_each_allocation(c, [&] {
    tern_hal_semaphore_t* made = nullptr;
    tern_status_t status = tern_hal_semaphore_create(device, 0, &made);
    tern_hal_semaphore_release(made);
    return status;
  });
}

void log_creation(Context& c) {
  fail_each_allocation(c, [&] {
    tern_hal_event_log_t* made = nullptr;
    tern_status_t status = tern_hal_event_log_create(c.host_allocator().get(), 100, &made);
    tern_hal_event_log_destroy(made);
    return status;
  });
}

#define TRY(expression)                        \
  do {                                         \
    tern_status_t try_ = (expression);         \
    if (!tern_status_is_ok(try_)) return try_; \
  } while (0)

tern_status_t record_and_submit(Context& c, tern_hal_executable_t* kernels, tern_hal_buffer_t* buffer,
                                tern_hal_command_buffer_t** out_commands) {
  const uint8_t classes[2] = {kExternal, kArena};
  const tern_hal_command_buffer_desc_t desc = {classes, 2, 2};
  TRY(tern_hal_command_buffer_create(c.device(), &desc, out_commands));
  tern_hal_command_buffer_t* commands = *out_commands;
  TRY(tern_hal_command_buffer_bind(commands, 1, whole(buffer)));
  for (int i = 0; i < 40; ++i) {
    Dispatch dispatch = {kernels, CTS_KERNEL_mark, {bind(0, kRead | kWrite, param(0), constant(8))}, {}};
    dispatch.grid = {constant(8)};
    dispatch.scratch = constant(1000);
    TRY(dispatch.record(commands));
    TRY(tern_hal_command_buffer_barrier(commands));
  }
  Dispatch last = {kernels, CTS_KERNEL_mark, {bind(1, kRead | kWrite, 0, 8)}, {}};
  last.scratch = param(1);
  TRY(last.record(commands));
  TRY(tern_hal_command_buffer_end(commands));
  TRY(submit(commands, {whole(buffer), {}}, {8, 3000}));
  return submit(commands, {whole(buffer), {}}, {0, 200000});
}

void recording_and_submission(Context& c) {
  tern_hal_buffer_t* buffer = c.buffer(64);
  tern_hal_executable_t* kernels = c.kernels();
  // Scratch belongs to the device and stays: give each try a fresh one is not possible here, so only codes
  // are checked.
  for (size_t n = 1; n < 1000; ++n) {
    tern_hal_command_buffer_t* commands = nullptr;
    c.host_allocator().fail_at(n);
    const tern_status_code_t code = code_of(record_and_submit(c, kernels, buffer, &commands));
    c.host_allocator().fail_at(0);
    tern_hal_command_buffer_release(commands);
    if (code == TERN_STATUS_OK) return;
    CTS_CHECK_EQ(code, TERN_STATUS_OUT_OF_MEMORY);
  }
  c.fail(__FILE__, __LINE__, "never succeeds");
}

void messages_that_cannot_be_written(Context& c) {
  tern_hal_buffer_t* buffer = c.buffer(16);
  c.host_allocator().fail_at(1, true);
  char bytes[32];
  const tern_status_t status = tern_hal_buffer_read(buffer, 0, bytes, 17);
  CTS_CHECK_EQ(tern_status_code(status), TERN_STATUS_OUT_OF_RANGE);
  CTS_CHECK_EQ(std::string(tern_status_message(status)),
               std::string("an offset, length, index or dimension lies outside its bound"));
  c.host_allocator().fail_at(0);
}

}  // namespace

#define CASE(name) {"hostile." #name, name}
std::vector<Case> hostile_cases() {
  return {
      CASE(device_creation),
      CASE(buffer_allocation),
      CASE(buffer_import),
      CASE(executable_creation),
      CASE(semaphore_creation),
      CASE(log_creation),
      CASE(recording_and_submission),
      CASE(messages_that_cannot_be_written),
  };
}

}  // namespace tern::cts
