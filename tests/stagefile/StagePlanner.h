// One stage of the classifier: its values, its programs, its memory.
#ifndef STAGEWRIGHT_TESTS_STAGEFILE_STAGEPLANNER_H
#define STAGEWRIGHT_TESTS_STAGEFILE_STAGEPLANNER_H

#include "stagefile/StageFile.h"

#include "catalogue/Catalogue.h"
#include "catalogue/Target.h"
#include "schedule/Schedule.h"

#include <map>
#include <optional>

namespace stagewright::stagefile {

/// Where the cells of the scalars arena lie; the same on every rank.
struct ScalarLayout {
  std::uint64_t learningRate = 0, coefficient = 8, step = 12, norm = 16, loss = 24, biasCorrections = 32,
                partials = 64;
  std::uint64_t losses = 0, correct = 0, bytes = 0;
  std::vector<std::uint64_t> partialOf; ///< per parameter
  std::vector<std::int64_t> granulesOf; ///< per parameter
  std::int64_t granules = 0;
};

/// What all stages share.
struct Plan {
  const Classifier &classifier;
  executable::ExecutableT &file;
  schedule::Schedule train, evaluate;
  ScalarLayout scalars;
  std::string target; ///< of the programs at hand

  bool onCuda() const { return catalogue::isCuda(target); }
};

class StagePlanner {
public:
  StagePlanner(Plan &plan, int stage) : plan(plan), stage(stage) {}
  /// The plan of the stage's rank (one stage per rank).
  executable::RankPlanT run();

private:
  enum ArenaIndex {
    Parameters,
    Gradients,
    OptimizerState,
    Derived,
    Activations,
    Inputs,
    Workspace,
    Scalars,
    Arenas
  };

  /// A value of one micro-batch: a pool of its own.
  struct Value {
    std::string name;
    catalogue::DType dtype = catalogue::DType::F32;
    catalogue::Shape shape;
    int arena = Activations;
    executable::TaskKind first = executable::TaskKind::Forward, last = executable::TaskKind::Forward;
    bool sent = false;
    std::optional<std::uint64_t>
        place; ///< in its arena, when it is not free to choose; slots are then not padded
  };
  struct Argument {
    int value = -1; ///< index into values, or
    int arena = 0;  ///< fixed memory
    std::uint64_t offset = 0;
    catalogue::DType dtype = catalogue::DType::F32;
    catalogue::Shape shape;
  };
  struct ParameterPlace {
    Argument weight, gradient, packedForward, packedInputGradient; ///< on CUDA the last two are the weight
    std::vector<Argument> states;
  };

  int addValue(std::string name, catalogue::Shape shape, executable::TaskKind first, int arena = Activations,
               catalogue::DType dtype = catalogue::DType::F32);
  Argument use(int value, executable::ProgramKind program, catalogue::Shape view = {});
  Argument fixed(int arena, catalogue::Shape shape, catalogue::DType dtype = catalogue::DType::F32);
  Argument scalar(std::uint64_t offset, catalogue::DType dtype, catalogue::Shape shape = {1}) const;
  void emit(executable::ProgramKind program, const std::string &kernel, std::vector<Argument> arguments,
            int block = -1, std::map<std::string, double> reals = {});

  bool firstStage() const { return stage == 0; }
  bool lastStage() const { return stage + 2 == static_cast<int>(plan.classifier.boundaries.size()); }
  void placeParameters();
  void forward();
  void loss();
  void backward();
  void stepEnd();
  void binding(int input, int value, catalogue::Shape shape);
  void transfer(executable::TaskKind kind, int peer, int value);
  executable::RankPlanT finish();
  executable::SlotPoolT pool(const Value &value, std::uint64_t &offset) const;

  Plan &plan;
  const int stage;
  executable::RankPlanT rank;
  std::map<executable::ProgramKind, std::vector<executable::CommandT>> programs;
  std::vector<Value> values;
  std::map<int, ParameterPlace> places; ///< by index into the file's parameters
  std::uint64_t arenaBytes[Arenas] = {};
  // Values as they flow through the stage; -1: none.
  int blockInput[4] = {-1, -1, -1, -1};
  int output = -1, labels = -1, logSumExp = -1, lossRows = -1;
};

} // namespace stagewright::stagefile

#endif
