// The schedule of a contraction on matrix units of a subgroup (NVIDIA's mma.sync), as plain data, and the
// cost model that chooses it from shapes alone. out[b, m, n] = sum over k of A[b, m, k] * B[b, k, n],
// operands of 16 bits and sums in f32, or operands of 32 bits (TF32, or f32 by three products of TF32).
//
//   grid      batch, m blocks, n blocks        one workgroup: block_m x block_n of the output
//   stages    block_depth of A and of B each   copied asynchronously, `stages` - 1 of them ahead of their use
//   warps     warps_m x warps_n tiles of the block, and warps_k parts of a stage's depth, added up at the end
//   split     workgroups of a cluster that each take a part of k; every one adds up its share of the block
//
// At batch 1 a layer has few outputs and long sums: small blocks whose warps share the depth keep all
// processors busy, and many stages keep enough bytes on their way (measured on an H100 over ResNet-50's and
// BERT's layers: 32 x 32 x 128 with four warps along the depth is within 10 % of the best of 160 schedules on
// most of them). Results do not depend on the device: the order of every sum follows from the schedule.
#pragma once

#include <cstdint>
#include <string>

#include "compiler/kernel/tile_shape.h"
#include "compiler/support/dtype.h"

namespace tern::lower::gpu {

struct MmaSchedule {
  int block_m = 32, block_n = 32, block_depth = 128;
  int warps_m = 1, warps_n = 1, warps_k = 4;
  int stages = 4;
  // Products of 128 threads that read both operands from workgroup memory (NVIDIA's wgmma): block_depth is
  // 64 (of 16 bits), block_m a multiple of 64, every warp has 16 rows (warps_m is block_m / 16), warps_n and
  // warps_k are 1.
  bool group = false;
  int split = 1;
  int element_bytes = 2;  // of an operand; groups' block_depth is 128 bytes
  // B lies in memory as the graph has it: rows along k, or along its columns.
  enum class Order : uint8_t { kPacked, kDepth, kColumns } b_order = Order::kPacked;
  // Of a group without a split, of 16-bit elements: one more warp asks for boxes of A and of B's rows
  // (kernel/ir.h, tensors), instead of all threads for pieces of 16 bytes.
  bool tensors = false;

  // Operands of f32, multiplied as precisely as in f32: each is the sum of two numbers of TF32, high and low,
  // and a product three of TF32 (the least of the four, low * low, is left out). What warps read of a stage
  // they take apart in registers, so there are no groups. Matrix units cut their sums off instead of rounding
  // them: a warp's sums of a stage (at most 32 steps) begin at zero, and are added up as f32.
  // Source: H. Ootomo, R. Yokota, Recovering single precision accuracy from Tensor Cores while surpassing
  // the FP32 theoretical peak performance, IJHPCA 36(4), 2022.
  bool tf32x3 = false;

  // B are integers of so many bits (0: they are not), which stages bring as they are: warps widen them in
  // registers, as the operand that products take from there. So the product is turned: its rows are the
  // block's columns, 16 of each warp (warps_n; in groups 64 of four), its columns all rows of A.
  // block_depth is 64, warps_m and warps_k are 1.
  int weight_bits = 0;
  int weight_blocks = 1;  // parameters of a column in each stage

  int warps() const { return warps_m * warps_n * warps_k; }  // that multiply
  int copiers() const { return tensors ? 128 : 0; }          // threads
  int threads() const { return 32 * warps() + copiers(); }
  // Workgroup memory of the stages, and of the partial sums that replace them at the end.
  int64_t stage_bytes() const {
    if (weight_bits > 0)
      return int64_t{stages} *
             (block_m * block_depth * element_bytes + block_n * block_depth * weight_bits / 8 +
              block_n * weight_blocks * kParameterBytes);
    const int padding = b_order == Order::kColumns ? kColumnPadding : 0;
    return int64_t{element_bytes} * stages * (block_m + block_n + padding) * block_depth;
  }
  int64_t partial_bytes() const { return int64_t{4} * warps_k * block_m * (block_n + kPartialPadding); }
  std::string text() const;  // "32x32x128, warps 1x1x4, 4 stages, k split by 2"

  static constexpr int kParameterBytes = 3;  // a scale of f16, and a zero point
  static constexpr int kColumnPadding = 8;   // elements behind a row along columns, against bank conflicts
  static constexpr int kPartialPadding = 8;  // elements behind a row of partial sums, against bank conflicts
};

struct MmaShape {
  int64_t batch = 1, m = 1, n = 1, k = 1;
  int element_bytes = 2;
  bool tensors = false;  // A's rows are a tensor (kernel/ir.h)
  bool pixels = false;   // a convolution's
  bool tf32x3 = false;   // as MmaSchedule::tf32x3
  bool bf16x6 = false;   // as MatrixSchedule::bf16x6
  bool int8 = false;     // as MatrixSchedule::int8
};
// What the cost model knows of the device.
struct MmaMachine {
  int processors = 132;
  int64_t workgroup_memory = 164 * 1024;        // of one processor, shared by the workgroups on it
  int64_t workgroup_memory_limit = 160 * 1024;  // of one workgroup
  double l2_bytes_per_ns = 9200;                // to all processors together
  int threads = 512;                            // of a workgroup; of tiles (matrix_schedule.h), as
  kernel::TileUnit unit = {};                   // subgroups multiply them
  int registers = 255;                          // of a thread
};

// `group`: the device has products of 128 threads, and clusters. Other orders of B than kPacked have neither,
// but for clusters of tf32x3.
MmaSchedule default_mma_schedule(const MmaShape& shape, const MmaMachine& machine, bool group,
                                 MmaSchedule::Order b_order = MmaSchedule::Order::kPacked);

// Of weights that stay integers.
MmaSchedule default_integer_schedule(const MmaShape& shape, int bits, int64_t block,
                                     const MmaMachine& machine, bool group);

}  // namespace tern::lower::gpu
