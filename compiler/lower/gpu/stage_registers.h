// What a thread has on its way from memory to a stage in workgroup memory: accesses in registers, whose loads
// nothing waits for before they are put there. Choosing zeros around a picture or behind a matrix right
// behind a load would wait for it in front of the products that are to hide it (docs/decisions.md, 118).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "compiler/lower/loop_writer.h"

namespace tern::lower::gpu {

class StageRegisters {
 public:
  // `accesses` of the type, called `of`_next. Where an access does not exist it has `nothing`; `at_once`: it
  // is chosen behind the load nevertheless.
  StageRegisters(const std::string& of, kernel::VType type, int64_t accesses, kernel::Expr nothing,
                 bool at_once);

  // As many elements as an access holds, at `index`, a multiple of their number, where `given` says that
  // there are any (null: there are); elsewhere the first ones are read, so that no load waits for a branch.
  // Of those of 16 bits the first `count` are read and the others are zero (0: all are).
  void read(LoopWriter& w, int64_t slot, const kernel::Buffer& from, const kernel::Expr& index,
            const kernel::Expr& given, int64_t count = 0);
  // What read() fetched there, or what was stored to words().
  kernel::Expr arrived(LoopWriter& w, int64_t slot) const;

  const kernel::Buffer& words() const { return words_; }
  // The registers that the kernel needs, once all reads are written.
  std::vector<kernel::Buffer> used() const;

 private:
  struct Access {
    bool is_read = false, masked = false;
    int64_t count = 0;  // elements that are read; 0: all
    bool operator==(const Access&) const = default;
  };
  kernel::Expr chosen(LoopWriter& w, kernel::Expr words, const kernel::Expr& exists, int64_t count) const;

  kernel::Buffer words_, exists_;
  kernel::Expr nothing_;
  bool at_once_;
  std::vector<Access> accesses_;
};

}  // namespace tern::lower::gpu
