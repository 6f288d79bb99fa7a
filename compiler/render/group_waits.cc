#include "compiler/render/group_waits.h"

#include <algorithm>

namespace tern::render {

using kernel::Buffer;
using kernel::Stmt;
using kernel::StmtKind;

namespace {

// Products on their way: the registers that each group of them touches, the oldest first, and those of the
// group that is not committed yet.
struct Flight {
  std::vector<std::vector<Buffer>> groups;
  std::vector<Buffer> open;
  bool is_known = false;  // there are no others

  // Products that nobody has committed yet are on their way behind the wait too.
  bool touches(const Buffer& b) const {
    if (std::find(open.begin(), open.end(), b) != open.end()) return true;
    return !is_known || std::any_of(groups.begin(), groups.end(), [&](const std::vector<Buffer>& group) {
      return std::find(group.begin(), group.end(), b) != group.end();
    });
  }
  void leave(size_t newest) {
    is_known |= groups.size() >= newest;
    if (groups.size() > newest) groups.erase(groups.begin(), groups.end() - static_cast<int64_t>(newest));
  }
};

class Finder {
 public:
  explicit Finder(const std::vector<Buffer>& registers) : registers_(registers) {}
  void find(const std::vector<Stmt>& body, Flight& flight) {
    for (const Stmt& s : body) find(s, flight);
  }
  RegistersOfWaits out;

 private:
  void find(const Stmt& s, Flight& flight) {
    switch (s->kind) {
      case StmtKind::kGroupMma:
        for (const Buffer& b : {s->buffer, s->value->buffer})
          if (b->scope == kernel::Scope::kRegister) flight.open.push_back(b);
        return;
      case StmtKind::kGroupMmaCommit:
        flight.groups.push_back(std::move(flight.open));
        flight.open = {};
        return;
      case StmtKind::kGroupMmaWait:
        for (const Buffer& b : registers_)
          if (flight.touches(b)) out[s.get()].push_back(b);
        return flight.leave(static_cast<size_t>(s->code));
      case StmtKind::kBlock:
        return find(s->body, flight);
      default:
        if (s->body.empty() && s->else_body.empty()) return;
        for (const auto* arm : {&s->body, &s->else_body}) {  // more than one way through
          Flight inside;
          find(*arm, inside);
        }
        flight = {};
    }
  }

  const std::vector<Buffer>& registers_;
};

}  // namespace

RegistersOfWaits registers_of_waits(const std::vector<Stmt>& body, const std::vector<Buffer>& registers) {
  Finder finder(registers);
  Flight flight;
  finder.find(body, flight);
  return std::move(finder.out);
}

}  // namespace tern::render
