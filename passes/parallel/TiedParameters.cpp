#include "passes/parallel/TiedParameters.h"

#include <set>

using namespace mlir;

namespace stagewright {

llvm::MapVector<StringRef, std::vector<GradientSum>> gradientSums(ModuleOp module) {
  llvm::MapVector<StringRef, std::vector<GradientSum>> sums;
  for (plan::StageOp stage : module.getOps<plan::StageOp>()) {
    plan::FunctionOp backward = plan::findFunction(stage, plan::FunctionKind::BackwardWeight);
    if (!backward) {
      continue;
    }
    for (auto [name, value] : llvm::zip(backward.getOutputs().getAsRange<plan::ValueAttr>(),
                                        backward.getBody().front().getTerminator()->getOperands())) {
      if (name.getRole() == plan::Role::Accumulator) {
        sums[name.parameterAndState().first].push_back(
            {stage, name, cast<RankedTensorType>(value.getType()), value.getDefiningOp()});
      }
    }
    for (plan::ReduceOp reduce : backward.getBody().getOps<plan::ReduceOp>()) {
      for (auto [name, value] :
           llvm::zip(reduce.getNames().getAsRange<plan::ValueAttr>(), reduce.getValues())) {
        sums[name.parameterAndState().first].push_back(
            {stage, name, cast<RankedTensorType>(value.getType()), value.getDefiningOp()});
      }
    }
  }
  for (auto &[parameter, list] : sums) {
    llvm::sort(list, [](const GradientSum &a, const GradientSum &b) {
      return std::pair(plan::StageOp(a.stage).getIndex(), a.use()) <
             std::pair(plan::StageOp(b.stage).getIndex(), b.use());
    });
  }
  return sums;
}

std::vector<std::int64_t> TiedParameter::holders() const {
  std::set<std::int64_t> stages;
  for (const GradientSum &sum : elsewhere) {
    stages.insert(plan::StageOp(sum.stage).getIndex());
  }
  return {stages.begin(), stages.end()};
}

std::vector<TiedParameter> tiedParameters(ModuleOp module) {
  std::vector<TiedParameter> tied;
  for (auto &[name, sums] : gradientSums(module)) {
    TiedParameter parameter{name, sums.front().stage.getIndex(), {}};
    for (GradientSum &sum : sums) {
      if (sum.stage != sums.front().stage) {
        parameter.elsewhere.push_back(sum);
      }
    }
    if (!parameter.elsewhere.empty()) {
      tied.push_back(std::move(parameter));
    }
  }
  return tied;
}

std::vector<schedule::Tie> tiesOf(ModuleOp module) {
  std::set<schedule::Tie> ties;
  for (const TiedParameter &parameter : tiedParameters(module)) {
    for (std::int64_t holder : parameter.holders()) {
      ties.insert({static_cast<int>(parameter.owner), static_cast<int>(holder)});
    }
  }
  return {ties.begin(), ties.end()};
}

} // namespace stagewright
