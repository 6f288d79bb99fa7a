#include "tools/tern/expect.h"

#include <algorithm>
#include <cstdio>

#include "schemas/abi/dtypes.h"

namespace tern::cli {
namespace {

int64_t element_count(const tern_tensor_t& tensor) {
  int64_t count = 1;
  for (uint32_t i = 0; i < tensor.rank; ++i) count *= tensor.dims[i];
  return count;
}

std::string type_text(uint32_t dtype, const int64_t* dims, size_t rank) {
  return std::string(tern_dtype_name(dtype)) + "[" + shape_text(dims, static_cast<uint32_t>(rank)) + "]";
}

// "[0, 2]"
std::string place_text(const tern_tensor_t& tensor, int64_t element) {
  std::string out;
  for (uint32_t i = tensor.rank; i-- > 0;) {
    out = std::to_string(element % tensor.dims[i]) + (out.empty() ? "" : ", ") + out;
    element /= tensor.dims[i];
  }
  return "[" + out + "]";
}

std::string text(const char* format, long double value) {
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, format, value);
  return buffer;
}

}  // namespace

Expectations::Expectations(const tern_module_t* module, uint32_t function, const ExpectOptions& options)
    : tolerance_(options.tolerance) {
  command_line::Problems problems;
  std::vector<tern_tensor_info_t> infos(tern_module_output_count(module, function));
  TensorFileOptions files = {"--expect", "output", "output", {}};
  for (uint32_t i = 0; i < infos.size(); ++i) {
    must(tern_module_output_info(module, function, i, &infos[i]));
    files.names.push_back(infos[i].name);
  }
  for (TensorFile& file : read_tensor_files(options.files, files, problems)) {
    Expected expected = {files.names[file.index], file.what, file.index, false, {}};
    expected.plain = file.form == TensorFile::Form::kBytes;
    if (expected.plain) expected.tensor.data = std::move(file.bytes);
    if (expected.plain || decode(file, infos[file.index].dtype, &expected.tensor, problems))
      expected_.push_back(std::move(expected));
  }
  fail_if_any(problems);
}

void Expectations::compare_one(const Expected& expected, const tern_tensor_t& output,
                               command_line::Problems& problems) const {
  const int64_t count = element_count(output);
  const std::string subject = "Output '" + expected.name + "' ";
  const auto add = [&](const std::string& rest) { problems.add(subject + rest + ".", kFailed); };
  const npy::Tensor& wanted = expected.tensor;
  const std::string type = type_text(output.dtype, output.dims, output.rank);
  if (!expected.plain &&
      (wanted.dtype != output.dtype || wanted.shape != std::vector(output.dims, output.dims + output.rank)))
    return add("is " + type + "; " + expected.what + " has " +
               type_text(wanted.dtype, wanted.shape.data(), wanted.shape.size()));
  const uint64_t bytes = (static_cast<uint64_t>(count) * tern_dtype_bits(output.dtype) + 7) / 8;
  if (wanted.data.size() != bytes)
    return add("(" + type + ") has " + std::to_string(bytes) + " bytes; " + expected.what + " has " +
               std::to_string(wanted.data.size()));
  const Comparison result = compare(output.dtype, output.data, wanted.data.data(), count, tolerance_);
  if (!result.different) {
    std::printf("%s is as expected; largest difference %g\n", command_line::printable(expected.name).c_str(),
                result.largest);
    return;
  }
  const int64_t numbers = numbers_of(output.dtype, count);
  const int64_t element = result.worst / std::max<int64_t>(numbers / count, 1);
  add("differs from " + expected.what + " in " + std::to_string(result.different) + " of " +
      std::to_string(numbers) + (numbers == 1 ? " number" : " numbers") + "; the worst is " +
      place_text(output, element) + ": " + text("%.9Lg", number_at(output.dtype, output.data, result.worst)) +
      " instead of " + text("%.9Lg", number_at(output.dtype, wanted.data.data(), result.worst)) +
      " (tolerance " + text("%Lg", tolerance_.absolute) + " + " + text("%Lg", tolerance_.relative) +
      " * |expected|)");
}

void Expectations::check(const std::vector<tern_tensor_t>& outputs) const {
  command_line::Problems problems;
  for (const Expected& expected : expected_) compare_one(expected, outputs[expected.index], problems);
  fail_if_any(problems);
}

}  // namespace tern::cli
