// What a submission costs on the vulkan driver: a chain of tiny kernels with the arguments of the last time,
// and with new ones that all, or only the first and the last, of the kernels take. Checks nothing but that it
// works.
#include <stdio.h>
#include <stdlib.h>

#include <algorithm>
#include <vector>

#include "drivers/vulkan/testdata/test_kernels.spv.inc"
#include "drivers/vulkan/vulkan_driver.h"

namespace {

constexpr int kKernels = 100, kRuns = 200;

void check(tern_status_t status) {
  if (tern_status_is_ok(status)) return;
  fprintf(stderr, "%s\n", tern_status_message(status));
  exit(1);
}

struct Chain {
  tern_hal_device_t* device;
  tern_hal_executable_t* executable;
  tern_hal_buffer_t* buffer;

  // Kernels before `dynamic` and from the end less it take the parameter, the others a constant.
  tern_hal_command_buffer_t* record(int dynamic) const {
    const uint8_t slot = TERN_HAL_SLOT_ARENA;
    const tern_hal_command_buffer_desc_t desc = {&slot, 1, 1};
    tern_hal_command_buffer_t* commands = nullptr;
    check(tern_hal_command_buffer_create(device, &desc, &commands));
    check(tern_hal_command_buffer_bind(commands, 0, {buffer, 0, TERN_HAL_WHOLE}));
    for (int i = 0; i < kKernels; ++i) {
      const tern_hal_binding_t binding = {0, TERN_HAL_ACCESS_READ | TERN_HAL_ACCESS_WRITE,
                                          tern_hal_constant(0), tern_hal_constant(4)};
      const bool takes = i < dynamic || i >= kKernels - dynamic;
      const tern_hal_operand_t param = takes ? tern_hal_parameter(0) : tern_hal_constant(1);
      tern_hal_dispatch_t dispatch = {};
      dispatch.executable = executable;
      dispatch.binding_count = dispatch.param_count = 1;
      dispatch.bindings = &binding;
      dispatch.params = &param;
      dispatch.grid_rank = 1;
      dispatch.grid[0] = tern_hal_constant(1);
      check(tern_hal_command_buffer_dispatch(commands, &dispatch));
      check(tern_hal_command_buffer_barrier(commands));
    }
    check(tern_hal_command_buffer_end(commands));
    return commands;
  }

  // Prints the median times of submit and of submit and wait, in microseconds.
  void measure(const char* what, int dynamic, bool change) const {
    tern_hal_command_buffer_t* commands = record(dynamic);
    std::vector<double> submits, rounds;
    for (int64_t run = 0; run < kRuns; ++run) {
      const int64_t param = change ? run : 7;
      tern_hal_submit_t submit = {};
      submit.command_buffer = commands;
      submit.param_count = 1;
      submit.params = &param;
      const int64_t begin = tern_hal_now();
      check(tern_hal_device_submit(device, &submit));
      const int64_t submitted = tern_hal_now();
      check(tern_hal_device_wait_idle(device));
      if (run < 10) continue;
      submits.push_back(static_cast<double>(submitted - begin) / 1e3);
      rounds.push_back(static_cast<double>(tern_hal_now() - begin) / 1e3);
    }
    std::sort(submits.begin(), submits.end());
    std::sort(rounds.begin(), rounds.end());
    printf("%-40s submit %8.1f us, to the end %8.1f us\n", what, submits[submits.size() / 2],
           rounds[rounds.size() / 2]);
    tern_hal_command_buffer_release(commands);
  }
};

}  // namespace

int main() {
  tern_hal_driver_registry_t registry = {};
  check(tern_vulkan_driver_register(&registry));
  const tern_allocator_t allocator = tern_allocator_system();
  uint32_t count = 0;
  check(registry.drivers[0]->enumerate(allocator, nullptr, 0, &count));
  if (count == 0) {
    printf("there is no Vulkan device\n");
    return 0;
  }
  Chain chain = {};
  check(tern_hal_driver_create_device(registry.drivers[0], nullptr, allocator, &chain.device));
  const tern_hal_entry_t entry = {tern_string_view("append"), 0, nullptr, 1, 1, {}};
  const tern_hal_executable_desc_t desc = {TERN_HAL_EXECUTABLE_SPIRV,
                                           1,
                                           tern_const_bytes(spirv_append, sizeof(spirv_append)),
                                           &entry,
                                           1,
                                           nullptr,
                                           0};
  check(tern_hal_executable_create(chain.device, &desc, &chain.executable));
  check(tern_hal_device_allocate_buffer(chain.device, 0, 64, &chain.buffer));
  printf("%d kernels, each behind the one before; medians of %d\n", kKernels, kRuns - 10);
  chain.measure("arguments as last time", 1, false);
  chain.measure("new ones, for the first and the last", 1, true);
  chain.measure("new ones, for all", kKernels, true);
  tern_hal_buffer_release(chain.buffer);
  tern_hal_executable_release(chain.executable);
  tern_hal_device_release(chain.device);
}
