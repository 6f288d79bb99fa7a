// libFuzzer target: any bytes as a module, run without kernels. Built with -DTERN_FUZZ=ON; run it as
//   build/…/bin/module_fuzzer -max_len=65536 CORPUS_DIR
// A corpus: tern-as over tests/filetests/vm.
#define DOCTEST_CONFIG_IMPLEMENT
#include "tests/fuzz/run_module.h"
#include "tests/support/module_mutations.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static tern_instance_t* instance = nullptr;
  static tern_device_t* device = nullptr;
  static tern::test::CountingAllocator counting;
  if (!instance) {
    counting.largest = 1 << 20;  // sizes that the bytes make up are refused, not paged in
    const tern_instance_desc_t desc = {counting.allocator()};
    if (tern_instance_create(&desc, &instance) || tern_cpu_driver_register(tern_instance_drivers(instance)) ||
        tern_device_create(instance, nullptr, &device)) {
      std::abort();
    }
  }
  std::vector<uint8_t> file(data, data + size);
  tern::test::repair_hashes(file);  // or the fuzzer would have to invert XXH64
  tern::test::run_hostile_module(instance, device, file, /*kernels=*/false);
  return 0;
}
