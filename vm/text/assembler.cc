#include "vm/text/assembler.h"

#include <cstdlib>
#include <cstring>
#include <fstream>

#include "schemas/abi/dtypes.h"
#include "vm/text/text.h"

namespace tern::vm {

using namespace module;

bool LineReader::accept(std::string_view text) {
  const Token& token = peek();
  if ((token.kind != Token::kWord && token.kind != Token::kMark) || token.text != text) return false;
  ++at_;
  return true;
}
void LineReader::expect(std::string_view text) {
  if (ok() && !accept(text)) fail("expected '" + std::string(text) + "' before '" + peek().text + "'");
}
int64_t LineReader::number() {
  if (!ok()) return 0;
  const Token token = next();
  if (token.kind != Token::kNumber) fail("expected a number instead of '" + token.text + "'");
  return token.number;
}
std::string LineReader::name() {
  const Token token = next();
  if (ok() && token.kind != Token::kWord && token.kind != Token::kString)
    fail("expected a name instead of '" + token.text + "'");
  return token.text;
}
void LineReader::finish() {
  if (ok() && !at_end()) fail("'" + peek().text + "' is too much");
}

namespace {

uint8_t dtype_of(const std::string& name, LineReader& in) {
#define TERN_DTYPE(id, enumerator, text, bits, kind) \
  if (name == text) return id;
#include "schemas/abi/dtypes.def"
#undef TERN_DTYPE
  in.fail("'" + name + "' is no element type");
  return 0;
}

template <typename E, size_t N>
E enum_of(const std::string& name, const char* const* names, const E (&values)[N], LineReader& in) {
  for (E value : values) {
    std::string lower = names[static_cast<size_t>(value) - static_cast<size_t>(values[0])];
    for (char& c : lower) c = static_cast<char>(tolower(c));
    if (lower == name) return value;
  }
  in.fail("'" + name + "' is not known here");
  return values[0];
}

}  // namespace

void Assembler::line(LineReader& in) {
  if (in.at_end()) return;
  const std::string word = in.peek().kind == Token::kMark ? in.next().text : in.name();
  if (word == "}") {
    if (in_routine_) {
      end_routine();
    } else if (in_list_) {
      in_list_ = false;
    } else {
      in.fail("'}' closes nothing");
    }
  } else if (in_routine_) {
    instruction(word, in);
  } else if (in_list_) {
    if (!command_line(word, in)) in.fail("'" + word + "' is no command");
  } else if (!module_line(word, in) && !(in_program_ && program_line(word, in))) {
    in.fail("'" + word + "' is not known here");
  }
  in.finish();
}

void Assembler::finish() {
  if (error_->empty() && (in_routine_ || in_list_)) *error_ = "the text ends inside a routine or list";
}

bool Assembler::module_line(const std::string& word, LineReader& in) {
  if (word == "producer") {
    module().producer = in.name();
  } else if (word == "symbol") {
    symbol(in);
  } else if (word == "function") {
    module().functions.push_back(std::make_unique<FunctionT>());
    module().functions.back()->name = in.name();
  } else if (word == "input" || word == "output") {
    argument(in, word == "output");
  } else if (word == "segment") {
    segment(in);
  } else if (word == "executable") {
    executable(in);
  } else if (word == "constant") {
    constant(in);
  } else if (word == "source") {
    source(in);
  } else if (word == "meta") {
    module().metadata.push_back(std::make_unique<KeyValueT>());
    module().metadata.back()->key = in.name();
    module().metadata.back()->value = in.name();
  } else if (word == "program") {
    module().programs.push_back(std::make_unique<ProgramT>());
    const std::string name = in.name();
    bool known = false;
    for (TargetClass target : EnumValuesTargetClass()) {
      std::string lower = EnumNameTargetClass(target);
      for (char& c : lower) c = static_cast<char>(tolower(c));
      if (lower != name) continue;
      program().target = target;
      known = true;
    }
    if (!known) in.fail("'" + name + "' is no target class");
    program().conditions = conditions(in);
    in_program_ = true;
    numbers_.clear();
    lists_.clear();
    routines_.clear();
    kernels_.clear();
  } else {
    return false;
  }
  return true;
}

void Assembler::symbol(LineReader& in) {
  auto symbol = std::make_unique<SymbolT>();
  symbol->name = in.name();
  while (in.ok() && !in.at_end()) {
    const std::string field = in.name();
    const int64_t value = in.number();
    (field == "min"    ? symbol->min
     : field == "max"  ? symbol->max
     : field == "hint" ? symbol->hint
                       : symbol->multiple_of) = value;
    if (field != "min" && field != "max" && field != "hint" && field != "multiple")
      in.fail("'" + field + "' is no field of a symbol");
  }
  module().symbols.push_back(std::move(symbol));
}

uint32_t Assembler::symbol_index(const std::string& name, LineReader& in) {
  for (size_t i = 0; i < module().symbols.size(); ++i) {
    if (module().symbols[i]->name == name) return static_cast<uint32_t>(i);
  }
  in.fail("there is no symbol '" + name + "'");
  return 0;
}

void Assembler::argument(LineReader& in, bool output) {
  if (module().functions.empty()) {
    in.fail("there is no function yet");
    return;
  }
  auto argument = std::make_unique<ArgumentT>();
  argument->name = in.name();
  argument->dtype = dtype_of(in.name(), in);
  in.expect("[");
  while (in.ok() && !in.accept("]")) {
    if (in.accept("?")) {  // "?" or "?<=9"
      int64_t bound = -1;
      if (in.accept("<")) {
        in.expect("=");
        bound = in.number();
      }
      argument->dims.emplace_back(bound, DimKind::Computed);
    } else if (in.peek().kind == Token::kNumber) {
      argument->dims.emplace_back(in.number(), DimKind::Static);
    } else {
      argument->dims.emplace_back(symbol_index(in.name(), in), DimKind::Symbol);
    }
  }
  if (in.accept("optional")) argument->optional = true;
  if (in.accept("donor")) argument->donor = static_cast<int32_t>(in.number());
  if (in.accept("text")) {
    while (in.peek().kind == Token::kString) argument->dim_text.push_back(in.name());
  }
  FunctionT& function = *module().functions.back();
  (output ? function.outputs : function.inputs).push_back(std::move(argument));
}

void Assembler::segment(LineReader& in) {
  static constexpr SegmentKind kKinds[] = {SegmentKind::Constants, SegmentKind::Code, SegmentKind::Debug};
  const SegmentKind kind = enum_of(in.name(), EnumNamesSegmentKind(), kKinds, in);
  std::vector<uint8_t> bytes;
  const std::string form = in.name();
  const auto append = [&](const void* data, size_t size) {
    bytes.insert(bytes.end(), static_cast<const uint8_t*>(data), static_cast<const uint8_t*>(data) + size);
  };
  if (form == "zero") {
    const int64_t size = in.number();
    if (size < 0 || size > 1 << 24) in.fail("the size of the segment is impossible");
    if (in.ok()) bytes.resize(static_cast<size_t>(size));
  } else if (form == "hex") {
    const std::string digits = in.name();
    if (digits.size() % 2) in.fail("an odd number of hex digits");
    for (size_t i = 0; i + 1 < digits.size(); i += 2) {
      bytes.push_back(static_cast<uint8_t>(std::strtoul(digits.substr(i, 2).c_str(), nullptr, 16)));
    }
  } else if (form == "text") {
    const std::string text = in.name();
    append(text.data(), text.size());
  } else if (form == "file") {
    std::ifstream stream(files_ + "/" + in.name(), std::ios::binary);
    if (!stream) in.fail("the segment's file cannot be read");
    bytes.assign(std::istreambuf_iterator<char>(stream), {});
  } else if (form == "f32" || form == "i64" || form == "i32") {
    while (in.peek().kind == Token::kNumber) {
      const Token token = in.next();
      double real = static_cast<double>(token.number);
      if (token.is_float) std::memcpy(&real, &token.number, sizeof(real));
      const float f32 = static_cast<float>(real);
      const int32_t i32 = static_cast<int32_t>(token.number);
      if (form == "f32") append(&f32, 4);
      if (form == "i32") append(&i32, 4);
      if (form == "i64") append(&token.number, 8);
    }
  } else {
    in.fail("'" + form + "' is no way to write a segment");
  }
  file_.segments.push_back(std::move(bytes));
  module().segments.emplace_back(0, 0, 0, kind);
}

std::vector<Condition> Assembler::conditions(LineReader& in) {
  std::vector<Condition> out;
  if (!in.accept("if")) return out;
  do {
    const std::string name = in.name();
    int id = -1;
#define TERN_CAPABILITY(number, text, meaning) \
  if (name == #text) id = number;
#include "schemas/abi/capabilities.def"
#undef TERN_CAPABILITY
    if (id < 0) in.fail("'" + name + "' is no capability");
    const ConditionOp op = in.accept(">")   ? ConditionOp::AtLeast
                           : in.accept("<") ? ConditionOp::AtMost
                                            : ConditionOp::Equal;
    if (op == ConditionOp::Equal) in.expect("=");
    in.expect("=");
    out.emplace_back(in.number(), static_cast<uint16_t>(id), op);
  } while (in.ok() && in.accept("and"));
  return out;
}

void Assembler::executable(LineReader& in) {
  static constexpr ExecutableFormat kFormats[] = {ExecutableFormat::None,   ExecutableFormat::Elf,
                                                  ExecutableFormat::Static, ExecutableFormat::Cubin,
                                                  ExecutableFormat::Ptx,    ExecutableFormat::Spirv};
  auto executable = std::make_unique<ExecutableT>();
  executable->name = in.name();
  executable->format = enum_of(in.name(), EnumNamesExecutableFormat(), kFormats, in);
  if (in.accept("segment")) executable->segment = in.index();
  executable->conditions = conditions(in);
  if (in.accept("entries")) {
    while (in.ok() && !in.at_end()) {  // "name" or "name"@offset or @offset; GPUs: workgroup x y z memory n
                                       // flags n tensor …
      if (in.peek().kind == Token::kString) executable->entry_names.push_back(in.name());
      if (in.accept("@")) executable->entry_offsets.push_back(static_cast<uint64_t>(in.number()));
      if (in.accept("workgroup")) {
        const uint32_t x = in.index(), y = in.index(), z = in.index();
        const uint32_t memory = in.accept("memory") ? in.index() : 0;
        const uint32_t flags = in.accept("flags") ? in.index() : 0;
        executable->entry_launches.emplace_back(x, y, z, memory, flags);
      }
      while (in.accept("tensor")) tensor(in, *executable);
      if (in.peek().kind == Token::kWord) in.fail("'" + in.peek().text + "' is no entry");
    }
  }
  module().executables.push_back(std::move(executable));
}

// tensor BINDING bytes N (swizzled) (offset N) {axis SIZE STRIDE BOX flags N}: of the entry before
void Assembler::tensor(LineReader& in, ExecutableT& executable) {
  if (executable.entry_launches.empty()) {
    in.fail("a tensor stands behind an entry's workgroup");
    return;
  }
  const uint32_t entry = static_cast<uint32_t>(executable.entry_launches.size()) - 1, binding = in.index();
  in.expect("bytes");
  const uint32_t bytes = in.index(), swizzled = in.accept("swizzled") ? 1 : 0;
  const uint64_t offset = in.accept("offset") ? static_cast<uint64_t>(in.number()) : 0;
  const uint32_t first = static_cast<uint32_t>(executable.tensor_axes.size());
  while (in.ok() && in.accept("axis")) {
    const int64_t size = in.number(), stride = in.number();
    const uint32_t box = in.index(), flags = in.accept("flags") ? in.index() : 0;
    executable.tensor_axes.emplace_back(size, stride, box, flags);
  }
  executable.entry_tensors.emplace_back(entry, binding, bytes, swizzled, first,
                                        static_cast<uint32_t>(executable.tensor_axes.size()) - first, offset);
}

void Assembler::constant(LineReader& in) {
  auto constant = std::make_unique<ConstantT>();
  constant->name = in.name();
  in.expect("segment");
  constant->segment = in.index();
  in.expect("offset");
  constant->offset = static_cast<uint64_t>(in.number());
  in.expect("length");
  constant->length = static_cast<uint64_t>(in.number());
  constant->dtype = dtype_of(in.name(), in);
  in.expect("[");
  while (in.ok() && !in.accept("]")) constant->shape.push_back(in.number());
  if (in.peek().kind == Token::kString) constant->encoding = in.name();
  module().constants.push_back(std::move(constant));
}

void Assembler::source(LineReader& in) {
  auto source = std::make_unique<SourceT>();
  while (in.ok() && in.peek().kind == Token::kString) {
    source->nodes.push_back(in.name());
    source->ops.push_back(in.name());
  }
  if (in.accept("note")) source->note = in.name();
  if (in.accept("work")) source->work = in.name();
  module().sources.push_back(std::move(source));
}

bool assemble_module(std::string_view text, ModuleFile* out, std::string* error,
                     const AssembleOptions& options) {
  *out = {};
  error->clear();
  Assembler assembler(out, error, options.files);
  int number = 0;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    ++number;
    std::vector<Token> tokens;
    LineReader reader(tokens, error);
    if (tokenize(line, &tokens, error)) assembler.line(reader);
    if (error->empty()) continue;
    *error = "line " + std::to_string(number) + ": " + *error;
    return false;
  }
  assembler.finish();
  return error->empty() && resolve_elf_entries(out, error);
}

}  // namespace tern::vm
