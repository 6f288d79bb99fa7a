// Prints, as JSON, how many GB/s this machine's memory (or a cache) gives plain loops of the widest vectors:
// so many bytes in all (an array; two halves for copies), each thread on its own part, the best of many
// rounds. Bytes are those that a loop asks for: a copy counts what it reads and what it writes, not the lines
// that an ordinary store fetches first. *_streaming: with non-temporal stores. *_ahead: lines are asked for
// before they are read: of four streams at once, or (copies, with non-temporal stores) a run of them before a
// run is written.
// *_streams: four places at once are read, or two copied (with non-temporal stores), and nothing is asked
// for. rows_shuffled: copies of rows of 2 KB read in a shuffled order, the next but one asked for: what a
// gather can reach.
//   memory_peak BYTES THREADS SECONDS
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#if defined(__AVX512F__)
enum { kBytes = 64 };
#elif defined(__AVX__)
enum { kBytes = 32 };
#else
enum { kBytes = 16 };
#endif
typedef float vector __attribute__((vector_size(kBytes)));
enum { kUnroll = 8, kMaxThreads = 256 };
enum {
  kRead,
  kReadAhead,
  kReadStreams,
  kWrite,
  kWriteStreaming,
  kCopy,
  kCopyStreaming,
  kCopyAhead,
  kCopyStreams,
  kRowsShuffled,
  kModes
};
static const char* const kNames[kModes] = {
    "read", "read_ahead",     "read_streams", "write",        "write_streaming",
    "copy", "copy_streaming", "copy_ahead",   "copy_streams", "rows_shuffled"};
enum {
  kStreams = 4,
  kCopyPlaces = 2,
  kPiece = 65536,
  kLine = 64,
  kStreamAhead = 2048,
  kRun = 4096,
  kRunAhead = 8192,
  kRow = 2048
};  // the last four in bytes

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static vector read_all(const vector* from, size_t count) {
  vector sum[kUnroll] = {0};
  for (size_t i = 0; i + kUnroll <= count; i += kUnroll) {
#pragma clang loop unroll(full)
    for (int j = 0; j < kUnroll; ++j) sum[j] += from[i + (size_t)j];
  }
  for (int j = 1; j < kUnroll; ++j) sum[0] += sum[j];
  return sum[0];
}

static vector read_ahead(const vector* from, size_t count) {
  vector sum[kUnroll] = {0};
  const size_t part = count / kStreams / kUnroll * kUnroll;
  for (size_t i = 0; i + kUnroll <= part; i += kUnroll) {
#pragma clang loop unroll(full)
    for (size_t s = 0; s < kStreams; ++s) {
      const vector* at = from + s * part + i;
#pragma clang loop unroll(full)
      for (int b = 0; b < kUnroll * kBytes; b += kLine)
        __builtin_prefetch((const char*)at + kStreamAhead + b);
#pragma clang loop unroll(full)
      for (int j = 0; j < kUnroll; ++j) sum[j] += at[j];
    }
  }
  for (size_t i = part * kStreams; i < count; ++i) sum[0] += from[i];
  for (int j = 1; j < kUnroll; ++j) sum[0] += sum[j];
  return sum[0];
}

static vector read_streams(const vector* from, size_t count) {
  vector sum[kUnroll] = {0};
  const size_t piece = kPiece / kBytes, step = 2 * kLine / kBytes;
  size_t i = 0;
  for (; i + kStreams * piece <= count; i += kStreams * piece) {
    for (size_t j = i; j < i + piece; j += step) {
#pragma clang loop unroll(full)
      for (size_t s = 0; s < kStreams; ++s) {
#pragma clang loop unroll(full)
        for (size_t v = 0; v < step; ++v) sum[(s * step + v) % kUnroll] += from[j + s * piece + v];
      }
    }
  }
  sum[0] += read_all(from + i, count - i);
  for (int j = 1; j < kUnroll; ++j) sum[0] += sum[j];
  return sum[0];
}

static void copy_streams(vector* to, const vector* from, size_t count) {
  const size_t piece = kPiece / kBytes, step = 2 * kLine / kBytes;
  size_t i = 0;
  for (; i + kCopyPlaces * piece <= count; i += kCopyPlaces * piece) {
    for (size_t j = i; j < i + piece; j += step) {
#pragma clang loop unroll(full)
      for (size_t s = 0; s < kCopyPlaces; ++s) {
#pragma clang loop unroll(full)
        for (size_t v = j + s * piece; v < j + s * piece + step; ++v)
          __builtin_nontemporal_store(from[v], to + v);
      }
    }
  }
  for (; i < count; ++i) __builtin_nontemporal_store(from[i], to + i);
  __sync_synchronize();
}

static void copy_ahead(vector* to, const vector* from, size_t count) {
  const size_t run = kRun / kBytes;
  size_t i = 0;
  for (; i + run <= count; i += run) {
    for (int b = 0; b < kRun; b += kLine) __builtin_prefetch((const char*)(from + i) + kRunAhead + b);
    for (size_t j = i; j < i + run; ++j) __builtin_nontemporal_store(from[j], to + j);
  }
  for (; i < count; ++i) __builtin_nontemporal_store(from[i], to + i);
  __sync_synchronize();
}

static void copy_shuffled(vector* to, const vector* from, size_t count) {
  const size_t row = kRow / kBytes, rows = count / row,
               step = 7919 * 13;  // odd: visits all of a power of two
  for (size_t r = 0; r < rows; ++r) {
    const vector* source = from + r * step % rows * row;
    const char* later = (const char*)(from + (r + 2) * step % rows * row);
    for (int b = 0; b < kRow; b += kLine) __builtin_prefetch(later + b);
    for (size_t j = 0; j < row; ++j) __builtin_nontemporal_store(source[j], to + r * row + j);
  }
  __sync_synchronize();
}

static void move_all(vector* to, const vector* from, size_t count, int streaming) {
  const vector constant = {1.5f, 0.7f};
  if (streaming) {
    for (size_t i = 0; i < count; ++i) __builtin_nontemporal_store(from ? from[i] : constant, to + i);
    __sync_synchronize();
    return;
  }
  for (size_t i = 0; i < count; ++i) {
    to[i] = from ? from[i] : constant;
    __asm__ volatile("" ::: "memory");  // else it becomes a call of memcpy
  }
}

struct part {
  vector *from, *to;
  size_t all, count;  // vectors; those that a mode touches of each array
  int mode;
  long rounds;
  pthread_barrier_t* gate;
  double took;
  vector sink;
};

static void* work(void* argument) {
  struct part* p = argument;
  pthread_barrier_wait(p->gate);
  const double start = seconds();
  for (long r = 0; r < p->rounds; ++r) {
    switch (p->mode) {
      case kRead:
        p->sink += read_all(p->from, p->count);
        break;
      case kReadAhead:
        p->sink += read_ahead(p->from, p->count);
        break;
      case kReadStreams:
        p->sink += read_streams(p->from, p->count);
        break;
      case kCopyStreams:
        copy_streams(p->to, p->from, p->count);
        break;
      case kCopyAhead:
        copy_ahead(p->to, p->from, p->count);
        break;
      case kRowsShuffled:
        copy_shuffled(p->to, p->from, p->count);
        break;
      default:
        move_all(p->to, p->mode >= kCopy ? p->from : NULL, p->count,
                 p->mode == kWriteStreaming || p->mode == kCopyStreaming);
    }
    __asm__ volatile("" ::: "memory");
  }
  pthread_barrier_wait(p->gate);
  p->took = seconds() - start;
  return NULL;
}

// GB/s of one go.
static double rate(struct part* parts, int threads, int mode, long rounds) {
  pthread_t ids[kMaxThreads];
  pthread_barrier_t gate;
  pthread_barrier_init(&gate, NULL, (unsigned)threads);
  size_t bytes = 0;
  for (int t = 0; t < threads; ++t) {
    parts[t].count = mode >= kCopy ? parts[t].all / 2 : parts[t].all;
    parts[t].mode = mode;
    parts[t].rounds = rounds;
    parts[t].gate = &gate;
    bytes += parts[t].count * sizeof(vector) * (mode >= kCopy ? 2 : 1);
    if (t > 0) pthread_create(&ids[t], NULL, work, &parts[t]);
  }
  work(&parts[0]);
  for (int t = 1; t < threads; ++t) pthread_join(ids[t], NULL);
  pthread_barrier_destroy(&gate);
  return (double)bytes * (double)rounds / parts[0].took * 1e-9;
}

static void* pages(size_t bytes) {
  void* p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) exit(1);
  madvise(p, bytes, MADV_HUGEPAGE);  // as the cpu driver asks for its own
  // No zeros: lines of zeros are written twice as fast as others (Zen 5).
  unsigned state = 1;
  for (size_t i = 0; i < bytes / sizeof(float); ++i) {
    state = state * 1664525u + 1013904223u;
    ((float*)p)[i] = (float)(state >> 8) * 0x1p-24f;
  }
  return p;
}

int main(int argc, char** argv) {
  static struct part parts[kMaxThreads];
  if (argc != 4) return 2;
  const size_t bytes = strtoull(argv[1], NULL, 10);
  const int threads = atoi(argv[2]);
  const double budget = atof(argv[3]) / kModes;
  if (threads < 1 || threads > kMaxThreads || bytes < (size_t)threads * 4096) return 2;
  const size_t each = bytes / (size_t)threads / sizeof(vector) / (2 * kUnroll) * (2 * kUnroll);
  vector *from = pages(bytes), *to = pages(bytes);
  for (int t = 0; t < threads; ++t) {
    parts[t].from = from + each * (size_t)t;
    parts[t].to = to + each * (size_t)t;
    parts[t].all = each;
  }
  const long rounds = bytes > (64u << 20) ? 1 : (long)((64u << 20) / bytes);
  printf("{");
  for (int mode = 0; mode < kModes; ++mode) {
    double best = 0;
    for (const double start = seconds(); seconds() - start < budget;) {
      const double now = rate(parts, threads, mode, rounds);
      if (now > best) best = now;
    }
    printf("%s\"%s\": %.2f", mode ? ", " : "", kNames[mode], best);
  }
  printf("}\n");
  return 0;
}
