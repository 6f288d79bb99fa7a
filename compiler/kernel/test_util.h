// For tests of passes: kernels from text, run on the evaluator over f32 buffers.
#pragma once

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "compiler/kernel/ir.h"

namespace tern::kernel {

inline Kernel parsed(const std::string& text) {
  auto k = parse_kernel(text);
  REQUIRE_MESSAGE(k.ok(), (k.ok() ? "" : k.error().text()));
  std::string problems = verify(*k);
  REQUIRE_MESSAGE(problems.empty(), problems);
  return std::move(k).value();
}

// Binding b holds small numbers that depend on b; returns all bindings' contents after the run.
inline std::vector<std::vector<float>> run_f32(const Kernel& k, int64_t elements,
                                               std::vector<int64_t> params = {}, int64_t tiles = 1) {
  std::vector<std::vector<float>> data;
  std::vector<EvalBinding> bindings;
  for (size_t b = 0; b < k.bindings.size(); ++b) {
    std::vector<float> v(static_cast<size_t>(elements));
    for (size_t i = 0; i < v.size(); ++i)
      v[i] = static_cast<float>(static_cast<int>((i * 7 + b * 3) % 23) - 11);
    data.push_back(std::move(v));
  }
  for (auto& v : data) bindings.push_back({reinterpret_cast<uint8_t*>(v.data()), elements * 4});
  auto code = evaluate(k, bindings, params, 0, tiles);
  REQUIRE_MESSAGE(code.ok(), (code.ok() ? "" : code.error().text() + "\n" + print_kernel(k)));
  data.push_back({static_cast<float>(*code)});
  return data;
}

// The evaluator's complaint about a kernel over f32 bindings, or "".
inline std::string complaint(const Kernel& k, int64_t elements, std::vector<int64_t> params = {},
                             int64_t tiles = 1) {
  std::vector<std::vector<float>> data(k.bindings.size(), std::vector<float>(static_cast<size_t>(elements)));
  std::vector<EvalBinding> bindings;
  for (auto& v : data) bindings.push_back({reinterpret_cast<uint8_t*>(v.data()), elements * 4});
  auto code = evaluate(k, bindings, params, 0, tiles);
  return code.ok() ? "" : code.error().message;
}

inline std::string refusal(const std::string& text) {
  auto k = parse_kernel(text);
  return k.ok() ? verify(*k) : k.error().message;
}

}  // namespace tern::kernel
