// Modules and launches.
#include <string.h>

#include <memory>

#include "drivers/cuda/fake/fake_cuda.h"

struct tern::cuda::CUfunc_st {
  const tern::cuda::fake::Kernel* kernel;
  int dynamic_limit = 49152;
};
struct tern::cuda::CUmod_st {
  std::string text;
  std::map<std::string, std::unique_ptr<CUfunc_st>> functions;
};

// What a text becomes is a container with the text behind its head.
struct tern::cuda::CUlinkState_st {
  std::vector<char> cubin;
};

namespace tern::cuda {
namespace fake {

constexpr size_t kCubinHead = 64;

long long live_modules = 0;

Launch make_launch(CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                   unsigned bz, unsigned shared, void** params) {
  Launch launch = {function->kernel, {gx, gy, gz}, {bx, by, bz}, shared, {}};
  for (unsigned i = 0; i < function->kernel->arg_count; ++i) {
    unsigned long long value;
    memcpy(&value, params[i], sizeof(value));
    launch.args.push_back(value);
  }
  if (static_cast<int>(shared) > function->dynamic_limit) launch.block[0] = 0;  // refused by check_launch
  return launch;
}

CUresult check_launch(const Launch& launch) {
  for (unsigned dimension : launch.grid) {
    if (dimension == 0) return CUDA_ERROR_INVALID_VALUE;
  }
  if (launch.kernel && launch.grid[0] % launch.kernel->cluster != 0) return CUDA_ERROR_INVALID_VALUE;
  if (launch.grid[1] > 65535 || launch.grid[2] > 65535) return CUDA_ERROR_INVALID_VALUE;
  const unsigned long long threads = 1ull * launch.block[0] * launch.block[1] * launch.block[2];
  return threads >= 1 && threads <= 1024 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

void run(const Launch& launch) {
  std::vector<char> shared(launch.shared + 1, '\x5a');
  const long long blocks = 1ll * launch.grid[0] * launch.grid[1] * launch.grid[2];
  for (long long i = blocks; i-- > 0;) {
    launch.kernel->run(launch.args.data(), {i, launch.block[0], shared.data()});
  }
}

}  // namespace fake

using namespace fake;

CUresult cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned count, int* options,
                            void** values) {
  FAKE_ENTER("cuModuleLoadDataEx");
  const char* text = static_cast<const char*>(image);
  const bool is_cubin = memcmp(image, "\x7f\x45LF", 4) == 0;
  if (!is_cubin && !strstr(text, ".version")) {
    for (unsigned i = 0; i < count; ++i) {
      if (options[i] == CU_JIT_ERROR_LOG_BUFFER)
        strcpy(static_cast<char*>(values[i]), "fake ptxas: no .version");
    }
    return CUDA_ERROR_INVALID_PTX;
  }
  *module = new CUmod_st;
  (*module)->text = is_cubin && memcmp(text + 8, "fakecuda", 8) == 0 ? text + kCubinHead : text;
  ++live_modules;
  return CUDA_SUCCESS;
}
CUresult cuLinkCreate_v2(unsigned, int*, void**, CUlinkState* state) {
  FAKE_ENTER("cuLinkCreate");
  *state = new CUlinkState_st;
  ++live_modules;
  return CUDA_SUCCESS;
}
CUresult cuLinkAddData_v2(CUlinkState state, int type, void* data, size_t size, const char*, unsigned, int*,
                          void**) {
  FAKE_ENTER("cuLinkAddData");
  const char* text = static_cast<const char*>(data);
  if (type != CU_JIT_INPUT_PTX || size == 0 || text[size - 1] != 0) return CUDA_ERROR_INVALID_VALUE;
  if (!strstr(text, ".version")) return CUDA_ERROR_INVALID_PTX;
  state->cubin.assign(kCubinHead, 0);
  memcpy(state->cubin.data(), "\x7f\x45LF\x02", 5);
  memcpy(state->cubin.data() + 8, "fakecuda", 8);
  state->cubin[18] = static_cast<char>(190);  // machine
  state->cubin.insert(state->cubin.end(), text, text + size);
  return CUDA_SUCCESS;
}
CUresult cuLinkComplete(CUlinkState state, void** cubin, size_t* size) {
  FAKE_ENTER("cuLinkComplete");
  *cubin = state->cubin.data();
  *size = state->cubin.size();
  return CUDA_SUCCESS;
}
CUresult cuLinkDestroy(CUlinkState state) {
  FAKE_ENTER("cuLinkDestroy");
  --live_modules;
  delete state;
  return CUDA_SUCCESS;
}
CUresult cuModuleUnload(CUmodule module) {
  FAKE_ENTER("cuModuleUnload");
  --live_modules;
  delete module;
  return CUDA_SUCCESS;
}
CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
  FAKE_ENTER("cuModuleGetFunction");
  const Kernel* kernel = find_kernel(name);
  if (!kernel || module->text.find(std::string(".entry ") + name) == std::string::npos)
    return CUDA_ERROR_NOT_FOUND;
  auto& made = module->functions[name];
  if (!made) made = std::make_unique<CUfunc_st>(CUfunc_st{kernel});
  *function = made.get();
  return CUDA_SUCCESS;
}
// The first word, which kernels see, is the address.
CUresult cuTensorMapEncodeTiled(CUtensorMap* map, int, unsigned rank, void* address,
                                const unsigned long long* sizes, const unsigned long long* strides,
                                const unsigned* box, const unsigned* steps, int, int, int, int) {
  FAKE_ENTER("cuTensorMapEncodeTiled", false);
  if (reinterpret_cast<unsigned long long>(address) % 16 || rank < 1 || rank > 5)
    return CUDA_ERROR_INVALID_VALUE;
  *map = {{reinterpret_cast<unsigned long long>(address)}};
  for (unsigned i = 0; i < rank; ++i) {
    const bool good = sizes[i] && box[i] >= 1 && box[i] <= 256 && steps[i] == 1 &&
                      (i + 1 == rank || (strides[i] && strides[i] % 16 == 0));
    if (!good) return CUDA_ERROR_INVALID_VALUE;
    map->opaque[1 + i] = sizes[i];
  }
  return CUDA_SUCCESS;
}
CUresult cuFuncGetAttribute(int* value, int attribute, CUfunction) {
  FAKE_ENTER("cuFuncGetAttribute");
  *value = attribute == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK ? 1024 : 0;
  return CUDA_SUCCESS;
}
CUresult cuFuncSetAttribute(CUfunction function, int attribute, int value) {
  FAKE_ENTER("cuFuncSetAttribute");
  if (attribute == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) function->dynamic_limit = value;
  return CUDA_SUCCESS;
}
CUresult cuLaunchKernel(CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                        unsigned bz, unsigned shared, CUstream, void** params, void**) {
  FAKE_ENTER("cuLaunchKernel");
  const Launch launch = make_launch(function, gx, gy, gz, bx, by, bz, shared, params);
  const CUresult result = check_launch(launch);
  if (result == CUDA_SUCCESS) enqueue([launch] { run(launch); });
  return result;
}

}  // namespace tern::cuda
