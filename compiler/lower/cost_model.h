// Predicted time of one dispatch on a level, at usual sizes: what `ternc --explain` prints beside the
// schedule. Where a schedule has a cost model of its own (register tiles, Winograd), its cycles are taken;
// the rest is a roofline over the level's figures (target.h): the slower of arithmetic and of bytes from
// where they lie, and what a dispatch costs by itself. On CPUs for one core with all others idle: threads
// divide it.
#pragma once

#include "compiler/lower/program_ir.h"

namespace tern::lower {

// What a schedule knows of itself.
struct ScheduleCost {
  double cycles = 0;             // of one core, without dispatch; 0: not known
  bool matrix_units = false;     // GPUs: products run on them
  kernel::TileShape tiles = {};  // CPUs: of the kernel's tiles
};

struct DispatchCost {
  const Work& work;
  int64_t usual_constants;  // of work.usual_read: weights, which other layers have driven out of the caches
  int64_t tiles;
  bool products;  // a contraction: flops are multiply-adds
  ScheduleCost schedule;
};

// Whether a dispatch that writes this much to one buffer had better store past the caches: what it wrote
// first is not there any more when somebody reads it. Measured on a Zen 5 with 32 MB, copies with ordinary
// stores and streaming ones: 40 and 64 GB/s with one thread, 55 and 108 with two.
bool outgrows_caches(Level level, int64_t written);

struct Traffic {
  double values = 0, constants = 0;  // bytes that a dispatch moves
  double footprint = 0;              // of the values that have to stay in a cache to come from it
};
// Cycles of one core: arithmetic and traffic beside each other, and the dispatch.
double cpu_dispatch_cycles(const MachineModel& machine, double arithmetic, const Traffic& traffic);

double predict_seconds(Level level, const DispatchCost& cost);

}  // namespace tern::lower
