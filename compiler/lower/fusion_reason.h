// Why two nodes that touch are not in one dispatch, as data: an enum row with its sentence
// (fusion_reasons.def), kept with each dispatch for `ternc --explain`.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "compiler/graph/ir.h"

namespace tern::lower {

enum class FusionReason : uint8_t {
#define TERN_FUSION_REASON(name, subject, sentence) name,
#include "compiler/lower/fusion_reasons.def"
};

enum class ReasonSubject : uint8_t { kBefore, kAfter, kCopy };
struct ReasonRow {
  ReasonSubject subject;
  std::string_view sentence;  // "has another shape than the root's result"
};
constexpr ReasonRow reason_row(FusionReason reason) {
  constexpr ReasonRow rows[] = {
#define TERN_FUSION_REASON(name, subject, sentence) {ReasonSubject::subject, sentence},
#include "compiler/lower/fusion_reasons.def"
  };
  return rows[static_cast<size_t>(reason)];
}

// Seconds of a choice that region forming had, at usual sizes (fusion_cost.h).
struct Prediction {
  double together = 0, apart = 0;
};

// A node next to a region that is no part of it.
struct Neighbour {
  bool before = false;                          // the region reads its result; else it reads the region's
  std::string op;                               // core op: "conv", "max"
  std::shared_ptr<const graph::Source> source;  // null: made by the compiler
  FusionReason reason = FusionReason::kOwnRoot;
  std::optional<Prediction> predicted = {};  // where that decided
  const graph::Node* node = nullptr;         // while the graph lives
};

}  // namespace tern::lower
