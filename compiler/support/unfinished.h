// Files and folders that must not outlive the process: removed when SIGINT, SIGTERM or SIGHUP ends it, or
// when it aborts. Their owner removes them in every other case.
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
