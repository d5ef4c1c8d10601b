// With parameter servers: what a rank uses lies in arenas that it has.
#include "runtime/executable/Proof.h"
#include "runtime/executable/ServerRanks.h"

#include <initializer_list>

namespace stagewright::runtime {

namespace {

class ServerMemory {
public:
  ServerMemory(const Proof &proof, int rank)
      : proof(proof), plan(*proof.variant->ranks()->Get(static_cast<unsigned>(rank))),
        at(indexed("ranks", static_cast<unsigned>(rank)) + ".") {}

  Result<void> run() {
    for (auto check : {&ServerMemory::placements, &ServerMemory::shared, &ServerMemory::ofMicroBatches,
                       &ServerMemory::commands}) {
      if (auto ok = (this->*check)(); !ok) {
        return ok;
      }
    }
    return {};
  }

private:
  using Roles = std::initializer_list<RankRole>;
  static constexpr Roles kBoth = {RankRole::Replica, RankRole::Server}, kReplica = {RankRole::Replica},
                         kServer = {RankRole::Server};

  Result<void> has(unsigned arena, Roles roles, const std::string &field) const {
    for (const RankRole role : roles) {
      if (!hasArena(plan, arena, role)) {
        return proof.fail(field,
                          role == RankRole::Server
                              ? "parameter servers need it, and have no such arena"
                              : "ranks that compute need it, and have no such arena: servers alone do");
      }
    }
    return {};
  }
  /// Of each entry of a list that may be absent.
  template <typename List, typename ArenaOf>
  Result<void> haveAll(const List *list, Roles roles, const char *name, ArenaOf arenaOf) const {
    for (unsigned i = 0; list && i < list->size(); ++i) {
      if (auto ok = has(arenaOf(*list->Get(i)), roles, indexed(at + name, i)); !ok) {
        return ok;
      }
    }
    return {};
  }

  Result<void> placements() {
    for (unsigned i = 0; i < plan.placements()->size(); ++i) {
      const executable::Placement &placement = *plan.placements()->Get(i);
      const std::string field = indexed(at + "placements", i);
      auto ok = has(placement.arena(), kBoth, field);
      for (unsigned j = 0; ok && placement.states() && j < placement.states()->size(); ++j) {
        const executable::StateSlice &state = *placement.states()->Get(j);
        ok = has(state.arena(), state.name()->string_view() == "gradient" ? kBoth : kServer,
                 indexed(field + ".states", j));
      }
      if (!ok) {
        return ok;
      }
    }
    return {};
  }

  Result<void> shared() {
    auto scalars = haveAll(plan.scalars(), kBoth, "scalars", [](const auto &entry) { return entry.arena(); });
    auto ok =
        scalars ? has(plan.train_collective()->arena(), kBoth, at + "train_collective") : std::move(scalars);
    return ok ? has(plan.evaluate_collective()->arena(), kReplica, at + "evaluate_collective")
              : std::move(ok);
  }

  Result<void> ofMicroBatches() {
    const auto arena = [](const auto &entry) { return entry.arena(); };
    auto ok = haveAll(plan.buffers(), kReplica, "buffers", arena);
    ok = ok ? haveAll(plan.pools(), kReplica, "pools", arena) : std::move(ok);
    return ok ? haveAll(plan.outputs(), kReplica, "outputs",
                        [](const executable::OutputBinding &output) { return output.value()->arena(); })
              : std::move(ok);
  }

  Result<void> commands() {
    for (unsigned i = 0; i < plan.programs()->size(); ++i) {
      const executable::Program &program = *plan.programs()->Get(i);
      for (unsigned j = 0; j < program.commands()->size(); ++j) {
        const executable::Command &command = *program.commands()->Get(j);
        for (const RankRole role : kBoth) {
          const std::string field = indexed(indexed(at + "programs", i) + ".commands", j);
          for (unsigned k = 0;
               runs(role, program.kind(), command.replica()) && k < command.operands()->size(); ++k) {
            if (auto ok = has(command.operands()->Get(k)->arena(), {role}, field); !ok) {
              return ok;
            }
          }
        }
      }
    }
    return {};
  }

  const Proof &proof;
  const executable::RankPlan &plan;
  const std::string at;
};

} // namespace

Result<void> verifyServers(const Proof &proof) {
  for (int rank = 0; proof.file.recipe()->servers() > 0 && rank < proof.file.pipeline_ranks(); ++rank) {
    if (auto ok = ServerMemory(proof, rank).run(); !ok) {
      return ok;
    }
  }
  return {};
}

} // namespace stagewright::runtime
