#include "compiler/lower/streams.h"

#include <algorithm>

#include "compiler/kernel/jam.h"
#include "compiler/lower/loop_writer.h"

namespace tern::lower {
namespace {

constexpr int64_t kLeastStreamBytes = 8192;  // two pages: of one page each, four streams are slower than one

}  // namespace

int large_inputs(const Region& region, LoweringContext& context, Level level) {
  int count = 0;
  for (const graph::Value* v : region.inputs) {
    int64_t bytes = std::max(dtype_bits(v->type.dtype) / 8, 1);
    const Place& place = context.place(v);
    for (size_t d = 0; d < v->type.shape.size(); ++d) {
      if (!place.strides[d].is_const(0)) bytes *= context.hint(v->type.shape[d]);
    }
    if (bytes > machine(level).l3_share_bytes) ++count;
  }
  return std::max(count, 1);
}

int read_streams(const Region& region, LoweringContext& context, Level level) {
  return machine(level).read_streams / large_inputs(region, context, level);
}

int streams_of(int most, int64_t iterations, int64_t bytes) {
  return most > 1 && iterations / most * bytes >= kLeastStreamBytes ? most : 1;
}

std::vector<kernel::Stmt> in_streams(std::vector<kernel::Stmt> body, int streams) {
  if (streams <= 1) return body;
  std::vector<kernel::Stmt> out;
  bool found = false;
  for (kernel::Stmt& s : body) {
    if (!found && s->kind == kernel::StmtKind::kFor) {
      append(out, kernel::jam(s, streams, kernel::Jam::kApart));
      found = true;
    } else {
      out.push_back(std::move(s));
    }
  }
  return out;
}

}  // namespace tern::lower
