// What ternc prints: the end report, the coverage report of --check, the progress line.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "compiler/pipeline.h"

namespace tern {

std::string bytes_text(int64_t bytes);  // "1.2 MB"

// Dispatches, weights, arena, scratch, sizes, time; with phases and copies when verbose.
std::string end_report(const CompileResult& result, const std::string& output, bool verbose);
// Operators of the model, supported or not. All: also the supported ones.
std::string coverage_report(const std::vector<onnx::OpUse>& uses);

// One line on standard error that is rewritten; nothing if that is no terminal.
class Progress {
 public:
  Progress();
  void show(std::string_view phase, double done);
  void clear();

 private:
  bool terminal_ = false, shown_ = false;
  double start_ = 0;
};

}  // namespace tern
