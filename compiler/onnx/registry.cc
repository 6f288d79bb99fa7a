#include <algorithm>
#include <unordered_map>

#include "compiler/onnx/families.h"

namespace tern::onnx {

namespace {

using Table = std::unordered_multimap<std::string, const OpRow*>;

Table make_table() {
  Table table;
  auto add = [&](std::span<const OpRow> rows) {
    for (const OpRow& row : rows) table.emplace(std::string(row.domain) + ":" + row.op, &row);
  };
#define TERN_ONNX_ADD(family) add(family##_rows());
  TERN_ONNX_FAMILIES(TERN_ONNX_ADD)
#undef TERN_ONNX_ADD
  return table;
}

const Table& all_rows() {
  static const Table table = make_table();
  return table;
}

bool is_custom(const std::string& domain) {
  const auto& rows = all_rows();
  return std::none_of(rows.begin(), rows.end(),
                      [&](const auto& row) { return domain == row.second->domain; });
}

}  // namespace

const OpRow* find_row(const std::string& domain, const std::string& op, int64_t version) {
  auto [begin, end] = all_rows().equal_range(domain + ":" + op);
  for (auto row = begin; row != end; ++row)
    if (row->second->since <= version && version <= row->second->until) return row->second;
  return nullptr;
}

std::string unsupported_reason(const std::string& domain, const std::string& op) {
  struct Reason {
    const char *domain, *op, *text;  // op null: all of the domain
  };
  constexpr const char* kLayout =
      "It works on a memory layout that ONNX Runtime chose for the machine on which it wrote this optimised "
      "model; "
      "write it at the level ORT_ENABLE_EXTENDED instead of ORT_ENABLE_ALL, or compile the original model.";
  constexpr const char* kSearch =
      "It runs whole decoders inside a search for the best words; compile the decoder's own model and search "
      "in the "
      "application.";
  constexpr const char* kSparse =
      "It skips blocks of keys that a table of the model names; export the model with dense attention "
      "(GroupQueryAttention with local_window_size says a window).";
  constexpr const char* kPacked =
      "It works on tokens of several sequences without padding, for one kernel of GPUs; export the model "
      "with "
      "padded batches.";
  constexpr const char* kStrings =
      "It works on text, which tern's programs do not hold; do that step in the application, and give its "
      "numbers to the rest of the model.";
  constexpr const char* kMaps =
      "It works on maps from keys to numbers, which tern's programs do not hold; export the model without it "
      "(skl2onnx: zipmap=False).";
  static constexpr Reason kReasons[] = {
      {"com.microsoft.nchwc", nullptr, kLayout},
      {"com.ms.internal.nhwc", nullptr, kLayout},
      {kMicrosoft, "BeamSearch", kSearch},
      {kMicrosoft, "GreedySearch", kSearch},
      {kMicrosoft, "Sampling", kSearch},
      {kMicrosoft, "WhisperBeamSearch", kSearch},
      {kMicrosoft, "DynamicSparseAttention", kSparse},
      {kMicrosoft, "SparsePagedAttention", kSparse},
      {kMicrosoft, "PagedAttention", kPacked},
      {kMicrosoft, "Tokenizer", kStrings},
      {kMicrosoft, "WordConvEmbedding", kStrings},
      {kOnnx, "StringNormalizer", kStrings},
      {kOnnx, "StringSplit", kStrings},
      {kOnnx, "StringConcat", kStrings},
      {kOnnx, "RegexFullMatch", kStrings},
      {kOnnx, "ImageDecoder",
       "It reads files of pictures; decode them in the application, and give the pixels to the rest of the "
       "model."},
      {"ai.onnx.contrib", nullptr,
       "It belongs to onnxruntime-extensions, which prepare text, pictures and sound; do that step in the "
       "application, and give its numbers to the rest of the model."},
      {"org.pytorch.aten", nullptr,
       "PyTorch's exporter found no operator of ONNX for it; export with a newer opset, or with "
       "dynamo=True."},
      {"ai.onnx.ml", "DictVectorizer", kMaps},
      {"ai.onnx.ml", "CastMap", kMaps},
      {kMicrosoft, "Snpe",
       "It holds a program that was compiled for one device; compile the model from before that step."},
      {kMicrosoft, "EPContext",
       "It holds a program that was compiled for one device of ONNX Runtime; compile the model from before "
       "that "
       "step."},
  };
  for (const Reason& r : kReasons)
    if (domain == r.domain && (!r.op || op == r.op)) return r.text;
  if (op.ends_with("_TRT") || domain == "TRT" || domain == "trt.plugins")
    return "It is a plugin of TensorRT; export the model without it (NonMaxSuppression and the other "
           "operators of ai.onnx).";
  auto [begin, end] = all_rows().equal_range(domain + ":" + op);
  if (begin != end) {
    int first = kLatest, last = 0;
    for (auto row = begin; row != end; ++row) {
      first = std::min(first, row->second->since);
      last = std::max(last, row->second->until);
    }
    return last == kLatest
               ? fmt::format("It came with opset {}; onnx.version_converter may raise the model's.", first)
               : fmt::format("Later opsets do not have it; tern reads it up to opset {}.", last);
  }
  if (is_custom(domain))
    return fmt::format(
        "'{}' is a domain of somebody's own: tern runs such an operator where the model holds it as a "
        "function "
        "(FunctionProto); else export the model with operators of ai.onnx in its place.",
        domain);
  return "";
}

}  // namespace tern::onnx
