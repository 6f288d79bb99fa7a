// What the printer of the C family writes differently for each language: fields and small functions. The
// default values are clang's C with vector extensions (c_dialect.cc); cuda_dialect.cc is NVRTC's C++.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "compiler/kernel/ir.h"
#include "compiler/render/helpers.h"

namespace tern::render {

// One access to a buffer in its storage type, before narrow floats are decoded.
struct MemoryAccess {
  std::string_view element;  // the C type of an element: "u16" for f16
  int lanes = 1;
  std::string base, index;
  bool is_indexed = false;  // `index` is a vector of indices
  std::string limit;        // a count, or a mask
  bool is_mask = false;
  std::string value;          // of a store
  bool is_aligned = false;    // the index is a multiple of the lanes, which are a power of two
  bool is_streaming = false;  // of a store
};

struct Dialect {
  std::string_view language;               // for messages
  std::string_view prelude, declarations;  // of a translation unit: before and after its helpers
  // Helpers are written for one lane; `lanes_call` applies them to vectors. Else they are instantiated for
  // vectors.
  bool scalar_helpers;
  // Index arithmetic of kernels has 32 bits where kernel/narrow_indices.h allows it.
  bool narrow_indices;
  // Narrow floats that are only moved, or taken as bits, are not decoded.
  bool raw_copies;
  // Sums, differences and products of f16, two at a time in the type itself, as they are in memory: what is
  // rounded once from f32 is the same. Else they are f32 in between.
  bool half_pairs;
  std::string_view helper_loop;                // stands before the loops of helpers
  std::string_view stays_loop;                 // before long loops of kernels: they shall not be unrolled
  std::string_view four_a_round;               // before loops whose rounds shall be four of their passes
  std::string_view builtin, elementwise;       // what stands for __builtin_ and __builtin_elementwise_
  std::span<const std::string_view> reserved;  // words that no variable may have for a name, besides C's

  std::string (*scalar_definition)(std::string_view name, std::string_view c_definition);
  std::string (*vector_definition)(std::string_view scalar, std::string_view name, int lanes);
  std::string (*local_array)(std::string_view element, std::string_view name, int64_t elements);

  // Texts of expressions; vectors have more than one lane.
  std::string (*convert)(std::string_view vector_type, std::string_view text);
  std::string (*splat_mask)(HelperSet& helpers, std::string_view vector_type, int lanes,
                            std::string_view text);
  std::string (*mask)(std::string_view vector_type, std::string_view comparison);
  std::string (*select)(HelperSet& helpers, int bits, int lanes, std::string_view mask, std::string_view yes,
                        std::string_view no);
  std::string (*literal)(std::string_view type, std::string_view members);  // of a struct
  std::string (*ramp)(std::string_view type, std::string_view base, int64_t stride, int lanes);
  std::string (*bitcast)(std::string_view from_type, std::string_view to_type, std::string_view text);
  std::string (*shuffle)(const std::vector<std::string>& operands, int operand_lanes,
                         const std::vector<int>& lanes);
  std::string (*min_max)(std::string_view which, std::string_view type, std::string_view a,
                         std::string_view b);
  std::string (*reduce_mask)(HelperSet& helpers, std::string_view how, int lanes, std::string_view mask);
  std::string (*reduce)(HelperSet& helpers, std::string_view how, std::string_view scalar, int lanes,
                        std::string_view text);
  std::string (*lanes_call)(std::string_view function, int lanes, std::string_view arguments, bool is_void);
  // An intrinsic's text, or "" when it has no form.
  std::string (*intrinsic)(HelperSet& helpers, const kernel::ExprNode& e,
                           const std::vector<std::string>& arguments, std::string_view buffer);
  std::string (*load)(HelperSet& helpers, const MemoryAccess& access);
  std::string (*store)(HelperSet& helpers, const MemoryAccess& access);
};

const Dialect& c_dialect();
const Dialect& cuda_dialect();

}  // namespace tern::render
