// The assembler's parts: a cursor over one line's tokens, and the state of the module and program at hand.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "vm/text/lexer.h"
#include "vm/text/module_file.h"
#include "vm/text/ops.h"

namespace tern::vm {

// Reads one line. After the first mistake every call does nothing and ok() is false.
class LineReader {
 public:
  LineReader(const std::vector<Token>& tokens, std::string* error) : tokens_(tokens), error_(error) {}
  bool ok() const { return error_->empty(); }
  bool fail(const std::string& what) {
    if (error_->empty()) *error_ = what;
    return false;
  }
  const Token& peek() const { return at_ < tokens_.size() ? tokens_[at_] : end_; }
  bool at_end() const { return at_ >= tokens_.size(); }
  Token next() { return at_ < tokens_.size() ? tokens_[at_++] : end_; }
  bool accept(std::string_view text);  // a word or mark
  void expect(std::string_view text);
  int64_t number();
  uint32_t index() { return static_cast<uint32_t>(number()); }
  std::string name();  // a word or a string
  void finish();       // nothing may follow

 private:
  const std::vector<Token>& tokens_;
  std::string* error_;
  size_t at_ = 0;
  Token end_;
};

class Assembler {
 public:
  Assembler(ModuleFile* out, std::string* error, std::string files)
      : file_(*out), error_(error), files_(std::move(files)) {}
  // One line of text.
  void line(LineReader& in);
  void finish();

 private:
  struct Fixup {
    uint32_t instruction;
    std::string label;
  };

  bool module_line(const std::string& word, LineReader& in);
  bool program_line(const std::string& word, LineReader& in);
  void symbol(LineReader& in);
  void argument(LineReader& in, bool output);
  void segment(LineReader& in);
  void executable(LineReader& in);
  void constant(LineReader& in);
  void tensor(LineReader& in, module::ExecutableT& executable);
  void source(LineReader& in);
  void slot(LineReader& in);
  void kernel(LineReader& in);
  void begin_routine(LineReader& in);
  void end_routine();
  void entry(LineReader& in);
  std::vector<module::Condition> conditions(LineReader& in);

  bool command_line(const std::string& word, LineReader& in);
  uint32_t operand(LineReader& in);
  module::Binding binding(LineReader& in, module::Access access);
  void dispatch(LineReader& in);
  uint32_t number_index(int64_t value);

  void instruction(const std::string& word, LineReader& in);
  uint32_t instruction_operand(const OpText& op, OperandKind kind, LineReader& in);
  uint16_t register_number(LineReader& in, char bank);
  uint16_t register_list(LineReader& in, bool only_i);
  uint16_t intern_list(const std::vector<uint32_t>& items);
  uint32_t routine_index(LineReader& in);
  uint32_t symbol_index(const std::string& name, LineReader& in);
  static uint32_t intern(std::vector<std::string>* pool, const std::string& text);

  module::ModuleT& module() { return file_.module; }
  module::ProgramT& program() { return *file_.module.programs.back(); }

  ModuleFile& file_;
  std::string* error_;
  std::string files_;
  bool in_program_ = false, in_list_ = false, in_routine_ = false;
  // Of the program at hand.
  std::map<int64_t, uint32_t> numbers_;
  std::map<std::vector<uint32_t>, uint16_t> lists_;
  std::map<std::string, uint32_t> routines_, kernels_;
  // Of the routine at hand.
  std::map<std::string, uint32_t> labels_;
  std::vector<Fixup> fixups_;
};

}  // namespace tern::vm
