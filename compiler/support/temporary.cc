#include "compiler/support/temporary.h"

#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

namespace tern {
namespace {

Error unusable(const std::string& folder, const std::string& why) {
  return error("The folder for temporary files '{}' cannot be used ({}); TMPDIR names another one.", folder,
               why);
}

}  // namespace

Result<std::string> temporary_place() {
  const char* set = std::getenv("TMPDIR");
  const std::string folder = set != nullptr && *set != 0 ? set : "/tmp";
  std::error_code problem;
  const bool usable = std::filesystem::is_directory(folder, problem);
  if (usable && access(folder.c_str(), W_OK | X_OK) == 0) return folder;
  return unusable(folder, usable ? std::strerror(errno) : problem ? problem.message() : "it is a file");
}

Result<TemporaryFolder> TemporaryFolder::make() {
  TERN_ASSIGN(const std::string place, temporary_place());
  std::string path = place + "/tern-XXXXXX";
  if (mkdtemp(path.data()) == nullptr) return unusable(place, std::strerror(errno));
  return TemporaryFolder(path);
}

TemporaryFolder::TemporaryFolder(TemporaryFolder&& other) noexcept
    : path_(std::exchange(other.path_, {})), unfinished_(std::move(other.unfinished_)) {}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

}  // namespace tern
