#include "tools/tern/arguments.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>

#include "schemas/abi/dtypes.h"
#include "tools/tern/random_data.h"

namespace tern::cli {
namespace {

// NAME=VALUE; nothing if it is not of that form. Names may hold '=': the last one divides.
std::optional<std::pair<std::string, std::string>> split_option(const std::string& option) {
  const size_t at = option.rfind('=');
  if (at == std::string::npos || at == 0) return {};
  return {{option.substr(0, at), option.substr(at + 1)}};
}

std::optional<std::vector<int64_t>> parse_dims(const std::string& text) {
  std::vector<int64_t> dims;
  const char* at = text.data();
  const char* end = at + text.size();
  while (at < end) {
    int64_t value = 0;
    const auto [rest, problem] = std::from_chars(at, end, value);
    const bool separated = rest == end || ((*rest == 'x' || *rest == ',') && rest + 1 < end);
    if (problem != std::errc() || value < 0 || !separated) return {};
    dims.push_back(value);
    at = rest + 1;
  }
  return dims;
}

uint64_t bytes_of(uint32_t dtype, int64_t elements) {
  return (static_cast<uint64_t>(elements) * tern_dtype_bits(dtype) + 7) / 8;
}

}  // namespace

Arguments::Arguments(const tern_module_t* module, uint32_t function, const InputOptions& options)
    : module_(module), function_(function) {
  symbols_.resize(tern_module_symbol_count(module));
  for (uint32_t i = 0; i < symbols_.size(); ++i) must(tern_module_symbol_info(module, i, &symbols_[i]));
  symbol_values_.assign(symbols_.size(), -1);
  const uint32_t count = tern_module_input_count(module, function);
  inputs_.resize(count);
  data_.resize(count);
  for (const std::string& shape : options.shapes) read_shape(shape);
  read_files(options.files);
  fail_if_any(problems_);
  choose_dims();
  take_plain_files();
  for (uint32_t i = 0; i < count; ++i) {
    if (!inputs_[i].dtype) make_random(i, options.seed + i);
  }
  fail_if_any(problems_);
  for (size_t i = 0; i < symbols_.size(); ++i) bounds_.push_back({symbols_[i].name, symbol_values_[i]});
}

tern_tensor_info_t Arguments::info(uint32_t input) const {
  tern_tensor_info_t out;
  must(tern_module_input_info(module_, function_, input, &out));
  return out;
}

void Arguments::read_shape(const std::string& option) {
  const auto parts = split_option(option);
  if (!parts)
    return problems_.add("The option --shape takes NAME=1x3x224x224 or SYMBOL=224; '" + option +
                         "' is not of that form.");
  const auto& [name, text] = *parts;
  const std::optional<std::vector<int64_t>> dims = parse_dims(text);
  if (!dims)
    return problems_.add("The shape in '" + option + "' must be numbers from 0 to " +
                         std::to_string(INT64_MAX) + " with x between them, as in 1x3x224x224.");
  const auto [before, is_new] = given_by_.emplace(name, "--shape " + option);
  if (!is_new)
    return problems_.add("The dimensions of '" + name + "' are given twice: " + before->second +
                         " and --shape " + option + ".");
  const int32_t input = tern_module_find_input(module_, function_, name.c_str());
  if (input >= 0) {
    return bind_dims(static_cast<uint32_t>(input), *dims, "--shape " + option);
  }
  const auto symbol =
      std::find_if(symbols_.begin(), symbols_.end(), [&](const auto& s) { return name == s.name; });
  if (symbol == symbols_.end())
    return problems_.add("The module has no input '" + name + "' and no symbolic dimension of that name " +
                         "(--shape " + option + "); " + names_text() + ".");
  if (dims->size() != 1)
    return problems_.add("The symbolic dimension '" + name + "' takes one number; --shape " + option +
                         " gives " + std::to_string(dims->size()) + ".");
  set_symbol(static_cast<size_t>(symbol - symbols_.begin()), dims->front(), "--shape " + option);
}

// "its inputs are 'x', 'y', its symbolic dimensions 'N'"
std::string Arguments::names_text() const {
  std::string inputs, symbols;
  for (uint32_t i = 0; i < inputs_.size(); ++i) inputs += (i ? ", '" : "'") + std::string(info(i).name) + "'";
  for (const tern_symbol_info_t& symbol : symbols_)
    symbols += (symbols.empty() ? "'" : ", '") + std::string(symbol.name) + "'";
  return "its inputs are " + (inputs.empty() ? "none" : inputs) +
         (symbols.empty() ? "" : ", its symbolic dimensions " + symbols);
}

void Arguments::read_files(const std::vector<std::string>& given) {
  TensorFileOptions options = {"--input", "input", "input", {}};
  for (uint32_t i = 0; i < inputs_.size(); ++i) options.names.push_back(info(i).name);
  files_ = read_tensor_files(given, options, problems_);
  for (const TensorFile& file : files_) {
    const tern_tensor_info_t expected = info(file.index);
    npy::Tensor tensor;
    if (file.form == TensorFile::Form::kBytes || !decode(file, expected.dtype, &tensor, problems_)) continue;
    if (tensor.dtype != expected.dtype)
      problems_.add("Input '" + std::string(expected.name) + "' is " + tern_dtype_name(expected.dtype) +
                        "; " + file.what + " holds " + tern_dtype_name(tensor.dtype) + ".",
                    kFailed);
    bind_dims(file.index, tensor.shape, file.what);
    if (problems_.empty()) take(file.index, tensor.dtype, tensor.shape, tensor.data);
  }
}

// Files of plain bytes, when all dimensions are known.
void Arguments::take_plain_files() {
  for (const TensorFile& file : files_) {
    if (file.form != TensorFile::Form::kBytes) continue;
    const tern_tensor_info_t expected = info(file.index);
    const std::vector<int64_t> dims = dims_of(file.index);
    const uint64_t bytes = bytes_of(expected.dtype, element_count(file.index, dims));
    if (bytes != file.bytes.size()) {
      problems_.add("Input '" + std::string(expected.name) + "' (" + tern_dtype_name(expected.dtype) + "[" +
                        shape_text(dims.data(), expected.rank) + "]) has " + std::to_string(bytes) +
                        " bytes; " + file.what + " has " + std::to_string(file.bytes.size()) + ".",
                    kFailed);
    } else {
      take(file.index, expected.dtype, dims, file.bytes);
    }
  }
  files_.clear();
}

void Arguments::take(uint32_t input, uint32_t dtype, const std::vector<int64_t>& dims,
                     const std::vector<uint8_t>& bytes) {
  tern_tensor_t& out = inputs_[input];
  out.dtype = dtype;
  out.rank = static_cast<uint32_t>(dims.size());
  std::copy(dims.begin(), dims.end(), out.dims);
  uint8_t* memory = hold(input, bytes.size());
  if (!bytes.empty()) std::memcpy(memory, bytes.data(), bytes.size());
}

uint8_t* Arguments::hold(uint32_t input, size_t bytes) {
  constexpr size_t kLine = 64, kLargePage = 2 << 20;
  const size_t unit = bytes >= 2 * kLargePage ? kLargePage : kLine;
  void* memory = std::aligned_alloc(unit, std::max<size_t>((bytes + unit - 1) / unit, 1) * unit);
  if (!memory)
    fail(kFailed, "There is no memory for the " + std::to_string(bytes) + " bytes of input '" +
                      std::string(info(input).name) + "'.");
  data_[input].reset(memory);
  inputs_[input].data = memory;
  inputs_[input].size = bytes;
  return static_cast<uint8_t*>(memory);
}

// Takes the values of symbols from a shape. Bounds of symbols are libtern's to check.
void Arguments::bind_dims(uint32_t input, const std::vector<int64_t>& dims, const std::string& what) {
  const tern_tensor_info_t expected = info(input);
  if (dims.size() != expected.rank)
    return problems_.add("Input '" + std::string(expected.name) + "' has " +
                             command_line::counted(expected.rank, "dimension", "dimensions") + "; " + what +
                             " gives " + std::to_string(dims.size()) + ".",
                         kFailed);
  for (uint32_t axis = 0; axis < expected.rank; ++axis) {
    const int64_t value = expected.dims[axis].value;
    if (expected.dims[axis].kind == TERN_DIM_SYMBOL) {
      set_symbol(static_cast<size_t>(value), dims[axis], what);
    } else if (dims[axis] != value) {
      problems_.add("Dimension " + std::to_string(axis) + " of input '" + expected.name + "' is " +
                        std::to_string(value) + "; " + what + " gives " + std::to_string(dims[axis]) + " (" +
                        shape_text(dims.data(), expected.rank) + ").",
                    kFailed);
    }
  }
}

void Arguments::set_symbol(size_t symbol, int64_t value, const std::string& what) {
  int64_t& known = symbol_values_[symbol];
  const std::string name = symbols_[symbol].name;
  if (known >= 0 && known != value)
    return problems_.add("The symbolic dimension '" + name + "' is " + std::to_string(known) + " by " +
                             symbol_given_by_[name] + " and " + std::to_string(value) + " by " + what + ".",
                         kFailed);
  known = value;
  symbol_given_by_.emplace(name, what);
}

void Arguments::choose_dims() {
  for (size_t i = 0; i < symbols_.size(); ++i) {
    if (symbol_values_[i] >= 0) continue;
    const tern_symbol_info_t& symbol = symbols_[i];
    int64_t value =
        symbol.hint > 0 ? symbol.hint : std::clamp<int64_t>(1, symbol.min, std::max(symbol.min, symbol.max));
    value = (value + symbol.multiple_of - 1) / symbol.multiple_of * symbol.multiple_of;
    symbol_values_[i] = value;
    notes_.push_back("dimension " + std::string(symbol.name) + " = " + std::to_string(value) +
                     " (choose with --shape " + symbol.name + "=…)");
  }
}

// Of an input whose symbols are known.
std::vector<int64_t> Arguments::dims_of(uint32_t input) const {
  const tern_tensor_info_t expected = info(input);
  std::vector<int64_t> dims;
  for (uint32_t axis = 0; axis < expected.rank; ++axis) {
    const tern_dim_info_t& dim = expected.dims[axis];
    dims.push_back(dim.kind == TERN_DIM_SYMBOL ? symbol_values_[static_cast<size_t>(dim.value)] : dim.value);
  }
  return dims;
}

int64_t Arguments::element_count(uint32_t input, const std::vector<int64_t>& dims) const {
  const tern_tensor_info_t expected = info(input);
  int64_t count = 1;
  for (int64_t dim : dims) {
    if (__builtin_mul_overflow(count, dim, &count) || count > INT64_MAX / 16)
      fail(kFailed, "Input '" + std::string(expected.name) + "' would have more than " +
                        std::to_string(INT64_MAX / 16) + " elements (" +
                        shape_text(dims.data(), expected.rank) + ").");
  }
  return count;
}

void Arguments::make_random(uint32_t input, uint64_t seed) {
  const tern_tensor_info_t expected = info(input);
  if (expected.optional) return;
  if (expected.dtype == TERN_DTYPE_String)
    return problems_.add(
        "Input '" + std::string(expected.name) + "' is a string tensor, which no file that tern reads holds.",
        kFailed);
  const std::vector<int64_t> dims = dims_of(input);
  tern_tensor_t& out = inputs_[input];
  out.dtype = expected.dtype;
  out.rank = expected.rank;
  std::copy(dims.begin(), dims.end(), out.dims);
  const int64_t count = element_count(input, dims);
  const uint64_t bytes = bytes_of(out.dtype, count);
  uint8_t* data = hold(input, bytes);
  std::memset(data, 0, bytes);
  fill_random(data, out.dtype, static_cast<size_t>(count), seed);
  notes_.push_back("input " + std::string(expected.name) + " " + tern_dtype_name(out.dtype) + "[" +
                   shape_text(out.dims, out.rank) + "] is random (seed " + std::to_string(seed) + ")");
}

std::vector<tern_tensor_t> Arguments::outputs(const std::vector<tern_tensor_t>& inputs, bool in_place) const {
  std::vector<tern_tensor_t> out(tern_module_output_count(module_, function_));
  bool some = false;
  for (uint32_t i = 0; in_place && i < out.size(); ++i) {
    tern_tensor_info_t info;
    must(tern_module_output_info(module_, function_, i, &info));
    if (info.donor < 0) continue;
    const tern_tensor_t& donor = inputs[static_cast<size_t>(info.donor)];
    out[i].data = donor.data;
    out[i].size = donor.size;
    out[i].buffer = donor.buffer;
    out[i].buffer_offset = donor.buffer_offset;
    some = true;
  }
  if (in_place && !some)
    fail(kUsage, "No output of the function may lie in the memory of an input (--in-place).");
  return out;
}

}  // namespace tern::cli
