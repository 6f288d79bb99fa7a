#include "compiler/support/dim.h"

#include <doctest/doctest.h>

#include "compiler/support/dim_overflow.h"

namespace tern {
namespace {

TEST_CASE("polynomials are canonical") {
  const Dim n = Dim::symbol("N"), h = Dim::symbol("H");
  CHECK((n + 1) * 2 == 2 * n + 2);
  CHECK((n + h) * (n - h) == n * n - h * h);
  CHECK(n - n == Dim(0));
  CHECK((2 * n + 1).text() == "2*N+1");
  CHECK((n * h * 3 - 1).text() == "3*H*N-1");
}

TEST_CASE("division takes out what divides") {
  const Dim n = Dim::symbol("N"), h = Dim::symbol("H");
  CHECK(floordiv(4 * n, 2) == 2 * n);
  CHECK(floordiv(2 * n + 1, 2) == n);
  CHECK(ceildiv(2 * n + 1, 2) == n + 1);
  CHECK(floordiv(2 * n - 1, 2) == n - 1);
  CHECK(floordiv(n * h, h) == n);
  CHECK(mod(4 * n, 4) == Dim(0));
  CHECK(mod(4 * n + 3, 4) == Dim(3));
  CHECK(floordiv(n - 1, 2).text() == "floordiv(N+1,2)-1");
}

TEST_CASE("floors of floors are one floor") {
  const Dim n = Dim::symbol("N");
  const Dim once = floordiv(n + 1, 2);
  CHECK(floordiv(once + 1, 2) == floordiv(n + 3, 4));
  CHECK(ceildiv(ceildiv(n, 2), 2) == ceildiv(n, 4));
  for (int64_t v = -20; v < 20; ++v) {
    const auto env = [&](const std::string&) -> std::optional<int64_t> { return v; };
    const auto floor = [](int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); };
    CHECK(*floordiv(floordiv(n - 5, 3) + 7, 4).evaluate(env) == floor(floor(v - 5, 3) + 7, 4));
  }
}

TEST_CASE("padding to a multiple, and cutting to one, are multiples") {
  const Dim n = Dim::symbol("N"), h = Dim::symbol("H");
  CHECK(mod(7 - mod(n, 7), 7) == mod(-1 * n, 7));
  CHECK(n + mod(7 - mod(n, 7), 7) == 7 * ceildiv(n, 7));
  CHECK(mod(-1 * n, 7) + n == 7 * ceildiv(n, 7));
  CHECK(floordiv(n + 3 + mod(7 - mod(n + 3, 7), 7), 7) == ceildiv(n + 3, 7));
  CHECK(n - mod(n, 4) == 4 * floordiv(n, 4));
  CHECK(2 * n - 2 * mod(n, 4) + h == 8 * floordiv(n, 4) + h);
  CHECK((n + mod(n, 4)).text() == "N+mod(N,4)");
  for (int64_t v = -20; v < 20; ++v) {
    const auto env = [&](const std::string&) -> std::optional<int64_t> { return v; };
    const auto floor = [](int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); };
    for (int64_t c = -9; c < 9; ++c) {
      const Dim x = 3 * n + c;
      const int64_t value = 3 * v + c;
      CHECK(*mod(5 * mod(x, 6) - n, 6).evaluate(env) == 5 * value - v - floor(5 * value - v, 6) * 6);
      CHECK(*(x + mod(-1 * x, 6)).evaluate(env) == -6 * floor(-value, 6));
      CHECK(*(2 * x - 2 * mod(x, 6)).evaluate(env) == 12 * floor(value, 6));
    }
  }
}

TEST_CASE("text parses back") {
  for (const char* t :
       {"0", "-7", "N", "2*N+1", "floordiv(N+1,2)", "H*max(1,N)", "3*H*N-1", "min(H,N)", "mod(N,4)"}) {
    const Result<Dim> d = Dim::parse(t);
    REQUIRE(d.ok());
    CHECK(Dim::parse(d.value().text()).value() == d.value());
    CHECK(d.value().text() == std::string(t));
  }
  for (const char* t : {"", "2*", "(N", "floordiv(N,0)", "f(N,2)", "99999999999999999999", "N N"})
    CHECK_FALSE(Dim::parse(t).ok());
}

TEST_CASE("evaluation agrees with structure and reports overflow") {
  const auto env = [](const std::string& s) -> std::optional<int64_t> {
    if (s == "N") return 7;
    if (s == "BIG") return INT64_MAX;
    return std::nullopt;
  };
  const Dim n = Dim::symbol("N");
  for (int64_t k = 1; k < 6; ++k) {
    for (int64_t c = -9; c < 9; ++c) {
      CHECK(*floordiv(3 * n + c, k).evaluate(env) ==
            (21 + c >= 0 ? (21 + c) / k : -((-(21 + c) + k - 1) / k)));
      CHECK(*mod(3 * n + c, k).evaluate(env) == ((21 + c) % k + k) % k);
    }
  }
  CHECK_FALSE((Dim::symbol("BIG") * 2).evaluate(env).has_value());
  CHECK_FALSE(Dim::symbol("M").evaluate(env).has_value());
  CHECK(min(n, n + 1) == n);
  CHECK(max(n, n + 1) == n + 1);
}

TEST_CASE("products of many sums are refused before they fill the memory") {
  Dim few(1), many(1);
  for (int i = 0; i < 8; ++i) few = few * (Dim::symbol(fmt::format("S{}", i)) + 1);
  CHECK(few.evaluate([](const std::string&) { return 1; }) == 256);
  const auto multiply = [&] {
    for (int i = 0; i < 64; ++i) many = many * (Dim::symbol(fmt::format("S{}", i)) + 1);
  };
  CHECK_THROWS_AS(multiply(), DimOverflow);
}

}  // namespace
}  // namespace tern
