#include "compiler/support/dtype.h"

namespace tern {

DTypeKind dtype_kind(DType dtype) {
  switch (dtype) {
#define TERN_DTYPE(id, name, text, bits, kind) \
  case DType::k##name:                         \
    return DTypeKind::k##kind;
#include "schemas/abi/dtypes.def"
#undef TERN_DTYPE
    case DType::kNone:
      break;
  }
  return DTypeKind::kNone;
}

DType dtype_from_name(std::string_view name) {
#define TERN_DTYPE(id, enumerator, text, bits, kind) \
  if (name == text) return DType::k##enumerator;
#include "schemas/abi/dtypes.def"
#undef TERN_DTYPE
  return DType::kNone;
}

}  // namespace tern
