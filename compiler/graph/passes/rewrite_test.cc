#include "compiler/graph/passes/rewrite.h"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

namespace tern::graph {
namespace {

// neg(x) becomes something of another type.
bool run_wrong_rule(Graph& graph) {
  return Rewriter(graph,
                  [](Node& node, Builder& b) -> std::optional<std::vector<Value*>> {
                    if (node.kind != OpKind::kMap) return std::nullopt;
                    return replace_with(b.broadcast(node.operand(0), {Dim(2), Dim(3)}));
                  })
      .run();
}

std::unique_ptr<Graph> small_graph() {
  auto graph =
      parse_graph("graph \"g\" {\n  input %x: f32[3] as \"x\"\n  %y = neg(%x)\n  output %y as \"y\"\n}\n");
  REQUIRE(graph.ok());
  return std::move(graph).value();
}

TEST_CASE("rewriter: a replacement of another type is an internal error in tests") {
  const std::unique_ptr<Graph> graph = small_graph();
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    if (!std::freopen("/dev/null", "w", stderr)) _exit(0);
    signal(SIGABRT, SIG_DFL);  // doctest's handler reports it
    run_wrong_rule(*graph);
    _exit(0);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status));
}

#ifdef NDEBUG
TEST_CASE("rewriter: for users the node stays") {
  const std::unique_ptr<Graph> graph = small_graph();
  const std::string before = print_graph(*graph);
  unsetenv("TERN_STRICT");
  CHECK_FALSE(run_wrong_rule(*graph));
  setenv("TERN_STRICT", "1", 1);
  CHECK(print_graph(*graph) == before);
}
#endif

}  // namespace
}  // namespace tern::graph
