// Which device a command runs on, and what devices there are.
#pragma once

#include <functional>

#include "tools/tern/support.h"

namespace tern::cli {

// Instance with all drivers of this program.
Handle<tern_instance_t> make_instance();

// What is wrong with the options by themselves, on any machine.
void check_device_options(const DeviceOptions& options, command_line::Problems& problems);

// Threads that a CPU device made from these options runs kernels on.
int cpu_threads(const DeviceOptions& options);

// A device and a session on it.
struct Placed {
  std::string driver;
  uint32_t ordinal = 0;
  Handle<tern_device_t> device;
  Handle<tern_session_t> session;
};
using MakeSession = std::function<tern_status_t(tern_device_t*, tern_session_t**)>;

// "NVIDIA H100 80GB HBM3"; empty where there is no such device.
std::string device_name(tern_instance_t* instance, const Placed& placed);

// The device that the options name and a session of the module there, or a Failure. With the driver "auto":
// the first device that takes the module, GPUs before CPUs; says on standard error which it is, and why none
// before it.
Placed place(tern_instance_t* instance, const tern_module_t* module, const DeviceOptions& options,
             const MakeSession& make_session);

}  // namespace tern::cli
