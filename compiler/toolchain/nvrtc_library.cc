#include "compiler/toolchain/nvrtc_library.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <vector>

namespace tern::toolchain {

namespace {

namespace fs = std::filesystem;

constexpr const char* kMissing =
    "CUDA kernels are compiled by NVRTC, whose library (libnvrtc.so) is not found; run tools/setup, or "
    "install the "
    "Python package nvidia-cuda-nvrtc or a CUDA Toolkit of version 12 or later, or set TERN_NVRTC to the "
    "library.";

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// What a pattern STEM*, one level deep, matches in a folder, greatest names first.
std::vector<fs::path> matches(const fs::path& folder, std::string_view stem) {
  std::vector<fs::path> out;
  std::error_code problem;
  for (fs::directory_iterator it(folder, problem), end; !problem && it != end; it.increment(problem)) {
    if (it->path().filename().string().starts_with(stem)) out.push_back(it->path());
  }
  std::sort(out.rbegin(), out.rend());
  return out;
}

// Folders of NVRTC in a Python environment.
void add_environment(const fs::path& environment, std::vector<fs::path>& folders) {
  for (const fs::path& python : matches(environment / "lib", "python3")) {
    const fs::path nvidia = python / "site-packages" / "nvidia";
    for (const fs::path& toolkit : matches(nvidia, "cu1")) folders.push_back(toolkit / "lib");
    folders.push_back(nvidia / "cuda_nvrtc" / "lib");
  }
}

std::vector<fs::path> folders() {
  std::vector<fs::path> out;
  std::error_code problem;
  const fs::path program = fs::read_symlink("/proc/self/exe", problem);
  for (fs::path at = program.parent_path(); !at.empty() && at != at.root_path(); at = at.parent_path()) {
    add_environment(at / ".venv", out);
  }
  if (std::string v = variable("VIRTUAL_ENV"); !v.empty()) add_environment(v, out);
  for (const std::string& toolkit :
       {variable("CUDA_HOME"), variable("CUDA_PATH"), std::string("/usr/local/cuda")}) {
    if (toolkit.empty()) continue;
    out.push_back(fs::path(toolkit) / "lib64");
    out.push_back(fs::path(toolkit) / "lib");
  }
  return out;
}

// The library of a folder; what it loads by itself from the loader's path comes from the same folder.
void* open_in(const fs::path& folder, std::string& path) {
  for (const fs::path& library : matches(folder, "libnvrtc.so")) {
    for (const fs::path& builtins : matches(folder, "libnvrtc-builtins.so")) {
      dlopen(builtins.c_str(), RTLD_NOW | RTLD_GLOBAL);
    }
    path = library.string();
    if (void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) return handle;
  }
  return nullptr;
}

void* open_library(std::string& path) {
  std::error_code problem;
  if (std::string given = variable("TERN_NVRTC"); !given.empty()) {
    return open_in(fs::is_directory(given, problem) ? fs::path(given) : fs::path(given).parent_path(), path);
  }
  for (const fs::path& folder : folders()) {
    if (void* handle = open_in(folder, path)) return handle;
  }
  for (const char* name : {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"}) {
    path = name;
    if (void* handle = dlopen(name, RTLD_NOW | RTLD_LOCAL)) return handle;
  }
  return nullptr;
}

Result<NvrtcLibrary> load() {
  NvrtcLibrary library;
  void* handle = open_library(library.path);
  if (handle == nullptr) return error("{}", kMissing);
  bool complete = true;
  auto find = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::decay_t<decltype(function)>>(dlsym(handle, name));
    complete &= function != nullptr;
  };
  find(library.version, "nvrtcVersion");
  find(library.error_string, "nvrtcGetErrorString");
  find(library.create, "nvrtcCreateProgram");
  find(library.destroy, "nvrtcDestroyProgram");
  find(library.compile, "nvrtcCompileProgram");
  find(library.log_size, "nvrtcGetProgramLogSize");
  find(library.log, "nvrtcGetProgramLog");
  find(library.cubin_size, "nvrtcGetCUBINSize");
  find(library.cubin, "nvrtcGetCUBIN");
  find(library.ptx_size, "nvrtcGetPTXSize");
  find(library.ptx, "nvrtcGetPTX");
  int major = 0, minor = 0;
  if (complete) library.version(&major, &minor);
  if (!complete || major < 12) {
    return error("'{}' is NVRTC {}.{}, but version 12.0 or later is needed.", library.path, major, minor);
  }
  std::error_code problem;
  library.release =
      fmt::format("nvrtc {}.{} of {} bytes", major, minor, fs::file_size(library.path, problem));
  return library;
}

}  // namespace

Result<const NvrtcLibrary*> nvrtc_library() {
  static std::mutex mutex;
  static const NvrtcLibrary* loaded = nullptr;
  std::lock_guard lock(mutex);
  if (loaded == nullptr) {
    TERN_ASSIGN(NvrtcLibrary library, load());
    loaded = new NvrtcLibrary(std::move(library));
  }
  return loaded;
}

}  // namespace tern::toolchain
