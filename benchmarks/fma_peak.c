// Prints this core's f32 fused multiply-add rate in GFLOP/s: independent chains of the widest vectors, nothing else. Compiled
// for the machine it runs on (-march=native). The best of several rounds, since a shared machine only ever slows it down.
#include <stdio.h>
#include <time.h>

#if defined(__AVX512F__)
enum { kLanes = 16, kChains = 24 };
#elif defined(__AVX__)
enum { kLanes = 8, kChains = 12 };
#else
enum { kLanes = 4, kChains = 24 };
#endif
typedef float vector __attribute__((vector_size(kLanes * 4)));

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static float round_of(long count, float factor) {
  vector chain[kChains], x = factor + (vector){0}, y = 1e-9f + (vector){0};
  for (int i = 0; i < kChains; ++i) chain[i] = (float)i + (vector){0};
  for (long n = 0; n < count; ++n) {
#pragma clang loop unroll(full)
    for (int i = 0; i < kChains; ++i) chain[i] = __builtin_elementwise_fma(chain[i], x, y);
  }
  vector sum = {0};
  for (int i = 0; i < kChains; ++i) sum += chain[i];
  return sum[0];
}

int main(void) {
  const long count = 2000000;
  double best = 0;
  volatile float sink = 0;
  for (int i = 0; i < 12; ++i) {
    const double start = seconds();
    sink = round_of(count, 0.999f);
    const double rate = 2.0 * kLanes * kChains * (double)count / (seconds() - start) * 1e-9;
    if (rate > best) best = rate;
  }
  (void)sink;
  printf("%.1f\n", best);
  return 0;
}
