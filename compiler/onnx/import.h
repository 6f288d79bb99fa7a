// ONNX in, graph IR out. import_model reads a model file (and the external data files beside it), checks it
// and rewrites every operator to core ops; nothing after it knows ONNX. A model is hostile input: whatever it
// holds, the answer is a graph or errors, never a crash. All problems of a model come in one report.
//
// Accepted: opset 7 to 27, IR version up to 13, model functions (inlined), subgraphs, external data contained
// in the model's folder. Weights are borrowed from the parsed message and from mapped files, not copied.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "compiler/graph/ir.h"
#include "compiler/support/result.h"

namespace tern::onnx {

inline constexpr int64_t kMinOpset = 7, kMaxOpset = 27, kMaxIrVersion = 13;

struct SymbolBounds {
  int64_t min = 0, max = INT64_MAX;
  int64_t hint = 0;
};

struct ImportOptions {
  // Input name → dimensions that replace the model's; -1 keeps the model's own dimension.
  std::map<std::string, std::vector<int64_t>> shapes;
  // Symbol (dim_param as the model spells it, or as the graph prints it) → a constant for it.
  std::map<std::string, int64_t> symbol_values;
  std::map<std::string, SymbolBounds> symbol_bounds;
  // Input name → its value, as words: one for each element, or one for all of them.
  std::map<std::string, std::vector<std::string>> values;
  // Files that will be written: external data in one of them would be lost.
  std::vector<std::string> written;
};

// Null when `diagnostics` has received an error.
std::unique_ptr<graph::Graph> import_model(const std::string& path, const ImportOptions& options,
                                           Diagnostics& diagnostics);

// The operators that a model uses and how often, supported or not: `ternc --check`.
struct OpUse {
  std::string domain, op;
  int64_t opset = 0;
  int64_t count = 0;
  bool supported = false;
  std::string first_node;
};
Result<std::vector<OpUse>> survey_model(const std::string& path);

}  // namespace tern::onnx
