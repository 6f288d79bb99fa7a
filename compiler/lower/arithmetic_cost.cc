#include "compiler/lower/arithmetic_cost.h"

#include "compiler/scalar/scalar.h"

namespace tern::lower {

int operations_of(const graph::Node& node) {
  constexpr int kExpensive = 10;
  return scalar::info(node.scalar_op()).expensive ? kExpensive : 1;
}

double plain_cycles(const MachineModel& machine, double operations, bool multiply_adds) {
  constexpr double kShare = 0.5;  // of the peak: loops have loads, stores and bounds too
  const double vectors = machine.vector_bits / 32.0 * 2;  // two a cycle
  return operations / (vectors * (multiply_adds && machine.has_fma ? 2 : 1) * kShare);
}

double elementwise_cycles(const Region& region, const LoweringContext& context, const MachineModel& machine) {
  double operations = 0;
  for (const graph::Node* node : region.nodes) {
    if (node->kind != graph::OpKind::kMap) continue;
    operations +=
        static_cast<double>(context.hint(product(node->result()->type.shape))) * operations_of(*node);
  }
  return plain_cycles(machine, operations, false);
}

}  // namespace tern::lower
