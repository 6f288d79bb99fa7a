#include "compiler/program/memory_plan.h"

#include <algorithm>
#include <numeric>
#include <unordered_map>
#include <unordered_set>

#include "compiler/program/arena_packing.h"

namespace tern::program {
namespace {

bool multiple_of(const Dim& dim, int64_t alignment) {
  const auto is_multiple = [&](const Dim& d) { return multiple_of(d, alignment); };
  switch (dim.op()) {
    case Dim::Op::kConst:
      return dim.value() % alignment == 0;
    case Dim::Op::kMul:
      return std::any_of(dim.args().begin(), dim.args().end(), is_multiple);
    case Dim::Op::kAdd:
    case Dim::Op::kMin:
    case Dim::Op::kMax:
      return std::all_of(dim.args().begin(), dim.args().end(), is_multiple);
    default:
      return false;
  }
}

Dim aligned(const Dim& bytes, int64_t alignment) {
  return multiple_of(bytes, alignment) ? bytes : ceildiv(bytes, alignment) * Dim(alignment);
}

// Roots that share memory by in-place computation, as one item of the packing.
struct Group {
  std::vector<size_t> roots;
  Dim bytes;
  LiveRange range;
};

class Planner {
 public:
  Planner(const lower::LoweredProgram& program, int64_t alignment, MemoryPlan& plan)
      : program_(program), alignment_(alignment), plan_(plan) {}

  void make_groups() {
    std::vector<size_t> leader(program_.buffers.size());
    std::iota(leader.begin(), leader.end(), size_t{0});
    for (const InPlace& pair : plan_.live.in_place)
      leader[static_cast<size_t>(pair.output)] = leader[static_cast<size_t>(pair.input)];
    std::unordered_map<size_t, size_t> group_of;
    for (size_t i = 0; i < program_.buffers.size(); ++i) {
      const lower::BufferDef& buffer = program_.buffers[i];
      const LiveRange& range = plan_.live.ranges[i];
      if (buffer.kind != lower::BufferKind::kTemporary || buffer.alias_of >= 0 || !range.used()) continue;
      const auto [at, fresh] = group_of.try_emplace(leader[i], groups_.size());
      if (fresh) groups_.push_back({{}, aligned(buffer.bytes, alignment_), range});
      Group& group = groups_[at->second];
      group.roots.push_back(i);
      group.range = {std::min(group.range.begin, range.begin), std::max(group.range.end, range.end)};
    }
  }

  void pack() {
    std::vector<PackItem> items;
    for (const Group& group : groups_) {
      const int64_t bytes = std::max<int64_t>(0, at_hints(group.bytes, program_));
      items.push_back({bytes, group.range});
    }
    packing_ = pack_items(items, plan_.live.ticks);
    plan_.lower_bound = packing_lower_bound(items, plan_.live.ticks);
    plan_.bytes_at_hints = items.empty() ? 0 : packing_.bytes;
    plan_.packing = std::string(packing_.name);
  }

  void place() {
    plan_.offsets.resize(program_.buffers.size());
    plan_.has_place.resize(program_.buffers.size());
    plan_.groups.assign(program_.buffers.size(), -1);
    const bool is_static =
        std::all_of(groups_.begin(), groups_.end(), [](const Group& g) { return g.bytes.is_const(); });
    std::vector<Dim> offsets(groups_.size());
    if (is_static) {
      for (size_t i = 0; i < groups_.size(); ++i) offsets[i] = packing_.offsets[i];
      plan_.arena_bytes = plan_.bytes_at_hints;
    } else {
      symbolic_offsets(offsets);
    }
    for (size_t i = 0; i < groups_.size(); ++i) {
      for (size_t root : groups_[i].roots) {
        plan_.has_place[root] = true;
        plan_.groups[root] = static_cast<int>(i);
        plan_.offsets[root] = offsets[i];
        if (plan_.live.swapped[root]) {
          const std::string name = fmt::format("_swap{}", root);
          plan_.definitions.emplace_back(name, offsets[i]);
          plan_.offsets[root] = Dim::symbol(name);
        }
      }
    }
  }

 private:
  const lower::LoweredProgram& program_;
  const int64_t alignment_;
  MemoryPlan& plan_;
  std::vector<Group> groups_;
  Packing packing_;

  // A formula that is used as an operand of others: named, so that expressions stay small.
  Dim named(const Dim& dim, const char* stem, size_t number) {
    if (dim.is_const() || dim.op() == Dim::Op::kSymbol) return dim;
    std::string name = fmt::format("{}{}", stem, number);
    plan_.definitions.emplace_back(name, dim);
    return Dim::symbol(name);
  }

  void symbolic_offsets(std::vector<Dim>& offsets) {
    std::vector<size_t> order(groups_.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      return packing_.offsets[a] != packing_.offsets[b] ? packing_.offsets[a] < packing_.offsets[b] : a < b;
    });
    std::vector<std::unordered_set<size_t>> below(groups_.size());  // all groups that lie below, transitively
    std::vector<bool> covered(groups_.size());                      // something lies above
    for (size_t position = 0; position < order.size(); ++position) {
      const size_t group = order[position];
      std::vector<size_t> supports;
      for (size_t i = position; i-- > 0;) {
        const size_t other = order[i];
        if (!groups_[other].range.meets(groups_[group].range) || below[group].count(other)) continue;
        supports.push_back(other);
        below[group].insert(other);
        below[group].insert(below[other].begin(), below[other].end());
        covered[other] = true;
      }
      Dim offset;
      for (size_t i = 0; i < supports.size(); ++i) {
        const Dim top = offsets[supports[i]] + groups_[supports[i]].bytes;
        offset = i == 0 ? top : max(offset, top);
      }
      offsets[group] = named(offset, "_at", group);
    }
    bool first = true;
    for (size_t group : order) {
      if (covered[group]) continue;
      const Dim top = offsets[group] + groups_[group].bytes;
      plan_.arena_bytes = first ? top : max(plan_.arena_bytes, top);
      first = false;
    }
    plan_.arena_bytes = named(plan_.arena_bytes, "_arena", 0);
  }
};

Status check_sizes(const lower::LoweredProgram& program) {
  std::unordered_set<std::string> entry;
  for (const graph::SymbolInfo& symbol : program.symbols) {
    if (symbol.origin == graph::SymbolInfo::Origin::kInput) entry.insert(symbol.name);
  }
  for (const lower::BufferDef& buffer : program.buffers) {
    if (buffer.kind != lower::BufferKind::kTemporary || buffer.alias_of >= 0) continue;
    std::vector<std::string> names;
    buffer.bytes.collect_symbols(names);
    for (const std::string& name : names) {
      if (!entry.count(name)) {
        return error(
            "The size ({}) of the intermediate value '{}' depends on '{}', which is known only at run time, "
            "and "
            "no bound is known for it.",
            buffer.bytes.text(), buffer.name, name);
      }
    }
  }
  return Ok{};
}

}  // namespace

int64_t symbol_hint(const graph::SymbolInfo& symbol) {
  const int64_t hint = symbol.hint > 0 ? symbol.hint : 64;
  return std::clamp(hint, std::max<int64_t>(symbol.min, 1), std::max<int64_t>(symbol.max, 1));
}

int64_t at_hints(const Dim& dim, const lower::LoweredProgram& program) {
  if (dim.is_const()) return dim.value();
  return dim
      .evaluate([&](const std::string& name) -> std::optional<int64_t> {
        for (const graph::SymbolInfo& symbol : program.symbols) {
          if (symbol.name == name) return symbol_hint(symbol);
        }
        return 1;
      })
      .value_or(0);
}

std::string MemoryPlan::formula() const {
  Dim dim = arena_bytes;
  constexpr size_t kLongest = 400;
  // Innermost definitions come first, so one pass from the back puts all of them in.
  for (size_t i = definitions.size(); i-- > 0;) {
    dim = dim.substitute([&](const std::string& name) -> std::optional<Dim> {
      return name == definitions[i].first ? std::optional<Dim>(definitions[i].second) : std::nullopt;
    });
    if (dim.text().size() > kLongest) return fmt::format("a maximum over {} chains of buffers", i + 1);
  }
  return dim.text();
}

Result<MemoryPlan> plan_memory(const lower::LoweredProgram& program, int64_t alignment) {
  TERN_TRY(check_sizes(program));
  const auto plan_with = [&](bool side_by_side) {
    MemoryPlan plan;
    plan.resolved = resolve_aliases(program);
    plan.live = compute_liveness(program, plan.resolved, side_by_side);
    Planner planner(program, alignment, plan);
    planner.make_groups();
    planner.pack();
    planner.place();
    return plan;
  };
  // Keeping apart what may run side by side costs memory; beyond a quarter, barriers are the better price.
  MemoryPlan plan = plan_with(true);
  MemoryPlan tight = plan_with(false);
  return plan.bytes_at_hints <= tight.bytes_at_hints + tight.bytes_at_hints / 4 ? std::move(plan)
                                                                                : std::move(tight);
}

}  // namespace tern::program
