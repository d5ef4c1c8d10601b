// Parameter servers: what a file says of them, and one wrong field at a time.
#include "Mistakes.h"

#include "runtime/executable/ServerRanks.h"

using namespace stagewright;
using namespace stagewright::mistakes;
using executable::ArenaClass;
using executable::ProgramKind;
using executable::TaskKind;
using runtime::RankRole;

namespace {

unsigned arenaOf(const executable::RankPlanT &plan, ArenaClass wanted) {
  for (unsigned i = 0; i < plan.arenas.size(); ++i) {
    if (plan.arenas[i]->arena_class == wanted) {
      return i;
    }
  }
  throw std::runtime_error("no such arena");
}

executable::ScalarT &scalar(ExecutableT &file, std::string_view name) {
  for (auto &entry : rank(file, 0).scalars) {
    if (entry->name == name) {
      return *entry;
    }
  }
  throw std::runtime_error("no such scalar");
}

/// To room of its own behind all else in another arena.
template <typename Place>
void move(ExecutableT &file, Place &place, ArenaClass to) {
  executable::RankPlanT &plan = rank(file, 0);
  const unsigned arena = arenaOf(plan, to);
  place.arena = static_cast<std::uint16_t>(arena);
  place.offset = (plan.arenas[arena]->bytes + 63) / 64 * 64;
  plan.arenas[arena]->bytes = place.offset + (1 << 16);
}

} // namespace

TEST(Servers, TheFileLoads) {
  const auto loaded = load(stagefile::buildServed());
  ASSERT_TRUE(loaded) << loaded.error().text();
  const runtime::Mesh mesh = loaded->mesh();
  EXPECT_EQ(mesh.size(), 2 * 2 + 2 * 2);
  EXPECT_FALSE(mesh.isServer(3));
  EXPECT_TRUE(mesh.isServer(4));
  EXPECT_EQ(mesh.pipelineRank(5), 0);
  EXPECT_EQ(mesh.updater(5), 1);
  EXPECT_EQ(mesh.updater(1), -1);
  EXPECT_EQ(mesh.pipelineRank(6), 1);
  EXPECT_EQ(mesh.replica(6), -1);
}

TEST(Servers, RanksHaveWhatTheyRun) {
  const auto loaded = load(stagefile::buildServed());
  ASSERT_TRUE(loaded) << loaded.error().text();
  const executable::RankPlan &plan = loaded->rank(0);
  for (unsigned i = 0; i < plan.arenas()->size(); ++i) {
    const ArenaClass kind = plan.arenas()->Get(i)->arena_class();
    const bool isShared =
        kind == ArenaClass::Parameters || kind == ArenaClass::Gradients || kind == ArenaClass::Scalars;
    EXPECT_EQ(hasArena(plan, i, RankRole::Replica), kind != ArenaClass::OptimizerState);
    if (kind != ArenaClass::Workspace) {
      EXPECT_EQ(hasArena(plan, i, RankRole::Server), isShared || kind == ArenaClass::OptimizerState);
    }
    EXPECT_TRUE(hasArena(plan, i, RankRole::Complete));
  }
}

/// A copy of each of the last steps, and two parts of a megabyte of each replica.
TEST(Servers, HaveRoomForWhatTravels) {
  const std::uint64_t scratch = 2 * 2 * runtime::kServerPart;
  std::vector<std::uint64_t> ofReplica, ofServer;
  for (const int staleness : {0, 1, 3}) {
    const auto loaded = load(stagefile::buildServed(staleness));
    ASSERT_TRUE(loaded) << loaded.error().text();
    EXPECT_EQ(serverRoom(*loaded, 0, RankRole::Complete), 0u);
    ofReplica.push_back(serverRoom(*loaded, 0, RankRole::Replica));
    ofServer.push_back(serverRoom(*loaded, 0, RankRole::Server) - scratch);
  }
  EXPECT_EQ(ofReplica[0], 0u);
  EXPECT_EQ(ofServer[0], 0u);
  EXPECT_GT(ofReplica[1], ofServer[1]); // a server has one of the two weights
  EXPECT_GT(ofServer[1], 0u);
  EXPECT_EQ(ofReplica[2], 3 * ofReplica[1]);
  EXPECT_EQ(ofServer[2], 3 * ofServer[1]);
}

TEST(Servers, OneWrongFieldAtATime) {
  const std::vector<Mistake> mistakes = {
      {[](ExecutableT &f) { f.recipe->servers = -1; }, "recipe.servers", "servers"},
      {[](ExecutableT &f) { f.recipe->servers = 100000; }, "recipe.servers", "0 to 256"},
      {[](ExecutableT &f) { f.contract->staleness = -1; }, "recipe.servers", "behind"},
      {[](ExecutableT &f) { f.contract->staleness = 65; }, "recipe.servers", "0 to 64"},
      {[](ExecutableT &f) { f.required_features &= ~executable::kFeatureServers; }, "required_features",
       "parameter servers"},
      {[](ExecutableT &f) { f.recipe->servers = 0; }, "required_features", "parameter servers"},
      {[](ExecutableT &f) { f.recipe->zero = 1; }, "recipe.servers", "without ZeRO"},
      {[](ExecutableT &f) { f.contract->gradient_reduction = "micro_batch"; }, "", "sums"},
      {[](ExecutableT &f) {
         f.contract->gradient_wire = executable::DType::BF16;
         f.required_features |= executable::kFeatureWire;
       },
       "recipe.servers", "f32 sums"},
      {[](ExecutableT &f) {
         f.contract->staleness = 1;
         f.recipe->precision = "bf16";
         f.required_features |= executable::kFeaturePrecision;
       },
       "contract.staleness", "skipped"},
      {[](ExecutableT &f) { f.recipe->servers = 1; }, "ranks[0].placements", "has states of"},
      {[](ExecutableT &f) { program(f, ProgramKind::Update).commands[0]->replica = 2; }, "ranks[0].programs",
       "replica alone"},
      // Memory that only some ranks have.
      {[](ExecutableT &f) { move(f, scalar(f, "learning_rate"), ArenaClass::OptimizerState); },
       "ranks[0].scalars", "servers alone"},
      {[](ExecutableT &f) { move(f, scalar(f, "step"), ArenaClass::Derived); }, "ranks[0].scalars",
       "parameter servers need it"},
      {[](ExecutableT &f) { move(f, *rank(f, 0).placements[0], ArenaClass::OptimizerState); },
       "ranks[0].placements[0]", "servers alone"},
      {[](ExecutableT &f) { move(f, *rank(f, 0).placements[0]->states[1], ArenaClass::Derived); },
       "ranks[0].placements[0].states[1]", "parameter servers need it"},
      {[](ExecutableT &f) { // UPDATE on states that servers do not have
         const unsigned states = arenaOf(rank(f, 0), ArenaClass::OptimizerState);
         for (auto &command : program(f, ProgramKind::Update).commands) {
           for (auto &operand : command->operands) {
             if (operand->arena == states) {
               move(f, *operand, ArenaClass::Derived);
             }
           }
         }
       },
       "ranks[0].programs", "parameter servers need it"},
  };
  refuseEach([] { return stagefile::buildServed(); }, mistakes);
  ExecutableT file = stagefile::buildSharded();
  file.contract->staleness = 1;
  const auto loaded = load(file);
  ASSERT_FALSE(loaded);
  EXPECT_NE(loaded.error().text().find("without servers"), std::string::npos) << loaded.error().text();
}
