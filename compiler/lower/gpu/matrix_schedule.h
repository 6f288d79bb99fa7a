// The schedule of a contraction on cooperative matrices (kernel/ir.h: tiles), as plain data, and the cost
// model that chooses it from shapes alone. As mma_schedule.h, but what a stage needs comes through registers,
// fetched one stage ahead: Vulkan has no asynchronous copies, and its workgroup memory is small.
//
//   grid      batch, m blocks, n blocks        one workgroup: block_m x block_n of the output
//   stage     block_depth of A and of B        in workgroup memory, once or twice; the next one comes through
//             registers meanwhile
//   warps     warps_m x warps_n tiles of the block, and warps_k parts of a stage's depth, added up at the end
//   resident  A's rows of the block are computed by the workgroup itself, all steps of them (a depthwise
//             convolution in front of a product), and stay in workgroup memory; stages are B's alone
//   groups    parts of the subgroups that copy stages in turn, so that as many stages are on their way: a
//             subgroup waits for all of its loads at once, and would wait for the stages after the next one
//             too
//   ahead     stages that are on their way in registers, where all subgroups copy; B not from integers
//   split     parts of the depth, an axis of the grid: blocks that are too few for the processors
//   own       each of warps_k subgroups, which all have the whole block, takes every warps_k-th stage through
//             workgroup memory of its own: none waits for another one before the sums are added up
//   bytes     become f16 on their way into workgroup memory, which holds them exactly, as f32 does sums of
//             kExactSteps products; longer ones are carried over (bytes_planes)
//   int8      or stay bytes: A's, which have no sign, less 128 each, what B's columns add up to 128 times put
//             back at the end
//   bf16x6    operands of f32, each element of which becomes three of bf16 on its way into workgroup memory:
//             high + middle + low is the element itself. Six products of these make its product to 2^-24;
//             those that are left out are smaller
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "compiler/lower/gpu/mma_schedule.h"

namespace tern::lower::gpu {

struct MatrixSchedule {
  int block_m = 32, block_n = 32, block_depth = 128;
  int warps_m = 1, warps_n = 1, warps_k = 4;
  int stages = 1;
  bool b_columns = false;  // B lies in workgroup memory by columns, as in memory: neighbours along k
  bool own = false;        // needs warps_m = warps_n = stages = groups = 1
  int groups = 1;          // divides the subgroups
  int ahead = 1;           // 1 where groups are several, or own, or B comes from integers
  int split = 1;           // parts of the depth, whole stages each; every block is computed in so many parts
  int resident_depth = 0;  // resident: steps in memory, a multiple of block_depth; else 0
  bool bf16x6 = false;     // not resident
  bool int8 = false;       // needs b_columns
  int bytes_planes =
      1;  // of bytes whose sums f32 may not hold: 2, the second one has their multiples of 4096
  kernel::TileUnit unit = {};

  static constexpr int64_t kSignedLess = 128;  // int8: of each of A's bytes
  static constexpr int64_t kExactSteps = 512;  // 255 * 128 each, and what a carry leaves, are below 2^24

  int threads() const { return unit.subgroup * warps_m * warps_n * warps_k; }
  // Threads that share a stage's copies.
  int copiers() const { return own ? unit.subgroup : threads() / groups; }
  int tile_rows() const { return unit.shape.m; }
  int tile_columns() const { return unit.shape.n; }
  int tile_depth() const { return unit.shape.k; }
  int tiles_m() const { return block_m / warps_m / tile_rows(); }
  int tiles_n() const { return block_n / warps_n / tile_columns(); }
  int sums() const { return tiles_m() * tiles_n() * unit.run(); }  // of a thread
  int element_bytes() const { return int8 ? 1 : 2; }               // in workgroup memory
  int chunk() const { return 16 / element_bytes(); }               // elements of 16 bytes
  // Registers of a copier for the stages that are on their way.
  int copied() const {
    return ahead * ((resident_depth ? 0 : block_m) + block_n) * block_depth * element_bytes() / 4 / copiers();
  }
  // Elements from a row to the next one: 16 bytes more than it has, against bank conflicts.
  int a_pitch() const { return (resident_depth ? resident_depth : block_depth) + chunk(); }
  int b_pitch() const { return (b_columns ? block_depth : block_n) + chunk(); }
  int b_rows() const { return b_columns ? block_n : block_depth; }
  // Partial sums of a warp's tiles: a row's pitch, and how many rows of tiles are added up at a time, so that
  // they take no more memory than the stages.
  int partial_pitch() const { return tile_columns() * tiles_n() + 4; }
  int partial_rows() const;
  int planes() const { return bf16x6 ? 3 : 1; }                // parts of an element
  int planes_in_memory() const { return own ? 1 : planes(); }  // at a time
  int in_memory() const { return own ? warps_k : stages; }     // stages at a time
  int a_in_memory() const { return resident_depth ? 1 : in_memory(); }
  int64_t stage_bytes() const {
    return int64_t{element_bytes()} * planes_in_memory() *
           (a_in_memory() * block_m * a_pitch() + in_memory() * b_rows() * b_pitch());
  }
  // Of A's and B's tiles that the warps read of a stage.
  int64_t tile_bytes() const {
    return int64_t{element_bytes()} * planes() * warps_m * warps_n *
           (tile_rows() * tiles_m() + tile_columns() * tiles_n()) * block_depth;
  }
  int64_t partial_bytes() const { return partial_row_bytes() * partial_rows(); }
  int64_t partial_row_bytes() const {
    return int64_t{4} * bytes_planes * (threads() / unit.subgroup) * tile_rows() * partial_pitch();
  }
  // Whether the blocks are whole tiles of the unit, and threads share out what they copy.
  bool suits_unit() const;
  std::string text() const;  // "matrix 32x32x128, warps 1x1x4, 1 stage, 2 groups copy"
};

// ", tiles 8x8x16 of 8", for schedules' texts; nothing of those that most devices have.
std::string unit_text(const kernel::TileUnit& unit);

// `split`: of the schedule; the shape is the whole product's. Nothing where no stages of whole depth divide
// into such parts, or none consists of the machine's tiles.
std::optional<MatrixSchedule> default_matrix_schedule(const MmaShape& shape, const MmaMachine& machine,
                                                      bool b_columns = false, int split = 1);
// Into how many parts the depth is best split where each leaves a plane of sums in memory, which the readers
// of the product add up (place.h).
int matrix_split(const MmaShape& shape, const MmaMachine& machine);

// Elements of a resident row's piece, which a thread computes at a time: channels times rows.
inline constexpr int kResidentLanes = 4, kResidentRows = 4, kResidentPiece = kResidentLanes * kResidentRows;

// For a product whose rows the workgroup computes itself, as short sums; nothing where a dispatch of its own
// for them is faster, or none fits.
std::optional<MatrixSchedule> resident_matrix_schedule(const MmaShape& shape, const MmaMachine& machine);

}  // namespace tern::lower::gpu
