// Runs compiled kernels in a bare process (no C library, so that clang and lld alone can build it for another
// machine). Standard input: image size, image, then jobs {entry, bindings, for each: size, bytes}, entry ~0
// ends. Standard output: for each job its status and its bindings' bytes. All numbers are 64-bit.
typedef unsigned long u64;
typedef long i64;
typedef unsigned char u8;

static i64 syscall6(i64 n, i64 a, i64 b, i64 c, i64 d, i64 e, i64 f) {
  register i64 x8 __asm__("x8") = n;
  register i64 x0 __asm__("x0") = a;
  register i64 x1 __asm__("x1") = b;
  register i64 x2 __asm__("x2") = c;
  register i64 x3 __asm__("x3") = d;
  register i64 x4 __asm__("x4") = e;
  register i64 x5 __asm__("x5") = f;
  __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
  return x0;
}
static void quit(i64 code) {
  syscall6(94, code, 0, 0, 0, 0, 0);
}
static void read_all(void* to, u64 n) {
  for (u8* p = to; n > 0;) {
    i64 got = syscall6(63, 0, (i64)p, (i64)n, 0, 0, 0);
    if (got <= 0) quit(2);
    p += got;
    n -= (u64)got;
  }
}
static void write_all(const void* from, u64 n) {
  for (const u8* p = from; n > 0;) {
    i64 put = syscall6(64, 1, (i64)p, (i64)n, 0, 0, 0);
    if (put <= 0) quit(3);
    p += put;
    n -= (u64)put;
  }
}
static u8* map(u64 n) {
  return (u8*)syscall6(222, 0, (i64)((n + 4095) / 4096 * 4096), 3, 0x22, -1, 0);
}

struct args {
  void* const* bindings;
  const i64* params;
};
typedef int (*kernel_fn)(const struct args*, i64, i64, void*, i64);

void _start(void) {
  u64 size = 0;
  read_all(&size, 8);
  u8* file = map(size);
  read_all(file, size);
  // Program headers: type at 0, offset at 8, address at 16, file size at 32, memory size at 40; 56 bytes
  // each.
  u64 headers = *(u64*)(file + 32), end = 0;
  unsigned count = *(unsigned short*)(file + 56);
  for (unsigned k = 0; k < count; ++k) {
    u8* p = file + headers + 56 * k;
    u64 last = *(u64*)(p + 16) + *(u64*)(p + 40);
    if (last > end) end = last;
  }
  u8* base = map(end);
  for (unsigned k = 0; k < count; ++k) {
    u8* p = file + headers + 56 * k;
    for (u64 b = 0; b < *(u64*)(p + 32); ++b) base[*(u64*)(p + 16) + b] = file[*(u64*)(p + 8) + b];
  }
  syscall6(226, (i64)base, (i64)((end + 4095) / 4096 * 4096), 5, 0, 0, 0);
  // qemu needs no cache maintenance for code that was never executed before.
  u8* memory = map(1 << 20);
  for (;;) {
    u64 entry = 0, bindings = 0, sizes[8];
    void* pointers[8];
    read_all(&entry, 8);
    if (entry == ~0ul) quit(0);
    read_all(&bindings, 8);
    u8* at = memory;
    for (u64 b = 0; b < bindings; ++b) {
      read_all(&sizes[b], 8);
      pointers[b] = at;
      read_all(at, sizes[b]);
      at += (sizes[b] + 63) / 64 * 64;
    }
    struct args args = {pointers, 0};
    i64 code = ((kernel_fn)(base + entry))(&args, 0, 1, 0, 0);
    write_all(&code, 8);
    for (u64 b = 0; b < bindings; ++b) write_all(pointers[b], sizes[b]);
  }
}
