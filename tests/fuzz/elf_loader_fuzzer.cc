// libFuzzer target: any bytes as an ELF image; it is loaded and dropped, never run. Built with
// -DTERN_FUZZ=ON; run it as
//   build/…/bin/elf_loader_fuzzer -max_len=32768 CORPUS_DIR
// A corpus: tests/hal_cts/kernels.elf of the build folder.
#include <stdlib.h>

#include "drivers/cpu/elf_loader.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tern::cpu::ElfImage image;
  tern_status_t status = tern::cpu::elf_load(tern_allocator_system(), tern_const_bytes(data, size), &image);
  if (tern_status_is_ok(status) != (image.base != nullptr)) abort();
  for (uint64_t address = 0; address < image.size; address += 4096) {
    // What is found must lie in the image, and can be read as code.
    const auto* function = static_cast<const volatile uint8_t*>(tern::cpu::elf_function(&image, address));
    if (function && (function < image.base || function >= image.base + image.size)) abort();
    if (function) (void)*function;
  }
  tern_status_free(status);
  tern::cpu::elf_unload(&image);
  return 0;
}
