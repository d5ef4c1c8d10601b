// The pass at the end of each phase: what must hold when the phase is through, with what to do when it does
// not. IR may also come from a file (--resume-from), so these checks are all that later passes rely on.
#include "passes/Passes.h"

#include "mlir/Transforms/DialectConversion.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringSet.h"

using namespace mlir;

namespace stagewright {

#define GEN_PASS_DEF_VERIFYIMPORT
#define GEN_PASS_DEF_VERIFYPRECISION
#define GEN_PASS_DEF_VERIFYSEARCH
#define GEN_PASS_DEF_VERIFYPARTITION
#define GEN_PASS_DEF_VERIFYDIFFERENTIATE
#define GEN_PASS_DEF_VERIFYPARALLEL
#define GEN_PASS_DEF_VERIFYSCHEDULE
#define GEN_PASS_DEF_VERIFYMEMORY
#define GEN_PASS_DEF_VERIFYLOWER
#include "generated-passes/Passes.h.inc"

namespace {

using plan::FunctionKind;
using plan::Role;

/// Exactly one op of this type at the top of the module.
template <typename Op>
LogicalResult hasOne(ModuleOp module) {
  auto count = llvm::range_size(module.getOps<Op>());
  if (count != 1) {
    return module.emitError() << "needs one " << Op::getOperationName() << ", but has " << count;
  }
  return success();
}

/// Fails on every op that the target calls illegal, all at once with their counts.
LogicalResult checkLegal(ModuleOp module, const ConversionTarget &target, StringRef what, StringRef advice) {
  llvm::MapVector<StringRef, unsigned> counts;
  Operation *first = nullptr;
  module.walk([&](Operation *op) {
    if (op != module && !target.isLegal(op)) {
      first = first ? first : op;
      ++counts[op->getName().getStringRef()];
    }
  });
  if (!first) {
    return success();
  }
  std::string list;
  for (auto &[name, count] : counts) {
    list += (list.empty() ? "" : ", ") + name.str() + " (" + std::to_string(count) + ")";
  }
  auto diagnostic = first->emitError() << what << ": " << list;
  diagnostic.attachNote() << advice;
  return diagnostic;
}

ConversionTarget declarationsLegal(MLIRContext *context) {
  ConversionTarget target(*context);
  target.addLegalOp<layer::ParameterOp, layer::InputOp, layer::LossOp, plan::SettingsOp>();
  return target;
}

struct VerifyImportPass : impl::VerifyImportBase<VerifyImportPass> {
  LogicalResult check(ModuleOp module) {
    ConversionTarget target(getContext());
    target.addLegalDialect<layer::LayerDialect>();
    target.addLegalOp<plan::SettingsOp>();
    if (failed(checkLegal(module, target, "the model holds ops that are not supported",
                          "use the layers of the layer dialect (docs/dialects/layer.md)")) ||
        failed(hasOne<layer::LossOp>(module)) || failed(hasOne<layer::ModelOp>(module)) ||
        failed(hasOne<plan::SettingsOp>(module))) {
      return failure();
    }
    layer::ModelOp model = *module.getOps<layer::ModelOp>().begin();
    for (Operation &op : model.getBody().front().without_terminator()) {
      auto block = dyn_cast<layer::BlockOp>(op);
      if (!block || block.getOutputs().empty()) {
        return op.emitError("the model's body must be a list of layer.block, each with a result");
      }
    }
    llvm::StringSet<> read;
    model.walk([&](layer::ParameterValueOp op) { read.insert(op.getParameter()); });
    for (layer::ParameterOp parameter : module.getOps<layer::ParameterOp>()) {
      if (!read.contains(parameter.getSymName())) {
        return parameter.emitError() << "parameter " << parameter.getSymName() << " is used by no layer";
      }
    }
    return checkUses(model);
  }

  /// Gradients are not summed over several uses, so each value has one.
  LogicalResult checkUses(layer::ModelOp model) {
    for (layer::BlockOp block : model.getBody().getOps<layer::BlockOp>()) {
      for (Value output : block.getOutputs()) {
        auto uses = llvm::range_size(llvm::make_filter_range(output.getUses(), [](OpOperand &use) {
          auto user = dyn_cast<layer::BlockOp>(use.getOwner());
          return user && isa<FloatType>(cast<RankedTensorType>(use.get().getType()).getElementType());
        }));
        bool returned =
            llvm::any_of(output.getUsers(), [](Operation *user) { return isa<layer::YieldOp>(user); });
        if (uses > 1 || (uses == 0 && !returned)) {
          auto diagnostic = block.emitError()
                            << "the output of layer " << block.getName() << " is used " << uses << " times";
          diagnostic.attachNote()
              << "this version trains chains: every layer feeds exactly one later layer or the loss";
          return diagnostic;
        }
      }
    }
    return success();
  }

  void runOnOperation() override {
    if (failed(check(getOperation()))) {
      signalPassFailure();
    }
  }
};

struct VerifyPrecisionPass : impl::VerifyPrecisionBase<VerifyPrecisionPass> {
  LogicalResult check(ModuleOp module) {
    if (failed(hasOne<plan::PrecisionOp>(module)) || failed(hasOne<layer::ModelOp>(module))) {
      return failure();
    }
    plan::PrecisionOp precision = *module.getOps<plan::PrecisionOp>().begin();
    for (layer::ParameterOp parameter : module.getOps<layer::ParameterOp>()) {
      if (cast<RankedTensorType>(parameter.getType()).getElementType() != precision.getMaster()) {
        return parameter.emitError("is not of the master type ") << precision.getMaster();
      }
    }
    return success();
  }
  void runOnOperation() override {
    if (failed(check(getOperation()))) {
      signalPassFailure();
    }
  }
};

struct VerifySearchPass : impl::VerifySearchBase<VerifySearchPass> {
  LogicalResult check(ModuleOp module) {
    if (failed(hasOne<plan::ChoiceOp>(module)) || failed(hasOne<layer::ModelOp>(module))) {
      return failure();
    }
    plan::ChoiceOp choice = *module.getOps<plan::ChoiceOp>().begin();
    plan::SettingsOp settings = *module.getOps<plan::SettingsOp>().begin();
    auto blocks = static_cast<int64_t>(llvm::range_size(module.getOps<plan::BlockOp>()));
    layer::ModelOp model = *module.getOps<layer::ModelOp>().begin();
    auto listed = llvm::count_if(model.getBody().getOps<layer::BlockOp>(),
                                 [](layer::BlockOp b) { return !b.getLoss(); });
    ArrayRef<int64_t> boundaries = choice.getBoundaries();
    if (boundaries.back() != blocks || blocks != listed ||
        static_cast<int64_t>(boundaries.size()) != settings.getStages() + 1) {
      auto diagnostic = choice.emitError("does not cut the ")
                        << listed << " blocks into " << settings.getStages() << " stages";
      diagnostic.attachNote() << "boundaries begin with 0, ascend, and end with the number of blocks";
      return diagnostic;
    }
    return success();
  }
  void runOnOperation() override {
    if (failed(check(getOperation()))) {
      signalPassFailure();
    }
  }
};

/// Types of the values of one role in a function's arguments or results, by name.
llvm::StringMap<Type> typesOf(plan::FunctionOp function, Role role, bool results) {
  llvm::StringMap<Type> types;
  ArrayAttr names = results ? function.getOutputs() : function.getInputs();
  Block &body = function.getBody().front();
  for (auto [index, name] : llvm::enumerate(names.getAsRange<plan::ValueAttr>())) {
    if (name.getRole() == role) {
      types[name.getName()] =
          results ? body.getTerminator()->getOperand(index).getType() : body.getArgument(index).getType();
    }
  }
  return types;
}

/// Stages are numbered in order, and what one sends is what the next receives.
LogicalResult checkChain(ModuleOp module, FunctionKind kind) {
  plan::StageOp previous;
  int64_t index = 0;
  for (plan::StageOp stage : module.getOps<plan::StageOp>()) {
    plan::FunctionOp function = plan::findFunction(stage, kind);
    if (!function || stage.getIndex() != index++ || stage.getRank() != stage.getIndex()) {
      return stage.emitError("is out of order or lacks function ") << plan::stringifyFunctionKind(kind);
    }
    llvm::StringMap<Type> received = typesOf(function, Role::Receive, false);
    llvm::StringMap<Type> sent =
        previous ? typesOf(plan::findFunction(previous, kind), Role::Send, true) : llvm::StringMap<Type>();
    bool equal = received.size() == sent.size() && llvm::all_of(received, [&](auto &entry) {
                   return sent.lookup(entry.getKey()) == entry.getValue();
                 });
    if (!equal || (previous && sent.empty())) {
      return stage.emitError("does not receive what stage ") << index - 2 << " sends";
    }
    previous = stage;
  }
  return success();
}

struct VerifyPartitionPass : impl::VerifyPartitionBase<VerifyPartitionPass> {
  LogicalResult check(ModuleOp module) {
    ConversionTarget target = declarationsLegal(&getContext());
    target.addLegalDialect<layer::LayerDialect, plan::PlanDialect>();
    target.addIllegalOp<layer::ModelOp, layer::BlockOp, layer::YieldOp, layer::ParameterValueOp>();
    if (failed(checkLegal(module, target, "the model is not wholly cut into stages",
                          "run the phase partition")) ||
        failed(hasOne<plan::MeshOp>(module)) || failed(checkChain(module, FunctionKind::Model))) {
      return failure();
    }
    WalkResult walked = module.walk([](layer::LinearOp op) {
      auto weight = dyn_cast<BlockArgument>(op.getWeight());
      if (!weight || !isa<plan::FunctionOp>(weight.getOwner()->getParentOp())) {
        op.emitError("has a weight that is no parameter of its stage");
        return WalkResult::interrupt();
      }
      return WalkResult::advance();
    });
    return failure(walked.wasInterrupted());
  }
  void runOnOperation() override {
    if (failed(check(getOperation()))) {
      signalPassFailure();
    }
  }
};

struct VerifyDifferentiatePass : impl::VerifyDifferentiateBase<VerifyDifferentiatePass> {
  LogicalResult check(ModuleOp module) {
    for (plan::StageOp stage : module.getOps<plan::StageOp>()) {
      llvm::StringMap<Type> saved;
      for (FunctionKind kind : {FunctionKind::Prepare, FunctionKind::Forward, FunctionKind::BackwardInput,
                                FunctionKind::BackwardWeight, FunctionKind::Evaluate}) {
        plan::FunctionOp function = plan::findFunction(stage, kind);
        if (!function) {
          return stage.emitError("has no function ") << plan::stringifyFunctionKind(kind);
        }
        for (auto &entry : typesOf(function, Role::Saved, false)) {
          if (saved.lookup(entry.getKey()) != entry.getValue()) {
            return function.emitError("reads saved value ")
                   << entry.getKey() << " before an earlier function made it";
          }
        }
        for (auto &entry : typesOf(function, Role::Saved, true)) {
          saved[entry.getKey()] = entry.getValue();
        }
      }
    }
    WalkResult walked = module.walk([](Operation *op) {
      Value weight = isa<layer::LinearOp, layer::LinearInputGradOp>(op) ? op->getOperand(1) : Value();
      if (weight && cast<RankedTensorType>(weight.getType()).getRank() != 1) {
        op->emitError("has a weight that is not packed; run prepare-weights");
        return WalkResult::interrupt();
      }
      return WalkResult::advance();
    });
    return failure(walked.wasInterrupted() || failed(checkChain(module, FunctionKind::Forward)) ||
                   failed(checkChain(module, FunctionKind::Evaluate)));
  }
  void runOnOperation() override {
    if (failed(check(getOperation()))) {
      signalPassFailure();
    }
  }
};

struct VerifyParallelPass : impl::VerifyParallelBase<VerifyParallelPass> {
  LogicalResult check(ModuleOp module) {
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
      if (updates.lookup(parameter.getSymName()) != 1) {
        return parameter.emitError() << "parameter " << parameter.getSymName() << " is updated "
                                     << updates.lookup(parameter.getSymName()) << " times in a step";
      }
    }
    auto stages = static_cast<int64_t>(llvm::range_size(module.getOps<plan::StageOp>()));
    llvm::StringSet<> names;
    for (plan::SharedOp shared : module.getOps<plan::SharedOp>()) {
      if (!names.insert(shared.getName()).second || shared.getStage() < 0 || shared.getStage() >= stages) {
        return shared.emitError("is shared twice or by no stage");
      }
    }
    return success();
  }
  void runOnOperation() override {
    if (failed(check(getOperation()))) {
      signalPassFailure();
    }
  }
};

struct VerifySchedulePass : impl::VerifyScheduleBase<VerifySchedulePass> {
  LogicalResult check(ModuleOp module) {
    if (failed(hasOne<plan::ScheduleOp>(module))) {
      return failure();
    }
    plan::ScheduleOp schedule = *module.getOps<plan::ScheduleOp>().begin();
    plan::SettingsOp settings = *module.getOps<plan::SettingsOp>().begin();
    ArrayRef<int64_t> ranks = schedule.getRankOfStage();
    bool same = schedule.getMicroBatches() == settings.getMicroBatches() &&
                ranks.size() == llvm::range_size(module.getOps<plan::StageOp>());
    for (plan::StageOp stage : module.getOps<plan::StageOp>()) {
      same = same && stage.getRank() == ranks[stage.getIndex()];
    }
    if (!same) {
      return schedule.emitError("is not for the stages, ranks and micro-batches of this plan");
    }
    return success();
  }
  void runOnOperation() override {
    if (failed(check(getOperation()))) {
      signalPassFailure();
    }
  }
};

struct VerifyMemoryPass : impl::VerifyMemoryBase<VerifyMemoryPass> {
  LogicalResult checkRank(ModuleOp module, command::RankOp rank) {
    plan::ScheduleOp schedule = *module.getOps<plan::ScheduleOp>().begin();
    schedule::Schedule training = schedule.training(), evaluation = schedule.evaluation();
    for (command::PoolOp pool : rank.getBody().getOps<command::PoolOp>()) {
      schedule::Lifetime life{static_cast<int>(pool.getStage()),
                              static_cast<schedule::TaskKind>(pool.getFirst()),
                              static_cast<schedule::TaskKind>(pool.getLast()), pool.getSent()};
      auto slots = [&](ArrayRef<int64_t> list) {
        return schedule::SlotAssignment{static_cast<int>(pool.getSlots()), {list.begin(), list.end()}};
      };
      Result<void> train = schedule::verifySlots(training, life, slots(pool.getTrain()));
      Result<void> evaluate = schedule::verifySlots(evaluation, life, slots(pool.getEvaluate()));
      if (!train || !evaluate) {
        return pool.emitError((train ? evaluate : train).error().text());
      }
    }
    llvm::DenseSet<std::pair<int64_t, Attribute>> placed;
    for (plan::PlacementOp place : rank.getBody().getOps<plan::PlacementOp>()) {
      placed.insert({place.getStage(), place.getValue()});
    }
    llvm::StringSet<> cells;
    for (command::ScalarOp cell : rank.getBody().getOps<command::ScalarOp>()) {
      cells.insert(cell.getName());
    }
    for (plan::StageOp stage : module.getOps<plan::StageOp>()) {
      for (plan::FunctionOp function : stage.getBody().getOps<plan::FunctionOp>()) {
        for (ArrayAttr names : {function.getInputs(), function.getOutputs()}) {
          for (plan::ValueAttr name : names.getAsRange<plan::ValueAttr>()) {
            bool cell = name.getRole() == Role::Scalar || name.getRole() == Role::Shared;
            bool found = cell ? cells.contains(name.getName()) : placed.contains({stage.getIndex(), name});
            if (stage.getRank() == rank.getIndex() && !found) {
              return function.emitError("uses ") << name << ", which has no place in memory";
            }
          }
        }
      }
    }
    return success();
  }

  void runOnOperation() override {
    ModuleOp module = getOperation();
    if (module.getOps<command::ExecutableOp>().empty()) {
      module.emitError("holds no command.executable");
      return signalPassFailure();
    }
    for (command::ExecutableOp executable : module.getOps<command::ExecutableOp>()) {
      for (command::RankOp rank : executable.getBody().getOps<command::RankOp>()) {
        if (failed(checkRank(module, rank))) {
          return signalPassFailure();
        }
      }
    }
  }
};

struct VerifyLowerPass : impl::VerifyLowerBase<VerifyLowerPass> {
  void runOnOperation() override {
    ConversionTarget target = declarationsLegal(&getContext());
    target.addLegalDialect<command::CommandDialect>();
    target.addLegalOp<plan::PrecisionOp, plan::BlockOp, plan::ChoiceOp, plan::MeshOp, plan::ScheduleOp,
                      plan::RankOp>();
    ModuleOp module = getOperation();
    if (failed(checkLegal(module, target, "ops are left that the file cannot hold", "run the phase lower")) ||
        failed(hasOne<plan::ChoiceOp>(module)) || failed(hasOne<plan::ScheduleOp>(module))) {
      signalPassFailure();
    }
  }
};

} // namespace
} // namespace stagewright
