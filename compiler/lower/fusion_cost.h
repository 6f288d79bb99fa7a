// The judge of region formation. Where nodes may share a dispatch or not, the predicted time of one dispatch
// is compared with that of several: arithmetic, done again for each reader; memory traffic, at the rate of
// the cache that a dispatch's values fit; what a dispatch costs by itself. Seconds are a mean over the
// target's levels, at usual sizes. What is no choice (legality, limits) is not asked here: docs/lowering.md
// lists both. GPUs have limits instead of predictions (RecomputeLimits): those were timed, this model was
// not.
#pragma once

#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "compiler/lower/context.h"

namespace tern::lower {

// What a dispatch does, as far as that is known before it has a schedule.
struct DispatchWork {
  double operations = 0;     // in units of one on vectors of f32 (operations_of)
  double multiply_adds = 0;  // of contractions; twice each
  double lanes = 0;          // elements that are fetched one by one
  std::unordered_map<const graph::Value*, double> read = {};  // bytes
  double written = 0;

  void add(const DispatchWork& more, double times);
};

class FusionCost {
 public:
  explicit FusionCost(const LoweringContext& context) : context_(context) {}

  // Adds so many evaluations of an element of the node's result; what it reads is not counted.
  void evaluate(DispatchWork& work, const graph::Node& node, double evaluations) const;
  // The same with what it reads, and without reading its result.
  void take(DispatchWork& work, const graph::Node& node, double evaluations) const;
  // Adds what reading so many elements of the value takes from memory.
  void read(DispatchWork& work, const graph::Value* value, double elements) const;
  void write(DispatchWork& work, const graph::Value* value) const;

  DispatchWork work_of(const std::vector<graph::Node*>& members,
                       const std::vector<graph::Value*>& outputs) const;
  // A chain of regions as one dispatch, in which all but the last are computed so many times, against theirs.
  Prediction chain(const std::vector<std::unique_ptr<Region>>& regions, int64_t times) const;

  double elements(const graph::Value* value) const;
  double bytes(const graph::Value* value) const;
  // Of dispatches one after the other: their values are in the cache that all of them fit.
  double seconds(const std::vector<DispatchWork>& dispatches) const;

  // The answer: a forced one (LowerOptions::fusion), or the faster one. As fast is together.
  bool join(const Prediction& prediction) const;

 private:
  const LoweringContext& context_;
};

// GPUs: operations of an element that are done again for each of so many readers, and for each element that
// reads a repeated one.
struct RecomputeLimits {
  int operations_each_reader = 1;
  size_t readers = 3;
  int operations_repeated = 2;
};
inline constexpr RecomputeLimits kGpuRecomputes;

}  // namespace tern::lower
