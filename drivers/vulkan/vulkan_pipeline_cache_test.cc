// The pipelines' file: what is written, what a later start is given of it, and what is refused.
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "drivers/vulkan/vulkan_executable.h"
#include "tests/support/vulkan_fixture.h"

using namespace tern;
using namespace tern::test;

namespace {

using Fixture = VulkanFixture;

std::string new_folder() {
  char folder[] = "/tmp/vulkan_cache_XXXXXX";
  REQUIRE(mkdtemp(folder) != nullptr);
  return folder;
}

using Bytes = std::vector<uint8_t>;

Bytes bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_bytes(const std::string& path, const Bytes& bytes) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

uint64_t hash_of(const uint8_t* data, size_t size, uint64_t hash = 0xcbf29ce484222325) {
  for (size_t i = 0; i < size; ++i) hash = (hash ^ data[i]) * 0x100000001b3;
  return hash;
}

constexpr size_t kFileHead = 24, kDataHead = 32;  // ours, and the one that Vulkan says

// The file with its checksum, which damage on purpose has made wrong.
Bytes checked(Bytes file) {
  const uint64_t hash = hash_of(file.data() + kFileHead, file.size() - kFileHead);
  memcpy(file.data() + 16, &hash, sizeof(hash));
  return file;
}

// A Vulkan driver whose pipelines' cache holds what was compiled, and that says which pipelines were in it,
// as drivers of GPUs do (lavapipe does neither): put in the place of four entry points of a real device.
struct TellingDriver {
  static inline vulkan::Symbols real;
  static inline VkPhysicalDeviceProperties properties;
  static inline Bytes given;               // with which the cache was made
  static inline std::set<uint64_t> known;  // what the cache holds
  static inline std::map<VkShaderModule, uint64_t> modules;
  static inline int misses;

  static void install(vulkan::Device* device) {
    real = device->symbols;
    properties = vulkan::vulkan_properties(real, device->physical);
    given.clear(), known.clear(), modules.clear();
    misses = 0;
    device->symbols.CreatePipelineCache = [](VkDevice handle, const VkPipelineCacheCreateInfo* info,
                                             const VkAllocationCallbacks*, VkPipelineCache* out) {
      const auto* data = static_cast<const uint8_t*>(info->pInitialData);
      given.assign(data, data + info->initialDataSize);
      for (size_t at = kDataHead; at < given.size(); at += sizeof(uint64_t)) {
        uint64_t key;
        memcpy(&key, given.data() + at, sizeof(key));
        known.insert(key);
      }
      VkPipelineCacheCreateInfo empty = *info;
      empty.initialDataSize = 0;
      return real.CreatePipelineCache(handle, &empty, nullptr, out);
    };
    device->symbols.GetPipelineCacheData = [](VkDevice, VkPipelineCache, size_t* size, void* out) {
      const size_t needed = kDataHead + known.size() * sizeof(uint64_t);
      if (!out) {
        *size = needed;
        return VK_SUCCESS;
      }
      if (*size < needed) return VK_INCOMPLETE;
      VkPipelineCacheHeaderVersionOne head = {
          kDataHead, VK_PIPELINE_CACHE_HEADER_VERSION_ONE, properties.vendorID, properties.deviceID, {}};
      memcpy(head.pipelineCacheUUID, properties.pipelineCacheUUID, VK_UUID_SIZE);
      memcpy(out, &head, kDataHead);
      auto* at = static_cast<uint8_t*>(out) + kDataHead;
      for (const uint64_t key : known)
        at = std::copy_n(reinterpret_cast<const uint8_t*>(&key), sizeof(key), at);
      *size = needed;
      return VK_SUCCESS;
    };
    device->symbols.CreateShaderModule = [](VkDevice handle, const VkShaderModuleCreateInfo* info,
                                            const VkAllocationCallbacks*, VkShaderModule* out) {
      const VkResult result = real.CreateShaderModule(handle, info, nullptr, out);
      modules[*out] = hash_of(reinterpret_cast<const uint8_t*>(info->pCode), info->codeSize);
      return result;
    };
    device->symbols.CreateComputePipelines = [](VkDevice handle, VkPipelineCache cache, uint32_t count,
                                                const VkComputePipelineCreateInfo* infos,
                                                const VkAllocationCallbacks*, VkPipeline* out) {
      uint64_t key = modules.at(infos->stage.module);
      if (const VkSpecializationInfo* special = infos->stage.pSpecializationInfo)
        key = hash_of(static_cast<const uint8_t*>(special->pData), special->dataSize, key);
      const bool hit = !known.insert(key).second;
      misses += !hit;
      const auto* told = static_cast<const VkPipelineCreationFeedbackCreateInfo*>(infos->pNext);
      REQUIRE(told != nullptr);
      REQUIRE_EQ(told->sType, VK_STRUCTURE_TYPE_PIPELINE_CREATION_FEEDBACK_CREATE_INFO);
      VkComputePipelineCreateInfo untold = *infos;
      untold.pNext = nullptr;
      const VkResult result = real.CreateComputePipelines(handle, cache, count, &untold, nullptr, out);
      told->pPipelineCreationFeedback->flags =
          VK_PIPELINE_CREATION_FEEDBACK_VALID_BIT |
          (hit ? VK_PIPELINE_CREATION_FEEDBACK_APPLICATION_PIPELINE_CACHE_HIT_BIT : 0);
      return result;
    };
    device->tells_cache_hits = true;
    // As the device's own opening does, which was before these entry points.
    vulkan::vulkan_pipeline_cache_destroy(device);
    device->pipelines = {};
    vulkan::vulkan_pipeline_cache_open(device);
  }
};

// One start of a program on such a driver, whose kernels are the fixture's and one with scratch of that size.
struct Start {
  uint32_t compiled = 0;
  Bytes given;
};
Start start(const std::string& folder, uint64_t scratch = 0) {
  tern_vulkan_options_t options = {};
  Fixture f(options);  // without a folder
  vulkan::Device* device = vulkan::cast_device(f.device);
  tern_hal_executable_release(f.executable);
  f.executable = nullptr;
  device->options.cache_dir = folder.c_str();
  TellingDriver::install(device);
  Start out;
  out.given = TellingDriver::given;
  REQUIRE_OK(f.make_executable({1, 1, 1}, &f.executable));
  VkPipeline pipeline = VK_NULL_HANDLE;
  if (scratch) REQUIRE_OK(vulkan::vulkan_executable_pipeline(f.executable, kCount, scratch, &pipeline));
  out.compiled = device->pipelines.compiled;
  CHECK_EQ(out.compiled, static_cast<uint32_t>(TellingDriver::misses));
  return out;
}

std::string only_file(const std::string& folder) {
  REQUIRE_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1);
  return std::filesystem::directory_iterator(folder)->path();
}

uint64_t inode(const std::string& path) {
  struct stat info;
  REQUIRE_EQ(stat(path.c_str(), &info), 0);
  return info.st_ino;
}

}  // namespace

TEST_CASE("a second start compiles no pipeline: the driver is given the file's bytes, and the file stays") {
  if (const Fixture f; !f.device) return;
  const std::string folder = new_folder();
  const Start first = start(folder);
  CHECK_EQ(first.compiled, 4);
  CHECK(first.given.empty());
  const std::string path = only_file(folder);
  const Bytes file = bytes_of(path);
  REQUIRE_EQ(file.size(), kFileHead + kDataHead + 4 * sizeof(uint64_t));
  const uint64_t written = inode(path);
  const Start second = start(folder);
  CHECK_EQ(second.compiled, 0);
  CHECK_EQ(second.given, Bytes(file.begin() + kFileHead, file.end()));
  CHECK_EQ(bytes_of(path), file);
  CHECK_EQ(inode(path), written);
  // What a later start needs more joins it.
  CHECK_EQ(start(folder, 4096).compiled, 1);
  CHECK_EQ(bytes_of(only_file(folder)).size(), file.size() + sizeof(uint64_t));
  CHECK_EQ(start(folder, 4096).compiled, 0);
  CHECK_EQ(start(folder).compiled, 0);
  std::filesystem::remove_all(folder);
}

TEST_CASE("a pipelines' file that is damaged, cut off or another device's is not handed on, and made anew") {
  if (const Fixture f; !f.device) return;
  const std::string folder = new_folder();
  (void)start(folder);
  const std::string path = only_file(folder);
  const Bytes file = bytes_of(path);
  std::vector<Bytes> bad;
  for (size_t size = 0; size < file.size(); size += size < 60 ? 7 : 1)
    bad.emplace_back(file.begin(), file.begin() + static_cast<long>(size));
  for (size_t at = 0; at < file.size(); at += 5) {
    bad.push_back(file);
    bad.back()[at] ^= 0x40;
  }
  // Whole, but of another version of the head, vendor, device or driver.
  for (const size_t at : {4u, 8u, 12u, 16u, 31u}) {
    bad.push_back(file);
    bad.back()[kFileHead + at] ^= 1;
    bad.back() = checked(bad.back());
  }
  Bytes headless(file.begin(), file.begin() + kFileHead + 16);
  const uint64_t size = 16;
  memcpy(headless.data() + 8, &size, sizeof(size));
  bad.push_back(checked(headless));
  for (const Bytes& damaged : bad) {
    write_bytes(path, damaged);
    const Start again = start(folder);
    CHECK_EQ(again.compiled, 4);
    CHECK(again.given.empty());
    CHECK_EQ(bytes_of(path), file);
  }
  CHECK_EQ(start(folder).compiled, 0);
  std::filesystem::remove_all(folder);
}

TEST_CASE("the same on the device that is here, whatever it keeps in its cache") {
  const std::string folder = new_folder();
  const std::string inside = folder + "/deep/er";
  tern_vulkan_options_t options = {};
  options.cache_dir = inside.c_str();
  std::string path;
  uint64_t size = 0;
  uint32_t compiled = 0;
  {
    Fixture f(options);
    if (f.device) compiled = vulkan::cast_device(f.device)->pipelines.compiled;
  }
  if (compiled) {
    CHECK_EQ(compiled, 4);
    for (const auto& file : std::filesystem::directory_iterator(inside)) path = file.path();
    size = std::filesystem::file_size(path);
    CHECK(size > 24);
    const uint64_t written = inode(path);
    size_t data_size = 0;
    Fixture again(options);
    vulkan::Device* device = vulkan::cast_device(again.device);
    CHECK(device->pipelines.hash != 0);  // the file was read
    // Nothing that it needs was missing: the cache's data has not grown, and the file stays as it is.
    REQUIRE_EQ(
        device->symbols.GetPipelineCacheData(device->handle, device->pipelines.handle, &data_size, nullptr),
        VK_SUCCESS);
    CHECK_EQ(data_size, size - kFileHead);
    vulkan::vulkan_pipeline_cache_save(device);
    CHECK_EQ(inode(path), written);
    // A driver whose data is only the head (lavapipe before Mesa 24) keeps its code elsewhere.
    if (device->tells_cache_hits && size > 24 + 32) CHECK_EQ(device->pipelines.compiled, 0);
    CHECK_EQ(std::distance(std::filesystem::directory_iterator(inside), {}), 1);
  }
  for (uint64_t at = 0; compiled && at < size; at += 1 + size / 60) {
    FILE* file = fopen(path.c_str(), "r+b");
    fseek(file, static_cast<long>(at), SEEK_SET);
    fputc(0xa5, file);
    fclose(file);
    {
      Fixture damaged(options);
      CHECK_EQ(vulkan::cast_device(damaged.device)->pipelines.compiled, 4);
    }
    CHECK_EQ(std::filesystem::file_size(path), size);
  }
  std::filesystem::remove_all(folder);
}
