// Thrown where arithmetic on dimensions (dim.h) leaves 64 bits: a model can cause that anywhere, and every
// operator would otherwise have to carry it. importer.cc reports it with the node, pipeline.cc for what comes
// later.
#pragma once

#include "compiler/support/result.h"

namespace tern {

struct DimOverflow {
  Error error;
};

}  // namespace tern
