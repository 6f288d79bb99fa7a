// A plugin of QEMU's user-mode emulator that counts executed instructions by class; benchmarks/aarch64.py
// compiles and runs it. The interface (plugin API version 1) is declared here as far as it is used: Debian's
// qemu-user comes without its header.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb* tb);
struct qemu_plugin_insn* qemu_plugin_tb_get_insn(const struct qemu_plugin_tb* tb, size_t index);
const void* qemu_plugin_insn_data(const struct qemu_plugin_insn* insn);
char* qemu_plugin_insn_disas(const struct qemu_plugin_insn* insn);
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id_t id, void (*call)(plugin_id_t, struct qemu_plugin_tb*));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb* tb, int add, void* counter, uint64_t by);
void qemu_plugin_register_atexit_cb(plugin_id_t id, void (*call)(plugin_id_t, void*), void* data);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

enum { kAll, kProduct, kLoad, kStore, kClasses };
// Of everything, and of the blocks whose instructions are products by a third or more: the inner loops.
static uint64_t counts[2][kClasses];

static int begins(const char* text, const char* const* words) {
  for (; *words; ++words) {
    if (strncmp(text, *words, strlen(*words)) == 0) return 1;
  }
  return 0;
}

static int class_of(const char* text) {
  static const char* const kProducts[] = {"fmla", "fmls",  "sdot",  "udot", "usdot",
                                          "bfdot", "smlal", "smull", "mla",  0};
  static const char* const kLoads[] = {"ld", 0};
  static const char* const kStores[] = {"st", 0};
  if (begins(text, kProducts)) return kProduct;
  if (begins(text, kLoads)) return kLoad;
  return begins(text, kStores) ? kStore : kAll;
}

// Those that QEMU's disassembler may not know (Arm ARM, C4.1): sdot, udot, usdot, bfdot of vectors.
static int is_dot(uint32_t word) {
  return (word & 0x9fe0fc00u) == 0x0e809400u || (word & 0xbfe0fc00u) == 0x0e809c00u ||
         (word & 0xbfe0fc00u) == 0x2e40fc00u;
}

static void translated(plugin_id_t id, struct qemu_plugin_tb* tb) {
  (void)id;
  uint64_t here[kClasses] = {0};
  const size_t n = qemu_plugin_tb_n_insns(tb);
  for (size_t k = 0; k < n; ++k) {
    const struct qemu_plugin_insn* insn = qemu_plugin_tb_get_insn(tb, k);
    uint32_t word;
    memcpy(&word, qemu_plugin_insn_data(insn), sizeof word);
    char* text = qemu_plugin_insn_disas(insn);
    const int c = is_dot(word) ? kProduct : class_of(text);
    if (c != kAll) ++here[c];
    free(text);
  }
  here[kAll] = n;
  const int inner = 3 * here[kProduct] >= n;
  for (int c = 0; c < kClasses; ++c) {
    if (here[c] == 0) continue;
    qemu_plugin_register_vcpu_tb_exec_inline(tb, 0, &counts[0][c], here[c]);
    if (inner) qemu_plugin_register_vcpu_tb_exec_inline(tb, 0, &counts[1][c], here[c]);
  }
}

static void ended(plugin_id_t id, void* data) {
  (void)id;
  (void)data;
  for (int inner = 0; inner < 2; ++inner) {
    fprintf(stderr, "counts %d", inner);
    for (int c = 0; c < kClasses; ++c) fprintf(stderr, " %llu", (unsigned long long)counts[inner][c]);
    fprintf(stderr, "\n");
  }
}

__attribute__((visibility("default"))) int qemu_plugin_install(plugin_id_t id, const void* info, int count,
                                                               char** values) {
  (void)info;
  (void)count;
  (void)values;
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_atexit_cb(id, ended, 0);
  return 0;
}
