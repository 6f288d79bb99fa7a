#include "drivers/vulkan/vulkan_symbols.h"

#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

#include "drivers/vulkan/vulkan_status.h"
#include "hal/base/host_sync.h"

namespace tern::vulkan {
namespace {

constexpr char kLibrary[] = "libvulkan.so.1";

enum Level : uint8_t { kGlobal, kInstance, kDevice, kOptional };

struct Row {
  const char* name;
  Level level;
};
constexpr Row kRows[] = {
#define TERN_VULKAN_GLOBAL(name) {"vk" #name, kGlobal},
#define TERN_VULKAN_INSTANCE(name) {"vk" #name, kInstance},
#define TERN_VULKAN_DEVICE(name) {"vk" #name, kDevice},
#define TERN_VULKAN_OPTIONAL(name) {"vk" #name, kOptional},
#include "drivers/vulkan/vulkan_symbols.def"
#undef TERN_VULKAN_GLOBAL
#undef TERN_VULKAN_INSTANCE
#undef TERN_VULKAN_DEVICE
#undef TERN_VULKAN_OPTIONAL
};
constexpr size_t kRowCount = sizeof(kRows) / sizeof(kRows[0]);
static_assert(sizeof(Symbols) == (kRowCount + 3) * sizeof(void*),
              "a table of pointers, in the order of the rows");

// The rows of the levels [from, to], through the device where there is one.
tern_status_t fill([[maybe_unused]] tern_allocator_t allocator, Symbols* symbols, Level from, Level to,
                   VkDevice device) {
  char* next = reinterpret_cast<char*>(symbols) + 3 * sizeof(void*);
  for (const Row& row : kRows) {
    char* slot = next;
    next += sizeof(void*);
    if (row.level < from || row.level > to) continue;
    PFN_vkVoidFunction address = device ? symbols->GetDeviceProcAddr(device, row.name)
                                        : symbols->GetInstanceProcAddr(symbols->instance, row.name);
    if (!address && row.level != kOptional) {
      return tern_status_make(allocator, TERN_STATUS_INCOMPATIBLE,
                              "The Vulkan library has no entry point '%s': Vulkan 1.1 is needed.", row.name);
    }
    memcpy(slot, &address, sizeof(address));
  }
  return TERN_OK;
}

tern_status_t make_instance(tern_allocator_t allocator, Symbols* symbols) {
  symbols->GetInstanceProcAddr =
      reinterpret_cast<PFN_vkGetInstanceProcAddr>(dlsym(symbols->library, "vkGetInstanceProcAddr"));
  if (!symbols->GetInstanceProcAddr) {
    return tern_status_make(allocator, TERN_STATUS_INCOMPATIBLE,
                            "The library %s has no vkGetInstanceProcAddr.", kLibrary);
  }
  TERN_RETURN_IF_ERROR(fill(allocator, symbols, kGlobal, kGlobal, nullptr));
  uint32_t version = 0;
  TERN_RETURN_IF_ERROR(
      vulkan_status(allocator, symbols->EnumerateInstanceVersion(&version), "vkEnumerateInstanceVersion"));
  VkApplicationInfo application = {};
  application.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO;
  application.pEngineName = "tern";
  application.apiVersion = version < VK_API_VERSION_1_3 ? version : VK_API_VERSION_1_3;
  VkInstanceCreateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO;
  info.pApplicationInfo = &application;
  const VkResult result = symbols->CreateInstance(&info, nullptr, &symbols->instance);
  if (result == VK_ERROR_INCOMPATIBLE_DRIVER) {  // what the loader says when there is no driver
    return tern_status_make(allocator, TERN_STATUS_NOT_FOUND, "There is no Vulkan driver on this machine.");
  }
  TERN_RETURN_IF_ERROR(vulkan_status(allocator, result, "vkCreateInstance"));
  return fill(allocator, symbols, kInstance, kInstance, nullptr);
}

tern_status_t load(tern_allocator_t allocator, Symbols* symbols) {
  *symbols = {};
  symbols->library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (!symbols->library) {
    [[maybe_unused]] const char* reason = dlerror();
    return tern_status_make(allocator, TERN_STATUS_NOT_FOUND, "The Vulkan library could not be loaded (%s).",
                            reason ? reason : kLibrary);
  }
  tern_status_t status = make_instance(allocator, symbols);
  if (tern_status_is_ok(status)) return status;
  if (symbols->instance && symbols->DestroyInstance) symbols->DestroyInstance(symbols->instance, nullptr);
  dlclose(symbols->library);
  *symbols = {};
  return status;
}

// The process's instance, which stays until the process ends: with the last one the loader unloads the
// drivers, and NVIDIA's takes static thread storage that it does not get back each time that it is loaded (30
// times, then there is "no driver"). A process that was forked needs one of its own.
tern_mutex_t kept_mutex;
Symbols kept;
pid_t kept_process;

}  // namespace

tern_status_t vulkan_symbols_load(tern_allocator_t allocator, Symbols* out_symbols) {
  MutexLock lock(&kept_mutex);
  if (!kept.instance || kept_process != getpid()) {
    TERN_RETURN_IF_ERROR(load(allocator, &kept));
    kept_process = getpid();
  }
  *out_symbols = kept;
  return TERN_OK;
}

tern_status_t vulkan_symbols_load_device(tern_allocator_t allocator, Symbols* symbols, VkDevice device) {
  return fill(allocator, symbols, kDevice, kOptional, device);
}

}  // namespace tern::vulkan
