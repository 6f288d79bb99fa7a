#include "tools/tern/arguments.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <optional>

#include "schemas/abi/dtypes.h"
#include "tools/npy/npy.h"

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

// splitmix64: the same numbers everywhere.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  double unit() { return static_cast<double>(next() >> 11) * 0x1p-53; }

 private:
  uint64_t state_;
};

// A value of [0, 1) as a float of few bits: sign and exponent width, mantissa width; truncated.
uint32_t small_float(double value, int exponent_bits, int mantissa_bits, int bias) {
  if (value <= 0) return 0;
  int exponent = 0;
  const double mantissa = std::frexp(value, &exponent);  // [0.5, 1)
  exponent += bias - 1;
  if (exponent <= 0 || exponent >= (1 << exponent_bits)) return 0;
  const uint32_t fraction = static_cast<uint32_t>((mantissa * 2 - 1) * (1 << mantissa_bits));
  return static_cast<uint32_t>(exponent) << mantissa_bits | fraction;
}

template <typename T>
void put(uint8_t* data, size_t index, T value) {
  std::memcpy(data + index * sizeof(T), &value, sizeof(T));
}

// Floats uniform in [0, 1), integers 0 or 1 (indices must be in range whatever they index), bools either.
// `data` is zeros.
void fill_random(uint8_t* data, uint32_t dtype, size_t count, Random& random) {
  for (size_t i = 0; i < count; ++i) {
    const double value = random.unit();
    const uint64_t bit = value >= 0.5;
    switch (dtype) {
      case TERN_DTYPE_F32:
        put(data, i, static_cast<float>(value));
        break;
      case TERN_DTYPE_F64:
        put(data, i, value);
        break;
      case TERN_DTYPE_C64:
        put(data, 2 * i, static_cast<float>(value));
        put(data, 2 * i + 1, static_cast<float>(random.unit()));
        break;
      case TERN_DTYPE_C128:
        put(data, 2 * i, value);
        put(data, 2 * i + 1, random.unit());
        break;
      case TERN_DTYPE_F16:
        put(data, i, static_cast<uint16_t>(small_float(value, 5, 10, 15)));
        break;
      case TERN_DTYPE_BF16:
        put(data, i, static_cast<uint16_t>(small_float(value, 8, 7, 127)));
        break;
      case TERN_DTYPE_F8E4M3FN:
        put(data, i, static_cast<uint8_t>(small_float(value, 4, 3, 7)));
        break;
      case TERN_DTYPE_F8E4M3FNUZ:
        put(data, i, static_cast<uint8_t>(small_float(value, 4, 3, 8)));
        break;
      case TERN_DTYPE_F8E5M2:
        put(data, i, static_cast<uint8_t>(small_float(value, 5, 2, 15)));
        break;
      case TERN_DTYPE_F8E5M2FNUZ:
        put(data, i, static_cast<uint8_t>(small_float(value, 5, 2, 16)));
        break;
      case TERN_DTYPE_F8E8M0:
        put(data, i, static_cast<uint8_t>(126 + bit));  // 0.5 or 1
        break;
      case TERN_DTYPE_U8:
      case TERN_DTYPE_I8:
      case TERN_DTYPE_Bool:
        put(data, i, static_cast<uint8_t>(bit));
        break;
      case TERN_DTYPE_U16:
      case TERN_DTYPE_I16:
        put(data, i, static_cast<uint16_t>(bit));
        break;
      case TERN_DTYPE_U32:
      case TERN_DTYPE_I32:
        put(data, i, static_cast<uint32_t>(bit));
        break;
      case TERN_DTYPE_U64:
      case TERN_DTYPE_I64:
        put(data, i, bit);
        break;
      default: {  // types below 8 bits
        const uint32_t bits = tern_dtype_bits(dtype);
        if (bits && bits < 8) data[i * bits / 8] |= static_cast<uint8_t>(bit << (i * bits % 8));
        break;
      }
    }
  }
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
  for (const std::string& file : options.files) read_file(file);
  fail_if_any(problems_);
  choose_dims();
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
    given_shapes_[name] = *dims;
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

void Arguments::read_file(const std::string& option) {
  const auto parts = split_option(option);
  if (!parts)
    return problems_.add("The option --input takes NAME=FILE.npy; '" + option + "' is not of that form.");
  const auto& [name, path] = *parts;
  const int32_t input = tern_module_find_input(module_, function_, name.c_str());
  if (input < 0) return problems_.add("The module has no input '" + name + "'; " + names_text() + ".");
  const auto [before, is_new] = files_.emplace(name, path);
  if (!is_new)
    return problems_.add("Input '" + name + "' is given twice: '" + before->second + "' and '" + path + "'.");
  const uint32_t index = static_cast<uint32_t>(input);
  const tern_tensor_info_t expected = info(index);
  npy::Tensor tensor;
  std::string error;
  if (!npy::read(path, expected.dtype, &tensor, &error)) return problems_.add(error, kIo);
  if (tensor.dtype != expected.dtype)
    problems_.add("The file '" + path + "' holds " + tern_dtype_name(tensor.dtype) + "; input '" + name +
                      "' is " + tern_dtype_name(expected.dtype) + ".",
                  kFailed);
  bind_dims(index, tensor.shape, "the file '" + path + "'");
  if (!problems_.empty()) return;
  tern_tensor_t& out = inputs_[index];
  out.dtype = tensor.dtype;
  out.rank = static_cast<uint32_t>(tensor.shape.size());
  std::copy(tensor.shape.begin(), tensor.shape.end(), out.dims);
  uint8_t* memory = hold(index, tensor.data.size());
  if (!tensor.data.empty()) std::memcpy(memory, tensor.data.data(), tensor.data.size());
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

void Arguments::make_random(uint32_t input, uint64_t seed) {
  const tern_tensor_info_t expected = info(input);
  if (expected.optional) return;
  if (expected.dtype == TERN_DTYPE_String)
    fail(kFailed,
         "Input '" + std::string(expected.name) + "' is a string tensor, which has no .npy form yet.");
  tern_tensor_t& out = inputs_[input];
  out.dtype = expected.dtype;
  out.rank = expected.rank;
  int64_t count = 1;
  for (uint32_t axis = 0; axis < expected.rank; ++axis) {
    const tern_dim_info_t& dim = expected.dims[axis];
    out.dims[axis] = dim.kind == TERN_DIM_SYMBOL ? symbol_values_[static_cast<size_t>(dim.value)] : dim.value;
  }
  if (const auto given = given_shapes_.find(expected.name); given != given_shapes_.end())
    std::copy(given->second.begin(), given->second.end(), out.dims);
  for (uint32_t axis = 0; axis < out.rank; ++axis) {
    if (__builtin_mul_overflow(count, out.dims[axis], &count) || count > INT64_MAX / 16)
      fail(kFailed, "Input '" + std::string(expected.name) + "' would have more than " +
                        std::to_string(INT64_MAX / 16) + " elements (" + shape_text(out.dims, out.rank) +
                        ").");
  }
  const size_t bytes = (static_cast<size_t>(count) * tern_dtype_bits(out.dtype) + 7) / 8;
  uint8_t* data = hold(input, bytes);
  std::memset(data, 0, bytes);
  Random random(seed);
  fill_random(data, out.dtype, static_cast<size_t>(count), random);
  notes_.push_back("input " + std::string(expected.name) + " " + tern_dtype_name(out.dtype) + "[" +
                   shape_text(out.dims, out.rank) + "] is random (seed " + std::to_string(seed) + ")");
}

}  // namespace tern::cli
