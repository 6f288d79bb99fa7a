#include "tests/hal_cts/cts.h"

#include <stdexcept>

namespace tern::cts {
namespace {

// Setting up what every case needs must not fail; if it does, the case ends with that message.
void must(tern_status_t status) {
  const std::string text = text_of(status);
  if (!text.empty()) throw std::runtime_error(text);
}

}  // namespace

Context::Context(const DriverUnderTest& driver, test::TestAllocator& host_allocator)
    : driver_(driver), host_allocator_(host_allocator) {}

Context::~Context() {
  host_allocator_.fail_at(0);
  for (auto* recording : recordings_) tern_hal_command_buffer_release(recording);
  for (auto* semaphore : semaphores_) tern_hal_semaphore_release(semaphore);
  for (auto* buffer : buffers_) tern_hal_buffer_release(buffer);
  for (auto* executable : executables_) tern_hal_executable_release(executable);
  for (auto* device : devices_) tern_hal_device_release(device);
}

const tern_hal_driver_t* Context::driver() {
  if (registry_.count == 0) must(driver_.register_driver(&registry_));
  return tern_hal_driver_registry_find(&registry_, tern_string_view(driver_.driver.c_str()));
}

tern_hal_device_t* Context::another_device(tern_hal_device_desc_t desc) {
  tern_hal_device_t* made = nullptr;
  must(tern_hal_driver_create_device(driver(), &desc, host_allocator_.get(), &made));
  devices_.push_back(made);
  return made;
}

tern_hal_device_t* Context::device() {
  if (!device_) device_ = another_device(driver_.device);
  return device_;
}

tern_hal_executable_t* Context::kernels_of(tern_hal_device_t* device) {
  tern_hal_executable_t* made = nullptr;
  must(driver_.create_kernels(device, &made));
  executables_.push_back(made);
  return made;
}

tern_hal_executable_t* Context::kernels() {
  if (!kernels_) kernels_ = kernels_of(device());
  return kernels_;
}

tern_hal_buffer_t* Context::buffer(int64_t size) {
  tern_hal_buffer_t* made = nullptr;
  must(tern_hal_device_allocate_buffer(device(), 0, size, &made));
  buffers_.push_back(made);
  return made;
}

tern_hal_buffer_t* Context::buffer_of(const std::vector<int32_t>& values) {
  tern_hal_buffer_t* made = buffer(static_cast<int64_t>(values.size() * 4));
  must(tern_hal_buffer_write(made, 0, values.data(), static_cast<int64_t>(values.size() * 4)));
  return made;
}

std::vector<int32_t> Context::values_of(tern_hal_buffer_t* buffer) {
  std::vector<int32_t> values(tern_hal_buffer_size(buffer) / 4);
  must(tern_hal_buffer_read(buffer, 0, values.data(), static_cast<int64_t>(values.size() * 4)));
  return values;
}

tern_hal_semaphore_t* Context::semaphore(uint64_t value) {
  tern_hal_semaphore_t* made = nullptr;
  must(tern_hal_semaphore_create(device(), value, &made));
  semaphores_.push_back(made);
  return made;
}

tern_hal_command_buffer_t* Context::recording(const std::vector<uint8_t>& slot_classes,
                                              uint32_t param_count) {
  const tern_hal_command_buffer_desc_t desc = {slot_classes.data(),
                                               static_cast<uint32_t>(slot_classes.size()), param_count};
  tern_hal_command_buffer_t* made = nullptr;
  must(tern_hal_command_buffer_create(device(), &desc, &made));
  recordings_.push_back(made);
  return made;
}

void Context::fail(const char* file, int line, const std::string& text) {
  failures_ += std::string(file) + ":" + std::to_string(line) + ": " + text + "\n";
}

tern_status_t Dispatch::record(tern_hal_command_buffer_t* commands) const {
  tern_hal_dispatch_t dispatch = {};
  dispatch.executable = executable;
  dispatch.entry = entry;
  dispatch.bindings = bindings.data();
  dispatch.binding_count = static_cast<uint32_t>(bindings.size());
  dispatch.params = params.data();
  dispatch.param_count = static_cast<uint32_t>(params.size());
  dispatch.grid_rank = static_cast<uint32_t>(grid.size());
  for (size_t i = 0; i < grid.size() && i < 3; ++i) dispatch.grid[i] = grid[i];
  dispatch.scratch = scratch;
  dispatch.label = tern_string_view(label);
  return tern_hal_command_buffer_dispatch(commands, &dispatch);
}

tern_status_t Submission::run() const {
  tern_hal_submit_t submit = {};
  submit.command_buffer = commands;
  submit.bindings = bindings.data();
  submit.binding_count = static_cast<uint32_t>(bindings.size());
  submit.params = params.data();
  submit.param_count = static_cast<uint32_t>(params.size());
  submit.waits = waits.data();
  submit.wait_count = static_cast<uint32_t>(waits.size());
  submit.signals = signals.data();
  submit.signal_count = static_cast<uint32_t>(signals.size());
  submit.cancel = cancel;
  submit.deadline = deadline;
  submit.event_log = event_log;
  return tern_hal_device_submit(commands->device, &submit);
}

tern_status_t submit(tern_hal_command_buffer_t* commands, std::vector<tern_hal_range_t> bindings,
                     std::vector<int64_t> params) {
  Submission submission = {commands};
  submission.bindings = bindings;
  submission.params = params;
  return submission.run();
}

}  // namespace tern::cts
