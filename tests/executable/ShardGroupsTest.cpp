// Groups of replicas that have all weights between them: what a file says of them, and one wrong field at a
// time.
#include "Mistakes.h"

using namespace stagewright;
using namespace stagewright::mistakes;
using executable::ReplicaGatherT;
using executable::TaskKind;

namespace {

/// Calls use(replica) for what the file says of single replicas.
template <typename Use>
void forEachReplica(ExecutableT &file, Use use) {
  for (auto &plan : file.variants[0]->ranks) {
    for (auto &placement : plan->placements) {
      for (auto *list : {&placement->states, &placement->shards}) {
        std::for_each(list->begin(), list->end(), [&](auto &part) { use(part->replica); });
      }
    }
    for (auto &reduction : plan->reductions) {
      use(reduction->replica);
    }
    for (auto &gather : plan->gathers) {
      use(gather->replica);
    }
    for (auto &entry : plan->programs) {
      std::for_each(entry->commands.begin(), entry->commands.end(),
                    [&](auto &command) { use(command->replica); });
    }
  }
}

/// Calls use(arena, offset) for every place where a rank's weights may lie.
template <typename Use>
void forEachPlace(executable::RankPlanT &plan, Use use) {
  for (auto &placement : plan.placements) {
    std::for_each(placement->shards.begin(), placement->shards.end(),
                  [&](auto &part) { use(part->arena, part->offset); });
  }
  for (auto &gather : plan.gathers) {
    use(gather->arena, gather->offset);
  }
  for (auto &entry : plan.programs) {
    for (auto &command : entry->commands) {
      std::for_each(command->operands.begin(), command->operands.end(),
                    [&](auto &operand) { use(operand->arena, operand->offset); });
    }
  }
}

/// Four replicas in groups of two: of the two weights of a stage replicas 0 and 2 have one, 1 and 3 the
/// other, at the same place.
ExecutableT buildGroups() {
  ExecutableT file = stagefile::buildGathered(), whole = stagefile::buildSharded();
  file.recipe->data_parallel = file.contract->data_parallel = 4;
  file.recipe->train_batch_size *= 2;
  file.contract->global_batch *= 2;
  file.recipe->shard_group = 2;
  file.required_features |= executable::kFeatureShardGroups;
  file.schedule->train = std::move(whole.schedule->train); // with GATHER
  for (int index = 0; index < 2; ++index) {
    executable::RankPlanT &plan = rank(file, index);
    plan.gathers = std::move(rank(whole, index).gathers);
    const executable::StateSliceT first = *plan.placements[0]->shards[0],
                                  second = *plan.placements[1]->shards[0];
    forEachPlace(plan, [&](std::uint16_t arena, std::uint64_t &offset) {
      offset = arena == second.arena && offset == second.offset ? first.offset : offset;
    });
  }
  return file;
}

ReplicaGatherT &gather(ExecutableT &file, int index) {
  return *rank(file, 0).gathers[static_cast<std::size_t>(index)];
}

void eraseTask(ExecutableT &file, int rank, TaskKind kind) {
  std::erase_if(file.schedule->train[static_cast<std::size_t>(rank)]->tasks,
                [&](const executable::Task &task) { return task.kind() == kind; });
}

/// What belongs to one replica is another one's.
void give(ExecutableT &file, int from, int to) {
  forEachReplica(file, [&](int &replica) { replica = replica == from ? to : replica; });
}

} // namespace

TEST(ShardGroups, TheFileLoads) {
  ExecutableT file = buildGroups();
  auto loaded = load(file);
  ASSERT_TRUE(loaded) << loaded.error().text();
  EXPECT_EQ(loaded->shardGroup(), 2);
  give(file, 1, 3); // of the same number in the other group
  loaded = load(file);
  EXPECT_TRUE(loaded) << loaded.error().text();
  loaded = load(stagefile::buildGathered());
  ASSERT_TRUE(loaded) << loaded.error().text();
  EXPECT_EQ(loaded->shardGroup(), 2); // of two replicas: all
}

TEST(ShardGroups, OneWrongFieldAtATime) {
  const std::vector<Mistake> mistakes = {
      {[](ExecutableT &f) { f.recipe->shard_group = -1; }, "recipe.shard_group", "groups of one size"},
      {[](ExecutableT &f) { f.recipe->shard_group = 3; }, "recipe.shard_group", "groups of one size"},
      {[](ExecutableT &f) { f.recipe->shard_group = 4; }, "recipe.shard_group", "groups of one size"},
      {[](ExecutableT &f) { f.recipe->shard_group = 8; }, "recipe.shard_group", "groups of one size"},
      {[](ExecutableT &f) { f.recipe->zero = 2; }, "recipe.shard_group", "ZeRO 3"},
      {[](ExecutableT &f) {
         f.recipe->weights_offload = std::make_unique<executable::OffloadT>();
         f.recipe->weights_offload->tier = executable::MemoryTier::Host;
         f.required_features |= executable::kFeatureOffload;
       },
       "recipe.shard_group", "not offloaded"},
      {[](ExecutableT &f) { f.required_features &= ~executable::kFeatureShardGroups; }, "required_features",
       "mark of groups"},
      {[](ExecutableT &f) { f.recipe->shard_group = 0; }, "required_features", "mark of groups"},
      {[](ExecutableT &f) { // GATHER of weights that nobody else has
         f.recipe->shard_group = 0;
         f.required_features &= ~executable::kFeatureShardGroups;
       },
       "schedule.train", "GATHER belongs"},
      {[](ExecutableT &f) { // each replica alone has all: both weights lie at one place
         f.recipe->shard_group = 1;
       },
       "ranks[0].placements", "overlap"},
      {[](ExecutableT &f) { give(f, 1, 2); }, "ranks[0].placements", "overlap"},
      {[](ExecutableT &f) { eraseTask(f, 0, TaskKind::Gather); }, "schedule.train", "0GATHER is missing"},
      {[](ExecutableT &f) {
         eraseTask(f, 0, TaskKind::Gather);
         eraseTask(f, 1, TaskKind::Gather);
       },
       "schedule.train", "GATHER belongs"},
      {[](ExecutableT &f) { rank(f, 0).gathers.erase(rank(f, 0).gathers.begin()); }, "ranks[0].programs",
       "would part"},
      {[](ExecutableT &f) { gather(f, 0).bytes -= 4; }, "ranks[0].programs", "would part"},
      {[](ExecutableT &f) { gather(f, 0).replica = 2; }, "ranks[0].programs", "would part"},
      {[](ExecutableT &f) { gather(f, 0).replica = 4; }, "ranks[0].gathers[0].arena", "no such replica"},
      {[](ExecutableT &f) { gather(f, 0).task = TaskKind::Reduce; }, "ranks[0].gathers[0].task",
       "GATHER weights"},
      {[](ExecutableT &f) { rank(f, 0).gathers.push_back(std::make_unique<ReplicaGatherT>(gather(f, 0))); },
       "ranks[0].gathers", "overlap"},
      {[](ExecutableT &f) { // of the other group, at the same place
         rank(f, 0).gathers.push_back(std::make_unique<ReplicaGatherT>(gather(f, 0)));
         rank(f, 0).gathers.back()->replica = 2;
       },
       "ranks[0].gathers", "overlap"},
      {[](ExecutableT &f) { rank(f, 0).exchanges[0]->pieces[0]->replica = 2; }, "pieces[0].arena",
       "part of a weight"},
  };
  refuseEach(buildGroups, mistakes);
}
