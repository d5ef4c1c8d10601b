// Parameter servers: the bits of replicas that update, and how far replicas and servers may be apart.
#include "TestRun.h"

#include "schema/Version.h"

#include <chrono>
#include <condition_variable>
#include <fstream>
#include <gtest/gtest.h>

using namespace stagewright;
using namespace stagewright::runtime;
using schedule::TaskKind;

namespace {

TrainOptions optionsOf(const executable::ExecutableT &file, std::uint64_t steps) {
  TrainOptions run;
  run.stage = stagefile::temporaryFolder() + "served.stage";
  const auto bytes = stagefile::serialize(file);
  std::ofstream(run.stage, std::ios::binary)
      .write(reinterpret_cast<const char *>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  run.data = "synthetic";
  run.steps = steps;
  run.threads = 2;
  return run;
}

/// The first server holds its first update back until rank 0 begins F of a step, or it is clear that it does
/// not.
class HeldUpdate {
public:
  HeldUpdate(int server, std::uint64_t step, std::chrono::milliseconds patience)
      : server(server), awaited(step), patience(patience) {}
  Hooks hooks() {
    Hooks hooks;
    hooks.context = this;
    hooks.beforeTask = [](void *context, const TaskEvent &event) {
      static_cast<HeldUpdate *>(context)->see(event);
    };
    return hooks;
  }
  bool begun = false; ///< before the update was made

private:
  void see(const TaskEvent &event) {
    std::unique_lock lock(mutex);
    if (event.rank == 0 && event.task.kind == TaskKind::Forward && event.step >= awaited) {
      reached = true;
      changed.notify_all();
    }
    if (event.rank == server && event.task.kind == TaskKind::Update && event.step == 1) {
      begun = changed.wait_for(lock, patience, [&] { return reached; });
    }
  }
  const int server;
  const std::uint64_t awaited;
  const std::chrono::milliseconds patience;
  bool reached = false;
  std::mutex mutex;
  std::condition_variable changed;
};

bool beginsBeforeTheFirstUpdate(std::uint64_t step, int staleness, std::chrono::milliseconds patience) {
  TrainOptions run = optionsOf(stagefile::buildServed(staleness), 6);
  HeldUpdate held(4, step, patience); // behind two stages of two replicas
  run.hooks = {held.hooks()};
  const auto done = train(run);
  EXPECT_TRUE(done) << done.error().text();
  return held.begun;
}

} // namespace

TEST(Servers, InTimeGiveTheBitsOfReplicas) {
  const auto replicas = train(optionsOf(stagefile::buildSharded(), 5)),
             servers = train(optionsOf(stagefile::buildServed(), 5)),
             late = train(optionsOf(stagefile::buildServed(1), 5));
  ASSERT_TRUE(replicas && servers && late);
  EXPECT_EQ(servers->weightsSha256, replicas->weightsSha256);
  EXPECT_EQ(servers->stateSha256, replicas->stateSha256);
  EXPECT_EQ(servers->losses, replicas->losses);
  EXPECT_EQ(servers->plannedBytes, servers->allocatedBytes);
  EXPECT_NE(late->weightsSha256, replicas->weightsSha256);
  EXPECT_EQ(late->plannedBytes, late->allocatedBytes);
}

/// The steps that begin while the first update is held back are those that staleness allows, and no others.
TEST(Servers, ReplicasGoOnWhileAnUpdateIsMade) {
  constexpr std::chrono::milliseconds enough{60000}, moment{200};
  EXPECT_TRUE(beginsBeforeTheFirstUpdate(2, 1, enough));
  EXPECT_TRUE(beginsBeforeTheFirstUpdate(3, 2, enough));
  EXPECT_TRUE(beginsBeforeTheFirstUpdate(4, 3, enough));
  EXPECT_FALSE(beginsBeforeTheFirstUpdate(2, 0, moment));
  EXPECT_FALSE(beginsBeforeTheFirstUpdate(3, 1, moment));
  EXPECT_FALSE(beginsBeforeTheFirstUpdate(4, 2, moment));
}
