// Loops that collect what has a size known only inside their bodies, or that nothing limits: stacked results
// (scans), and sequences that are joined afterwards. Room for all of it cannot be set aside before, so the
// loop carries it, longer by each iteration's. (Else a scan's room is the trip count times an element:
// nothing is carried.)
#pragma once

#include <set>
#include <string>
#include <vector>

#include "compiler/onnx/common.h"

namespace tern::onnx {

// A fresh argument of a loop's body, and a size that control flow decides.
Value* region_argument(Importer::Region& region, graph::Graph& graph, const Type& type);
Dim control_symbol(graph::Graph& graph);
Value* zeros(Emit& b, DType dtype, Shape shape);

// A scan that became two carried values: all elements in a row, and the number of iterations with the sizes.
struct GrownScan {
  size_t scan, carried;  // the scan it was; the first of the two
  Type element;
  std::vector<size_t> unknown;  // axes of the element
};

// Takes out of result.scans those with a size of which the body makes a symbol (`own`, or number `symbols`
// and later) from what the iteration computes. Elements of different sizes are an error when the model runs.
std::vector<GrownScan> grow_scans(Emit& outer, Importer::Region& region, Value* number,
                                  const std::set<std::string>& own, size_t symbols, bool unlimited,
                                  std::vector<Value*>& carried, LoopResult& result);
// The scan's value, from all results of the loop.
Value* stacked_scan(Emit& b, const GrownScan& grown, const std::vector<Value*>& results);

// The loop carries, as its last value, each iteration's element along `axis` behind the earlier ones, or in
// front of them.
void grow_joined(Emit& outer, Importer::Region& region, Value* element, int64_t axis, bool in_front,
                 std::vector<Value*>& carried, LoopResult& result);

}  // namespace tern::onnx
