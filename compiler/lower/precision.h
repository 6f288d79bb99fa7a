// PrecisionPlan: which f32 values of a graph a program stores in 16 bits (`ternc --precision`). A decision
// about memory alone: the graph keeps its types, loads widen to f32, stores round to nearest even (overflow
// gives infinity), and everything between is computed in f32.
//
// What stays f32, and why, is a table in precision.cc; --keep-f32 adds to it by node name. A view is stored
// as what it looks at. Values that lowering makes itself are stored as their type says unless they inherit.
#pragma once

#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "compiler/graph/ir.h"

namespace tern::lower {

// Why a value stays f32; the table of precision.cc gives the words.
enum class Keep : uint8_t {
  kRequested,
  kBoundary,
  kMoved,
  kDecides,
  kPeriodic,
  kPosition,
  kSum,
  kGrowth,
  kRange,
  kMask,
  kSmall,
};
std::string_view keep_reason(Keep keep);

class PrecisionPlan {
 public:
  PrecisionPlan() = default;  // every value is stored as its type says
  // storage: kF32, kF16 or kBF16.
  PrecisionPlan(const graph::Graph& graph, DType storage, const std::vector<std::string>& keep_f32);

  bool narrows() const { return storage_ != DType::kF32; }
  DType narrow_type() const { return storage_; }
  // The element type of the value in memory of its own, or of what it looks at.
  DType storage(const graph::Value* value) const;
  // Null unless a rule kept the value (or what it looks at) in f32.
  const Keep* kept(const graph::Value* value) const;
  // From now on stored in f32.
  void keep(const graph::Value* value, Keep why);
  // `made`, a value that lowering makes, is stored like `original`.
  void inherit(const graph::Value* made, const graph::Value* original);
  // Whether --keep-f32 names the node, or one of its results.
  bool requested(const graph::Node& node) const;

 private:
  friend class PrecisionPlanner;
  DType storage_ = DType::kF32;
  std::unordered_set<std::string> requested_;
  std::unordered_set<const graph::Value*> narrow_;
  std::unordered_map<const graph::Value*, Keep> kept_;
};

// The elements in another float type, rounded to nearest even; `data` itself when it has it.
TensorDataPtr converted(const TensorDataPtr& data, DType to);

// Names of `keep_f32` that are neither a source node's nor a result's.
std::vector<std::string> unknown_names(const graph::Graph& graph, const std::vector<std::string>& keep_f32);

}  // namespace tern::lower
