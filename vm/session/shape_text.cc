#include "vm/session/shape_text.h"

#include <stdio.h>

namespace tern::vm {

#if !TERN_STATUS_NO_MESSAGES
namespace {

struct Writer {
  ShapeText& out;
  size_t length = 0;

  template <typename... Args>
  void add(const char* format,
           Args... args) {  // always with arguments: a lone format is no literal to the compiler
    if (length >= sizeof(out.text)) return;
    const int wrote = snprintf(out.text + length, sizeof(out.text) - length, format, args...);
    if (wrote > 0) length += static_cast<size_t>(wrote);
  }
};

}  // namespace

ShapeText shape_text(const int64_t* dims, uint32_t rank) {
  ShapeText result;
  Writer writer{result};
  writer.add("%s", rank ? "" : "scalar");
  for (uint32_t i = 0; i < rank && i < TERN_MAX_RANK; ++i)
    writer.add("%s%lld", i ? "x" : "", static_cast<long long>(dims[i]));
  return result;
}

ShapeText expected_text(const module::Module* module, const module::Argument* argument) {
  ShapeText result;
  Writer writer{result};
  const Slice<module::Dim> dims = slice(argument->dims());
  writer.add("%s", dims.size ? "" : "scalar");
  for (uint32_t i = 0; i < dims.size; ++i) {
    const char* by = i ? "x" : "";
    if (dims[i].kind() == module::DimKind::Static) {
      writer.add("%s%lld", by, static_cast<long long>(dims[i].value()));
    } else {
      writer.add("%s%s", by, text(module->symbols()->Get(static_cast<uint32_t>(dims[i].value()))->name()));
    }
  }
  for (uint32_t i = 0; i < dims.size; ++i) {
    if (dims[i].kind() != module::DimKind::Symbol) continue;
    const module::Symbol* symbol = module->symbols()->Get(static_cast<uint32_t>(dims[i].value()));
    writer.add(" (%s from %lld", text(symbol->name()), static_cast<long long>(symbol->min()));
    if (symbol->max() != INT64_MAX) writer.add(" to %lld", static_cast<long long>(symbol->max()));
    if (symbol->multiple_of() != 1)
      writer.add(", a multiple of %lld", static_cast<long long>(symbol->multiple_of()));
    writer.add("%s", ")");
  }
  return result;
}
#endif

}  // namespace tern::vm
