// Prints this core's exact 8-bit multiply-add rate in GOP/s (two a product): independent chains of the widest vectors, nothing else.
// Four products at once where the CPU has VNNI, else pairs of 16-bit products and an addition. Compiled for the machine it runs on
// (-march=native), or for a level of it (-march=x86-64-v3). The best of several rounds, since a shared machine only ever slows it down.
#include <immintrin.h>
#include <stdio.h>
#include <time.h>

#if defined(__AVX512VNNI__)
enum { kProducts = 64, kChains = 24 };
typedef __m512i vector;
static inline vector step(vector sum, vector x, vector y) { return _mm512_dpbusd_epi32(sum, x, y); }
#elif defined(__AVXVNNI__)
enum { kProducts = 32, kChains = 12 };
typedef __m256i vector;
static inline vector step(vector sum, vector x, vector y) { return _mm256_dpbusd_avx_epi32(sum, x, y); }
#elif defined(__AVX512BW__)
enum { kProducts = 32, kChains = 24 };
typedef __m512i vector;
static inline vector step(vector sum, vector x, vector y) { return _mm512_add_epi32(sum, _mm512_madd_epi16(x, y)); }
#else
enum { kProducts = 16, kChains = 12 };
typedef __m256i vector;
static inline vector step(vector sum, vector x, vector y) { return _mm256_add_epi32(sum, _mm256_madd_epi16(x, y)); }
#endif

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static int round_of(long count, int seed) {
  vector chain[kChains], x, y;
  for (unsigned k = 0; k < sizeof(x) / sizeof(int); ++k) ((int*)&x)[k] = seed + (int)k, ((int*)&y)[k] = seed - (int)k;
  for (int i = 0; i < kChains; ++i) chain[i] = x;
  for (long n = 0; n < count; ++n) {
#pragma clang loop unroll(full)
    for (int i = 0; i < kChains; ++i) {
      chain[i] = step(chain[i], x, y);
      __asm__("" : "+v"(chain[i]), "+v"(x));  // otherwise the compiler may see the chains' end, or that the products are the same
    }
  }
  int sum = 0;
  for (int i = 0; i < kChains; ++i) sum += *(int*)&chain[i];
  return sum;
}

int main(void) {
  const long count = 2000000;
  double best = 0;
  volatile int sink = 0;
  for (int i = 0; i < 12; ++i) {
    const double start = seconds();
    sink = round_of(count, i);
    const double rate = 2.0 * kProducts * kChains * (double)count / (seconds() - start) * 1e-9;
    if (rate > best) best = rate;
  }
  (void)sink;
  printf("%.1f\n", best);
  return 0;
}
