// What a kernel costs in a replayed recording on the cuda driver: chains of tiny kernels, each behind the one
// before, with plain and with programmatic edges, and as many side by side. Checks what they computed. Says
// so where there is no GPU.
//   cuda_replay [FILE.cubin or FILE.fatbin with the same kernels]
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <vector>

#include "drivers/cuda/cuda_driver.h"

namespace {

// Compute capability 9.0; both kernels: ++*cell, the second after griddepcontrol.wait.
constexpr char kPtx[] = R"(
.version 8.0
.target sm_90
.address_size 64
.visible .entry plain_step(.param .u64 cell)
{
  .reg .b32 %r<3>;
  .reg .b64 %rd<3>;
  ld.param.u64 %rd1, [cell];
  cvta.to.global.u64 %rd2, %rd1;
  ld.global.u32 %r1, [%rd2];
  add.s32 %r2, %r1, 1;
  st.global.u32 [%rd2], %r2;
  ret;
}
.visible .entry waiting_step(.param .u64 cell)
{
  .reg .b32 %r<3>;
  .reg .b64 %rd<3>;
  ld.param.u64 %rd1, [cell];
  cvta.to.global.u64 %rd2, %rd1;
  griddepcontrol.wait;
  ld.global.u32 %r1, [%rd2];
  add.s32 %r2, %r1, 1;
  st.global.u32 [%rd2], %r2;
  ret;
}
)";
constexpr int kKernels = 200, kRuns = 300;

void check(tern_status_t status) {
  if (tern_status_is_ok(status)) return;
  fprintf(stderr, "%s\n", tern_status_message(status));
  exit(1);
}

std::vector<char> read_file(const char* path) {
  FILE* file = fopen(path, "rb");
  std::vector<char> bytes;
  if (!file) {
    fprintf(stderr, "cannot open %s\n", path);
    exit(1);
  }
  for (int c; (c = fgetc(file)) != EOF;) bytes.push_back(static_cast<char>(c));
  fclose(file);
  return bytes;
}

struct Bench {
  tern_hal_device_t* device = nullptr;
  tern_hal_executable_t* executable = nullptr;
  tern_hal_buffer_t* cells[2] = {};

  void load(const char* path) {
    tern_hal_entry_t entries[2] = {{tern_string_view("plain_step"), 0, nullptr, 1, 0, {}},
                                   {tern_string_view("waiting_step"), 0, nullptr, 1, 0, {}}};
    entries[1].launch.flags = TERN_HAL_ENTRY_WAITS_FOR_GRID;
    const std::vector<char> file = path ? read_file(path) : std::vector<char>();
    const tern_const_bytes_t code =
        path ? tern_const_bytes(file.data(), file.size()) : tern_const_bytes(kPtx, sizeof(kPtx) - 1);
    const tern_hal_executable_desc_t desc = {
        static_cast<uint32_t>(path ? TERN_HAL_EXECUTABLE_CUBIN : TERN_HAL_EXECUTABLE_PTX),
        1,
        code,
        entries,
        2,
        nullptr,
        0};
    check(tern_hal_executable_create(device, &desc, &executable));
  }

  // `entry` on an external slot, `count` times; a barrier after each, or on cells of their own without one.
  tern_hal_command_buffer_t* record(uint32_t entry, int count, bool barriers) {
    const uint8_t slot = TERN_HAL_SLOT_EXTERNAL;
    const tern_hal_command_buffer_desc_t desc = {&slot, 1, 0};
    tern_hal_command_buffer_t* commands = nullptr;
    check(tern_hal_command_buffer_create(device, &desc, &commands));
    for (int i = 0; i < count; ++i) {
      const tern_hal_binding_t binding = {0, TERN_HAL_ACCESS_READ | TERN_HAL_ACCESS_WRITE,
                                          tern_hal_constant(barriers ? 0 : i * 4), tern_hal_constant(4)};
      tern_hal_dispatch_t dispatch = {};
      dispatch.executable = executable;
      dispatch.entry = entry;
      dispatch.bindings = &binding;
      dispatch.binding_count = 1;
      dispatch.grid_rank = 1;
      dispatch.grid[0] = tern_hal_constant(1);
      check(tern_hal_command_buffer_dispatch(commands, &dispatch));
      if (barriers) check(tern_hal_command_buffer_barrier(commands));
    }
    check(tern_hal_command_buffer_end(commands));
    return commands;
  }

  // One submission and the wait for its end, in nanoseconds; `submit_ns`: until submit returned.
  int64_t run(tern_hal_command_buffer_t* commands, int which, tern_hal_semaphore_t* semaphore, uint64_t value,
              int64_t* submit_ns) {
    const tern_hal_range_t range = {cells[which], 0, TERN_HAL_WHOLE};
    const tern_hal_semaphore_point_t signal = {semaphore, value};
    tern_hal_submit_t submit = {};
    submit.command_buffer = commands;
    submit.bindings = &range;
    submit.binding_count = 1;
    submit.signals = &signal;
    submit.signal_count = 1;
    const int64_t begin = tern_hal_now();
    check(tern_hal_device_submit(device, &submit));
    *submit_ns = tern_hal_now() - begin;
    check(tern_hal_semaphore_wait(semaphore, value, TERN_HAL_NEVER));
    return tern_hal_now() - begin;
  }

  void measure(const char* name, uint32_t entry, int count, bool barriers, bool alternate) {
    for (auto* buffer : cells) {
      const std::vector<char> zeros(kKernels * 4);
      check(tern_hal_buffer_write(buffer, 0, zeros.data(), kKernels * 4));
    }
    tern_hal_command_buffer_t* commands = record(entry, count, barriers);
    tern_hal_semaphore_t* semaphore = nullptr;
    check(tern_hal_semaphore_create(device, 0, &semaphore));
    std::vector<int64_t> ends, submits;
    for (int i = 0; i < kRuns; ++i) {
      int64_t submit_ns = 0;
      ends.push_back(
          run(commands, alternate ? i % 2 : 0, semaphore, static_cast<uint64_t>(i) + 1, &submit_ns));
      submits.push_back(submit_ns);
    }
    std::sort(ends.begin(), ends.end());
    std::sort(submits.begin(), submits.end());
    int32_t value = 0;
    check(tern_hal_buffer_read(cells[0], 0, &value, 4));
    const int expected = kRuns / (alternate ? 2 : 1) * (barriers ? count : 1);
    printf("%-34s %4d kernels: %8.2f us from submit to end, %6.2f us in submit, %6.3f us a kernel%s\n", name,
           count, static_cast<double>(ends[kRuns / 2]) * 1e-3, static_cast<double>(submits[kRuns / 2]) * 1e-3,
           static_cast<double>(ends[kRuns / 2]) * 1e-3 / count, value == expected ? "" : "  WRONG RESULT");
    if (value != expected) exit(1);
    tern_hal_semaphore_release(semaphore);
    tern_hal_command_buffer_release(commands);
  }
};

}  // namespace

int main(int argc, char** argv) {
  tern_hal_driver_registry_t registry = {};
  check(tern_cuda_driver_register(&registry));
  tern_hal_device_info_t info;
  uint32_t count = 0;
  check(registry.drivers[0]->enumerate(tern_allocator_system(), &info, 1, &count));
  if (count == 0) {
    printf("there is no NVIDIA GPU\n");
    return 0;
  }
  Bench bench;
  check(tern_hal_driver_create_device(registry.drivers[0], nullptr, tern_allocator_system(), &bench.device));
  bench.load(argc > 1 ? argv[1] : nullptr);
  for (auto*& buffer : bench.cells) {
    check(tern_hal_device_allocate_buffer(bench.device, TERN_HAL_MEMORY_DEVICE_LOCAL, kKernels * 4, &buffer));
  }
  printf("%s, %s, medians of %d\n", info.name, argc > 1 ? argv[1] : "PTX", kRuns);
  bench.measure("one", 0, 1, true, false);
  bench.measure("one, a new binding each time", 0, 1, true, true);
  bench.measure("chain, plain edges", 0, kKernels, true, false);
  bench.measure("chain, programmatic edges", 1, kKernels, true, false);
  bench.measure("chain, programmatic, new bindings", 1, kKernels, true, true);
  bench.measure("side by side", 0, kKernels, false, false);
  for (auto* buffer : bench.cells) tern_hal_buffer_release(buffer);
  tern_hal_executable_release(bench.executable);
  tern_hal_device_release(bench.device);
  return 0;
}
