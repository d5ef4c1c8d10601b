// A run on synthetic data of a classifier made by hand, and what it did.
#ifndef STAGEWRIGHT_TESTS_EXEC_TESTRUN_H
#define STAGEWRIGHT_TESTS_EXEC_TESTRUN_H

#include "runtime/executable/Executable.h"
#include "runtime/train/Engine.h"
#include "stagefile/StageFile.h"

#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace stagewright::testrun {

/// Classifier with this plan; sizes are odd.
stagefile::Classifier classifier(std::vector<int> boundaries, const std::string &schedule = "1f1b",
                                 int microBatches = 4);

/// Options for a run of it; the file is written to the tests' temporary folder under `name`.
runtime::TrainOptions options(const stagefile::Classifier &classifier, const std::string &name,
                              std::uint64_t steps = 3);

/// Notes the tasks of each rank and step in the order in which they begin.
class Recorder {
public:
  runtime::Hooks hooks();
  /// step -> rank -> tasks. Of training, or of evaluation passes.
  std::map<std::uint64_t, std::vector<std::vector<schedule::Task>>> training, evaluation;
  int kernels = 0, ended = 0;

private:
  std::mutex mutex;
};

/// The plans that tests run: every number of stages of four blocks, with every schedule.
struct Plan {
  std::vector<int> boundaries;
  std::string schedule;
  std::string name() const;
};
const std::vector<Plan> &plans();

} // namespace stagewright::testrun

#endif
