#include "compiler/lower/gpu/sort_steps.h"

namespace tern::lower::gpu {
namespace {

using kernel::Access;

constexpr int64_t kTile = 1024;

// What `dim` never exceeds, as far as the model says.
int64_t most_of(const Dim& dim, LoweringContext& context) {
  const std::optional<Dim> bound = context.upper_bound(dim);
  if (!bound) return INT32_MAX;
  const std::optional<int64_t> most = bound->evaluate([&](const std::string& name) -> std::optional<int64_t> {
    for (const graph::SymbolInfo& s : context.graph().symbols)
      if (s.name == name && s.max < INT32_MAX) return s.max;
    return std::nullopt;
  });
  return most ? *most : INT32_MAX;
}

}  // namespace

SortSteps::SortSteps(BlockLowering& block, const graph::Node& node, const SortProblem& problem)
    : block_(block), node_(node), p_(problem), sort_(problem, most_of(problem.n, block.context()), kTile) {}

void SortSteps::run(const std::string& label, const Bind& bind_source,
                    const std::function<SortSource(kernel::ParamTable&)>& source, const Bind& bind_result,
                    const std::function<SortResult(kernel::ParamTable&)>& result) {
  const int rounds = sort_.rounds();
  Lists from = rounds > 0 ? lists(0) : Lists{};
  {
    SpecialDispatch d(block_, node_);
    bind_source(d);
    rounds > 0 ? bind(d, from, Access::kWrite) : bind_result(d);
    d.finish(
        label + "_tiles",
        [&](const SpecialMachine& machine) {
          const SortSource s = source(d.params());
          if (rounds > 0) return sort_.tiles(machine, s, nullptr, d.params());
          const SortResult r = result(d.params());
          return sort_.tiles(machine, s, &r, d.params());
        },
        p_.filtered);
  }
  for (int round = 0; round < rounds; ++round) {
    const bool last = round + 1 == rounds;
    const Lists to = last ? Lists{} : lists(round + 1);
    SpecialDispatch d(block_, node_);
    bind(d, from, Access::kRead);
    last ? bind_result(d) : bind(d, to, Access::kWrite);
    d.finish(label + "_merge", [&](const SpecialMachine& machine) {
      if (!last) return sort_.merge(machine, round, nullptr, d.params());
      const SortResult r = result(d.params());
      return sort_.merge(machine, round, &r, d.params());
    });
    from = to;
  }
}

SortSteps::Lists SortSteps::lists(int round) {
  LoweringContext& context = block_.context();
  const Dim all = p_.rows * p_.n;
  Lists out{context.add_temporary("sort keys", p_.key, all),
            context.add_temporary("sort positions", DType::kI32, all)};
  if (p_.filtered)
    out.counts = context.add_temporary("sort counts", DType::kI32, p_.rows * sort_.lists(round));
  return out;
}
void SortSteps::bind(SpecialDispatch& d, const Lists& lists, Access access) const {
  d.bind(lists.keys, access);
  d.bind(lists.positions, access);
  if (p_.filtered) d.bind(lists.counts, access);
}

}  // namespace tern::lower::gpu
