// Convolutions of groups of few channels where their planes lie: an operand whose channels lie one plane
// behind the other is not turned around and back for products that take less time than that. Vectors run
// along the lines of a plane; the planes of a group are copied into scratch first, zeros around them and
// steps of a stride apart, so that every tap is a whole load. See plane_conv_test.cc.
#pragma once

#include "compiler/lower/context.h"

namespace tern::lower {

// Whether the convolution should run so where its operand has channels outside: on all these levels it takes
// less time than turning the operand, products with channels innermost, and turning their result. From its
// shape, and from what is around it.
struct PlaneNeighbours {
  bool chosen = false;  // the operand comes from a convolution by planes, which could give the other order
  bool wanted = false;  // a reader wants channels innermost: the planes are turned instead
};
bool suits_planes(const graph::Node& conv, const Target& target, const PlaneNeighbours& around = {});

// Lowers a convolution that suits if its operand lies so, and its results shall; false: nothing was done.
bool lower_plane_conv(const Region& region, LoweringContext& context);

}  // namespace tern::lower
