// What the two kinds of scatter have in common. An update meets only others of its own *line*: those with its
// coordinates along every axis that is not indexed; in its line it has a target.
#pragma once

#include <string>

#include "compiler/lower/loop_writer.h"

namespace tern::lower::gpu {

struct ScatterProblem {
  DType dtype, index_dtype;
  Shape data, indices;  // indices: of scatter_elements, its updates' shape
  int axis = -1;        // of scatter_elements; -1: scatter_nd
  std::string reduction;
};

class ScatterLines {
 public:
  using Expr = kernel::Expr;
  struct Line {
    Expr outer, inner;
  };
  struct Target {
    Expr at;        // along the indexed axes, as one number
    Expr in_range;  // else `at` may be anything
  };
  ScatterLines(const ScatterProblem& problem, kernel::ParamTable& params);

  Dim outer, inner, updates;  // lines are outer * inner
  bool one_target;            // update u of every line has the same one; `outer` is 1 then

  Target target(LoopWriter& w, const kernel::Buffer& indices, const Line& line, const Expr& u) const;
  // Where a target of the line lies in the data, and an update of it in the updates.
  Expr data_index(const Line& line, const Expr& at) const;
  Expr update_index(const Line& line, const Expr& u) const;
  Line line(LoopWriter& w, const Expr& number) const;

 private:
  Target checked(LoopWriter& w, const kernel::Buffer& indices, const Expr& index, const Dim& extent) const;
  Expr offset(const Expr& flat, size_t begin, size_t end) const;

  const ScatterProblem p_;
  kernel::ParamTable& params_;
};

}  // namespace tern::lower::gpu
