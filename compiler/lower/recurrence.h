// A loop whose iterations are one step of a recurrence: what a kernel can compute for all steps at once.
//
// The carried values are rows of `width` units, [.., width]. A step multiplies rows by constant weights and
// combines, unit by unit, what it finds at the same unit of carried values, of columns of the products a
// constant number of units apart (gates side by side), and of values that no carried one goes into: slices of
// sequences, initial values, biases. So whoever keeps a unit needs nothing of others but the rows that
// products read: those are *exchanged*. LSTM, GRU, RNN and loops that frameworks write for such cells are of
// this kind.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "compiler/lower/context.h"

namespace tern::lower {

// Rows that products of one stage read.
struct ExchangedRows {
  const graph::Value* value = nullptr;  // an argument of the body, or computed in the same step
  int carried = -1;                     // which argument; -1: computed
  int stage = 0;
};

struct RecurrentProduct {
  const graph::Node* node = nullptr;
  size_t rows = 0;                        // of Recurrence::exchanged
  const graph::Value* weights = nullptr;  // [.., depth, columns], a constant matrix
  int64_t depth = 0, columns = 0;
  int stage = 0;                 // products of a stage need results of the stages before only
  std::vector<int64_t> offsets;  // unit u reads columns u + offset, ascending
};

// A value of the step that no carried one goes into, where one that they go into reads it.
struct StepInput {
  const graph::Value* value = nullptr;
  int64_t offset = 0;    // unit u reads its element u + offset
  bool changes = false;  // from step to step
};

struct Recurrence {
  const graph::Node* loop = nullptr;
  const graph::Value* iteration = nullptr;  // its number inside the body
  Dim steps;
  Dim rows;  // independent of each other
  int64_t width = 0;
  int stages = 0;
  std::vector<ExchangedRows> exchanged;
  std::vector<RecurrentProduct> products;
  std::vector<StepInput> inputs;
  // Nodes whose results are of one unit each and go into others, in order, with the stages that come before.
  struct Computed {
    const graph::Value* value;
    int stage;
  };
  std::vector<Computed> computed;
  // Gathers of one place along an axis that follows from the iteration: factor * iteration + start.
  struct Place {
    int64_t factor = 0;
    Dim start;
  };
  std::unordered_map<const graph::Node*, Place> places;
  std::unordered_set<const graph::Value*> varying;  // what carried values go into
};

// Its condition starts true and stays so.
bool runs_to_its_end(const graph::Node& loop);
// The trip count (INT64_MAX: unlimited) where it is known before the program has run to the loop.
std::optional<Dim> known_trips(const graph::Node& loop);

// `iteration_symbol`: what name_iterations called the loop's. `steps`: its trip count. Nullopt when the loop
// is none.
std::optional<Recurrence> find_recurrence(const graph::Node& loop, const std::string& iteration_symbol,
                                          const Dim& steps);

}  // namespace tern::lower
