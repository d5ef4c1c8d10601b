// Replicas of the pipeline: what a file says that they add up, and one wrong field at a time.
#include "runtime/executable/Executable.h"
#include "stagefile/StageFile.h"

#include <functional>
#include <gtest/gtest.h>

using namespace stagewright;
using executable::ExecutableT;
using executable::ReductionT;
using executable::TaskKind;
using runtime::Executable;

namespace {

executable::RankPlanT &rank(ExecutableT &file, int index) {
  return *file.variants[0]->ranks[static_cast<std::size_t>(index)];
}

ReductionT &gradients(ExecutableT &file) {
  return *rank(file, 1).reductions.front();
}
ReductionT &loss(ExecutableT &file) {
  return *rank(file, 1).reductions.back();
}

void eraseTask(ExecutableT &file, int rank, TaskKind kind) {
  std::erase_if(file.schedule->train[static_cast<std::size_t>(rank)]->tasks,
                [&](const executable::Task &task) { return task.kind() == kind; });
}

Result<Executable> load(const ExecutableT &file) {
  return Executable::fromBytes(stagefile::serialize(file), "x.stage");
}

} // namespace

TEST(Replicas, TheFileLoads) {
  const auto loaded = load(stagefile::buildReplicated());
  ASSERT_TRUE(loaded) << loaded.error().text();
  const runtime::Mesh mesh = loaded->mesh();
  EXPECT_EQ(mesh.size(), 4);
  EXPECT_EQ(mesh.rank(1, 0), 2);
  EXPECT_EQ(mesh.pipelineRank(3), 1);
  EXPECT_EQ(mesh.replica(3), 1);
}

TEST(Replicas, OneWrongFieldAtATime) {
  struct Mistake {
    std::function<void(ExecutableT &)> make;
    const char *place, *says;
  };
  const std::vector<Mistake> mistakes = {
      {[](ExecutableT &f) { f.required_features = 0; }, "required_features", "replicas"},
      {[](ExecutableT &f) { f.recipe->train_batch_size /= 2; }, "recipe.train_batch_size", "2 replicas"},
      {[](ExecutableT &f) { f.contract->data_parallel = 1; }, "contract", "disagree"},
      {[](ExecutableT &f) { eraseTask(f, 1, TaskKind::Reduce); }, "schedule.train", "1REDUCE is missing"},
      {[](ExecutableT &f) {
         eraseTask(f, 0, TaskKind::Reduce);
         eraseTask(f, 1, TaskKind::Reduce);
       },
       "schedule.train", "several replicas"},
      {[](ExecutableT &f) { gradients(f).stage = 0; }, "ranks[1].reductions[0].stage", "does not hold"},
      {[](ExecutableT &f) { gradients(f).stage = -2; }, "ranks[1].reductions[0].stage", "does not hold"},
      {[](ExecutableT &f) { gradients(f).arena = 99; }, "ranks[1].reductions[0].arena", "no such arena"},
      {[](ExecutableT &f) { gradients(f).arena = loss(f).arena; }, "ranks[1].reductions[0]", "nothing else"},
      {[](ExecutableT &f) { gradients(f).dtype = executable::DType::F16; }, "ranks[1].reductions[0]",
       "nothing else"},
      {[](ExecutableT &f) { gradients(f).mean = true; }, "ranks[1].reductions[0]", "nothing else"},
      {[](ExecutableT &f) { gradients(f).bytes += 1; }, "ranks[1].reductions[0].bytes", "whole elements"},
      {[](ExecutableT &f) { gradients(f).bytes = 0; }, "ranks[1].reductions[0].bytes", "whole elements"},
      {[](ExecutableT &f) { gradients(f).offset = ~std::uint64_t{3}; }, "ranks[1].reductions[0].bytes",
       "whole elements"},
      {[](ExecutableT &f) { gradients(f).bytes -= 4; }, "ranks[1].reductions", "not added up"},
      {[](ExecutableT &f) { rank(f, 0).reductions.erase(rank(f, 0).reductions.begin()); },
       "ranks[0].reductions", "not added up"},
      {[](ExecutableT &f) {
         rank(f, 1).reductions.insert(rank(f, 1).reductions.begin(),
                                      std::make_unique<ReductionT>(gradients(f)));
       },
       "ranks[1].reductions", "overlap"},
      {[](ExecutableT &f) { rank(f, 1).reductions.pop_back(); }, "ranks[1].reductions", "the loss"},
      {[](ExecutableT &f) { rank(f, 1).reductions.push_back(std::make_unique<ReductionT>(loss(f))); },
       "ranks[1].reductions", "overlap"},
      {[](ExecutableT &f) { loss(f).mean = false; }, "ranks[1].reductions", "nothing else"},
      {[](ExecutableT &f) { // what replicas have, in a file of one
         f.recipe->data_parallel = f.contract->data_parallel = 1;
         f.recipe->train_batch_size /= 2;
         f.contract->global_batch /= 2;
         f.required_features = 0;
       },
       "schedule.train", "several replicas"},
      {[](ExecutableT &f) {
         std::vector<std::unique_ptr<ReductionT>> list = std::move(rank(f, 0).reductions);
         f = stagefile::build({});
         rank(f, 0).reductions = std::move(list);
       },
       "ranks[0].reductions", "one replica"},
  };
  int number = 0;
  for (const Mistake &mistake : mistakes) {
    ExecutableT file = stagefile::buildReplicated();
    mistake.make(file);
    const auto loaded = load(file);
    SCOPED_TRACE("mistake " + std::to_string(number++));
    ASSERT_FALSE(loaded);
    EXPECT_EQ(loaded.error().kind, ErrorKind::User);
    EXPECT_NE(loaded.error().place.find(mistake.place), std::string::npos) << loaded.error().text();
    EXPECT_NE(loaded.error().what.find(mistake.says), std::string::npos) << loaded.error().text();
  }
}
