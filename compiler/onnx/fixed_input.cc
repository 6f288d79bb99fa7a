#include "compiler/onnx/fixed_input.h"

#include <charconv>
#include <cmath>

#include "compiler/onnx/emit.h"

namespace tern::onnx {

namespace {

// A constant as large as its one word repeated: what is larger is no choice that somebody fixes.
constexpr int64_t kMostElements = 1 << 20;

template <typename T>
bool parse(const std::string& word, T& out) {
  const auto [end, problem] = std::from_chars(word.data(), word.data() + word.size(), out);
  return problem == std::errc() && end == word.data() + word.size() && !word.empty();
}

// Whether the word is a value of the type, which element i is then.
bool set_element(TensorData& data, int64_t i, const std::string& word) {
  if (data.dtype() == DType::kBool && (word == "true" || word == "false")) {
    data.set_int(i, word == "true" ? 1 : 0);
    return true;
  }
  if (is_float(data.dtype())) {
    double number = 0;
    if (!parse(word, number)) return false;
    data.set_float(i, number);
    return !std::isfinite(number) || std::isfinite(data.float_at(i));
  }
  int64_t number = 0;
  if (!parse(word, number)) {
    uint64_t large = 0;
    if (data.dtype() != DType::kU64 || !parse(word, large)) return false;
    number = static_cast<int64_t>(large);
  } else if (number < 0 && dtype_kind(data.dtype()) == DTypeKind::kUint) {
    return false;
  }
  data.set_int(i, number);
  return data.int_at(i) == number;
}

}  // namespace

ImportOptions with_lengths_of_values(ImportOptions options, const pb::GraphProto& graph) {
  for (const auto& info : graph.input()) {
    const auto given = options.values.find(info.name());
    const auto& type = info.type().tensor_type();
    if (given == options.values.end() || type.shape().dim_size() != 1) continue;
    const auto& dim = type.shape().dim(0);
    if (dim.has_dim_value() && dim.dim_value() >= 0) continue;
    if (options.symbol_values.contains(dim.dim_param())) continue;
    options.shapes.emplace(info.name(), std::vector{static_cast<int64_t>(given->second.size())});
  }
  return options;
}

TensorDataPtr fixed_value(const std::string& input, const graph::Type& type,
                          const std::vector<std::string>& words) {
  if (!type.is_tensor()) fail("--value names the input '{}', which is no tensor ({}).", input, type.text());
  const DType dtype = type.dtype;
  if (is_complex(dtype)) fail("--value names the input '{}', which holds complex numbers.", input);
  std::vector<int64_t> dims;
  int64_t count = 1;
  for (const Dim& dim : type.shape) {
    dims.push_back(dim.value());
    count *= dims.back();
  }
  if (words.size() != 1 && static_cast<int64_t>(words.size()) != count)
    fail("--value gives the input '{}' ({}) {} values; it takes {}, or one for all.", input, type.text(),
         words.size(), count);
  if (count > kMostElements)
    fail("--value names the input '{}' ({}) of {} elements; it fixes at most {}.", input, type.text(), count,
         kMostElements);
  const auto word = [&](int64_t i) -> const std::string& {
    return words[words.size() == 1 ? 0 : static_cast<size_t>(i)];
  };
  if (dtype == DType::kString) {
    std::vector<std::string> strings;
    for (int64_t i = 0; i < count; ++i) strings.push_back(word(i));
    return TensorData::strings(std::move(dims), std::move(strings));
  }
  auto data = TensorData::make(dtype, std::move(dims));
  for (int64_t i = 0; i < count; ++i)
    if (!set_element(*data, i, word(i)))
      fail("--value gives the input '{}' ({}) '{}', which is no value of {}.", input, type.text(), word(i),
           dtype_name(dtype));
  return data;
}

}  // namespace tern::onnx
