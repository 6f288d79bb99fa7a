// What a dispatch does, as the module's sources say it (Source.work): "flops;bytes read;bytes written", or
// with ";bytes" behind where its operations are on 8-bit integers, ";matrix" where a GPU's matrix units do
// them. Each is an expression over the symbolic dimensions in the compiler's notation:
// `2*N*floordiv(M+15,16)+1`.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace tern::cli {

struct DispatchWork {
  double operations = 0, bytes = 0;
  bool on_bytes = false, on_matrix_units = false;
};

using SymbolValues = std::function<std::optional<int64_t>(std::string_view name)>;

// Nothing where the text is empty, damaged, or names a symbol without value (sizes that the data gives).
std::optional<DispatchWork> evaluate_work(std::string_view text, const SymbolValues& symbols);

}  // namespace tern::cli
