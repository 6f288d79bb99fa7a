#include "tools/command_line/options.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <memory>

namespace tern::command_line {
namespace {

// CLI11's marks of how often an option may be given, and of its type in brackets, say nothing to a user.
class Formatter : public CLI::Formatter {
 public:
  std::string make_option_opts(const CLI::Option* option) const override {
    std::string out = option->get_type_size() ? " " + option->get_type_name() : std::string();
    if (!option->get_default_str().empty()) out += " [" + option->get_default_str() + "]";
    return out;
  }
};

// The last of "-o,--output": what sentences call the option.
std::string last_name(const std::string& names) {
  return names.substr(names.rfind(',') + 1);
}

// How many letters differ, are missing or too many.
size_t distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = above;
    }
  }
  return row[b.size()];
}

std::string nearest(const std::string& word, const std::vector<std::string>& words) {
  const auto at = std::min_element(words.begin(), words.end(), [&](const auto& a, const auto& b) {
    return distance(word, a) < distance(word, b);
  });
  return at != words.end() && distance(word, *at) <= 2 ? *at : std::string();
}

std::string command_of(const CLI::App& app) {
  return app.get_parent() ? app.get_parent()->get_name() + " " + app.get_name() : app.get_name();
}

void add_left_over(const CLI::App& app, Problems& problems) {
  const std::string command = command_of(app);
  for (const std::string& argument : app.remaining()) {
    if (argument == "--") continue;
    if (argument.size() < 2 || argument[0] != '-') {
      problems.add("The argument '" + argument + "' is one too many for " + command + ".");
      continue;
    }
    const std::string name = argument.substr(0, argument.find('='));
    std::vector<std::string> known;
    for (const CLI::Option* option : app.get_options()) {
      for (const std::string& word : option->get_lnames()) known.push_back("--" + word);
    }
    const std::string meant = name.size() > 3 ? nearest(name, known) : std::string();
    problems.add("There is no option '" + name + "'; " +
                 (meant.empty() ? "`" + command + " --help` lists those of " + command + "."
                                : meant + " is the nearest."));
  }
}

void add_missing_command(const CLI::App& app, Problems& problems) {
  std::string names;
  std::vector<std::string> words;
  for (const CLI::App* command : app.get_subcommands({})) {
    words.push_back(command->get_name());
    names += (names.empty() ? "" : ", ") + words.back();
  }
  for (const std::string& argument : app.remaining()) {
    if (argument[0] == '-') continue;
    const std::string meant = nearest(argument, words);
    return problems.add("There is no command '" + argument + "'; " + app.get_name() + " has " + names +
                        (meant.empty() ? "." : "; " + meant + " is the nearest."));
  }
  problems.add(app.get_name() + " needs a command: " + names + "; `" + app.get_name() +
               " --help` says what they do.");
}

bool usable(const std::string& name, const std::string& value, const CLI::App& app, Problems& problems) {
  if (value.empty()) {
    problems.add("The value of " + name + " is empty.");
  } else if (value[0] == '-' && app.get_option_no_throw(value)) {
    problems.add("The option " + name + " has no value: '" + value + "', which follows it, is an option.");
  } else {
    return true;
  }
  return false;
}

// Whether the command, or one of its commands, has a flag of that name.
bool is_flag(const CLI::App& app, const std::string& name) {
  const CLI::Option* option = app.get_option_no_throw(name);
  if (option && option->get_disable_flag_override()) return true;
  const std::vector<const CLI::App*> commands = app.get_subcommands({});
  return std::any_of(commands.begin(), commands.end(),
                     [&](const CLI::App* command) { return is_flag(*command, name); });
}

// CLI11 gives `--name=` the next argument as its value, and takes a flag's value as how often it is given.
std::vector<std::string> without_odd_equals(const CLI::App& app, int argc, const char* const* argv,
                                            Problems& problems) {
  std::vector<std::string> arguments;
  bool options = true;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    options = options && argument != "--";
    const size_t equals = argument.find('=');
    const bool valued = options && argument.starts_with("--") && equals != std::string::npos;
    if (valued && equals == argument.size() - 1) {
      problems.add("The option '" + argument + "' has no value behind its '='.");
    } else if (valued && is_flag(app, argument.substr(0, equals))) {
      problems.add("The option " + argument.substr(0, equals) + " takes no value; '" +
                   argument.substr(equals + 1) + "' is given.");
      arguments.push_back(argument.substr(0, equals));
    } else {
      arguments.push_back(argument);
    }
  }
  return arguments;
}

}  // namespace

Options::Options(CLI::App* app, Problems* problems) : app_(app), problems_(problems) {
  app->allow_extras();
  app->formatter(std::make_shared<Formatter>());
}

void Options::required(const char* name, std::string& value, const char* what, const std::string& help) {
  CLI::Option* option = app_->add_option(name, value, help)->type_name("");
  app_->callback([app = app_, problems = problems_, &value, option, what] {
    if (option->count() == 0) {
      const std::string command = command_of(*app);
      problems->add("No " + std::string(what) + " is given; `" + command + " --help` shows how.");
    } else if (value.empty()) {
      problems->add("The name of the " + std::string(what) + " is empty.");
    }
  });
}

void Options::add(const char* names, const char* type, const std::string& help,
                  std::function<void(const std::string&)> take) {
  const std::function<void(const std::vector<std::string>&)> take_all =
      [app = app_, problems = problems_, name = last_name(names),
       take](const std::vector<std::string>& values) {
        if (values.size() > 1)
          problems->add("The option " + name + " is given " + std::to_string(values.size()) +
                        " times; it takes one value.");
        for (const std::string& value : values) {
          if (usable(name, value, *app, *problems)) take(value);
        }
      };
  app_->add_option_function(names, take_all, help)->type_name(type)->allow_extra_args(false);
}

void Options::text(const char* names, std::string& value, const char* type, const std::string& help) {
  add(names, type, help, [&value](const std::string& given) { value = given; });
  if (!value.empty()) app_->get_option(last_name(names))->default_str(value);
}

void Options::list(const char* names, std::vector<std::string>& values, const char* type,
                   const std::string& help) {
  const std::function<void(const std::vector<std::string>&)> take =
      [app = app_, problems = problems_, &values,
       name = last_name(names)](const std::vector<std::string>& given) {
        for (const std::string& value : given) {
          if (usable(name, value, *app, *problems)) values.push_back(value);
        }
      };
  app_->add_option_function(names, take, help)->type_name(type)->allow_extra_args(false);
}

void Options::add_integer(const char* names, std::function<void(unsigned long long)> take, long long least,
                          unsigned long long most, const std::string& help) {
  const auto parse_one = [problems = problems_, name = last_name(names), take, least,
                          most](const std::string& text) {
    const char *begin = text.data(), *end = begin + text.size();
    long long low = 0;
    unsigned long long high = 0;
    const auto as_signed = std::from_chars(begin, end, low);
    const auto as_unsigned = std::from_chars(begin, end, high);
    if (as_signed.ec == std::errc() && as_signed.ptr == end && low >= least &&
        (low < 0 || static_cast<unsigned long long>(low) <= most)) {
      take(static_cast<unsigned long long>(low));
    } else if (as_unsigned.ec == std::errc() && as_unsigned.ptr == end && high <= most &&
               (least <= 0 || high >= static_cast<unsigned long long>(least))) {
      take(high);
    } else {
      problems->add(name + " takes a whole number from " + std::to_string(least) + " to " +
                    std::to_string(most) + ", not '" + text + "'.");
    }
  };
  add(names, "N", help, parse_one);
}

void Options::number(const char* names, double& value, double least, double most, const std::string& help) {
  const auto parse_one = [problems = problems_, name = last_name(names), &value, least,
                          most](const std::string& text) {
    char* end = nullptr;
    const double given = std::strtod(text.c_str(), &end);
    if (end != text.c_str() && *end == 0 && given >= least && given <= most) {
      value = given;
      return;
    }
    char limits[80];
    std::snprintf(limits, sizeof limits, " takes a number from %g to %g, not '", least, most);
    problems->add(name + limits + text + "'.");
  };
  add(names, "NUMBER", help, parse_one);
  if (value != 0) {
    char text[40];
    std::snprintf(text, sizeof text, "%g", value);
    app_->get_option(last_name(names))->default_str(text);
  }
}

void Options::flag(const char* names, bool& value, const std::string& help) {
  app_->add_flag(names, value, help)->disable_flag_override();
}

int parse(CLI::App& app, int argc, const char* const* argv, Problems& problems) {
  std::vector<std::string> arguments = without_odd_equals(app, argc, argv, problems);
  for (;;) {
    try {
      app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
      break;
    } catch (const CLI::Success& done) {  // --help, --version
      return app.exit(done);
    } catch (const CLI::ArgumentMismatch&) {
      // The last argument is an option without its value: said, and the rest is looked at without it.
      if (arguments.empty()) throw;
      problems.add("The option " + arguments.back() + " has no value.");
      arguments.pop_back();
    } catch (const CLI::ParseError& problem) {
      problems.add(std::string(problem.what()) + ".");
      return -1;
    }
  }
  const bool has_commands = !app.get_subcommands({}).empty();
  if (has_commands && app.get_subcommands().empty()) {
    if (problems.empty()) add_missing_command(app, problems);
    return -1;
  }
  add_left_over(app, problems);
  const std::vector<CLI::App*> commands = app.get_subcommands();
  for (size_t i = 0; i < commands.size(); ++i) {
    add_left_over(*commands[i], problems);
    // CLI11 takes the name of a command for one wherever it stands.
    if (i > 0)
      problems.add("The argument '" + commands[i]->get_name() +
                   "' is a second command (a file of that name: './" + commands[i]->get_name() + "').");
  }
  return -1;
}

}  // namespace tern::command_line
