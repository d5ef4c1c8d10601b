// Threads that cannot be started. Its own program: pthread_create is the test's.
#include "TestRun.h"

#include <atomic>
#include <cerrno>
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <pthread.h>

using namespace stagewright;
using namespace stagewright::runtime;
using namespace stagewright::testrun;

namespace {
std::atomic<int> threadsLeft{1 << 30};
}

extern "C" __attribute__((visibility("default"))) int
pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument) {
  static const auto real = reinterpret_cast<decltype(&pthread_create)>(dlsym(RTLD_NEXT, "pthread_create"));
  return threadsLeft.fetch_sub(1) > 0 ? real(thread, attributes, start, argument) : EAGAIN;
}

namespace {

TEST(ThreadLimit, AThreadThatCannotBeStartedIsAnError) {
  TrainOptions run = options(classifier({0, 2, 3, 4}), "limit", 5);
  constexpr int kNeeded = 1 + 1 + 3; // a helper of the pool, the watchdog, the ranks
  for (int allowed = 0; allowed < kNeeded; ++allowed) {
    threadsLeft = allowed;
    auto summary = train(run);
    ASSERT_FALSE(summary) << allowed;
    EXPECT_EQ(summary.error().kind, ErrorKind::Environment) << summary.error().text();
    EXPECT_EQ(summary.error().place, allowed == 0 ? "--threads" : "--ranks");
  }
  threadsLeft = kNeeded;
  auto summary = train(run);
  EXPECT_TRUE(summary) << summary.error().text();
}

} // namespace
