// Poison mode makes values that are no longer alive NaN: seen in the memory itself.
#include "TestRun.h"

#include "runtime/comm/ThreadCommunicator.h"
#include "runtime/exec/HostExecutor.h"

#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <thread>

using namespace stagewright;
using namespace stagewright::runtime;
using namespace stagewright::testrun;

namespace {

/// Ones, and as many rows as there are.
class Ones final : public InputSource {
public:
  explicit Ones(const executable::Executable &file) : file(file) {}
  void fill(int input, int, void *destination) override {
    const std::int32_t rows = file.recipe()->micro_batch_size();
    if (input < 0) {
      std::memcpy(destination, &rows, sizeof rows);
    } else if (file.inputs()->Get(static_cast<unsigned>(input))->dtype() == executable::DType::F32) {
      std::fill_n(static_cast<float *>(destination), 35 * rows, 1.0f);
    } else {
      std::fill_n(static_cast<std::int32_t *>(destination), rows, 1);
    }
  }

private:
  const executable::Executable &file;
};

/// All floats of all slots of pools that end with a micro-batch's task.
void countNans(const Executor &executor, int &nans, int &others) {
  for (const executable::SlotPool *pool : *executor.plan().pools()) {
    if (!schedule::hasMicroBatch(static_cast<schedule::TaskKind>(pool->last()))) {
      continue;
    }
    for (std::uint64_t at = 0; at < pool->slots() * pool->slot_bytes(); at += 4) {
      float value = 0;
      std::memcpy(&value, executor.data(pool->arena(), pool->offset() + at), 4);
      ++(std::isnan(value) ? nans : others);
    }
  }
}

TEST(Poison, FillsWhatHasEnded) {
  for (const Plan &plan : plans()) {
    auto executable = Executable::fromBytes(
        stagefile::serialize(stagefile::build(classifier(plan.boundaries, plan.schedule))), "x");
    ASSERT_TRUE(executable);
    for (const bool poison : {true, false}) {
      const int ranks = executable->rankCount();
      HostDevice device, host;
      auto pool = TilePool::create(1);
      ASSERT_TRUE(pool);
      ThreadGroup group(ranks);
      std::vector<RankStatus> statuses(static_cast<std::size_t>(ranks));
      std::vector<std::unique_ptr<Executor>> executors;
      for (int rank = 0; rank < ranks; ++rank) {
        auto executor = HostExecutor::create(*executable, {.device = device,
                                                           .host = host,
                                                           .pool = **pool,
                                                           .communicator = group.communicator(rank),
                                                           .mesh = {ranks, 1},
                                                           .status = statuses[rank],
                                                           .isa = kernels::bestIsa(),
                                                           .hooks = {},
                                                           .poison = poison});
        ASSERT_TRUE(executor) << executor.error().text();
        executors.push_back(std::move(*executor));
      }
      std::vector<std::thread> threads;
      for (int rank = 0; rank < ranks; ++rank) {
        threads.emplace_back([&, rank] {
          Ones ones(executable->file());
          EXPECT_TRUE(executors[rank]->train(ones, 1));
        });
      }
      for (std::thread &thread : threads) {
        thread.join();
      }
      int nans = 0, others = 0;
      for (const auto &executor : executors) {
        countNans(*executor, nans, others);
      }
      if (poison) {
        EXPECT_GT(nans, 0);
        EXPECT_EQ(others, 0) << plan.name();
      } else {
        EXPECT_EQ(nans, 0) << plan.name();
      }
    }
  }
}

} // namespace
