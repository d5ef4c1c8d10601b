#include "passes/Passes.h"
#include "passes/Provenance.h"
#include "passes/differentiate/Recompute.h"
#include "passes/differentiate/StageSlicer.h"

#include "ir/layer/GradientBuilder.h"
#include "mlir/IR/Builders.h"

using namespace mlir;

namespace stagewright {

#define GEN_PASS_DEF_DIFFERENTIATESTAGES
#include "generated-passes/Passes.h.inc"

namespace {

using plan::FunctionKind;
using plan::Role;

/// Integers have no gradient.
bool isReal(Value value) {
  return isa<FloatType>(cast<RankedTensorType>(value.getType()).getElementType());
}

/// Appends the gradient of one stage's `model` function to its body, and remembers which op belongs to which
/// slice.
class JointGraph {
public:
  JointGraph(plan::FunctionOp model, double lossSeed, bool scalesLoss, bool isTrained)
      : model(model), block(model.getBody().front()), builder(block.getTerminator()),
        gradients(builder, lossSeed), isTrained(isTrained) {
    for (Operation &op : block.without_terminator()) {
      forward.push_back(&op);
    }
    for (auto [name, argument] :
         llvm::zip(model.getInputs().getAsRange<plan::ValueAttr>(), block.getArguments())) {
      names[argument] = name;
      if (name.getRole() != Role::Parameter) {
        inputs.push_back(argument);
      } else if (!isFrozen(name.getName())) {
        parameters.push_back(argument);
      }
    }
    if (scalesLoss) {
      gradients.setLossScale(
          this->argument(Role::Scalar, "loss_scale", RankedTensorType::get({1}, builder.getF32Type())));
    }
  }

  LogicalResult build() {
    markNeeded();
    for (Value parameter : parameters) {
      if (isUsedElsewhereFirst(parameter)) {
        continue;
      }
      Value sum = argument(Role::Accumulator, names[parameter].getName(), parameter.getType());
      gradients.setAccumulator(parameter, sum);
    }
    for (Operation *op : forward) {
      auto use = dyn_cast<layer::ParameterUseOp>(op);
      if (use && !isFrozen(names[use.getParameter()].getName())) {
        std::string name = (names[use.getParameter()].getName() + "/" + Twine(use.getIndex())).str();
        Value sum = argument(Role::Accumulator, name, use.getValue().getType());
        gradients.setAccumulator(use.getValue(), sum);
        uses.push_back({names[sum], use.getValue()});
      }
    }
    auto yield = cast<plan::ReturnOp>(block.getTerminator());
    for (auto [name, value] :
         llvm::zip(model.getOutputs().getAsRange<plan::ValueAttr>(), yield.getValues())) {
      if (name.getRole() == Role::Send && isReal(value)) {
        gradients.addGradient(value, argument(Role::ReceiveGradient, name.getName(), value.getType()));
      }
    }
    for (Operation *op : llvm::reverse(forward)) {
      if (auto rule = dyn_cast<layer::Differentiable>(op)) {
        record(inputSlice, [&] { rule.buildInputGradients(gradients); });
        record(weightSlice, [&] { rule.buildParameterGradients(gradients); });
      } else if (llvm::any_of(op->getResults(),
                              [&](Value result) { return gradients.gradient(result) != nullptr; })) {
        return op->emitOpError("has no gradient rule").attachNote()
               << "freeze what lies before it or replace it";
      }
    }
    return success();
  }

  /// What a stage of a model that is not trained would send back, which nobody reads.
  Value noGradient(Value input) {
    Value zeros;
    record(inputSlice, [&] {
      zeros = layer::ScaleOp::create(builder, model.getLoc(), input.getType(), input,
                                     builder.getF64FloatAttr(0), builder.getF64FloatAttr(0));
    });
    return zeros;
  }

  void computeAgain(plan::StageOp stage) {
    schedule::Recompute policy = *schedule::parseRecompute(stage.getRecompute().value_or("none"));
    auto clones = recompute(stage, forward, policy);
    if (clones.empty()) {
      return;
    }
    // In the order of the block, in which clones stand before their first reader.
    llvm::DenseSet<Operation *> members(inputSlice.begin(), inputSlice.end());
    inputSlice.clear();
    for (Operation &op : block.without_terminator()) {
      if (members.contains(&op) || clones.contains(&op)) {
        inputSlice.push_back(&op);
      }
    }
  }

  plan::FunctionOp model;
  Block &block;
  OpBuilder builder;
  layer::GradientBuilder gradients;
  SmallVector<Operation *> forward, inputSlice, weightSlice;
  SmallVector<Value> parameters, inputs;               ///< trainable parameters; all that is no parameter
  SmallVector<std::pair<plan::ValueAttr, Value>> uses; ///< the further ones of tied parameters, by their sums
  llvm::DenseMap<Value, plan::ValueAttr> names;        ///< of arguments

private:
  const bool isTrained;

  /// All uses on this stage are further ones: the first use, and the sum that has the parameter's name,
  /// belong to an earlier stage.
  static bool isUsedElsewhereFirst(Value parameter) {
    return !parameter.use_empty() && llvm::all_of(parameter.getUsers(), [](Operation *user) {
      return isa<layer::ParameterUseOp>(user);
    });
  }

  bool isFrozen(StringRef parameter) {
    auto module = model->getParentOfType<ModuleOp>();
    return cast<layer::ParameterOp>(SymbolTable::lookupSymbolIn(module, parameter)).getFrozen();
  }

  Value argument(Role role, StringRef name, Type type) {
    BlockArgument value = block.addArgument(type, model.getLoc());
    names[value] = plan::ValueAttr::get(builder.getContext(), role, name);
    return value;
  }

  /// A gradient is of use to values that depend on a parameter of this stage or on an earlier stage.
  void markNeeded() {
    llvm::for_each(parameters, [&](Value parameter) { gradients.markNeeded(parameter); });
    for (Value input : inputs) {
      if (names[input].getRole() == Role::Receive && isReal(input) && isTrained) {
        gradients.markNeeded(input);
      }
    }
    for (Operation *op : forward) {
      if (llvm::any_of(op->getOperands(), [&](Value v) { return gradients.isNeeded(v); })) {
        llvm::for_each(llvm::make_filter_range(op->getResults(), isReal),
                       [&](Value result) { gradients.markNeeded(result); });
      }
    }
  }

  template <typename Build>
  void record(SmallVector<Operation *> &slice, Build build) {
    Operation *before = block.getTerminator()->getPrevNode();
    build();
    for (Operation *op = before ? before->getNextNode() : &block.front(); op != block.getTerminator();
         op = op->getNextNode()) {
      op->setLoc(madeBy("differentiate-stages", op->getLoc()));
      // A sum into an accumulator belongs to the weight gradients, whichever rule made it.
      (isa<layer::AccumulateOp>(op) ? weightSlice : slice).push_back(op);
    }
  }
};

/// The last slice: what evaluation computes in another way takes its place in the joint graph, and buffers
/// are read only.
LogicalResult sliceEvaluation(JointGraph &graph, StageSlicer &slicer) {
  SmallVector<Operation *> ops;
  for (Operation *op : graph.forward) {
    if (auto trained = dyn_cast<layer::Evaluation>(op)) {
      OpBuilder builder(op);
      Operation *before = op->getPrevNode();
      Value value = trained.buildEvaluation(builder);
      if (!value) {
        return op->emitOpError("has no form for evaluation: its function does not hold what that needs");
      }
      for (Operation *made = before ? before->getNextNode() : &graph.block.front(); made != op;
           made = made->getNextNode()) {
        made->setLoc(madeBy("differentiate-stages", op->getLoc()));
        ops.push_back(made);
      }
      op->getResult(0).replaceAllUsesWith(value);
    } else {
      ops.push_back(op);
    }
  }
  SmallVector<SliceResult> evaluated;
  auto yield = cast<plan::ReturnOp>(graph.block.getTerminator());
  for (auto [name, value] :
       llvm::zip(graph.model.getOutputs().getAsRange<plan::ValueAttr>(), yield.getValues())) {
    if (name.getRole() != Role::Buffer) {
      evaluated.push_back({name, value});
    }
  }
  slicer.sliceEvaluation(ops, evaluated);
  graph.model.erase();
  return success();
}

LogicalResult differentiate(plan::StageOp stage, double lossSeed, bool scalesLoss, bool isTrained) {
  plan::FunctionOp model = plan::findFunction(stage, FunctionKind::Model);
  JointGraph graph(model, lossSeed, scalesLoss, isTrained);
  if (failed(graph.build())) {
    return failure();
  }
  graph.computeAgain(stage);
  MLIRContext *context = stage.getContext();
  auto named = [&](Role role, StringRef name) { return plan::ValueAttr::get(context, role, name); };

  SmallVector<SliceResult> sent, sentGradients, sums;
  auto yield = cast<plan::ReturnOp>(graph.block.getTerminator());
  for (auto [name, value] : llvm::zip(model.getOutputs().getAsRange<plan::ValueAttr>(), yield.getValues())) {
    if (name.getRole() != Role::Correct && name.getRole() != Role::Output) { // of evaluation only
      sent.push_back({name, value});
    }
  }
  for (Value input : graph.inputs) {
    if (graph.names[input].getRole() != Role::Receive || !isReal(input)) {
      continue;
    }
    Value gradient = isTrained ? graph.gradients.gradient(input) : graph.noGradient(input);
    if (!gradient) {
      return model.emitOpError("does not use what it receives, ") << graph.names[input];
    }
    sentGradients.push_back({named(Role::SendGradient, graph.names[input].getName()), gradient});
  }
  for (Value parameter : graph.parameters) {
    if (Value sum = graph.gradients.accumulator(parameter)) {
      sums.push_back({named(Role::Accumulator, graph.names[parameter].getName()), sum});
    }
  }
  for (auto &[name, use] : graph.uses) {
    sums.push_back({name, graph.gradients.accumulator(use)});
  }

  SmallVector<SliceResult> leaving = llvm::filter_to_vector(
      sent, [](const SliceResult &result) { return result.name.getRole() == Role::Send; });
  llvm::append_range(leaving, sentGradients);
  StageSlicer slicer(stage, graph.names, leaving);
  // Later slices first: what they take from earlier ones becomes results there.
  slicer.slice(FunctionKind::BackwardWeight, graph.weightSlice, sums);
  slicer.slice(FunctionKind::BackwardInput, graph.inputSlice, sentGradients);
  slicer.slice(FunctionKind::Forward, graph.forward, sent);
  return sliceEvaluation(graph, slicer);
}

struct DifferentiateStagesPass : impl::DifferentiateStagesBase<DifferentiateStagesPass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    plan::SettingsOp settings = *module.getOps<plan::SettingsOp>().begin();
    double seed = 1.0 / static_cast<double>(settings.getMicroBatches() * settings.getDataParallel());
    bool scalesLoss = !module.getOps<plan::LossScaleOp>().empty();
    bool isTrained = !(*module.getOps<layer::LossOp>().begin()).getType().empty();
    for (plan::StageOp stage : llvm::make_early_inc_range(module.getOps<plan::StageOp>())) {
      if (failed(differentiate(stage, seed, scalesLoss, isTrained))) {
        return signalPassFailure();
      }
    }
  }
};

} // namespace
} // namespace stagewright
