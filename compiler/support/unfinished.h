// Files and folders that must not outlive the process: removed when a signal of the user, of a limit or of
// a closed pipe ends it, or when it aborts. Their owner removes them in every other case.
#pragma once

#include <memory>
#include <string>

namespace tern {

class Unfinished {
 public:
  // A file, or a folder that has only files.
  explicit Unfinished(const std::string& path);
  Unfinished(Unfinished&& other) noexcept = default;
  ~Unfinished();

 private:
  std::unique_ptr<std::string> path_;
  int slot_ = -1;  // -1: more at once than are looked after
};

}  // namespace tern
