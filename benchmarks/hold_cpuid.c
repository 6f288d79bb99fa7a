// Preloaded into a peer that hold.py prepared: its `cpuid` instructions are `ud0`, and this answers them as the
// processor does, without what comes after AVX2 (x86-64-v3). So a library takes the kernels that it has for such processors.
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stdint.h>
#include <ucontext.h>

static const uint32_t kEbx7 = 1u << 16 | 1u << 17 | 1u << 21 | 1u << 26 | 1u << 27 | 1u << 28 | 1u << 30 | 1u << 31;  // AVX-512
static const uint32_t kEcx7 = 1u << 1 | 1u << 6 | 1u << 11 | 1u << 12 | 1u << 14;  // VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ
static const uint32_t kEdx7 = 1u << 2 | 1u << 3 | 1u << 8 | 1u << 22 | 1u << 23 | 1u << 24 | 1u << 25;  // and AMX, FP16

static void answer(int number, siginfo_t* info, void* context) {
  greg_t* registers = ((ucontext_t*)context)->uc_mcontext.gregs;
  const uint8_t* code = (const uint8_t*)registers[REG_RIP];
  (void)info;
  if (code[0] != 0x0f || code[1] != 0xff) {
    signal(number, SIG_DFL);
    return;
  }
  const uint32_t leaf = (uint32_t)registers[REG_RAX], part = (uint32_t)registers[REG_RCX];
  uint32_t a, b, c, d;
  __cpuid_count(leaf, part, a, b, c, d);
  if (leaf == 7 && part == 0) b &= ~kEbx7, c &= ~kEcx7, d &= ~kEdx7;
  if (leaf == 7 && part == 1) a &= ~(1u << 4 | 1u << 5 | 1u << 21 | 1u << 23), d = 0;  // AVX-VNNI, BF16, AMX, AVX-IFMA; newer ones
  if (leaf == 0x24) a = b = c = d = 0;  // AVX10
  registers[REG_RAX] = a;
  registers[REG_RBX] = b;
  registers[REG_RCX] = c;
  registers[REG_RDX] = d;
  registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void install(void) {
  struct sigaction action = {.sa_sigaction = answer, .sa_flags = SA_SIGINFO | SA_NODEFER};
  sigaction(SIGILL, &action, 0);
}
