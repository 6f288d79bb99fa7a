#include "compiler/lower/donation.h"

#include <cstdio>

namespace tern::lower {

Dim Donation::question() const {
  return Dim::symbol(fmt::format("_donated_{}_{}", output, input));
}

std::optional<Donation> donation_of(const BindStep& step) {
  Donation out;
  if (step.value.op() != Dim::Op::kSymbol ||
      std::sscanf(step.value.symbol_name().c_str(), "_donated_%d_%d", &out.output, &out.input) != 2)
    return std::nullopt;
  return out;
}

std::vector<Donation> donations(const LoweredProgram& program) {
  std::vector<Donation> out;
  for (const Step& step : program.steps) {
    if (step.kind != Step::Kind::kBind) continue;
    if (const std::optional<Donation> asked = donation_of(*step.bind)) out.push_back(*asked);
  }
  return out;
}

}  // namespace tern::lower
