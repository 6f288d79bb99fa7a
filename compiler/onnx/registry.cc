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

}  // namespace

const OpRow* find_row(const std::string& domain, const std::string& op, int64_t version) {
  static const Table table = make_table();
  auto [begin, end] = table.equal_range(domain + ":" + op);
  for (auto row = begin; row != end; ++row)
    if (row->second->since <= version && version <= row->second->until) return row->second;
  return nullptr;
}

const char* unsupported_reason(const std::string& domain, const std::string& op) {
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
  static constexpr Reason kReasons[] = {
      {"com.microsoft.nchwc", nullptr, kLayout},
      {"com.ms.internal.nhwc", nullptr, kLayout},
      {kMicrosoft, "BeamSearch", kSearch},
      {kMicrosoft, "GreedySearch", kSearch},
      {kMicrosoft, "Sampling", kSearch},
      {kMicrosoft, "WhisperBeamSearch", kSearch},
      {kMicrosoft, "EPContext",
       "It holds a program that was compiled for one device of ONNX Runtime; compile the model from before "
       "that "
       "step."},
  };
  for (const Reason& r : kReasons)
    if (domain == r.domain && (!r.op || op == r.op)) return r.text;
  return nullptr;
}

}  // namespace tern::onnx
