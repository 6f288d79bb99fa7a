// Files and folders for a while, where the environment's TMPDIR says.
#pragma once

#include <string>

#include "compiler/support/result.h"
#include "compiler/support/unfinished.h"

namespace tern {

// The folder that temporary files go to. An error says why nothing can be made in it.
Result<std::string> temporary_place();

// A folder of its owner's own; removed at the end, with all that is in it.
class TemporaryFolder {
 public:
  static Result<TemporaryFolder> make();
  TemporaryFolder(TemporaryFolder&& other) noexcept;
  TemporaryFolder& operator=(TemporaryFolder&&) = delete;
  ~TemporaryFolder();
  const std::string& path() const { return path_; }

 private:
  explicit TemporaryFolder(const std::string& path) : path_(path), unfinished_(path) {}

  std::string path_;  // empty: another's by now
  Unfinished unfinished_;
};

}  // namespace tern
