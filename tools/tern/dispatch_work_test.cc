#include "tools/tern/dispatch_work.h"

#include <doctest/doctest.h>

namespace tern::cli {
namespace {

std::optional<int64_t> values(std::string_view name) {
  if (name == "N") return 3;
  if (name == "_at12") return 100;
  return std::nullopt;
}

double operations(std::string_view expression) {
  const auto work = evaluate_work(std::string(expression) + ";0;0", values);
  return work ? work->operations : -1;
}

TEST_CASE("work: what the compiler writes of dimensions") {
  CHECK(operations("12") == 12);
  CHECK(operations("2*N+1") == 7);
  CHECK(operations("max(N,1)*_at12") == 300);
  CHECK(operations("2*floordiv(N+1,2)*(N-1)") == 8);
  CHECK(operations("ceildiv(N,2)+mod(N,2)") == 3);
  CHECK(operations("min(N,2,1)") == 1);
  CHECK(operations("-1*N+9") == 6);
  const auto work = evaluate_work("10;N;2*N;bytes", values);
  REQUIRE(work);
  CHECK(work->operations == 10);
  CHECK(work->bytes == 9);
  CHECK(work->on_bytes);
  const auto product = evaluate_work("10;1;2;matrix", values);
  REQUIRE(product);
  CHECK(product->on_matrix_units);
  CHECK(!product->on_bytes);
}

TEST_CASE("work: unknown symbols and damaged text are nothing") {
  for (const char* text : {"M", "2*", "(N", "floordiv(N,0)", "floordiv(N)", "pow(N,2)", "N N", "", "1-2"})
    CHECK_MESSAGE(operations(text) == -1, text);
  CHECK(operations(std::string(100000, '(')) == -1);
  for (const char* text : {"", "1", "1;2", "1;2;3;4", "1;2;3;matrices", "1;2;3;bytes;"})
    CHECK(!evaluate_work(text, values));
}

}  // namespace
}  // namespace tern::cli
