// What is wrong with a command, collected so that one report has all of it. Each problem is a full sentence
// with the value given and the limit; the first one's exit code is the command's.
#pragma once

#include <string>
#include <vector>

namespace tern::command_line {

// The exit codes of ternc and tern (the third is each tool's own); docs/ternc.md and docs/tern-cli.md.
enum ExitCode : int {
  kSuccess = 0,
  kFailed = 1,  // ternc: the model is damaged or not supported; tern: the run, or a check, failed
  kUsage = 2,   // the command line makes no sense
  kIo = 4,      // a file cannot be read or written
};

class Problems {
 public:
  void add(std::string sentence, int code = kUsage);
  bool empty() const { return sentences_.empty(); }
  int code() const { return code_; }
  const std::vector<std::string>& sentences() const { return sentences_; }

 private:
  std::vector<std::string> sentences_;
  int code_ = kSuccess;
};

// Names in models and files may hold anything: what a terminal would obey (control characters) becomes '?'.
// `lines`: line ends and tabs stay.
std::string printable(std::string text, bool lines = false);

// Says a failure on standard error behind the tool's name ("ternc: …"; red on terminals), printable; the
// code.
int report(const std::string& tool, int code, const std::string& text);
int report(const std::string& tool, const Problems& problems);  // each on a line of its own

// Ends a tool: what it wrote to standard output is there, or that it is not is a failure too.
int finish(const std::string& tool, int code);

// The sentence of a file to read that is none ("The model 'x' is a folder, not a file."); empty if it is
// one. `what`: "model".
std::string input_problem(const std::string& what, const std::string& path);
// Of a file to write, and of one that takes the place of what is there (no device: /dev/null would be gone).
std::string output_problem(const std::string& what, const std::string& path);
std::string replaced_problem(const std::string& what, const std::string& path);
// Of a folder that files will be written into and that may have to be made.
std::string output_folder_problem(const std::string& what, const std::string& path);

// Whether a terminal is there that wants colour.
bool color_enabled(int descriptor);

// "1 dispatch", "2 dispatches".
std::string counted(long long count, const char* one, const char* many);

}  // namespace tern::command_line
