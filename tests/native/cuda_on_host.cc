#include "tests/native/cuda_on_host.h"

#include <dlfcn.h>
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>

#include "compiler/render/render.h"
#include "compiler/toolchain/object_cache.h"
#include "compiler/toolchain/process.h"

namespace tern::test {
namespace {

using namespace kernel;

constexpr const char* kCuda = R"cuda(
#include <math.h>
#include <string.h>
#define __global__ __attribute__((visibility("default")))
#define __launch_bounds__(n)
#define __shared__
#define __align__(n)
#define HOST_ASM(...) __builtin_trap()
struct uint2 { unsigned x, y; };
struct uint4 { unsigned x, y, z, w; };
static struct { unsigned x; } threadIdx, blockIdx;
template <class To, class From> static To as(From x) { To r; memcpy(&r, &x, sizeof r); return r; }
static float __int_as_float(int x) { return as<float>(x); }
static int __float_as_int(float x) { return as<int>(x); }
static float __uint_as_float(unsigned x) { return as<float>(x); }
static double __longlong_as_double(long long x) { return as<double>(x); }
static float __fsqrt_rn(float x) { return sqrtf(x); }
static double __dsqrt_rn(double x) { return sqrt(x); }
static float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
static int __popc(unsigned x) { return __builtin_popcount(x); }
static int __popcll(unsigned long x) { return __builtin_popcountl(x); }
static int __dp4a(int a, int b, int c) {
  for (int k = 0; k < 32; k += 8) c += (signed char)(a >> k) * (signed char)(b >> k);
  return c;
}
static unsigned long __cvta_generic_to_shared(const void*) { return 0; }
static unsigned long __cvta_generic_to_global(const void*) { return 0; }
static void __syncthreads() {}
static void __syncwarp() {}
template <class T> static T __shfl_xor_sync(unsigned, T x, int) { return x; }
template <class T> static T __shfl_sync(unsigned, T x, int) { return x; }
static float host_from_f16(unsigned short x) { return as<_Float16>(x); }
static unsigned short host_to_f16(float x) { return as<unsigned short>((_Float16)x); }
static unsigned short host_to_bf16(float x) {
  unsigned u = as<unsigned>(x);
  return x != x ? 0x7fff : (unsigned short)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
)cuda";

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
}

// The unit as host C++.
std::string host_text(std::string text) {
  replace_all(text, "asm(\"cvt.f32.f16 %0, %1;\" : \"=f\"(r) : \"h\"(x))", "r = host_from_f16(x)");
  replace_all(text, "asm(\"cvt.rn.f16.f32 %0, %1;\" : \"=h\"(r) : \"f\"(x))", "r = host_to_f16(x)");
  replace_all(text, "asm(\"cvt.rn.bf16.f32 %0, %1;\" : \"=h\"(r) : \"f\"(x))", "r = host_to_bf16(x)");
  replace_all(text, "asm(\"max.NaN.f32 %0, %1, %2;\" : \"=f\"(r) : \"f\"(a), \"f\"(b))",
              "r = (a > b) | (a != a) ? a : b");
  replace_all(text, "asm(\"min.NaN.f32 %0, %1, %2;\" : \"=f\"(r) : \"f\"(a), \"f\"(b))",
              "r = (a < b) | (a != a) ? a : b");
  replace_all(text, "asm volatile(", "HOST_ASM(");
  replace_all(text, " asm(", " HOST_ASM(");
  return kCuda + text;
}

// A CPU kernel as one thread's work.
Kernel on_gpu(Kernel k) {
  k.threads = 1;
  k.thread = make_var("lane");
  return k;
}

using Function = void (*)(void*, void*, void*, void*, void*, void*, void*, void*, void*, void*, void*, void*);

std::string run(const Kernel& k, Function function, std::mt19937& random, double ulps) {
  Contents before = random_contents(k, random), after = before;
  void* p[12] = {};
  REQUIRE(after.size() <= std::size(p));
  for (size_t b = 0; b < after.size(); ++b) p[b] = after[b].data();
  function(p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8], p[9], p[10], p[11]);
  return compare_with_evaluator(k, before, 0, after, ulps);
}

}  // namespace

void check_cuda_on_host(const std::vector<Case>& cases, const std::string& name) {
  std::vector<render::RenderedKernel> rendered;
  std::vector<const render::RenderedKernel*> unit;
  rendered.reserve(cases.size());
  for (const Case& c : cases) {
    auto text = render::render_c(on_gpu(c.kernel), *render::c_target("cuda_sm_80"));
    REQUIRE_MESSAGE(text.ok(), (text.ok() ? "" : text.error().text()));
    rendered.push_back(std::move(*text));
    unit.push_back(&rendered.back());
  }
  std::string folder = (std::filesystem::temp_directory_path() / "tern-cuda-XXXXXX").string();
  REQUIRE(mkdtemp(folder.data()) != nullptr);
  const std::string source = folder + "/" + name + ".cc", library = folder + "/" + name + ".so";
  REQUIRE(toolchain::write_file(source, host_text(render::unit_text(unit))));
  const std::string clang = toolchain::find_program("TERN_CLANGXX", {"clang++-19", "clang++"});
  auto built =
      toolchain::run_process({clang, "-std=c++17", "-O0", "-fwrapv", "-ffp-contract=off", "-w", "-shared",
                              "-fPIC", "-fno-strict-aliasing", "-o", library, source, "-lm"});
  REQUIRE(built.ok());
  REQUIRE_MESSAGE(built->exit_code == 0, built->output.substr(0, 4000));
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  const bool opened = handle != nullptr;
  REQUIRE_MESSAGE(opened, dlerror());
  std::mt19937 random(7);
  for (const Case& c : cases) {
    auto function = reinterpret_cast<Function>(dlsym(handle, c.kernel.name.c_str()));
    const bool found = function != nullptr;
    REQUIRE_MESSAGE(found, c.kernel.name);
    const Kernel k = on_gpu(c.kernel);
    for (int round = 0; round < 2; ++round) {
      std::string problem = run(k, function, random, c.ulps);
      CHECK_MESSAGE(problem.empty(), c.what << ": " << problem);
      if (!problem.empty()) break;
    }
  }
  dlclose(handle);
  std::filesystem::remove_all(folder);
}

}  // namespace tern::test
