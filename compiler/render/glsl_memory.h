// How buffers are declared in GLSL, and functions that access them: load and store of one element or of up to
// four, at consecutive or single indices, all or some of them. Emitted once and only when used.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "compiler/render/glsl_helpers.h"

namespace tern::render {

struct GlslAccess {
  const kernel::BufferNode* buffer = nullptr;
  int lanes = 1;
  std::string index = {};  // int, or ivecN
  bool is_indexed = false;
  std::string limit = {};  // "": none; an int, or a bvecN (bool)
  bool is_mask = false;
  bool is_aligned = false;  // consecutive, the index is a multiple of the lanes
  std::string value = {};   // of a store, in the carrier type
};

class GlslMemory {
 public:
  explicit GlslMemory(GlslHelpers& helpers) : helpers_(helpers) {}
  void declare_binding(const kernel::BufferNode* buffer, const std::string& name, size_t binding);
  // Thread-local arrays and workgroup memory (from byte `offset` of the pool).
  void declare_stack(const kernel::BufferNode* buffer, const std::string& name);
  void declare_workgroup(const kernel::BufferNode* buffer, const std::string& name, int64_t offset);
  // wide: in vectors of four words, as tiles want it.
  void declare_pool(int64_t bytes, bool wide);
  // An array of the kernel's own function, accessed by element.
  void declare_register(const kernel::BufferNode* buffer, const std::string& name) {
    buffers_[buffer] = {name};
  }
  const std::string& register_name(const kernel::BufferNode* buffer) const {
    return buffers_.at(buffer).name;
  }

  // Eight or four elements below 32 bits, or whole words, as the words they lie in: `words` of them, 2 or 4,
  // from an index that is a multiple of them. "" where that has no form.
  std::string raw_load(const kernel::BufferNode* buffer, const std::string& index, int words);
  std::string raw_store(const kernel::BufferNode* buffer, const std::string& index, int words,
                        const std::string& value);
  // The array that holds a workgroup or global buffer as vectors of four words, and where element `index` is
  // in it.
  struct Tile {
    std::string array, element;
  };
  Tile tile(const kernel::BufferNode* buffer, const std::string& index);

  std::string load(const GlslAccess& access);
  std::string store(const GlslAccess& access);
  // Declarations first, then functions.
  const std::string& declarations() const { return declarations_; }
  const std::string& functions() const { return functions_; }

 private:
  enum class Kind { kPlain, kWords, kPool };  // an array of the type; packed into uints; the workgroup's pool
  struct Place {
    std::string name;
    Kind kind = Kind::kPlain;
    int64_t first_word = 0;     // kPool
    size_t binding = SIZE_MAX;  // kPlain, kWords
    bool read_only = false;
  };
  std::string element_load(const kernel::BufferNode* buffer);
  std::string element_store(const kernel::BufferNode* buffer);
  std::string word(const Place& place, const std::string& index) const;
  std::string view(const Place& place, const std::string& type);
  std::string vector_view(const GlslAccess& access, bool is_store);
  std::string vector_load(const GlslAccess& access);
  std::string vector_store(const GlslAccess& access);
  std::string whole_words(const GlslAccess& access, bool is_store);
  std::string decoded(DType dtype, const std::string& raw);
  std::string encoded(DType dtype, const std::string& value);

  GlslHelpers& helpers_;
  std::unordered_map<const kernel::BufferNode*, Place> buffers_;
  std::unordered_set<std::string> known_;
  std::string declarations_, functions_;
  bool wide_pool_ = false;
};

}  // namespace tern::render
