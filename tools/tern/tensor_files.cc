#include "tools/tern/tensor_files.h"

#include <sys/stat.h>

#include <algorithm>

#include "tools/npy/archive.h"
#include "tools/npy/onnx_tensor.h"

namespace tern::cli {
namespace {

using command_line::kIo;
using Form = TensorFile::Form;

bool is_folder(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

bool exists(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0;
}

Form form_of(const std::string& path) {
  return path.ends_with(".pb") ? Form::kOnnx : path.ends_with(".bin") ? Form::kBytes : Form::kNpy;
}

class Collector {
 public:
  Collector(const TensorFileOptions& options, command_line::Problems& problems)
      : options_(options), problems_(problems), from_(options.names.size()) {}

  void add(const std::string& word) {
    size_t equals = 0;
    if (const size_t index = named(word, &equals); index < options_.names.size()) {
      file(index, word.substr(equals + 1));
    } else if (is_folder(word)) {
      folder(word);
    } else if (word.ends_with(".npz") && (equals == std::string::npos || exists(word))) {
      archive(word);
    } else if (equals == std::string::npos || equals == 0) {
      problems_.add(std::string(options_.flag) +
                    " takes NAME=FILE (.npy, .pb or .bin), FILE.npz or a folder with " + options_.prefix +
                    "_0.pb; '" + word + "' is not of that form.");
    } else {
      problems_.add(unknown(word.substr(0, equals)) + ".");
    }
  }

  std::vector<TensorFile> take() { return std::move(files_); }

 private:
  const TensorFileOptions& options_;
  command_line::Problems& problems_;
  std::vector<std::string> from_;  // what gave each
  std::vector<TensorFile> files_;

  std::string unknown(const std::string& name) const {
    std::string names;
    for (const std::string& known : options_.names) names += (names.empty() ? "'" : ", '") + known + "'";
    return std::string("The module has no ") + options_.kind + " '" + name + "'; its " + options_.kind +
           "s are " + (names.empty() ? "none" : names);
  }

  size_t index_of(const std::string& name) const {
    return static_cast<size_t>(std::find(options_.names.begin(), options_.names.end(), name) -
                               options_.names.begin());
  }

  // Names and files may both hold '=': the '=' divides that has a known name before it, else the last one.
  size_t named(const std::string& word, size_t* equals) const {
    size_t index = options_.names.size();
    *equals = word.rfind('=');
    for (size_t at = word.find('='); at != std::string::npos; at = word.find('=', at + 1)) {
      const size_t found = index_of(word.substr(0, at));
      if (found == options_.names.size()) continue;
      index = found;
      *equals = at;
    }
    return index;
  }

  void put(size_t index, std::string what, Form form, std::vector<uint8_t> bytes) {
    if (!from_[index].empty()) {
      std::string kind = options_.kind;
      kind[0] = static_cast<char>(kind[0] - 'a' + 'A');
      return problems_.add(kind + " '" + options_.names[index] + "' is given twice: by " + from_[index] +
                           " and by " + what + ".");
    }
    from_[index] = what;
    files_.push_back({static_cast<uint32_t>(index), std::move(what), form, std::move(bytes)});
  }

  bool read(const std::string& path, std::vector<uint8_t>* bytes) {
    std::string error;
    if (npy::read_bytes(path, bytes, &error)) return true;
    problems_.add(error, kIo);
    return false;
  }

  void file(size_t index, const std::string& path) {
    std::vector<uint8_t> bytes;
    // Said to be given twice even if it cannot be read.
    if (!from_[index].empty() || read(path, &bytes))
      put(index, "the file '" + path + "'", form_of(path), std::move(bytes));
    else
      from_[index] = "the file '" + path + "'";
  }

  void folder(const std::string& path) {
    size_t found = 0;
    for (size_t i = 0; i < options_.names.size(); ++i) {
      const std::string name = path + "/" + options_.prefix + "_" + std::to_string(i) + ".pb";
      if (!exists(name)) continue;
      ++found;
      file(i, name);
    }
    if (!found)
      problems_.add(
          "The folder '" + path + "' of " + options_.flag + " has no file " + options_.prefix + "_0.pb.",
          kIo);
  }

  void archive(const std::string& path) {
    std::vector<uint8_t> bytes;
    std::vector<npy::Member> members;
    std::string why;
    if (!read(path, &bytes)) return;
    if (!npy::read_archive(bytes, npy::most_bytes(), &members, &why))
      return problems_.add("The file '" + path + "' cannot be used: " + why + ".", kIo);
    for (npy::Member& member : members) {
      const size_t index = index_of(member.name);
      if (index == options_.names.size())
        problems_.add(unknown(member.name) + " (file '" + path + "').");
      else
        put(index, "'" + member.name + "' of the file '" + path + "'", Form::kNpy, std::move(member.bytes));
    }
  }
};

}  // namespace

std::vector<TensorFile> read_tensor_files(const std::vector<std::string>& given,
                                          const TensorFileOptions& options,
                                          command_line::Problems& problems) {
  Collector collector(options, problems);
  for (const std::string& word : given) collector.add(word);
  return collector.take();
}

bool decode(const TensorFile& file, uint32_t wanted, npy::Tensor* out, command_line::Problems& problems) {
  std::string why;
  const bool good = file.form == Form::kOnnx ? npy::decode_onnx(file.bytes, out, &why)
                                             : npy::decode(file.bytes, wanted, out, &why);
  if (!good) {
    std::string what = file.what;
    what[0] = what[0] == 't' ? 'T' : what[0];
    problems.add(what + " cannot be used: " + why + ".", kIo);
  }
  return good;
}

}  // namespace tern::cli
