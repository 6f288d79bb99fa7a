// The commands of `tern`. Each returns an exit code, or throws Failure.
#pragma once

#include <string>

#include "tools/tern/arguments.h"
#include "tools/tern/devices.h"
#include "tools/tern/expect.h"
#include "tools/tern/support.h"

namespace tern::cli {

struct RunOptions {
  std::string module, function, output_dir;
  DeviceOptions device;
  InputOptions inputs;
  ExpectOptions expected;
  bool in_place = false;  // outputs lie in their donors' memory
};
int run_command(const RunOptions& options);

struct BenchOptions {
  std::string module, function;
  DeviceOptions device;
  InputOptions inputs;
  int runs = 0;  // 0: as many as fit in `seconds`, at least 5
  double seconds = 2;
  bool json = false, dispatches = false, in_place = false;
  double peak_gflops = 0, peak_gbs = 0;  // of the device; 0: measured on CPUs, not known elsewhere
};
int bench_command(const BenchOptions& options);

struct InspectOptions {
  std::string module;
  bool json = false, bytecode = false, commands = false;
};
int inspect_command(const InspectOptions& options);

int verify_command(const std::string& module);
int devices_command(bool json);

// The whole program, argv[0] as in main(); the exit code. May be called again.
int command_line(int argc, char** argv);

}  // namespace tern::cli
