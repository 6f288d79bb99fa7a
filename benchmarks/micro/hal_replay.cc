// What a dispatch costs beside its kernel: replays a chain of empty kernels and prints nanoseconds for each,
// by threads and tiles.
//   hal_replay [most threads]
#include <stdio.h>
#include <stdlib.h>

#include <algorithm>
#include <vector>

#include "drivers/cpu/cpu_driver.h"

namespace {

int32_t empty_kernel(const tern_kernel_args_t*, int64_t, int64_t, void*, int64_t) {
  return 0;
}

// About a microsecond a tile.
int32_t busy_kernel(const tern_kernel_args_t*, int64_t begin, int64_t end, void*, int64_t) {
  for (int64_t i = begin; i < end; ++i) {
    const int64_t until = tern_hal_now() + 1000;
    while (tern_hal_now() < until) {
    }
  }
  return 0;
}

void check(tern_status_t status) {
  if (tern_status_is_ok(status)) return;
  fprintf(stderr, "%s\n", tern_status_message(status));
  exit(1);
}

double median_ns(const tern_hal_driver_t* driver, uint32_t threads, uint32_t entry, int64_t tiles,
                 int dispatches) {
  tern_hal_device_desc_t desc = {};
  desc.thread_count = threads;
  tern_hal_device_t* device = nullptr;
  check(tern_hal_driver_create_device(driver, &desc, tern_allocator_system(), &device));
  const tern_hal_entry_t entries[2] = {{tern_string_view("empty"), 0, empty_kernel, 0, 0, {}},
                                       {tern_string_view("busy"), 0, busy_kernel, 0, 0, {}}};
  const tern_hal_executable_desc_t code = {TERN_HAL_EXECUTABLE_FUNCTIONS, 1, {}, entries, 2, nullptr, 0};
  tern_hal_executable_t* executable = nullptr;
  check(tern_hal_executable_create(device, &code, &executable));
  const tern_hal_command_buffer_desc_t shape = {};
  tern_hal_command_buffer_t* commands = nullptr;
  check(tern_hal_command_buffer_create(device, &shape, &commands));
  tern_hal_dispatch_t dispatch = {};
  dispatch.executable = executable;
  dispatch.entry = entry;
  dispatch.grid_rank = 1;
  dispatch.grid[0] = tern_hal_constant(tiles);
  for (int i = 0; i < dispatches; ++i) {
    check(tern_hal_command_buffer_dispatch(commands, &dispatch));
    check(tern_hal_command_buffer_barrier(commands));
  }
  check(tern_hal_command_buffer_end(commands));
  tern_hal_submit_t submit = {};
  submit.command_buffer = commands;
  std::vector<double> times;
  for (int i = 0; i < 300; ++i) {
    const int64_t begin = tern_hal_now();
    check(tern_hal_device_submit(device, &submit));
    times.push_back(static_cast<double>(tern_hal_now() - begin) / dispatches);
  }
  std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
  tern_hal_command_buffer_release(commands);
  tern_hal_executable_release(executable);
  tern_hal_device_release(device);
  return times[times.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  const uint32_t most = argc > 1 ? static_cast<uint32_t>(atoi(argv[1])) : 2;
  tern_hal_driver_registry_t registry = {};
  check(tern_cpu_driver_register(&registry));
  const tern_hal_driver_t* driver = registry.drivers[0];
  printf("threads  kernel       tiles  dispatches  ns a dispatch (median of 300 replays)\n");
  for (uint32_t threads = 1; threads <= most; threads *= 2) {
    for (int dispatches : {1, 100}) {
      for (int64_t tiles : {1, 2, 16}) {
        printf("%7u  %-8s  %8lld  %10d  %8.1f\n", threads, "empty", (long long)tiles, dispatches,
               median_ns(driver, threads, 0, tiles, dispatches));
      }
      printf("%7u  %-8s  %8d  %10d  %8.1f\n", threads, "16 x 1us", 16, dispatches,
             median_ns(driver, threads, 1, 16, dispatches));
    }
  }
}
