#include "compiler/lower/gpu/stage_registers.h"

#include <algorithm>
#include <utility>

#include "compiler/lower/gpu/chunk_words.h"
#include "compiler/lower/gpu/index_math.h"
#include "compiler/lower/gpu/tile_ops.h"

namespace tern::lower::gpu {

using kernel::Expr;
using kernel::int_const;
using kernel::ScalarOp;

namespace {

Expr flag(bool value) {
  return int_const(value ? 1 : 0, DType::kU32);
}

}  // namespace

StageRegisters::StageRegisters(const std::string& of, kernel::VType type, int64_t accesses, Expr nothing,
                               bool at_once)
    : words_(registers(of + "_next", type, accesses)),
      exists_(registers(of + "_exists", {DType::kU32, 1}, accesses)),
      nothing_(std::move(nothing)),
      at_once_(at_once),
      accesses_(static_cast<size_t>(accesses)) {}

void StageRegisters::read(LoopWriter& w, int64_t slot, const kernel::Buffer& from, const Expr& index,
                          const Expr& given, int64_t count) {
  const int lanes = words_->type.lanes * 32 / dtype_bits(from->type.dtype);
  if (count >= lanes) count = 0;
  const Expr exists = given ? w.let("exists", given) : nullptr;
  const Expr known = exists ? kernel::select(exists, index, int_const(0)) : index;
  const Expr words =
      kernel::bitcast(kernel::load(from, times(div(known, lanes), lanes), lanes), words_->type);
  const Access access{true, exists && !at_once_, at_once_ ? 0 : count};
  Access& before = accesses_[static_cast<size_t>(slot)];
  TERN_CHECK(!before.is_read || before == access, "all reads of an access are chosen between alike");
  before = access;
  w.store(words_, int_const(slot), at_once_ ? chosen(w, words, exists, count) : words);
  if (access.masked) w.store(exists_, int_const(slot), kernel::select(exists, flag(true), flag(false)));
}

Expr StageRegisters::arrived(LoopWriter& w, int64_t slot) const {
  const Access& access = accesses_[static_cast<size_t>(slot)];
  const Expr exists =
      access.masked ? kernel::compare(ScalarOp::kNe, kernel::load(exists_, int_const(slot)), flag(false))
                    : nullptr;
  return chosen(w, kernel::load(words_, int_const(slot), words_->type.lanes), exists, access.count);
}

Expr StageRegisters::chosen(LoopWriter& w, Expr words, const Expr& exists, int64_t count) const {
  if (count > 0) words = kernel::op(ScalarOp::kAnd, {words, first_elements(count)});
  return exists ? kernel::select(exists, w.let("words", words), nothing_) : words;
}

std::vector<kernel::Buffer> StageRegisters::used() const {
  std::vector<kernel::Buffer> out{words_};
  if (std::any_of(accesses_.begin(), accesses_.end(), [](const Access& a) { return a.masked; }))
    out.push_back(exists_);
  return out;
}

}  // namespace tern::lower::gpu
