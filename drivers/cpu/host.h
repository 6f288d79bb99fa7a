// What the CPU driver needs of the operating system: pages with protection, threads, facts about the
// processor. A port replaces host_linux.cc (and hal/base/host_sync_linux.cc); where there are no threads and
// no ELF images, its functions may all fail.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace tern::cpu {

size_t host_page_size();

// Fresh zeroed pages, readable and writable; null when there are none. `size` is a multiple of the page size.
void* host_pages_map(size_t size);
void host_pages_unmap(void* pages, size_t size);
// Takes the right to write away for good; with `execute`, the pages hold code that is visible to instruction
// fetches afterwards.
bool host_pages_seal(void* pages, size_t size, bool execute);

// Asks for large pages under a big block of memory. A hint.
void host_advise_large_pages(void* memory, size_t size);

struct HostThread {
  uintptr_t handle;
};
// The body's result is ignored.
bool host_thread_start(HostThread* thread, void* (*body)(void*), void* self);
void host_thread_join(HostThread* thread);

// Physical cores that this process may use (tern_cpu_usable_core_count).
uint32_t host_usable_core_count();

// Where the cores that this process may use differ: what each can do (up to 1024), largest first, `capacity`
// of them at most. Returns their number; 0 where they are all alike or nothing is known. `root`: the system's
// folder of processors.
uint32_t host_core_capacities(uint32_t* out_capacities, uint32_t capacity, const char* root);
void host_thread_keep_to_cores_of(HostThread* thread, uint32_t capacity);

// The processor's name, terminated, cut to `capacity`.
void host_processor_name(char* out_name, size_t capacity);

// aarch64: the system's feature words (AT_HWCAP, AT_HWCAP2); 0 elsewhere.
uint64_t host_feature_word(int index);

// x86-64: whether this process may use the registers of AMX, for which it asks.
bool host_allows_tiles();

}  // namespace tern::cpu
