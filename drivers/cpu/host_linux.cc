#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "drivers/cpu/host.h"

namespace tern::cpu {

size_t host_page_size() {
  return static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

void* host_pages_map(size_t size) {
  void* pages = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return pages == MAP_FAILED ? nullptr : pages;
}

void host_pages_unmap(void* pages, size_t size) {
  munmap(pages, size);
}

bool host_pages_seal(void* pages, size_t size, bool execute) {
  if (execute) __builtin___clear_cache(static_cast<char*>(pages), static_cast<char*>(pages) + size);
  return mprotect(pages, size, execute ? PROT_READ | PROT_EXEC : PROT_READ) == 0;
}

void host_advise_large_pages(void* memory, size_t size) {
  const uintptr_t page = host_page_size();
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(memory) + page - 1) & ~(page - 1);
  const uintptr_t end = (reinterpret_cast<uintptr_t>(memory) + size) & ~(page - 1);
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
}

bool host_thread_start(HostThread* thread, void* (*body)(void*), void* self) {
  pthread_t handle;
  if (pthread_create(&handle, nullptr, body, self) != 0) return false;
  thread->handle = static_cast<uintptr_t>(handle);
  return true;
}

void host_thread_join(HostThread* thread) {
  pthread_join(static_cast<pthread_t>(thread->handle), nullptr);
}

uint64_t host_feature_word([[maybe_unused]] int index) {
#if defined(__aarch64__)
  return getauxval(index == 0 ? AT_HWCAP : AT_HWCAP2);
#else
  return 0;
#endif
}

bool host_allows_tiles() {
#if defined(__x86_64__)
  constexpr int kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

namespace {

// Reads a small file; the text is terminated. Returns its length, 0 when it cannot be read.
size_t read_file(const char* path, char* out_text, size_t capacity) {
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  size_t size = 0;
  if (file >= 0) {
    ssize_t got;
    while (size + 1 < capacity && (got = read(file, out_text + size, capacity - 1 - size)) > 0) {
      size += static_cast<size_t>(got);
    }
    close(file);
  }
  out_text[size] = 0;
  return size;
}

// Appends text, cutting it to the capacity.
void append(char* text, size_t capacity, const char* more) {
  size_t size = strlen(text);
  while (*more && size + 1 < capacity) text[size++] = *more++;
  text[size] = 0;
}

void append_number(char* text, size_t capacity, unsigned number) {
  char digits[12];
  int first = sizeof(digits) - 1;
  digits[first] = 0;
  do digits[--first] = static_cast<char>('0' + number % 10);
  while (number /= 10);
  append(text, capacity, digits + first);
}

// The first CPU of the core that `cpu` is a thread of.
unsigned first_sibling(unsigned cpu) {
  char path[96] = "/sys/devices/system/cpu/cpu", text[64];
  append_number(path, sizeof(path), cpu);
  append(path, sizeof(path), "/topology/thread_siblings_list");
  return read_file(path, text, sizeof(text)) ? static_cast<unsigned>(strtoul(text, nullptr, 10)) : cpu;
}

// The CPUs that this process may use, of each core one.
cpu_set_t usable_cores() {
  cpu_set_t allowed, seen, cores;
  CPU_ZERO(&seen);
  CPU_ZERO(&cores);
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return cores;
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    unsigned core = first_sibling(cpu);
    if (core >= CPU_SETSIZE) core = cpu;
    if (CPU_ISSET(core, &seen)) continue;
    CPU_SET(core, &seen);
    CPU_SET(cpu, &cores);
  }
  return cores;
}

uint32_t affinity_core_count() {
  const cpu_set_t cores = usable_cores();
  const int count = CPU_COUNT(&cores);
  return count ? static_cast<uint32_t>(count) : 1;
}

// 0 where the system does not say.
uint32_t core_capacity(const char* root, unsigned cpu) {
  char path[256], text[32];
  path[0] = 0;
  append(path, sizeof(path), root);
  append(path, sizeof(path), "/cpu");
  append_number(path, sizeof(path), cpu);
  append(path, sizeof(path), "/cpu_capacity");
  if (!read_file(path, text, sizeof(text))) return 0;
  const unsigned long capacity = strtoul(text, nullptr, 10);
  return capacity > 1024 ? 1024 : static_cast<uint32_t>(capacity);
}

// "quota period" of cgroup v2's cpu.max: whole CPUs, at least 1; 0 for no limit.
uint32_t quota_of(const char* text) {
  char* end = nullptr;
  const unsigned long long quota = strtoull(text, &end, 10);
  if (end == text) return 0;  // "max"
  const unsigned long long period = strtoull(end, nullptr, 10);
  if (period == 0) return 0;
  return quota < period ? 1 : static_cast<uint32_t>(quota / period);
}

// The smallest quota on the way from this process's cgroup up to the root; 0 for none.
uint32_t cgroup_quota() {
  char groups[512], path[640], text[64];
  read_file("/proc/self/cgroup", groups, sizeof(groups));
  const char* own = strstr(groups, "0::");
  char group[512] = "";
  if (own) {
    append(group, sizeof(group), own + 3);
    if (char* newline = strchr(group, '\n')) *newline = 0;
  }
  uint32_t smallest = 0;
  for (;;) {
    path[0] = 0;
    append(path, sizeof(path), "/sys/fs/cgroup");
    append(path, sizeof(path), group);
    append(path, sizeof(path), "/cpu.max");
    if (read_file(path, text, sizeof(text))) {
      const uint32_t quota = quota_of(text);
      if (quota && (!smallest || quota < smallest)) smallest = quota;
    }
    char* slash = strrchr(group, '/');
    if (!slash) break;
    *slash = 0;
  }
  if (smallest) return smallest;
  // cgroup v1: quota and period are two files; a quota of -1 is none.
  if (!read_file("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", text, sizeof(text)) || text[0] == '-') return 0;
  text[strcspn(text, "\n")] = ' ';
  text[strcspn(text, " ") + 1] = 0;
  char period[32];
  if (!read_file("/sys/fs/cgroup/cpu/cpu.cfs_period_us", period, sizeof(period))) return 0;
  append(text, sizeof(text), period);
  return quota_of(text);
}

}  // namespace

uint32_t host_core_capacities(uint32_t* out_capacities, uint32_t capacity, const char* root) {
  const cpu_set_t cores = usable_cores();
  uint32_t count = 0, smallest = UINT32_MAX, largest = 0;
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &cores)) continue;
    const uint32_t own = core_capacity(root, cpu);
    if (own == 0) return 0;
    smallest = own < smallest ? own : smallest;
    largest = own > largest ? own : largest;
    // Sorted, largest first; the smallest of too many fall off the end.
    uint32_t at = count < capacity ? count++ : capacity;
    while (at > 0 && out_capacities[at - 1] < own) {
      if (at < capacity) out_capacities[at] = out_capacities[at - 1];
      --at;
    }
    if (at < capacity) out_capacities[at] = own;
  }
  return smallest < largest ? count : 0;
}

void host_thread_keep_to_cores_of(HostThread* thread, uint32_t capacity) {
  cpu_set_t allowed, kind;
  CPU_ZERO(&allowed);
  CPU_ZERO(&kind);
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return;
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &allowed) && core_capacity("/sys/devices/system/cpu", cpu) == capacity)
      CPU_SET(cpu, &kind);
  }
  if (CPU_COUNT(&kind)) pthread_setaffinity_np(static_cast<pthread_t>(thread->handle), sizeof(kind), &kind);
}

uint32_t host_usable_core_count() {
  const uint32_t cores = affinity_core_count();
  const uint32_t quota = cgroup_quota();
  return quota && quota < cores ? quota : cores;
}

void host_processor_name(char* out_name, size_t capacity) {
  out_name[0] = 0;
  char text[2048];
  read_file("/proc/cpuinfo", text, sizeof(text));
  if (const char* model = strstr(text, "model name")) {
    if (const char* colon = strchr(model, ':')) append(out_name, capacity, colon + 1 + (colon[1] == ' '));
    out_name[strcspn(out_name, "\n")] = 0;
  }
  if (!out_name[0]) append(out_name, capacity, "CPU");
}

}  // namespace tern::cpu
