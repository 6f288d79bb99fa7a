// Devices, the registry of drivers, capabilities.
#include <string.h>

#include <thread>

#include "tests/hal_cts/cts.h"

extern "C" tern_status_t cts_make_device_from_c(tern_hal_device_t** out_device);  // headers_are_c.c

namespace tern::cts {
namespace {

void answers_every_capability(Context& c) {
#define TERN_CAPABILITY(id, name, meaning)                                  \
  {                                                                         \
    int64_t value = -1;                                                     \
    CTS_CHECK_OK(tern_hal_device_query_capability(c.device(), id, &value)); \
    CTS_CHECK(value >= 0);                                                  \
  }
#include "schemas/abi/capabilities.def"
#undef TERN_CAPABILITY
}

void does_not_have_unknown_capabilities(Context& c) {
  for (uint32_t id : {60000u, 0xffffffffu}) {
    int64_t value = 7;
    CTS_CHECK_OK(tern_hal_device_query_capability(c.device(), id, &value));
    CTS_CHECK_EQ(value, 0);
  }
}

void gives_the_same_answers_twice(Context& c) {
  for (uint32_t id = 0; id < 64; ++id) {
    int64_t first = -1, second = -2;
    CTS_CHECK_OK(tern_hal_device_query_capability(c.device(), id, &first));
    CTS_CHECK_OK(tern_hal_device_query_capability(c.device(), id, &second));
    CTS_CHECK_EQ(first, second);
  }
}

void refuses_a_capability_without_a_place_for_it(Context& c) {
  CTS_CHECK_CODE(tern_hal_device_query_capability(c.device(), 0, nullptr), INVALID_ARGUMENT);
  int64_t value = 0;
  CTS_CHECK_CODE(tern_hal_device_query_capability(nullptr, 0, &value), INVALID_ARGUMENT);
}

void has_its_drivers_name(Context& c) {
  const tern_string_view_t name = tern_hal_device_driver_name(c.device());
  CTS_CHECK(tern_string_view_equal(name, tern_string_view(c.driver()->name)));
}

void has_a_worker(Context& c) {
  CTS_CHECK(tern_hal_device_worker_count(c.device()) >= 1);
}

void uses_the_allocator_it_was_given(Context& c) {
  const tern_allocator_t given = tern_hal_device_host_allocator(c.device());
  CTS_CHECK(given.self == &c.host_allocator());
  CTS_CHECK(c.host_allocator().live_count() > 0);
}

void is_enumerated(Context& c) {
  uint32_t count = 0;
  CTS_REQUIRE_OK(c.driver()->enumerate(c.host_allocator().get(), nullptr, 0, &count));
  CTS_REQUIRE(count >= 1);
  tern_hal_device_info_t infos[4];
  CTS_REQUIRE_OK(c.driver()->enumerate(c.host_allocator().get(), infos, 4, &count));
  for (uint32_t i = 0; i < count && i < 4; ++i) {
    CTS_CHECK_EQ(infos[i].ordinal, i);
    const size_t length = strnlen(infos[i].name, sizeof(infos[i].name));
    CTS_CHECK(length > 0 && length < sizeof(infos[i].name));
  }
}

void refuses_an_ordinal_that_is_not_there(Context& c) {
  tern_hal_device_desc_t desc = c.device_desc();
  desc.ordinal = 1000;
  tern_hal_device_t* made = nullptr;
  CTS_CHECK_CODE(tern_hal_driver_create_device(c.driver(), &desc, c.host_allocator().get(), &made),
                 NOT_FOUND);
  CTS_CHECK(made == nullptr);
}

void is_made_with_defaults(Context& c) {
  tern_hal_device_t* made = nullptr;
  CTS_REQUIRE_OK(tern_hal_driver_create_device(c.driver(), nullptr, c.host_allocator().get(), &made));
  CTS_CHECK_EQ(tern_hal_device_worker_count(made), 1u);
  tern_hal_device_release(made);
}

void refuses_bad_arguments(Context& c) {
  tern_hal_device_t* made = nullptr;
  CTS_CHECK_CODE(tern_hal_driver_create_device(nullptr, nullptr, c.host_allocator().get(), &made),
                 INVALID_ARGUMENT);
  CTS_CHECK_CODE(tern_hal_driver_create_device(c.driver(), nullptr, {}, &made), INVALID_ARGUMENT);
  CTS_CHECK_CODE(tern_hal_driver_create_device(c.driver(), nullptr, c.host_allocator().get(), nullptr),
                 INVALID_ARGUMENT);
}

void refuses_an_executor_without_a_function(Context& c) {
  const tern_hal_host_executor_t empty = {};
  tern_hal_device_desc_t desc = {};
  desc.executor = &empty;
  tern_hal_device_t* made = nullptr;
  CTS_CHECK_CODE(tern_hal_driver_create_device(c.driver(), &desc, c.host_allocator().get(), &made),
                 INVALID_ARGUMENT);
}

void is_made_by_a_c_program(Context& c) {
  tern_hal_device_t* made = nullptr;
  CTS_REQUIRE_OK(cts_make_device_from_c(&made));
  tern_hal_device_release(made);
}

void can_be_made_many_times(Context& c) {
  for (int i = 0; i < 8; ++i) c.another_device(c.device_desc());
}

void lives_as_long_as_its_objects(Context& c) {
  tern_hal_device_t* made = nullptr;
  const tern_hal_device_desc_t desc = c.device_desc();
  CTS_REQUIRE_OK(tern_hal_driver_create_device(c.driver(), &desc, c.host_allocator().get(), &made));
  tern_hal_buffer_t* buffer = nullptr;
  tern_hal_semaphore_t* semaphore = nullptr;
  CTS_REQUIRE_OK(tern_hal_device_allocate_buffer(made, 0, 16, &buffer));
  CTS_REQUIRE_OK(tern_hal_semaphore_create(made, 3, &semaphore));
  tern_hal_device_release(made);
  const int32_t value = 5;
  CTS_CHECK_OK(tern_hal_buffer_write(buffer, 0, &value, 4));
  uint64_t now = 0;
  CTS_CHECK_OK(tern_hal_semaphore_query(semaphore, &now));
  CTS_CHECK_EQ(now, uint64_t{3});
  tern_hal_buffer_release(buffer);
  tern_hal_semaphore_release(semaphore);
}

void waits_until_idle(Context& c) {
  CTS_CHECK_OK(tern_hal_device_wait_idle(c.device()));
  CTS_CHECK_CODE(tern_hal_device_wait_idle(nullptr), INVALID_ARGUMENT);
}

void makes_objects_from_several_threads(Context& c) {
  tern_hal_device_t* device = c.device();
  std::vector<std::thread> threads;
  std::atomic<int> failures{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        tern_hal_buffer_t* buffer = nullptr;
        tern_status_t status = tern_hal_device_allocate_buffer(device, 0, 100 + i, &buffer);
        if (!tern_status_is_ok(status)) ++failures;
        tern_status_free(status);
        tern_hal_buffer_release(buffer);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CTS_CHECK_EQ(failures.load(), 0);
  CTS_CHECK_EQ(tern_hal_device_memory_stats(device).bytes_now, uint64_t{0});
  CTS_CHECK_EQ(tern_hal_device_memory_stats(device).allocation_count, uint64_t{200});
}

void release_of_null_is_fine(Context&) {
  tern_hal_device_release(nullptr);
  tern_hal_buffer_release(nullptr);
  tern_hal_executable_release(nullptr);
  tern_hal_command_buffer_release(nullptr);
  tern_hal_semaphore_release(nullptr);
  tern_hal_event_log_destroy(nullptr);
}

void registry_finds_by_name(Context& c) {
  tern_hal_driver_registry_t registry = {};
  CTS_CHECK(tern_hal_driver_registry_find(&registry, tern_string_view(c.driver()->name)) == nullptr);
  CTS_REQUIRE_OK(tern_hal_driver_registry_add(&registry, c.driver()));
  CTS_CHECK(tern_hal_driver_registry_find(&registry, tern_string_view(c.driver()->name)) == c.driver());
  CTS_CHECK(tern_hal_driver_registry_find(&registry, tern_string_view("no such driver")) == nullptr);
}

void registry_refuses_a_name_twice(Context& c) {
  tern_hal_driver_registry_t registry = {};
  CTS_REQUIRE_OK(tern_hal_driver_registry_add(&registry, c.driver()));
  CTS_CHECK_CODE(tern_hal_driver_registry_add(&registry, c.driver()), FAILED_PRECONDITION);
  CTS_CHECK_EQ(registry.count, 1u);
}

void registry_refuses_more_than_it_holds(Context& c) {
  tern_hal_driver_registry_t registry = {};
  std::vector<tern_hal_driver_t> made(TERN_HAL_MAX_DRIVERS + 1, *c.driver());
  static const char* const names[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"};
  for (size_t i = 0; i < made.size(); ++i) made[i].name = names[i];
  for (size_t i = 0; i < TERN_HAL_MAX_DRIVERS; ++i)
    CTS_CHECK_OK(tern_hal_driver_registry_add(&registry, &made[i]));
  CTS_CHECK_CODE(tern_hal_driver_registry_add(&registry, &made.back()), OUT_OF_RANGE);
}

}  // namespace

#define CASE(name) {"device." #name, name}
std::vector<Case> device_cases() {
  return {
      CASE(answers_every_capability),
      CASE(does_not_have_unknown_capabilities),
      CASE(gives_the_same_answers_twice),
      CASE(refuses_a_capability_without_a_place_for_it),
      CASE(has_its_drivers_name),
      CASE(has_a_worker),
      CASE(uses_the_allocator_it_was_given),
      CASE(is_enumerated),
      CASE(refuses_an_ordinal_that_is_not_there),
      CASE(is_made_with_defaults),
      CASE(refuses_bad_arguments),
      CASE(refuses_an_executor_without_a_function),
      CASE(is_made_by_a_c_program),
      CASE(can_be_made_many_times),
      CASE(lives_as_long_as_its_objects),
      CASE(waits_until_idle),
      CASE(makes_objects_from_several_threads),
      CASE(release_of_null_is_fine),
      CASE(registry_finds_by_name),
      CASE(registry_refuses_a_name_twice),
      CASE(registry_refuses_more_than_it_holds),
  };
}

}  // namespace tern::cts
