#include "passes/Passes.h"
#include "passes/Provenance.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/MapVector.h"

using namespace mlir;

namespace stagewright {

#define GEN_PASS_DEF_PARTITIONSTAGES
#include "generated-passes/Passes.h.inc"

namespace {

using plan::Role;

/// Cuts one model. Stage numbers of values: that of the block that makes them; -1 for model inputs.
class Partitioner {
public:
  Partitioner(ModuleOp module, layer::ModelOp model, ArrayRef<int64_t> boundaries)
      : model(model), builder(model), boundaries(boundaries), inputs(module.getOps<layer::InputOp>()),
        recompute((*module.getOps<plan::SettingsOp>().begin()).getRecomputeAttr()),
        replicas((*module.getOps<plan::SettingsOp>().begin()).getDataParallel()),
        tensorRanks((*module.getOps<plan::SettingsOp>().begin()).getTensorParallel()) {
    int64_t index = 0, stage = 0;
    for (layer::BlockOp block : model.getBody().getOps<layer::BlockOp>()) {
      // The loss belongs to the last stage whatever its index.
      while (stage + 2 < static_cast<int64_t>(boundaries.size()) && index >= boundaries[stage + 1]) {
        ++stage;
      }
      stageOf[block] = stage;
      ++index;
    }
  }

  void run() {
    int64_t stages = static_cast<int64_t>(boundaries.size()) - 1;
    plan::MeshOp::create(builder, madeBy("partition-stages", model.getLoc()), stages, replicas, tensorRanks);
    for (int64_t stage = 0; stage < stages; ++stage) {
      makeStage(stage, stages);
    }
    model.erase();
  }

private:
  plan::ValueAttr named(Role role, StringRef name) {
    return plan::ValueAttr::get(builder.getContext(), role, name);
  }

  /// One entry may stand for all stages; none where nothing is computed again.
  StringAttr recomputeOf(int64_t stage) {
    StringAttr policy =
        recompute ? cast<StringAttr>(recompute[recompute.size() == 1 ? 0 : stage]) : StringAttr();
    return policy && policy.getValue() != "none" ? policy : StringAttr();
  }

  static std::string valueName(Value value) {
    auto block = value.getDefiningOp<layer::BlockOp>();
    std::string name = block.getName().str();
    unsigned number = cast<OpResult>(value).getResultNumber();
    return number == 0 ? name : name + "/" + std::to_string(number);
  }

  /// Values made in stages <= `stage` and used in later ones, in order of definition: what crosses behind
  /// `stage`.
  SmallVector<Value> crossing(int64_t stage) {
    SmallVector<Value> values;
    for (layer::BlockOp block : model.getBody().getOps<layer::BlockOp>()) {
      for (Value output : block.getOutputs()) {
        bool usedLater = llvm::any_of(output.getUsers(), [&](Operation *user) {
          auto found = stageOf.find(user);
          return found != stageOf.end() && found->second > stage;
        });
        if (stageOf[block] <= stage && usedLater) {
          values.push_back(output);
        }
      }
    }
    return values;
  }

  void makeStage(int64_t stage, int64_t stages) {
    Location location = madeBy("partition-stages", model.getLoc());
    builder.setInsertionPoint(model);
    auto op = plan::StageOp::create(builder, location, stage, stage, boundaries[stage], boundaries[stage + 1],
                                    recomputeOf(stage));
    builder.createBlock(&op.getBody());
    SmallVector<Attribute> arguments, results;
    auto function = plan::FunctionOp::create(builder, location, plan::FunctionKind::Model,
                                             builder.getArrayAttr({}), builder.getArrayAttr({}));
    Block *body = builder.createBlock(&function.getBody());
    IRMapping mapping;
    held.clear();
    updates.clear();
    if (stage > 0) {
      for (Value value : crossing(stage - 1)) {
        arguments.push_back(named(Role::Receive, valueName(value)));
        mapping.map(value, body->addArgument(value.getType(), value.getLoc()));
      }
    }
    for (layer::BlockOp block : model.getBody().getOps<layer::BlockOp>()) {
      if (stageOf[block] == stage) {
        inlineBlock(block, body, mapping, arguments);
      }
    }
    SmallVector<Value> returned;
    if (stage + 1 < stages) {
      for (Value value : crossing(stage)) {
        results.push_back(named(Role::Send, valueName(value)));
        returned.push_back(mapping.lookup(value));
      }
    } else {
      auto yield = cast<layer::YieldOp>(model.getBody().front().getTerminator());
      for (auto [index, value] : llvm::enumerate(yield.getValues())) {
        results.push_back(named(index == 0 ? Role::Loss : Role::Correct, index == 0 ? "losses" : "correct"));
        returned.push_back(mapping.lookup(value));
      }
      // What evaluation hands out: the value of the last layer, which stands before the loss.
      Value last = cast<layer::BlockOp>(*std::next(model.getBody().front().rbegin(), 2)).getOutputs().front();
      results.push_back(named(Role::Output, valueName(last)));
      returned.push_back(mapping.lookup(last));
    }
    for (auto &[name, value] : updates) {
      results.push_back(named(Role::Buffer, name));
      returned.push_back(value);
    }
    plan::ReturnOp::create(builder, location, returned);
    function.setInputsAttr(builder.getArrayAttr(arguments));
    function.setOutputsAttr(builder.getArrayAttr(results));
  }

  /// The stage's argument for a parameter or a buffer.
  Value holding(Role role, StringRef name, Value value, Block *body, SmallVector<Attribute> &arguments) {
    Value &argument = held[name];
    if (!argument) {
      arguments.push_back(named(role, name));
      argument = body->addArgument(value.getType(), value.getLoc());
    }
    return argument;
  }

  void inlineBlock(layer::BlockOp block, Block *body, IRMapping &mapping, SmallVector<Attribute> &arguments) {
    for (auto [outer, inner] : llvm::zip(block.getInputs(), block.getBody().getArguments())) {
      if (!mapping.contains(outer)) { // a model input, met for the first time in this stage
        auto number = cast<BlockArgument>(outer).getArgNumber();
        arguments.push_back(named(Role::Input, (*std::next(inputs.begin(), number)).getName()));
        mapping.map(outer, body->addArgument(outer.getType(), outer.getLoc()));
      }
      mapping.map(inner, mapping.lookup(outer));
    }
    for (Operation &op : block.getBody().front().without_terminator()) {
      if (auto read = dyn_cast<layer::ParameterValueOp>(op)) {
        mapping.map(read.getResult(),
                    holding(Role::Parameter, read.getParameter(), read.getResult(), body, arguments));
      } else if (auto read = dyn_cast<layer::BufferValueOp>(op)) {
        mapping.map(read.getResult(),
                    holding(Role::Buffer, read.getBuffer(), read.getResult(), body, arguments));
      } else if (auto update = dyn_cast<layer::BufferUpdateOp>(op)) {
        updates[update.getBuffer()] = mapping.lookup(update.getValue());
      } else {
        builder.clone(op, mapping);
      }
    }
    for (auto [outer, inner] :
         llvm::zip(block.getOutputs(), block.getBody().front().getTerminator()->getOperands())) {
      mapping.map(outer, mapping.lookup(inner));
    }
  }

  layer::ModelOp model;
  OpBuilder builder;
  ArrayRef<int64_t> boundaries;
  decltype(std::declval<ModuleOp>().getOps<layer::InputOp>()) inputs;
  ArrayAttr recompute; ///< may be null
  int64_t replicas, tensorRanks;
  llvm::DenseMap<Operation *, int64_t> stageOf;
  // Of the stage at hand, by name:
  llvm::MapVector<StringRef, Value> held;    ///< parameters and buffers, the stage's arguments
  llvm::MapVector<StringRef, Value> updates; ///< buffers behind a micro-batch
};

struct PartitionStagesPass : impl::PartitionStagesBase<PartitionStagesPass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    plan::ChoiceOp choice = *module.getOps<plan::ChoiceOp>().begin();
    Partitioner(module, *module.getOps<layer::ModelOp>().begin(), choice.getBoundaries()).run();
  }
};

} // namespace
} // namespace stagewright
