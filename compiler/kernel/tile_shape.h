// The shape of a kernel's tiles: in products A has m x k elements, B k x n, the sums m x n.
#pragma once

#include <cstdint>

namespace tern::kernel {

enum class TilePart : uint8_t { kSums, kA, kB };

struct TileShape {
  int m = 0, n = 0, k = 0;
  bool operator==(const TileShape&) const = default;
  int rows(TilePart part) const { return part == TilePart::kB ? k : m; }
  int columns(TilePart part) const { return part == TilePart::kA ? k : n; }
  int elements(TilePart part) const { return rows(part) * columns(part); }
  // Of each thread of a subgroup, which share a tile's elements out evenly; 0: they cannot.
  int lanes(TilePart part, int subgroup) const {
    return subgroup > 0 && elements(part) % subgroup == 0 ? elements(part) / subgroup : 0;
  }
};

// Tiles of CPUs (x86-64's AMX): registers of so many rows of so many bytes, of elements of those bits.
inline constexpr int kCpuTileRows = 16, kCpuTileBytes = 64, kCpuTiles = 8;
// Elements along k that lie side by side in a row of B take so many bytes.
inline constexpr int kCpuGroupBytes = 4;
constexpr TileShape cpu_tile(int element_bits) {
  return {kCpuTileRows, kCpuTileBytes / 4, kCpuTileBytes * 8 / element_bits};
}

// How subgroups of a device multiply: the shape of their tiles, and their size.
struct TileUnit {
  TileShape shape = {16, 16, 16};
  int subgroup = 32;
  bool operator==(const TileUnit&) const = default;
  int lanes(TilePart part) const { return shape.lanes(part, subgroup); }
  // Where a tile of sums lies in memory row by row, each thread takes a run of a row.
  int run() const { return lanes(TilePart::kSums); }
  int threads_a_row() const { return subgroup / shape.m; }
  // Whether there are such runs, and they are whole accesses of four.
  bool has_runs() const { return subgroup % shape.m == 0 && run() > 0 && run() % 4 == 0; }
};

}  // namespace tern::kernel
