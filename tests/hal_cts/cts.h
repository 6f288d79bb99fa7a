// The HAL's conformance suite: the same cases for every driver.
//
// A *driver under test* is a row in drivers.cc: a registration function, a device description, and how to
// make the suite's kernels for it. A case that a driver cannot pass is a row in skips.cc with its reason;
// such a case is run all the same, and one that passes fails the suite, so that the list stays true.
//
// A case is a function of a Context, listed in the table at the end of its file. Its checks record failures;
// REQUIRE ones return.
#pragma once

#include <string>
#include <vector>

#include "hal/driver_registry.h"
#include "tests/hal_cts/kernels.h"
#include "tests/support/status_text.h"
#include "tests/support/test_allocator.h"

namespace tern::cts {

struct DriverUnderTest {
  std::string name;    // of the row: "cpu-2-threads"
  std::string driver;  // in the registry: "cpu"
  tern_status_t (*register_driver)(tern_hal_driver_registry_t*);
  tern_hal_device_desc_t device;
  tern_status_t (*create_kernels)(tern_hal_device_t*, tern_hal_executable_t** out_kernels);
};
std::vector<DriverUnderTest> drivers_under_test();

struct Skip {
  std::string driver;  // DriverUnderTest::name, or a prefix of it that ends in '*'
  std::string test;    // the case's name, or a prefix of it that ends in '*'
  std::string reason;
};
std::vector<Skip> skips();

using Access = uint32_t;
constexpr Access kRead = TERN_HAL_ACCESS_READ, kWrite = TERN_HAL_ACCESS_WRITE;

// What a case works with. Everything made through it is released at the end.
class Context {
 public:
  Context(const DriverUnderTest& driver, test::TestAllocator& host_allocator);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  tern_hal_device_t* device();  // made when first asked for
  tern_hal_device_t* another_device(tern_hal_device_desc_t desc);
  tern_hal_device_desc_t device_desc() const { return driver_.device; }
  const tern_hal_driver_t* driver();
  tern_hal_executable_t* kernels();
  tern_hal_executable_t* kernels_of(tern_hal_device_t* device);
  tern_status_t try_kernels(tern_hal_device_t* device, tern_hal_executable_t** out_kernels) {
    return driver_.create_kernels(device, out_kernels);
  }
  test::TestAllocator& host_allocator() { return host_allocator_; }

  tern_hal_buffer_t* buffer(int64_t size);
  tern_hal_buffer_t* buffer_of(const std::vector<int32_t>& values);
  std::vector<int32_t> values_of(tern_hal_buffer_t* buffer);
  tern_hal_semaphore_t* semaphore(uint64_t value = 0);
  tern_hal_command_buffer_t* recording(const std::vector<uint8_t>& slot_classes, uint32_t param_count = 0);

  void fail(const char* file, int line, const std::string& text);
  bool failed() const { return !failures_.empty(); }
  const std::string& failures() const { return failures_; }

 private:
  const DriverUnderTest& driver_;
  test::TestAllocator& host_allocator_;
  tern_hal_driver_registry_t registry_ = {};
  tern_hal_device_t* device_ = nullptr;
  std::vector<tern_hal_device_t*> devices_;
  std::vector<tern_hal_executable_t*> executables_;
  std::vector<tern_hal_buffer_t*> buffers_;
  std::vector<tern_hal_semaphore_t*> semaphores_;
  std::vector<tern_hal_command_buffer_t*> recordings_;
  tern_hal_executable_t* kernels_ = nullptr;
  std::string failures_;
};

struct Case {
  std::string name;
  void (*run)(Context& c);
};

// One a file.
std::vector<Case> device_cases();
std::vector<Case> buffer_cases();
std::vector<Case> executable_cases();
std::vector<Case> recording_cases();
std::vector<Case> submit_cases();
std::vector<Case> dispatch_cases();
std::vector<Case> transfer_cases();
std::vector<Case> reuse_cases();
std::vector<Case> semaphore_cases();
std::vector<Case> profiling_cases();
std::vector<Case> hostile_cases();

// ---- Short forms
// -------------------------------------------------------------------------------------------------------------

constexpr uint8_t kExternal = TERN_HAL_SLOT_EXTERNAL, kArena = TERN_HAL_SLOT_ARENA,
                  kConstant = TERN_HAL_SLOT_CONSTANT;

inline tern_hal_operand_t constant(int64_t value) {
  return tern_hal_constant(value);
}
inline tern_hal_operand_t param(uint32_t index) {
  return tern_hal_parameter(index);
}
inline tern_hal_binding_t bind(uint32_t slot, Access access, tern_hal_operand_t offset,
                               tern_hal_operand_t length) {
  return {slot, access, offset, length};
}
inline tern_hal_binding_t bind(uint32_t slot, Access access, int64_t offset, int64_t length) {
  return {slot, access, constant(offset), constant(length)};
}
inline tern_hal_range_t whole(tern_hal_buffer_t* buffer) {
  return {buffer, 0, TERN_HAL_WHOLE};
}

// A dispatch under construction; record() takes it into a command buffer.
struct Dispatch {
  tern_hal_executable_t* executable;
  uint32_t entry;
  std::vector<tern_hal_binding_t> bindings;
  std::vector<tern_hal_operand_t> params;
  std::vector<tern_hal_operand_t> grid = {tern_hal_constant(1)};
  tern_hal_operand_t scratch = tern_hal_constant(0);
  const char* label = "";

  tern_status_t record(tern_hal_command_buffer_t* commands) const;
};

// A submission with its tables.
tern_status_t submit(tern_hal_command_buffer_t* commands, std::vector<tern_hal_range_t> bindings = {},
                     std::vector<int64_t> params = {});

// The same with every field at hand; `tables` keeps what it points to.
struct Submission {
  tern_hal_command_buffer_t* commands;
  std::vector<tern_hal_range_t> bindings = {};
  std::vector<int64_t> params = {};
  std::vector<tern_hal_semaphore_point_t> waits = {};
  std::vector<tern_hal_semaphore_point_t> signals = {};
  const tern_hal_cancel_t* cancel = nullptr;
  int64_t deadline = 0;
  tern_hal_event_log_t* event_log = nullptr;

  tern_status_t run() const;
};

inline std::string text_of(tern_status_t status) {
  return test::take_text(status);
}
inline tern_status_code_t code_of(tern_status_t status) {
  return test::take_code(status);
}

template <typename T>
std::string show(const T& value) {
  if constexpr (std::is_convertible_v<T, std::string>) {
    return value;
  } else if constexpr (std::is_enum_v<T>) {
    return tern_status_code_name(static_cast<tern_status_code_t>(value));
  } else if constexpr (std::is_pointer_v<T>) {
    return value ? "(pointer)" : "(null)";
  } else {
    return std::to_string(value);
  }
}

}  // namespace tern::cts

#define CTS_CHECK(condition)                                  \
  do {                                                        \
    if (!(condition)) c.fail(__FILE__, __LINE__, #condition); \
  } while (0)
#define CTS_CHECK_EQ(actual, expected)                                               \
  do {                                                                               \
    const auto actual_ = (actual);                                                   \
    const decltype(actual_) expected_ = (expected);                                  \
    if (!(actual_ == expected_)) {                                                   \
      c.fail(__FILE__, __LINE__,                                                     \
             std::string(#actual) + " is " + ::tern::cts::show(actual_) + ", not " + \
                 ::tern::cts::show(expected_));                                      \
    }                                                                                \
  } while (0)
#define CTS_CHECK_OK(expression) CTS_CHECK_EQ(::tern::cts::text_of(expression), std::string())
#define CTS_CHECK_CODE(expression, code) CTS_CHECK_EQ(::tern::cts::code_of(expression), TERN_STATUS_##code)
#define CTS_REQUIRE(condition)                \
  do {                                        \
    if (!(condition)) {                       \
      c.fail(__FILE__, __LINE__, #condition); \
      return;                                 \
    }                                         \
  } while (0)
#define CTS_REQUIRE_OK(expression)                              \
  do {                                                          \
    const std::string text_ = ::tern::cts::text_of(expression); \
    if (!text_.empty()) {                                       \
      c.fail(__FILE__, __LINE__, text_);                        \
      return;                                                   \
    }                                                           \
  } while (0)
