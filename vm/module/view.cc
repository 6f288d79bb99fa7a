#include "vm/module/view.h"

namespace tern::vm {

ProgramView::ProgramView(const module::Program* program)
    : table(program),
      slots(slice(program->slots())),
      numbers(slice(program->numbers())),
      bindings(slice(program->bindings())),
      params(slice(program->params())),
      launches(slice(program->launches())),
      commands(slice(program->commands())),
      lists(slice(program->lists())),
      code(slice(program->code())),
      bytecode_lists(slice(program->bytecode_lists())),
      list_items(slice(program->list_items())),
      ref_types(slice(program->ref_types())),
      routines(slice(program->routines())),
      entries(slice(program->entries())) {}

}  // namespace tern::vm
