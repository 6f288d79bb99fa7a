// Convolutions of groups of few channels where their planes lie: an operand whose channels lie one plane
// behind the other is not turned around and back for products that take less time than that. Vectors run
// along the lines of a plane; the planes of a group are copied into scratch first, zeros around them and
// steps of a stride apart, so that every tap is a whole load. See plane_conv_test.cc.
#pragma once

#include "compiler/lower/context.h"

namespace tern::lower {

// Whether the convolution should run so where operand and result have channels outside: on all these levels
// it takes less time than the two transpositions and the products between them. From its shape alone.
bool suits_planes(const graph::Node& conv, const Target& target);

// Lowers a convolution that suits if its operand lies so, and its results shall; false: nothing was done.
bool lower_plane_conv(const Region& region, LoweringContext& context);

}  // namespace tern::lower
