// f16 and bf16 inside of a region, on CPUs. They are computed in f32 anyway; what one operation leaves for
// the next stays as it is, and is rounded where it is stored or where something else reads it. Two
// conversions an operation are saved (half of a sigmoid's time), and results are nearer to the exact ones, as
// with those runtimes that cast such networks to f32.
#pragma once

#include "compiler/kernel/ir.h"
#include "compiler/lower/target.h"
#include "compiler/scalar/scalar.h"

namespace tern::lower {

// Whether values of this type are computed so by kernels for `arch`.
bool is_computed_wide(DType type, Arch arch);

// Whether an operation's result changes little where its arguments do: rounding to integers and remainders
// are steps, which exact quotients of rounded numbers must reach.
bool is_smooth(scalar::ScalarOp op);

// A number in f32, without the rounding that it was about to get.
kernel::Expr unrounded(const kernel::Expr& e);

// By how much a constant of this type may miss what it stands for.
double half_unit(DType type);

}  // namespace tern::lower
