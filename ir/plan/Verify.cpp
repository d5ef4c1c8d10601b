// Verifiers of the plan dialect.
#include "ir/plan/PlanDialect.h"

#include "catalogue/Target.h"
#include "ir/command/CommandDialect.h"
#include "ir/layer/LayerDialect.h"
#include "schedule/Recompute.h"
#include "schedule/TaskTable.h"

using namespace mlir;

namespace stagewright::plan {

catalogue::GradientWire SettingsOp::gradientWire() {
  catalogue::GradientWire wire;
  wire.dtype = getWire() == "fp16"   ? catalogue::DType::F16
               : getWire() == "bf16" ? catalogue::DType::BF16
                                     : catalogue::DType::F32;
  if (CompressionAttr compression = getCompressionAttr()) {
    wire.compression =
        compression.getType() == "top_k" ? catalogue::Compression::TopK : catalogue::Compression::OneBit;
    wire.ratio = compression.getRatio().getValueAsDouble();
  }
  return wire;
}

LogicalResult SettingsOp::verify() {
  auto positive = [](int64_t value) { return value > 0 && value <= INT32_MAX; };
  int64_t samples = 0;
  if (!positive(getStages()) || !positive(getMicroBatches()) || !positive(getMicroBatchSize()) ||
      !positive(getDataParallel()) || !positive(getTrainBatchSize()) ||
      getMicroBatches() > schedule::kMaxMicroBatches ||
      __builtin_mul_overflow(getMicroBatches() * getMicroBatchSize(), getDataParallel(), &samples) ||
      getTrainBatchSize() != samples) {
    return emitOpError(
        "needs positive sizes with train_batch_size = micro_batch_size x micro_batches x data_parallel");
  }
  if (!llvm::is_contained({"sgd", "adam", "adamw", "adagrad", "lamb", "lion"}, getOptimizer())) {
    return emitOpError("has an unknown optimizer \"") << getOptimizer() << "\"";
  }
  if ((getOptimizer() == "adagrad" && !getLrDecay()) ||
      (getOptimizer() == "lamb" && (!getMaxCoeff() || !getMinCoeff()))) {
    return emitOpError("lacks a setting of the optimizer ") << getOptimizer();
  }
  if (getScheduler().has_value() != getSchedulerParams().has_value() ||
      (getSchedulerParams() && failed(command::catalogueAttributes(*getSchedulerParams())))) {
    return emitOpError("needs a scheduler with parameters that are i64, f64 or text, or none");
  }
  if (!llvm::is_contained({"step", "visit", "block"}, getGather())) {
    return emitOpError("gathers weights for a step, a visit or a block");
  }
  if (!llvm::is_contained({"step", "micro_batch"}, getReduction())) {
    return emitOpError("adds up gradients after a step or a micro_batch");
  }
  if (!llvm::is_contained({"fp32", "fp16", "bf16"}, getWire())) {
    return emitOpError("sends gradients in fp32, fp16 or bf16");
  }
  if (CompressionAttr compression = getCompressionAttr()) {
    double ratio = compression.getRatio().getValueAsDouble();
    bool isTopK = compression.getType() == "top_k";
    if (isTopK ? !(ratio > 0 && ratio <= 1) : compression.getType() != "one_bit" || ratio != 0) {
      return emitOpError("compresses gradients by top_k with a ratio in (0, 1], or to one_bit");
    }
    if (getWire() != "fp32" || getReduction() != "step") {
      return emitOpError("compresses fp32 sums of a step");
    }
  }
  if (getZero() < 0 || getZero() > 3) {
    return emitOpError("needs a ZeRO stage from 0 to 3");
  }
  if (getShardGroup() < 0 || getDataParallel() % replicasOfShards() != 0 ||
      (getShardGroup() > 0 && (getZero() != 3 || getWeightsOffload()))) {
    return emitOpError("has groups of shards with ZeRO stage 3 without offloaded weights, of a size that "
                       "divides the replicas");
  }
  if (getServers() < 0 || getServers() > 256 || getStaleness() < 0 || getStaleness() > 64 ||
      (getStaleness() > 0 && (getServers() == 0 || getPrecision() != "fp32")) ||
      (getServers() > 0 &&
       (getDataParallel() == 1 || getZero() > 0 || getReduction() != "step" || !gradientWire().isExact()))) {
    return emitOpError("has parameter servers of several replicas, without ZeRO, that get fp32 sums of a "
                       "step; with staleness in fp32");
  }
  if ((getStatesOffload() && getZero() == 0) || (getWeightsOffload() && getZero() < 3)) {
    return emitOpError("offloads shards: of states from ZeRO stage 1 on, of weights with stage 3");
  }
  std::vector<std::string> targets;
  for (StringRef target : getTargets().getAsValueRange<StringAttr>()) {
    if (catalogue::familyOf(target).empty() || llvm::is_contained(targets, target)) {
      return emitOpError("needs targets \"host\" or \"cuda:sm_NN\", none of them twice");
    }
    targets.push_back(target.str());
  }
  bool hasFiles = (getStatesOffload() && getStatesOffload()->tierNumber() == 2) ||
                  (getWeightsOffload() && getWeightsOffload()->tierNumber() == 2);
  if (targets.empty() ||
      (llvm::any_of(targets, catalogue::isCuda) &&
       (getServers() > 0 || hasFiles || (getDataParallel() > 1 && !gradientWire().isExact())))) {
    return emitOpError(
        "needs a target, and for CUDA no parameter servers, no offload to files and gradients that "
        "travel in fp32");
  }
  if (getPrecision() != "fp32" && getPrecision() != "fp16" && getPrecision() != "bf16") {
    return emitOpError("needs the precision fp32, fp16 or bf16");
  }
  if (ArrayAttr policies = getRecomputeAttr()) {
    if (policies.size() != 1 && static_cast<int64_t>(policies.size()) != getStages()) {
      return emitOpError("needs one entry in recompute, or one for each stage");
    }
    for (StringAttr policy : policies.getAsRange<StringAttr>()) {
      if (auto parsed = schedule::parseRecompute(policy.getValue()); !parsed) {
        return emitOpError("recompute: ") << parsed.error().what;
      }
    }
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

LogicalResult FolderOp::verify() {
  return getCopies().size() % 2 == 0
             ? LogicalResult(success())
             : emitOpError("needs pairs in copies: a tensor and the parameter that it repeats");
}

LogicalResult LossScaleOp::verify() {
  auto positive = [](const APFloat &value) { return value.isFinite() && value.convertToDouble() > 0; };
  if (!positive(getInitial()) || !positive(getMinimum()) || getWindow() < 1 || getHysteresis() < 1) {
    return emitOpError("needs scales, a window and a hysteresis above zero");
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

LogicalResult ShardOp::verify() {
  ArrayRef<int64_t> pieces = getPieces();
  int64_t next = 0;
  bool holds = !pieces.empty() && pieces.size() % 4 == 0;
  for (size_t i = 0; holds && i < pieces.size(); i += 4) {
    holds = pieces[i] == next && pieces[i + 1] > 0 && pieces[i + 2] >= 0 && pieces[i + 3] >= 0;
    next = pieces[i] + pieces[i + 1];
  }
  return holds ? LogicalResult(success())
               : emitOpError("needs pieces that follow each other from the first element on");
}

LogicalResult StageOp::verify() {
  if (auto policy = getRecompute()) {
    if (auto parsed = schedule::parseRecompute(*policy); !parsed) {
      return emitOpError("recompute: ") << parsed.error().what;
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

namespace {

/// Ops that overwrite an operand, in order: which version of its memory each value names.
class Overwriting {
public:
  explicit Overwriting(FunctionOp function) : function(function), body(function.getBody().front()) {}

  LogicalResult verify() {
    for (Operation &op : body) {
      if (failed(reads(op)) || failed(writes(op))) {
        return failure();
      }
    }
    return results();
  }

private:
  /// An operand must be the latest version of its memory.
  LogicalResult reads(Operation &op) {
    for (Value operand : op.getOperands()) {
      if (version.lookup(operand) != latest.lookup(layer::memoryRoot(operand))) {
        return op.emitOpError("reads a value whose memory an earlier op of the function has overwritten");
      }
    }
    return success();
  }

  LogicalResult writes(Operation &op) {
    auto kernel = dyn_cast<layer::Kernel>(op);
    for (OpResult result : op.getResults()) {
      int tied = kernel ? kernel.tiedOperand(result.getResultNumber()) : -1;
      Value root = layer::memoryRoot(result);
      if (tied < 0) {
        version[result] = latest.lookup(root); // a view, or memory of its own
        continue;
      }
      auto shares = [&](OpOperand &other) {
        return static_cast<int>(other.getOperandNumber()) != tied && layer::memoryRoot(other.get()) == root;
      };
      if (llvm::any_of(op.getOpOperands(), shares)) {
        return op.emitOpError("overwrites an operand whose memory another operand shares");
      }
      version[result] = ++latest[root];
    }
    return success();
  }

  /// A result that names an argument is that argument's memory, and what overwrites an argument is returned
  /// under its name.
  LogicalResult results() {
    llvm::SmallDenseMap<Attribute, Value> returned;
    for (auto [name, value] : llvm::zip(function.getOutputs(), body.getTerminator()->getOperands())) {
      returned[name] = value;
    }
    for (auto [name, argument] : llvm::zip(function.getInputs(), body.getArguments())) {
      Value result = returned.lookup(name);
      if (result && layer::memoryRoot(result) != argument) {
        return function.emitOpError("names result ") << name << " as its argument, which it does not update";
      }
      if (!result && latest.lookup(argument) > 0) {
        return function.emitOpError("overwrites argument ") << name << " without naming it as a result";
      }
    }
    return success();
  }

  FunctionOp function;
  Block &body;
  llvm::DenseMap<Value, int> version; ///< of values: 0 where there is no entry
  llvm::DenseMap<Value, int> latest;  ///< by root
};

} // namespace

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
    if (!command::isStorable(type)) {
      return emitOpError("has an argument of type ") << type << ", which a file cannot hold";
    }
  }
  return Overwriting(*this).verify();
}

LogicalResult SharedOp::verify() {
  if (!command::isStorable(getType())) {
    return emitOpError("is of type ") << getType() << ", which a file cannot hold";
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
