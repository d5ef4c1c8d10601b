// The flat plan: every request is posted once and waited for once, behind its post and before its bytes are
// touched.
#include "TestRun.h"

#include "runtime/exec/TaskPlan.h"

#include <gtest/gtest.h>
#include <set>

using namespace stagewright;
using namespace stagewright::runtime;
using namespace stagewright::testrun;
using schedule::TaskKind;

namespace {

/// Addresses that need not exist: one gap of 2^40 bytes per arena.
ArenaBases imaginaryBases(const executable::RankPlan &plan) {
  ArenaBases bases;
  for (unsigned i = 0; i < plan.arenas()->size(); ++i) {
    bases.push_back(reinterpret_cast<std::byte *>((std::uintptr_t{i} + 1) << 40));
  }
  return bases;
}

struct Outstanding {
  bool send;
  std::byte *begin, *end;
};

void replay(const TaskPlan &plan) {
  std::map<std::uint32_t, Outstanding> outstanding;
  std::set<std::uint32_t> waited;
  const auto waitFor = [&](IndexRange range) {
    for (std::uint32_t i = range.begin; i < range.end; ++i) {
      EXPECT_EQ(outstanding.erase(plan.waits[i]), 1u) << "not outstanding";
      EXPECT_TRUE(waited.insert(plan.waits[i]).second) << "waited twice";
    }
  };
  const auto free = [&](const std::byte *begin, std::size_t bytes, const std::string &who) {
    for (const auto &[request, transfer] : outstanding) {
      EXPECT_TRUE(begin >= transfer.end || begin + bytes <= transfer.begin)
          << who << " touches request " << request;
    }
  };
  std::size_t posts = 0;
  for (const PlannedTask &task : plan.tasks) {
    waitFor(task.waits);
    for (std::uint32_t i = task.posts.begin; i < task.posts.end; ++i, ++posts) {
      const Post &post = plan.posts[i];
      const std::map<TaskKind, std::pair<bool, int>> expected = {
          {TaskKind::SendForward, {true, 0}},  {TaskKind::ReceiveForward, {false, 0}},
          {TaskKind::SendBackward, {true, 1}}, {TaskKind::ReceiveBackward, {false, 1}},
          {TaskKind::SendSum, {true, 3}},      {TaskKind::ReceiveSum, {false, 3}},
          {TaskKind::SendWeight, {true, 4}},   {TaskKind::ReceiveWeight, {false, 4}}};
      EXPECT_EQ(std::pair(post.send, post.tag), expected.at(task.task.kind));
      free(post.data, post.bytes, task.text); // one transfer of a slot at a time
      EXPECT_TRUE(outstanding.emplace(post.request, Outstanding{post.send, post.data, post.data + post.bytes})
                      .second);
    }
    for (std::uint32_t i = task.fills.begin; i < task.fills.end; ++i) {
      free(plan.fills[i].data, 1, task.text);
    }
    waitFor(task.waitsAfter);
    for (std::uint32_t i = task.dead.begin; i < task.dead.end; ++i) {
      const DeadBytes &dead = plan.dead[i];
      free(reinterpret_cast<std::byte *>((std::uintptr_t{dead.arena} + 1) << 40) + dead.offset, dead.bytes,
           task.text);
    }
  }
  waitFor(plan.endWaits);
  EXPECT_TRUE(outstanding.empty());
  EXPECT_EQ(posts, plan.posts.size());
}

/// Producers must not write a slot that is still on its way: looked up in the file itself, not in the plan.
void checkProducers(const Executable &executable, int rank, const TaskPlan &plan, bool training) {
  const executable::RankPlan &file = executable.rank(rank);
  std::set<std::pair<unsigned, unsigned>> sending; // (pool, slot)
  std::map<std::uint32_t, std::pair<unsigned, unsigned>> slotOfRequest;
  const auto waitFor = [&](IndexRange range) {
    for (std::uint32_t i = range.begin; i < range.end; ++i) {
      if (const auto slot = slotOfRequest.find(plan.waits[i]); slot != slotOfRequest.end()) {
        sending.erase(slot->second);
      }
    }
  };
  const auto slotOf = [&](const executable::SlotPool &pool, int k) {
    return (training ? pool.train_slots() : pool.evaluate_slots())->Get(static_cast<unsigned>(k));
  };
  int written = 0;
  for (const PlannedTask &task : plan.tasks) {
    waitFor(task.waits);
    for (unsigned p = 0; p < file.pools()->size(); ++p) {
      const executable::SlotPool &pool = *file.pools()->Get(p);
      const auto kind = static_cast<TaskKind>(pool.first());
      const bool backward = task.task.kind == TaskKind::Backward && kind == TaskKind::BackwardInput;
      if (pool.sent() && pool.stage() == task.task.stage && (task.task.kind == kind || backward)) {
        EXPECT_FALSE(sending.count({p, slotOf(pool, task.task.microBatch)})) << task.text;
        ++written;
      }
    }
    for (std::uint32_t i = task.posts.begin; i < task.posts.end; ++i) {
      if (!plan.posts[i].send) {
        continue;
      }
      const unsigned transfer =
          plan.posts[i].request / static_cast<unsigned>(executable.trainSchedule().microBatches);
      const unsigned p = file.transfers()->Get(transfer)->pool();
      const std::pair<unsigned, unsigned> slot{p, slotOf(*file.pools()->Get(p), task.task.microBatch)};
      sending.insert(slot);
      slotOfRequest[plan.posts[i].request] = slot;
    }
    waitFor(task.waitsAfter);
  }
  if (executable.rankCount() > 1 && training) {
    EXPECT_GT(written, 0);
  }
}

class FlatPlan : public testing::TestWithParam<Plan> {};

TEST_P(FlatPlan, PostsAndWaitsMatch) {
  for (const int microBatches : {1, 2, 5, 9}) {
    auto executable = Executable::fromBytes(stagefile::serialize(stagefile::build(classifier(
                                                GetParam().boundaries, GetParam().schedule, microBatches))),
                                            "x");
    ASSERT_TRUE(executable);
    for (int rank = 0; rank < executable->rankCount(); ++rank) {
      const ArenaBases bases = imaginaryBases(executable->rank(rank));
      for (const bool poison : {false, true}) {
        for (const auto purpose : {schedule::Purpose::Training, schedule::Purpose::Evaluation}) {
          const TaskPlan plan = planTasks(*executable, rank, 0, purpose, bases, poison);
          const bool training = purpose == schedule::Purpose::Training;
          const auto &expected =
              (training ? executable->trainSchedule() : executable->evaluateSchedule()).ranks[rank];
          ASSERT_EQ(plan.tasks.size(), expected.size());
          for (std::size_t i = 0; i < expected.size(); ++i) {
            EXPECT_EQ(plan.tasks[i].task, expected[i]);
          }
          replay(plan);
          checkProducers(*executable, rank, plan, training);
          EXPECT_EQ(plan.dead.empty(), !poison);
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Plans, FlatPlan, testing::ValuesIn(plans()),
                         [](const testing::TestParamInfo<Plan> &info) { return info.param.name(); });

} // namespace

/// The kinds of the tasks that posted what a range waits for, per request.
std::multiset<TaskKind> awaited(const TaskPlan &plan, IndexRange range) {
  std::multiset<TaskKind> kinds;
  for (std::uint32_t i = range.begin; i < range.end; ++i) {
    for (const PlannedTask &task : plan.tasks) {
      for (std::uint32_t post = task.posts.begin; post < task.posts.end; ++post) {
        if (plan.posts[post].request == plan.waits[i]) {
          kinds.insert(task.task.kind);
        }
      }
    }
  }
  return kinds;
}

// The owner adds what has arrived, a holder clears what has left, and a step ends when the weights are there.
TEST(TiedPlan, WhoWaitsForWhat) {
  auto executable = Executable::fromBytes(stagefile::serialize(stagefile::buildTied()), "x");
  ASSERT_TRUE(executable) << executable.error().text();
  for (int rank = 0; rank < 2; ++rank) {
    const TaskPlan plan = planTasks(*executable, rank, 0, schedule::Purpose::Training,
                                    imaginaryBases(executable->rank(rank)), false);
    replay(plan);
    const bool owner = rank == 0;
    for (const PlannedTask &task : plan.tasks) {
      if (task.task.kind == TaskKind::Norm) {
        EXPECT_EQ(awaited(plan, task.waits).count(TaskKind::ReceiveSum), owner ? 1u : 0u);
      } else if (task.task.kind == TaskKind::Update) {
        EXPECT_EQ(awaited(plan, task.waits).count(TaskKind::SendSum), owner ? 0u : 1u);
      }
    }
    EXPECT_EQ(awaited(plan, plan.endWaits).count(owner ? TaskKind::SendWeight : TaskKind::ReceiveWeight), 1u);
    replay(planTasks(*executable, rank, 0, schedule::Purpose::Evaluation,
                     imaginaryBases(executable->rank(rank)), false));
  }
}
