// The inputs of a run: from files (tensor_files.h), else seeded random; and the values of symbolic
// dimensions. What is wrong with any of them is in one Failure, before anything is computed.
#pragma once

#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tools/tern/support.h"
#include "tools/tern/tensor_files.h"

namespace tern::cli {

struct InputOptions {
  std::vector<std::string> files;   // as tensor_files.h says
  std::vector<std::string> shapes;  // NAME=1x3x224x224, or SYMBOL=224
  uint64_t seed = 0;
};

class Arguments {
 public:
  Arguments(const tern_module_t* module, uint32_t function, const InputOptions& options);

  const std::vector<tern_tensor_t>& inputs() const { return inputs_; }
  // Outputs that the session provides memory for, or, `in_place`, those with a donor (caches of keys and
  // values) in the memory of their donor among `inputs`.
  std::vector<tern_tensor_t> outputs(const std::vector<tern_tensor_t>& inputs, bool in_place) const;
  // Values of the symbols, for a session's bounds.
  const std::vector<tern_dim_bound_t>& bounds() const { return bounds_; }
  // What was made up, as lines for the user: random inputs, chosen dimensions.
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  const tern_module_t* module_;
  uint32_t function_;
  std::vector<tern_symbol_info_t> symbols_;
  std::vector<int64_t> symbol_values_;  // -1: not known yet
  // At cache lines (from two large pages on at large pages), as the buffers that libtern allocates.
  struct Release {
    void operator()(void* memory) const { std::free(memory); }
  };
  std::vector<std::unique_ptr<void, Release>> data_;
  std::vector<tern_tensor_t> inputs_;
  std::vector<tern_dim_bound_t> bounds_;
  std::vector<std::string> notes_;
  // By name: the option or file that gave what. An input and a symbol may share a name.
  std::map<std::string, std::string> given_by_, symbol_given_by_;
  std::vector<TensorFile> files_;
  command_line::Problems problems_;

  tern_tensor_info_t info(uint32_t input) const;
  std::string names_text() const;
  void read_shape(const std::string& option);
  void read_files(const std::vector<std::string>& given);
  void take_plain_files();
  void take(uint32_t input, uint32_t dtype, const std::vector<int64_t>& dims,
            const std::vector<uint8_t>& bytes);
  void set_symbol(size_t symbol, int64_t value, const std::string& what);
  void bind_dims(uint32_t input, const std::vector<int64_t>& dims, const std::string& what);
  void choose_dims();
  std::vector<int64_t> dims_of(uint32_t input) const;
  int64_t element_count(uint32_t input, const std::vector<int64_t>& dims) const;
  void make_random(uint32_t input, uint64_t seed);
  uint8_t* hold(uint32_t input, size_t bytes);
};

}  // namespace tern::cli
