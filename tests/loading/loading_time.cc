// loading_time MODULE DRIVER [RUNS]: what loading a module costs beside its driver, in microseconds, the
// least of RUNS. Loading is reading the file's structure, choosing program and variants, recording, `init`; a
// driver's time is what passes in its functions, which this program puts a clock around.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "hal/command_buffer.h"
#include "hal/device.h"
#include "tern/tern.h"

extern "C" tern_status_t __real_tern_hal_semaphore_wait(tern_hal_semaphore_t* semaphore, uint64_t value,
                                                        int64_t deadline);

namespace {

int64_t in_driver = 0;  // ns

// One call into the driver; a call in another is the outer one's.
class Clock {
 public:
  Clock() : begin_(tern_hal_now()) { ++depth; }
  ~Clock() {
    if (--depth == 0) in_driver += tern_hal_now() - begin_;
  }

 private:
  static int depth;
  int64_t begin_;
};
int Clock::depth = 0;

tern_hal_device_vtable_t device_calls;
tern_hal_device_vtable_t device_clocks;

// Buffers of one device can have several tables of functions (allocated, imported): each has its copy with
// clocks.
struct BufferCalls {
  tern_hal_buffer_vtable_t clocks;
  const tern_hal_buffer_vtable_t* real;
};
BufferCalls buffer_calls[4];

const tern_hal_buffer_vtable_t* real_calls(const tern_hal_buffer_t* buffer) {
  return reinterpret_cast<const BufferCalls*>(buffer->vtable)->real;  // its first member
}

void put_clocks(tern_hal_buffer_t* buffer) {
  BufferCalls* calls = buffer_calls;
  while (calls->real && calls->real != buffer->vtable) ++calls;
  if (calls == buffer_calls + sizeof(buffer_calls) / sizeof(buffer_calls[0])) abort();
  if (!calls->real) {
    calls->real = buffer->vtable;
    calls->clocks = *buffer->vtable;
    calls->clocks.destroy = [](tern_hal_buffer_t* self) {
      const Clock clock;
      real_calls(self)->destroy(self);
    };
    if (calls->real->write) {
      calls->clocks.write = [](tern_hal_buffer_t* self, uint64_t offset, const void* data, uint64_t length) {
        const Clock clock;
        return real_calls(self)->write(self, offset, data, length);
      };
    }
  }
  buffer->vtable = &calls->clocks;
}

const tern_hal_command_buffer_vtable_t* command_buffer_calls = nullptr;
tern_hal_command_buffer_vtable_t command_buffer_clocks;

void put_clocks(tern_hal_command_buffer_t* commands) {
  command_buffer_calls = commands->vtable;
  command_buffer_clocks = {
      [](tern_hal_command_buffer_t* self) {
        const Clock clock;
        command_buffer_calls->destroy(self);
      },
      [](tern_hal_command_buffer_t* self) {
        const Clock clock;
        return command_buffer_calls->prepare(self);
      },
  };
  commands->vtable = &command_buffer_clocks;
}

void put_clocks(tern_hal_device_t* device) {
  device_calls = *device->vtable;
  device_clocks = device_calls;
  device_clocks.query_capability = [](tern_hal_device_t* self, uint32_t id, int64_t* out) {
    const Clock clock;
    return device_calls.query_capability(self, id, out);
  };
  device_clocks.allocate_buffer = [](tern_hal_device_t* self, uint32_t memory, uint64_t size,
                                     tern_hal_buffer_t** out) {
    const Clock clock;
    tern_status_t status = device_calls.allocate_buffer(self, memory, size, out);
    if (tern_status_is_ok(status)) put_clocks(*out);
    return status;
  };
  device_clocks.import_buffer = [](tern_hal_device_t* self, const tern_hal_import_t* import,
                                   tern_hal_buffer_t** out) {
    const Clock clock;
    tern_status_t status = device_calls.import_buffer(self, import, out);
    if (tern_status_is_ok(status)) put_clocks(*out);
    return status;
  };
  device_clocks.create_executable = [](tern_hal_device_t* self, const tern_hal_executable_desc_t* desc,
                                       tern_hal_executable_t** out) {
    const Clock clock;
    return device_calls.create_executable(self, desc, out);
  };
  device_clocks.create_command_buffer = [](tern_hal_device_t* self, tern_hal_command_buffer_t** out) {
    const Clock clock;
    tern_status_t status = device_calls.create_command_buffer(self, out);
    if (tern_status_is_ok(status)) put_clocks(*out);
    return status;
  };
  device_clocks.submit = [](tern_hal_device_t* self, const tern_hal_submit_t* submit, uint32_t changed) {
    const Clock clock;
    return device_calls.submit(self, submit, changed);
  };
  device_clocks.wait_idle = [](tern_hal_device_t* self) {
    const Clock clock;
    return device_calls.wait_idle(self);
  };
  device->vtable = &device_clocks;
}

void must(tern_status_t status) {
  if (!status) return;
  fprintf(stderr, "%s\n", tern_status_message(status));
  exit(2);
}

}  // namespace

// Semaphores keep their tables, by which drivers know their own.
extern "C" tern_status_t __wrap_tern_hal_semaphore_wait(tern_hal_semaphore_t* semaphore, uint64_t value,
                                                        int64_t deadline) {
  const Clock clock;
  return __real_tern_hal_semaphore_wait(semaphore, value, deadline);
}

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const int runs = argc > 3 ? atoi(argv[3]) : 20;
  tern_instance_t* instance = nullptr;
  must(tern_instance_create(nullptr, &instance));
  tern_hal_driver_registry_t* drivers = tern_instance_drivers(instance);
  must(tern_cpu_driver_register(drivers));
  must(tern_null_driver_register(drivers));
#ifdef LOADING_HAS_VULKAN
  must(tern_vulkan_driver_register(drivers));
#endif
  tern_device_desc_t desc = {};
  desc.driver = argv[2];
  tern_device_t* device = nullptr;
  must(tern_device_create(instance, &desc, &device));
  put_clocks(device);
  int64_t least_own = INT64_MAX, its_driver = 0, first = 0;
  for (int i = 0; i < runs; ++i) {
    in_driver = 0;
    const int64_t begin = tern_hal_now();
    tern_module_desc_t how = {};
    how.code_policy = TERN_CODE_TRUSTED;
    tern_module_t* module = nullptr;
    must(tern_module_load_file(instance, argv[1], &how, &module));
    tern_session_t* session = nullptr;
    must(tern_session_create(module, device, nullptr, &session));
    const int64_t driver = in_driver, own = tern_hal_now() - begin - driver;
    if (i == 0) first = own;
    if (own < least_own) least_own = own, its_driver = driver;
    tern_session_destroy(session);
    tern_module_release(module);
  }
  tern_device_release(device);
  tern_instance_destroy(instance);
  printf("own_us %.1f first_us %.1f driver_us %.1f\n", static_cast<double>(least_own) / 1e3,
         static_cast<double>(first) / 1e3, static_cast<double>(its_driver) / 1e3);
  return 0;
}
