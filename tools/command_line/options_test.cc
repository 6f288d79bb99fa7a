#include "tools/command_line/options.h"

#include <doctest/doctest.h>

namespace tern::command_line {
namespace {

struct Given {
  std::string model, output, driver = "cpu";
  std::vector<std::string> inputs;
  int jobs = 0;
  uint64_t seed = 0;
  double seconds = 2;
  bool check = false;
};

// The problems that the arguments have, one a line.
std::string problems_of(std::vector<const char*> arguments, Given* out = nullptr) {
  CLI::App app("", "demo");
  Problems problems;
  Given local, &given = out ? *out : local;
  {
    Options options(&app, &problems);
    options.required("model", given.model, "model", "");
    options.text("-o,--output", given.output, "FILE", "");
    options.text("--driver", given.driver, "NAME", "");
    options.list("-i,--input", given.inputs, "NAME=FILE", "");
    options.integer("-j,--jobs", given.jobs, 1, 64, "");
    options.integer("--seed", given.seed, 0, UINT64_MAX, "");
    options.number("--seconds", given.seconds, 0, 100, "");
    options.flag("--check", given.check, "");
  }
  arguments.insert(arguments.begin(), "demo");
  REQUIRE(parse(app, static_cast<int>(arguments.size()), arguments.data(), problems) == -1);
  std::string text;
  for (const std::string& sentence : problems.sentences()) text += sentence + "\n";
  CHECK(problems.code() == (text.empty() ? kSuccess : kUsage));
  return text;
}

TEST_CASE("command line: values") {
  Given given;
  CHECK(problems_of({"-o", "out", "m", "-i", "a=1", "--input=b=-2", "-j8", "--seed", "18446744073709551615",
                     "--seconds", "0.5", "--check"},
                    &given) == "");
  CHECK(given.model == "m");
  CHECK(given.output == "out");
  CHECK(given.driver == "cpu");
  CHECK(given.inputs == std::vector<std::string>{"a=1", "b=-2"});
  CHECK(given.jobs == 8);
  CHECK(given.seed == UINT64_MAX);
  CHECK(given.seconds == 0.5);
  CHECK(given.check);
}

TEST_CASE("command line: all problems in one report, each a sentence with value and limit") {
  CHECK(problems_of({"--jobs=0", "--seed", "-3", "--seconds", "nan", "-o", "", "--frob=3", "--chekc", "extra",
                     "more"}) ==
        "The value of --output is empty.\n"
        "--jobs takes a whole number from 1 to 64, not '0'.\n"
        "--seed takes a whole number from 0 to 18446744073709551615, not '-3'.\n"
        "--seconds takes a number from 0 to 100, not 'nan'.\n"
        "There is no option '--frob'; `demo --help` lists those of demo.\n"
        "There is no option '--chekc'; --check is the nearest.\n"
        "The argument 'more' is one too many for demo.\n");
  CHECK(problems_of({}) == "No model is given; `demo --help` shows how.\n");
  CHECK(problems_of({""}) == "The name of the model is empty.\n");
}

TEST_CASE("command line: an option does not take what follows for its missing value") {
  CHECK(problems_of({"--driver=", "-o", "out", "m"}) ==
        "The option '--driver=' has no value behind its '='.\n");
  CHECK(problems_of({"--driver", "-o", "m"}) ==
        "The option --driver has no value: '-o', which follows it, is an option.\n");
  CHECK(
      problems_of({"m", "--jobs", "99999999999999999999", "-o"}) ==
      "The option -o has no value.\n--jobs takes a whole number from 1 to 64, not '99999999999999999999'.\n");
}

TEST_CASE("command line: a flag takes no value") {
  Given given;
  CHECK(problems_of({"m", "--check=3"}, &given) == "The option --check takes no value; '3' is given.\n");
  CHECK(problems_of({"m", "--check=false"}) == "The option --check takes no value; 'false' is given.\n");
}

TEST_CASE("command line: a single value is given once") {
  CHECK(problems_of({"m", "--driver", "a", "--driver", "b"}) ==
        "The option --driver is given 2 times; it takes one value.\n");
}

}  // namespace
}  // namespace tern::command_line
