// Verifiers of the plan dialect.
#include "ir/plan/PlanDialect.h"

using namespace mlir;

namespace stagewright::plan {

LogicalResult SettingsOp::verify() {
  auto positive = [](int64_t value) { return value > 0 && value <= (int64_t{1} << 30); };
  if (!positive(getStages()) || !positive(getMicroBatches()) || !positive(getMicroBatchSize()) ||
      !positive(getDataParallel()) || getMicroBatches() > 65535 ||
      getTrainBatchSize() != getMicroBatches() * getMicroBatchSize() * getDataParallel()) {
    return emitOpError(
        "needs positive sizes with train_batch_size = micro_batch_size x micro_batches x data_parallel");
  }
  for (Attribute entry : getEntries()) {
    auto fields = dyn_cast<ArrayAttr>(entry);
    if (!fields || fields.size() != 3 ||
        !llvm::all_of(fields, [](Attribute a) { return isa<StringAttr>(a); })) {
      return emitOpError("needs entries of three strings: pointer, value, origin");
    }
  }
  return success();
}

LogicalResult ChoiceOp::verify() {
  ArrayRef<int64_t> boundaries = getBoundaries();
  if (boundaries.size() < 2 || boundaries.front() != 0) {
    return emitOpError("needs boundaries that begin with 0");
  }
  for (size_t stage = 0; stage + 1 < boundaries.size(); ++stage) {
    if (boundaries[stage] >= boundaries[stage + 1]) {
      return emitOpError("gives stage ") << stage << " no blocks";
    }
  }
  return success();
}

LogicalResult StageOp::verifyRegions() {
  llvm::SmallDenseSet<uint32_t> kinds;
  for (Operation &op : getBody().front()) {
    auto function = dyn_cast<FunctionOp>(op);
    if (!function) {
      return op.emitOpError("does not belong in a plan.stage, which holds functions only");
    }
    if (!kinds.insert(static_cast<uint32_t>(function.getKind())).second) {
      return function.emitOpError("is the stage's second function of this kind");
    }
  }
  return success();
}

LogicalResult FunctionOp::verifyRegions() {
  Block &block = getBody().front();
  if (block.getNumArguments() != getInputs().size()) {
    return emitOpError("names ") << getInputs().size() << " values for " << block.getNumArguments()
                                 << " arguments";
  }
  auto yield = dyn_cast<ReturnOp>(block.empty() ? nullptr : &block.back());
  if (!yield) {
    return emitOpError("must end in plan.return");
  }
  if (yield.getValues().size() != getOutputs().size()) {
    return emitOpError("names ") << getOutputs().size() << " values for " << yield.getValues().size()
                                 << " results";
  }
  llvm::SmallDenseMap<Attribute, Type> types;
  for (auto [name, argument] : llvm::zip(getInputs(), block.getArguments())) {
    if (!types.try_emplace(name, argument.getType()).second) {
      return emitOpError("names argument ") << name << " twice";
    }
  }
  llvm::SmallDenseSet<Attribute> results;
  for (auto [name, result] : llvm::zip(getOutputs(), yield.getValues())) {
    auto known = types.find(name);
    if (!results.insert(name).second || (known != types.end() && known->second != result.getType())) {
      return emitOpError("names result ") << name << " twice or with two types";
    }
  }
  for (Type type : block.getArgumentTypes()) {
    auto tensor = dyn_cast<RankedTensorType>(type);
    if (!tensor || !tensor.hasStaticShape()) {
      return emitOpError("has an argument that is no tensor of static shape");
    }
  }
  return success();
}

/// Both task lists are proved here, so that no later pass sees a schedule that hangs.
LogicalResult ScheduleOp::verifyRegions() {
  int64_t index = 0;
  for (Operation &op : getBody().front()) {
    auto rank = dyn_cast<RankOp>(op);
    if (!rank || rank.getIndex() != index++) {
      return op.emitOpError("is out of place: a plan.schedule holds plan.rank 0, 1, 2, ...");
    }
  }
  if (Result<void> proof = schedule::verify(training(), schedule::Purpose::Training); !proof) {
    return emitOpError("does not hold: ") << proof.error().text();
  }
  if (Result<void> proof = schedule::verify(evaluation(), schedule::Purpose::Evaluation); !proof) {
    return emitOpError("does not hold in evaluation: ") << proof.error().text();
  }
  return success();
}

} // namespace stagewright::plan
