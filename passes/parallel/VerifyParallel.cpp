// Behind parallel: parameters are updated once, and what ranks share has one producer.
#include "passes/PhaseChecks.h"
#include "passes/parallel/TiedParameters.h"

#include <map>

using namespace mlir;

namespace stagewright {

#define GEN_PASS_DEF_VERIFYPARALLEL
#include "generated-passes/Passes.h.inc"

namespace {

using plan::FunctionKind;
using plan::Role;

/// Who makes the shared values: functions `norm`, and F for the elements of the per-micro-batch vectors.
struct Producers {
  struct Producer {
    int64_t stage;
    Type type;
  };
  llvm::StringMap<SmallVector<Producer>> of;

  explicit Producers(ModuleOp module) {
    int64_t microBatches = theOne<plan::SettingsOp>(module).getMicroBatches();
    for (plan::StageOp stage : module.getOps<plan::StageOp>()) {
      for (auto &entry : typesOf(plan::findFunction(stage, FunctionKind::Norm), Role::Shared, true)) {
        of[entry.getKey()].push_back({stage.getIndex(), entry.getValue()});
      }
      plan::FunctionOp evaluate = plan::findFunction(stage, FunctionKind::Evaluate);
      for (Role role : {Role::Loss, Role::Correct}) {
        for (auto &entry : typesOf(evaluate, role, true)) {
          auto ofOne = cast<RankedTensorType>(entry.getValue());
          of[role == Role::Loss ? "losses" : "correct"].push_back(
              {stage.getIndex(),
               RankedTensorType::get({microBatches * ofOne.getNumElements()}, ofOne.getElementType())});
        }
      }
    }
  }
};

LogicalResult checkShared(ModuleOp module) {
  auto stages = static_cast<int64_t>(llvm::range_size(module.getOps<plan::StageOp>()));
  bool accuracy = theOne<layer::LossOp>(module).getAccuracy().has_value();
  Producers producers(module);
  llvm::StringMap<Type> shared;
  int64_t granules = 0;
  for (plan::SharedOp op : module.getOps<plan::SharedOp>()) {
    if (!shared.try_emplace(op.getName(), op.getType()).second || op.getStage() < 0 ||
        op.getStage() >= stages) {
      return op.emitError("is shared twice or by no stage");
    }
    auto found = producers.of.find(op.getName());
    bool isUnused = op.getName() == "correct" && !accuracy; // a vector of zeros
    bool holds = found == producers.of.end()
                     ? isUnused
                     : found->second.size() == 1 && found->second.front().stage == op.getStage() &&
                           found->second.front().type == op.getType();
    if (!holds) {
      return op.emitError("\"") << op.getName() << "\" has not stage " << op.getStage()
                                << " alone for its producer, or another type there";
    }
    granules +=
        op.getName().starts_with("partials/") ? cast<RankedTensorType>(op.getType()).getNumElements() : 0;
  }
  for (StringRef name : {"loss", "losses", "correct"}) {
    if (!shared.contains(name)) {
      return module.emitError("shares no \"") << name << "\"";
    }
  }
  for (auto &entry : producers.of) {
    if (!shared.contains(entry.getKey())) {
      return module.emitError("does not share \"") << entry.getKey() << "\", which a stage makes for all";
    }
  }
  shared["partials"] = RankedTensorType::get({granules}, Float64Type::get(module.getContext()));
  for (plan::StageOp stage : module.getOps<plan::StageOp>()) {
    for (plan::FunctionOp function : stage.getBody().getOps<plan::FunctionOp>()) {
      for (auto &entry : typesOf(function, Role::Shared, false)) {
        if (shared.lookup(entry.getKey()) != entry.getValue()) {
          return function.emitError("reads \"") << entry.getKey() << "\", which is not shared with this type";
        }
      }
    }
  }
  return success();
}

/// The first sum of a parameter is its owner's, whose `norm` adds those of other stages; these clear what
/// they have sent.
LogicalResult checkSums(ModuleOp module) {
  for (auto &[parameter, sums] : gradientSums(module)) {
    plan::FunctionOp norm = plan::findFunction(sums.front().stage, FunctionKind::Norm);
    llvm::StringMap<Type> added = typesOf(norm, Role::Accumulator, true);
    if (!sums.front().isFirst()) {
      return norm.emitError("belongs to the first stage that uses ")
             << parameter << ", but not to its first use";
    }
    for (const GradientSum &sum : ArrayRef(sums).drop_front()) {
      StringRef name = sum.name.getName();
      bool moves = plan::StageOp(sum.stage) != plan::StageOp(sums.front().stage);
      plan::FunctionOp update = plan::findFunction(sum.stage, FunctionKind::Update);
      if (added.lookup(name) != sum.type ||
          (moves && typesOf(update, Role::Accumulator, true).lookup(name) != sum.type)) {
        return norm.emitError("does not add the gradient sum ") << name << ", or its stage does not clear it";
      }
    }
  }
  return success();
}

/// Every replica adds up (and with ZeRO updates) the pieces of its shard of the stage, and all of them every
/// element.
LogicalResult checkShards(ModuleOp module) {
  plan::SettingsOp settings = theOne<plan::SettingsOp>(module);
  auto sums = gradientSums(module);
  using Key = std::pair<int64_t, int64_t>;          // stage, replica
  std::map<Key, std::map<int64_t, int64_t>> shards; // first element, end
  unsigned divided = 0;
  for (plan::ShardOp shard : module.getOps<plan::ShardOp>()) {
    auto found = sums.find(shard.getParameter());
    ArrayRef<int64_t> pieces = shard.getPieces();
    int64_t end = pieces[pieces.size() - 4] + pieces[pieces.size() - 3];
    if (found == sums.end() || end != found->second.front().type.getNumElements()) {
      return shard.emitError("divides a parameter that is not trained, or not all of it");
    }
    bool isOwner = shard.getStage() == found->second.front().stage.getIndex();
    if (!isOwner && !settings.shardsWeights() && !settings.shardsGradients()) {
      return shard.emitError("divides a copy, of which every replica has all");
    }
    divided += isOwner;
    for (size_t i = 0; i < pieces.size(); i += 4) {
      auto &shardOf = shards[{shard.getStage(), pieces[i + 2]}];
      auto [place, isNew] = shardOf.try_emplace(pieces[i + 3], pieces[i + 3] + pieces[i + 1]);
      bool collides = !isNew || pieces[i + 2] >= settings.updaters() ||
                      (place != shardOf.begin() && std::prev(place)->second > place->first) ||
                      (std::next(place) != shardOf.end() && std::next(place)->first < place->second);
      if (collides) {
        return shard.emitError("gives replica ") << pieces[i + 2] << " a piece where another one lies";
      }
    }
  }
  bool divides = settings.getDataParallel() > 1 || settings.offloads();
  if (divided != (divides ? sums.size() : 0)) {
    return module.emitError(
        "needs one plan.shard per trained parameter with several replicas or offload, and none otherwise");
  }
  return success();
}

struct VerifyParallelPass : impl::VerifyParallelBase<VerifyParallelPass> {
  void runOnOperation() override {
    if (failed(phaseHolds(getOperation(), Phase::Parallel))) {
      signalPassFailure();
    }
  }
};

} // namespace

LogicalResult parallelHolds(ModuleOp module) {
  llvm::StringMap<unsigned> updates;
  for (plan::StageOp stage : module.getOps<plan::StageOp>()) {
    plan::FunctionOp update = plan::findFunction(stage, FunctionKind::Update);
    if (!update || !plan::findFunction(stage, FunctionKind::Norm)) {
      return stage.emitError("has no function norm or update");
    }
    for (auto &entry : typesOf(update, Role::Parameter, true)) {
      ++updates[entry.getKey()];
    }
  }
  for (layer::ParameterOp parameter : module.getOps<layer::ParameterOp>()) {
    if (updates.lookup(parameter.getSymName()) != (parameter.getFrozen() ? 0 : 1)) {
      return parameter.emitError() << "parameter " << parameter.getSymName() << " is updated "
                                   << updates.lookup(parameter.getSymName()) << " times in a step";
    }
  }
  return failure(failed(checkSums(module)) || failed(checkShared(module)) || failed(checkShards(module)));
}

} // namespace stagewright
