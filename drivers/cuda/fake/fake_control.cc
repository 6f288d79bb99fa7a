// Counting, planned failures, devices and contexts.
#include <string.h>

#include <mutex>

#include "drivers/cuda/fake/fake_cuda.h"

namespace tern::cuda {
namespace fake {
namespace {
std::recursive_mutex mutex;
std::map<std::string, int> calls;
struct Plan {
  int at;
  CUresult error;
};
std::map<std::string, Plan> plans;
std::map<int, int> attributes;
CUresult sticky = CUDA_SUCCESS;
thread_local int context_depth = 0;
int primary_count = 0;

// What gives things back does so in a broken context too, so that leak checkers find only true leaks.
bool gives_back(const char* name) {
  return strstr(name, "Destroy") || strstr(name, "Free") || strstr(name, "Unload") ||
         strstr(name, "Unregister");
}
}  // namespace

Enter::Enter(const char* name, bool needs_context) : error_(CUDA_SUCCESS) {
  mutex.lock();
  const int count = ++calls[name];
  const auto plan = plans.find(name);
  if (plan != plans.end() && plan->second.at == count) {
    error_ = plan->second.error;
    if (error_ >= CUDA_ERROR_ILLEGAL_ADDRESS && error_ != CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED &&
        error_ <= CUDA_ERROR_LAUNCH_FAILED && error_ != CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES) {
      sticky = error_;
    }
  } else if (needs_context && context_depth == 0) {
    error_ = CUDA_ERROR_INVALID_CONTEXT;
  } else if (needs_context && !gives_back(name)) {
    error_ = sticky;
  }
}
Enter::~Enter() {
  mutex.unlock();
}

void set_sticky(CUresult error) {
  if (sticky == CUDA_SUCCESS) sticky = error;
}

}  // namespace fake

using namespace fake;

int fake_cuda_calls(const char* name) {
  std::lock_guard lock(mutex);
  return calls[name];
}
void fake_cuda_fail(const char* name, int n, CUresult error) {
  std::lock_guard lock(mutex);
  plans[name] = {calls[name] + n, error};
}
void fake_cuda_attribute(int attribute, int value) {
  std::lock_guard lock(mutex);
  attributes[attribute] = value;
}
void fake_cuda_reset() {
  std::lock_guard lock(mutex);
  calls.clear();
  plans.clear();
  attributes.clear();
  sticky = CUDA_SUCCESS;
}

CUresult cuInit(unsigned) {
  FAKE_ENTER("cuInit", false);
  return CUDA_SUCCESS;
}
CUresult cuDriverGetVersion(int* version) {
  FAKE_ENTER("cuDriverGetVersion", false);
  *version = 13000;
  return CUDA_SUCCESS;
}
CUresult cuGetErrorName(CUresult error, const char** text) {
  switch (error) {
    case CUDA_ERROR_OUT_OF_MEMORY:
      *text = "CUDA_ERROR_OUT_OF_MEMORY";
      return CUDA_SUCCESS;
    case CUDA_ERROR_ILLEGAL_ADDRESS:
      *text = "CUDA_ERROR_ILLEGAL_ADDRESS";
      return CUDA_SUCCESS;
    case CUDA_ERROR_INVALID_PTX:
      *text = "CUDA_ERROR_INVALID_PTX";
      return CUDA_SUCCESS;
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
}
CUresult cuGetErrorString(CUresult error, const char** text) {
  *text = "the fake's description";
  return error == CUDA_SUCCESS ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}
CUresult cuDeviceGetCount(int* count) {
  FAKE_ENTER("cuDeviceGetCount", false);
  *count = 2;
  return CUDA_SUCCESS;
}
CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  FAKE_ENTER("cuDeviceGet", false);
  *device = ordinal;
  return CUDA_SUCCESS;
}
CUresult cuDeviceGetName(char* name, int size, CUdevice) {
  FAKE_ENTER("cuDeviceGetName", false);
  strncpy(name, "Fake GPU", static_cast<size_t>(size));
  return CUDA_SUCCESS;
}
CUresult cuDeviceGetAttribute(int* value, int attribute, CUdevice) {
  FAKE_ENTER("cuDeviceGetAttribute", false);
  static const std::map<int, int> defaults = {
      {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, 1024},
      {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, 49152},
      {CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 132},
      {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 9},
      {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 232448},
      {CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED, 1},
      {CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, 1},
  };
  const auto set = attributes.find(attribute);
  const auto usual = defaults.find(attribute);
  *value = set != attributes.end() ? set->second : usual != defaults.end() ? usual->second : 0;
  return CUDA_SUCCESS;
}
CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice) {
  FAKE_ENTER("cuDeviceTotalMem", false);
  *bytes = size_t{1} << 30;
  return CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice) {
  FAKE_ENTER("cuDevicePrimaryCtxRetain", false);
  ++primary_count;
  *context = reinterpret_cast<CUcontext>(&primary_count);
  return CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice) {
  FAKE_ENTER("cuDevicePrimaryCtxRelease", false);
  --primary_count;
  return CUDA_SUCCESS;
}
CUresult cuCtxPushCurrent_v2(CUcontext) {
  FAKE_ENTER("cuCtxPushCurrent", false);
  ++context_depth;
  return CUDA_SUCCESS;
}
CUresult cuCtxPopCurrent_v2(CUcontext*) {
  FAKE_ENTER("cuCtxPopCurrent", false);
  --context_depth;
  return CUDA_SUCCESS;
}

}  // namespace tern::cuda
