#include "compiler/lower/arithmetic_cost.h"

#include "compiler/scalar/scalar.h"

namespace tern::lower {

double operations_of(const graph::Node& node) {
  using scalar::ScalarOp;
  const bool is_integer = !is_float(node.operand()->type.dtype);
  switch (node.scalar_op()) {
    case ScalarOp::kDiv:
      return is_integer ? 15 : 4;
    case ScalarOp::kSqrt:
      return 6;
    case ScalarOp::kRem:
    case ScalarOp::kFloorMod:
      return 15;
    case ScalarOp::kExp:
    case ScalarOp::kTanh:
      return 11;
    case ScalarOp::kExpm1:
    case ScalarOp::kErf:
    case ScalarOp::kAsin:
    case ScalarOp::kAcos:
    case ScalarOp::kAtan:
    case ScalarOp::kAtan2:
      return 16;
    case ScalarOp::kLog:
    case ScalarOp::kLog1p:
      return 22;
    case ScalarOp::kSin:
    case ScalarOp::kCos:
    case ScalarOp::kTan:
      return 62;
    case ScalarOp::kAtanh:
      return 100;
    case ScalarOp::kSinh:
    case ScalarOp::kCosh:
    case ScalarOp::kPow:
      return is_integer ? 50 : 140;
    case ScalarOp::kAsinh:
    case ScalarOp::kAcosh:
      return 190;
    default:
      return 0.5;
  }
}

int rough_operations_of(const graph::Node& node) {
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
