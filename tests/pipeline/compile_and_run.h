// Compiles a graph's text and runs it with libtern, for tests of the whole path.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "compiler/graph/ir.h"
#include "compiler/pipeline.h"

namespace tern {

struct RunSettings {
  std::string targets = "cpu:x86_64_v3";  // what runs: this machine must have it
  uint32_t threads = 1;
  std::vector<std::string> disabled;
};

// A module made from the text of a graph's body.
CompileResult compile_text(const std::string& text, const RunSettings& settings, Diagnostics& diagnostics);

// A loaded module with one session; invocations may differ in their inputs' sizes.
class Runner {
 public:
  Runner(std::vector<uint8_t> module, uint32_t threads);
  ~Runner();
  // Outputs, or an Error with libtern's message.
  Result<std::vector<TensorDataPtr>> run(const std::vector<TensorDataPtr>& inputs);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Small integers and halves, the same for the same seed.
TensorDataPtr make_input(DType dtype, const std::vector<int64_t>& shape, uint64_t seed);

// Compiles, then runs for each set of symbol values in one session, and compares with the evaluator.
void check_whole_path(const std::string& text,
                      const std::vector<std::map<std::string, int64_t>>& sizes = {{}},
                      const RunSettings& settings = {});

}  // namespace tern
