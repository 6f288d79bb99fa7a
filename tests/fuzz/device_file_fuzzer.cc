// libFuzzer target: any bytes as a device's file (`--targets=vulkan:device.json`). Built with -DTERN_FUZZ=ON;
// run it as
//   build/…/bin/device_file_fuzzer -max_len=8192 CORPUS_DIR
// A corpus: what `tern devices --json` prints.
#include <cstdlib>

#include "compiler/device_target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<tern::lower::Target> all = tern::lower::parse_targets("vulkan").value();
  auto target = tern::target_for_device(all.front(), std::string(reinterpret_cast<const char*>(data), size));
  if (target.ok() ? target->levels.empty() : target.error().message.empty()) std::abort();
  return 0;
}
