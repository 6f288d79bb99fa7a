#include "tools/tern/machine_peak.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace tern::cli {
namespace {

#if defined(__clang__)
#define TERN_UNROLL _Pragma("clang loop unroll(full)")
#else
#define TERN_UNROLL _Pragma("GCC unroll 32")
#endif

// Independent chains of multiply-adds, as many as registers allow; the target attribute makes each loop the
// instructions of its level, whatever the tool is compiled for.
#define TERN_FMA_LOOP(name, attribute, lanes, chains)                                           \
  attribute float name(long count, float factor) {                                              \
    typedef float vector __attribute__((vector_size((lanes) * 4)));                             \
    const vector x = factor + vector{}, y = 1e-9f + vector{};                                   \
    vector chain[chains];                                                                       \
    TERN_UNROLL for (int i = 0; i < (chains); ++i) chain[i] = static_cast<float>(i) + vector{}; \
    for (long n = 0; n < count; ++n) {                                                          \
      TERN_UNROLL for (int i = 0; i < (chains); ++i) chain[i] = chain[i] * x + y;               \
    }                                                                                           \
    vector sum = {};                                                                            \
    TERN_UNROLL for (int i = 0; i < (chains); ++i) sum += chain[i];                             \
    return sum[0];                                                                              \
  }

struct Loop {
  float (*run)(long count, float factor) = nullptr;
  double operations = 0;  // of one count
};

#if defined(__x86_64__)
#define TERN_TARGET(text) __attribute__((target(text)))
TERN_FMA_LOOP(fma_512, TERN_TARGET("avx512f"), 16, 12)
TERN_FMA_LOOP(fma_256, TERN_TARGET("avx2,fma"), 8, 12)
TERN_FMA_LOOP(fma_128, , 4, 12)

// The same of products of bytes; the empty statement keeps the compiler from seeing where a chain ends.
#define TERN_BYTE_LOOP(name, features, vector, step)                        \
  TERN_TARGET(features) float name(long count, float factor) {              \
    vector x, chain[12];                                                    \
    int32_t words[sizeof(x) / 4];                                           \
    for (int32_t& word : words) word = static_cast<int32_t>(factor * 1000); \
    __builtin_memcpy(&x, words, sizeof x);                                  \
    TERN_UNROLL for (int i = 0; i < 12; ++i) chain[i] = x;                  \
    for (long n = 0; n < count; ++n) {                                      \
      TERN_UNROLL for (int i = 0; i < 12; ++i) {                            \
        chain[i] = step;                                                    \
        __asm__("" : "+v"(chain[i]));                                       \
      }                                                                     \
    }                                                                       \
    int32_t first;                                                          \
    __builtin_memcpy(&first, &chain[0], sizeof first);                      \
    return static_cast<float>(first);                                       \
  }
TERN_BYTE_LOOP(dot_512, "avx512f,avx512bw,avx512vnni", __m512i, _mm512_dpbusd_epi32(chain[i], x, x))
TERN_BYTE_LOOP(dot_256, "avx2,avxvnni", __m256i, _mm256_dpbusd_avx_epi32(chain[i], x, x))
TERN_BYTE_LOOP(pairs_512, "avx512f,avx512bw", __m512i,
               _mm512_add_epi32(chain[i], _mm512_madd_epi16(chain[i], x)))
TERN_BYTE_LOOP(pairs_256, "avx2", __m256i, _mm256_add_epi32(chain[i], _mm256_madd_epi16(chain[i], x)))

// Four tiles of sums, since a product of tiles begins every 16 cycles and ends after 52.
TERN_TARGET("amx-tile,amx-int8") float tiles(long count, float factor) {
  struct {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16};
  } const shape;
  alignas(64) int8_t data[16 * 64];
  for (int8_t& element : data) element = static_cast<int8_t>(factor * 100);
  _tile_loadconfig(&shape);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_loadd(4, data, 64);
  _tile_loadd(5, data, 64);
  for (long n = 0; n < count; ++n) {
    _tile_dpbusd(0, 4, 5);
    _tile_dpbusd(1, 4, 5);
    _tile_dpbusd(2, 4, 5);
    _tile_dpbusd(3, 4, 5);
  }
  alignas(64) int32_t sums[16 * 16];
  _tile_stored(0, sums, 64);
  _tile_release();
  return static_cast<float>(sums[0]);
}

// Whether the processor has tiles and the system lets this process use them.
bool has_tiles() {
#if defined(__linux__)
  constexpr int kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return __builtin_cpu_supports("amx-int8") && syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

Loop fma_loop() {
  if (__builtin_cpu_supports("avx512f")) return {fma_512, 2.0 * 16 * 12};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return {fma_256, 2.0 * 8 * 12};
  return {fma_128, 2.0 * 4 * 12};
}

Loop byte_loop() {
  if (has_tiles()) return {tiles, 2.0 * 16 * 16 * 64 * 4};
  if (__builtin_cpu_supports("avx512vnni")) return {dot_512, 2.0 * 64 * 12};
  if (__builtin_cpu_supports("avxvnni")) return {dot_256, 2.0 * 32 * 12};
  if (__builtin_cpu_supports("avx512bw")) return {pairs_512, 2.0 * 32 * 12};
  if (__builtin_cpu_supports("avx2")) return {pairs_256, 2.0 * 16 * 12};
  return {};
}
#else
TERN_FMA_LOOP(fma_128, , 4, 24)
Loop fma_loop() {
  return {fma_128, 2.0 * 4 * 24};
}
Loop byte_loop() {
  return {};
}
#endif

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Does work(0) to work(threads - 1) at once; on this thread what the system has no thread for.
void on_threads(int threads, const std::function<void(int thread)>& work) {
  std::vector<std::thread> others;
  int t = 1;
  try {
    for (; t < threads; ++t) others.emplace_back(work, t);
  } catch (const std::system_error&) {
    for (; t < threads; ++t) work(t);
  }
  work(0);
  for (std::thread& other : others) other.join();
}

// The best rate of `rounds` rounds in which all threads do the same at once.
double best_rate(int threads, int rounds, double work_a_thread, const std::function<void(int thread)>& work) {
  double best = 0;
  for (int round = 0; round < rounds; ++round) {
    const double seconds = seconds_of([&] { on_threads(threads, work); });
    best = std::max(best, work_a_thread * threads / seconds);
  }
  return best;
}

double rate_of(const Loop& loop, int threads) {
  if (!loop.run) return 0;
  constexpr long kCount = 100000;  // about 1 ms
  std::vector<float> results(static_cast<size_t>(threads) * 16);
  return best_rate(threads, 12, loop.operations * kCount,
                   [&](int t) {
                     volatile float sink = loop.run(kCount, 0.999f);
                     results[static_cast<size_t>(t) * 16] = sink;
                   }) *
         1e-9;
}

double read_rate(int threads) {
  typedef uint64_t line __attribute__((vector_size(64)));
  const size_t lines = (size_t{128} << 20) / sizeof(line) / static_cast<size_t>(threads);
  std::vector<std::unique_ptr<line[]>> parts(static_cast<size_t>(threads));
  std::vector<uint64_t> sums(static_cast<size_t>(threads) * 8);
  const auto work = [&](int t) {
    std::unique_ptr<line[]>& part = parts[static_cast<size_t>(t)];
    if (!part) part = std::make_unique<line[]>(lines);  // zeroed, so its pages are there
    line a = {}, b = {};
    for (size_t i = 0; i + 1 < lines; i += 2) {
      a += part[i];
      b += part[i + 1];
    }
    sums[static_cast<size_t>(t) * 8] = a[0] + b[0];
  };
  return best_rate(threads, 8, static_cast<double>(lines * sizeof(line)), work) * 1e-9;
}

}  // namespace

MachinePeak measure_peak(int threads) {
  threads = std::max(threads, 1);
  return {.gflops = rate_of(fma_loop(), threads),
          .byte_gops = rate_of(byte_loop(), threads),
          .gbs = read_rate(threads)};
}

std::optional<MachinePeak> known_peak(std::string_view device_name) {
  struct Row {
    std::string_view name;
    MachinePeak peak;
  };
  static constexpr Row kRows[] = {
#define TERN_GPU_PEAK(name, f32, matrix, memory) {name, {f32, 0, matrix, memory}},
#include "tools/tern/gpu_peaks.def"
#undef TERN_GPU_PEAK
  };
  for (const Row& row : kRows)
    if (device_name.find(row.name) != std::string_view::npos) return row.peak;
  return std::nullopt;
}

}  // namespace tern::cli
