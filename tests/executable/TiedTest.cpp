// A parameter that two stages hold: the tables that a file has for it, and one wrong field at a time.
#include "Mistakes.h"

using namespace stagewright;
using namespace stagewright::mistakes;
using executable::TaskKind;

namespace {

executable::TransferT &transfer(ExecutableT &file, TaskKind kind) {
  for (auto &plan : file.variants[0]->ranks) {
    for (auto &entry : plan->transfers) {
      if (entry->kind == kind) {
        return *entry;
      }
    }
  }
  throw std::logic_error("no such transfer");
}

} // namespace

TEST(Tied, AFileWithHoldersLoads) {
  const auto loaded = load(stagefile::buildTied());
  EXPECT_TRUE(loaded) << loaded.error().text();
}

TEST(Tied, OneWrongFieldAtATime) {
  const std::vector<Mistake> mistakes = {
      {[](ExecutableT &f) { f.parameters[0]->holders = {0}; }, "parameters[0].holders[0]", "later stages"},
      {[](ExecutableT &f) { f.parameters[0]->holders = {2}; }, "parameters[0].holders[0]", "later stages"},
      {[](ExecutableT &f) {
         f.parameters[0]->holders = {1, 1};
       },
       "parameters[0].holders[1]", "later stages"},
      {[](ExecutableT &f) { f.parameters[0]->holders.clear(); }, "schedule.train", "those that hold one"},
      {[](ExecutableT &f) { f.parameters[1]->holders = {1}; }, "parameters[1]", "1 places, not 2"},
      {[](ExecutableT &f) { rank(f, 1).placements.pop_back(); }, "parameters[0]", "1 places, not 2"},
      {[](ExecutableT &f) { rank(f, 1).placements.back()->parameter = 1; },
       "ranks[1].placements[2].parameter", "another rank"},
      {[](ExecutableT &f) {
         auto state = std::make_unique<executable::StateSliceT>();
         state->name = "exp_avg";
         state->arena = rank(f, 1).placements.back()->arena;
         state->shape = f.parameters[0]->shape;
         rank(f, 1).placements.back()->states.push_back(std::move(state));
       },
       "ranks[1].placements[2].states[0]", "owns it alone"},
      {[](ExecutableT &f) { transfer(f, TaskKind::SendSum).partner = 1; }, "ranks[1].transfers",
       "partner stage"},
      {[](ExecutableT &f) { transfer(f, TaskKind::SendSum).partner = -1; }, "ranks[1].transfers",
       "partner stage"},
      {[](ExecutableT &f) { transfer(f, TaskKind::SendSum).arena = 99; }, "ranks[1].transfers",
       "no such arena"},
      {[](ExecutableT &f) { transfer(f, TaskKind::SendSum).offset = ~std::uint64_t{3}; },
       "ranks[1].transfers", "inside its arena"},
      {[](ExecutableT &f) { transfer(f, TaskKind::SendSum).arena = rank(f, 1).placements.back()->arena; },
       "ranks[1].transfers", "among the gradients"},
      {[](ExecutableT &f) { transfer(f, TaskKind::ReceiveWeight).bytes -= 4; }, "ranks[1].transfers",
       "no parameter that both"},
      {[](ExecutableT &f) { transfer(f, TaskKind::SendWeight).offset += 4; }, "ranks[0].transfers", ""},
      {[](ExecutableT &f) { transfer(f, TaskKind::SendSum).bytes -= 4; }, "ranks.transfers",
       "something else"},
      {[](ExecutableT &f) { transfer(f, TaskKind::SendForward).partner = 1; }, "ranks[0].transfers",
       "no tied parameter"},
      {[](ExecutableT &f) { transfer(f, TaskKind::SendSum).kind = TaskKind::ReceiveSum; },
       "ranks[1].transfers", "share no parameter"},
      {[](ExecutableT &f) { // into the gradient of the owner itself
         executable::StateSliceT &gradient = *rank(f, 0).placements[0]->states[0];
         transfer(f, TaskKind::ReceiveSum).arena = gradient.arena;
         transfer(f, TaskKind::ReceiveSum).offset = gradient.offset;
       },
       "ranks[0]", "overlap"},
      {[](ExecutableT &f) { rank(f, 0).transfers.pop_back(); }, "ranks.transfers", "something else"},
  };
  refuseEach(stagefile::buildTied, mistakes);
}
