// Checks of statuses in doctest programs; each frees the status it looks at.
#pragma once

#include <doctest/doctest.h>

#include "tests/support/status_text.h"

#define REQUIRE_OK(expression) REQUIRE_EQ(::tern::test::take_text(expression), "")
#define CHECK_OK(expression) CHECK_EQ(::tern::test::take_text(expression), "")
#define CHECK_CODE(expression, code) CHECK_EQ(::tern::test::take_code(expression), TERN_STATUS_##code)
#define REQUIRE_CODE(expression, code) REQUIRE_EQ(::tern::test::take_code(expression), TERN_STATUS_##code)
