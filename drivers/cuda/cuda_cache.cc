#include "drivers/cuda/cuda_cache.h"

#include <stdio.h>

#include "drivers/cuda/cuda_container.h"
#include "hal/base/cache_file.h"

namespace tern::cuda {
namespace {

// Named for what makes the code unusable elsewhere, or not the best that there is.
bool find_path(Device* device, const char* text, size_t size, char* out, size_t room) {
  char folder[400];
  if (!cache_folder(device->options.cache_dir, folder, sizeof(folder))) return false;
  const int facts[] = {device->limits.major, device->limits.minor, device->limits.driver_version};
  const uint64_t hash = cache_hash(text, size, cache_hash(facts, sizeof(facts)));
  const int written =
      snprintf(out, room, "%s/cuda-%016llx-%zu.cubin", folder, (unsigned long long)hash, size);
  return written > 0 && static_cast<size_t>(written) < room;
}

bool load_cubin(Device* device, const void* data, size_t size, CUmodule* out_module) {
  tern_status_t status = cuda_container_check(device->head.allocator, tern_const_bytes(data, size));
  const bool good = tern_status_is_ok(status);
  tern_status_free(status);
  return good && device->symbols.ModuleLoadDataEx(out_module, data, 0, nullptr, nullptr) == CUDA_SUCCESS;
}

bool compile(Device* device, const char* text, size_t size, const char* path, CUmodule* out_module) {
  const Symbols& symbols = device->symbols;
  CUlinkState state = nullptr;
  if (!symbols.LinkCreate || !symbols.LinkAddData || !symbols.LinkComplete || !symbols.LinkDestroy ||
      symbols.LinkCreate(0, nullptr, nullptr, &state) != CUDA_SUCCESS) {
    return false;
  }
  void* cubin = nullptr;  // the state's
  size_t bytes = 0;
  const bool loaded = symbols.LinkAddData(state, CU_JIT_INPUT_PTX, const_cast<char*>(text), size + 1, nullptr,
                                          0, nullptr, nullptr) == CUDA_SUCCESS &&
                      symbols.LinkComplete(state, &cubin, &bytes) == CUDA_SUCCESS && cubin &&
                      load_cubin(device, cubin, bytes, out_module);
  if (loaded) cache_write(path, cubin, bytes);
  (void)symbols.LinkDestroy(state);
  return loaded;
}

}  // namespace

bool cuda_cache_load(Device* device, const char* text, size_t size, CUmodule* out_module) {
  char path[512];
  if (!find_path(device, text, size, path, sizeof(path))) return false;
  size_t bytes = 0;
  uint8_t* data = cache_read(device->head.allocator, path, &bytes);
  const bool loaded = data && load_cubin(device, data, bytes, out_module);
  tern_release(device->head.allocator, data, bytes);
  return loaded || compile(device, text, size, path, out_module);
}

}  // namespace tern::cuda
