// The module's view of a function: symbols, inputs, outputs.
#include <algorithm>

#include "compiler/lower/donation.h"
#include "compiler/program/program.h"

namespace tern::program {
namespace {

int symbol_number(const lower::LoweredProgram& lowered, const std::string& name) {
  int number = 0;
  for (const graph::SymbolInfo& symbol : lowered.symbols) {
    if (symbol.origin != graph::SymbolInfo::Origin::kInput) continue;
    if (symbol.name == name) return number;
    ++number;
  }
  return -1;
}

// The largest value that a dimension can have, or -1.
int64_t upper_bound(const Dim& dim, const lower::LoweredProgram& lowered) {
  const auto most = [&](const std::string& name) -> std::optional<int64_t> {
    for (const graph::SymbolInfo& symbol : lowered.symbols) {
      if (symbol.name == name && symbol.max != INT64_MAX) return symbol.max;
    }
    return std::nullopt;
  };
  // Only where the expression surely grows with its symbols: sums and products without negative factors.
  if (dim.text().find('-') != std::string::npos || dim.text().find("mod") != std::string::npos ||
      dim.text().find("div") != std::string::npos)
    return -1;
  return dim.evaluate(most).value_or(-1);
}

std::unique_ptr<module::ArgumentT> argument(const lower::IoDef& io, const lower::LoweredProgram& lowered) {
  auto out = std::make_unique<module::ArgumentT>();
  out->name = io.name;
  out->dtype = static_cast<uint8_t>(io.dtype);
  for (const Dim& dim : io.shape) {
    const int symbol = dim.op() == Dim::Op::kSymbol ? symbol_number(lowered, dim.symbol_name()) : -1;
    if (dim.is_const()) {
      out->dims.emplace_back(dim.value(), module::DimKind::Static);
    } else if (symbol >= 0) {
      out->dims.emplace_back(symbol, module::DimKind::Symbol);
    } else {
      out->dims.emplace_back(upper_bound(dim, lowered), module::DimKind::Computed);
    }
    out->dim_text.push_back(dim.text());
  }
  return out;
}

}  // namespace

std::vector<std::unique_ptr<module::SymbolT>> module_symbols(const lower::LoweredProgram& lowered) {
  std::vector<std::unique_ptr<module::SymbolT>> out;
  for (const graph::SymbolInfo& symbol : lowered.symbols) {
    if (symbol.origin != graph::SymbolInfo::Origin::kInput) continue;
    auto entry = std::make_unique<module::SymbolT>();
    entry->name = symbol.name;
    entry->min = symbol.min;
    entry->max = symbol.max;
    entry->hint = symbol.hint > 0 ? symbol.hint : -1;
    out.push_back(std::move(entry));
  }
  return out;
}

Result<std::unique_ptr<module::FunctionT>> module_function(const lower::LoweredProgram& lowered) {
  auto out = std::make_unique<module::FunctionT>();
  out->name = lowered.function;
  for (const lower::IoDef& input : lowered.inputs) {
    auto arg = argument(input, lowered);
    for (size_t axis = 0; axis < arg->dims.size(); ++axis) {
      if (arg->dims[axis].kind() == module::DimKind::Computed) {
        return error("Dimension {} of input '{}' is an expression ({}); it must be a number or a symbol.",
                     axis, input.name, input.shape[axis].text());
      }
    }
    if (arg->dims.size() > 16)
      return error("Input '{}' has {} dimensions; at most 16 are possible.", input.name, arg->dims.size());
    out->inputs.push_back(std::move(arg));
  }
  for (const lower::IoDef& output : lowered.outputs) {
    if (output.shape.size() > 16)
      return error("Output '{}' has {} dimensions; at most 16 are possible.", output.name,
                   output.shape.size());
    out->outputs.push_back(argument(output, lowered));
  }
  for (const lower::Donation& asked : lower::donations(lowered))
    out->outputs[static_cast<size_t>(asked.output)]->donor = asked.input;
  return out;
}

}  // namespace tern::program
