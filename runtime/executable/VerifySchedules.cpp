// The schedules, converted into values of the schedule library and proved again.
#include "runtime/executable/Proof.h"

#include <set>

namespace stagewright::runtime {

using RankTaskLists = flatbuffers::Vector<flatbuffers::Offset<executable::RankTasks>>;

static Result<schedule::Schedule> convert(const Proof &proof, const RankTaskLists &lists,
                                          const std::string &field) {
  const executable::Schedule &stored = *proof.file.schedule();
  if (lists.size() != static_cast<std::size_t>(proof.file.pipeline_ranks())) {
    return proof.fail(field, std::to_string(lists.size()) + " task lists do not fit " +
                                 std::to_string(proof.file.pipeline_ranks()) + " ranks");
  }
  schedule::Schedule result;
  result.kind = stored.kind()->str();
  result.stages = stored.stages();
  result.microBatches = proof.microBatches();
  result.rankOfStage.assign(stored.rank_of_stage()->begin(), stored.rank_of_stage()->end());
  for (const executable::RankTasks *list : lists) {
    std::vector<schedule::Task> tasks;
    tasks.reserve(list->tasks()->size());
    for (const executable::Task *task : *list->tasks()) {
      tasks.push_back({static_cast<schedule::TaskKind>(task->kind()), task->stage(), task->micro_batch()});
    }
    result.ranks.push_back(std::move(tasks));
  }
  return result;
}

static Result<void> prove(const Proof &proof, const schedule::Schedule &lists, schedule::Purpose purpose,
                          const std::string &field) {
  if (auto ok = schedule::verify(lists, purpose); !ok) {
    return proof.fail(field, "the schedule does not hold: " + ok.error().text());
  }
  return {};
}

static std::vector<schedule::Tie> tiesOf(const executable::Executable &file) {
  std::set<schedule::Tie> ties;
  for (const executable::Parameter *parameter : *file.parameters()) {
    for (unsigned i = 0; parameter->holders() && i < parameter->holders()->size(); ++i) {
      ties.insert({parameter->stage(), parameter->holders()->Get(i)});
    }
  }
  return {ties.begin(), ties.end()};
}

Result<void> verifySchedules(Proof &proof) {
  const executable::Schedule &stored = *proof.file.schedule();
  if (proof.file.pipeline_ranks() < 1) {
    return proof.fail("pipeline_ranks", "there must be at least one rank");
  }
  auto train = convert(proof, *stored.train(), "schedule.train");
  if (!train) {
    return train.takeError();
  }
  auto evaluate = convert(proof, *stored.evaluate(), "schedule.evaluate");
  if (!evaluate) {
    return evaluate.takeError();
  }
  evaluate->kind = "evaluation";
  if (auto ok = prove(proof, *train, schedule::Purpose::Training, "schedule.train"); !ok) {
    return ok;
  }
  if (auto ok = prove(proof, *evaluate, schedule::Purpose::Evaluation, "schedule.evaluate"); !ok) {
    return ok;
  }
  proof.ties = tiesOf(proof.file);
  const schedule::StepExchanges exchanges = schedule::exchangesOf(*train);
  if (exchanges.ties != proof.ties) {
    return proof.fail("schedule.train",
                      "the tasks exchange the parameters of other stages than those that hold one");
  }
  if (exchanges.reduces != (proof.file.recipe()->data_parallel() > 1)) {
    return proof.fail("schedule.train", "REDUCE belongs to a file of several replicas, and to no other");
  }
  if (exchanges.gathers != proof.sharesWeights()) {
    return proof.fail(
        "schedule.train",
        "GATHER belongs to a file whose replicas update parts of weights that others have, too");
  }
  if (stored.plan_invariant() != schedule::isPlanInvariant(*train)) {
    return proof.fail("schedule.plan_invariant", "the mark does not fit the order of the tasks");
  }
  proof.train = std::move(*train);
  proof.evaluate = std::move(*evaluate);
  return {};
}

} // namespace stagewright::runtime
