#include "passes/Passes.h"
#include "passes/Provenance.h"

#include "catalogue/Target.h"
#include "mlir/IR/Builders.h"
#include "llvm/ADT/MapVector.h"

using namespace mlir;

namespace stagewright {

#define GEN_PASS_DEF_PREPAREWEIGHTS
#include "generated-passes/Passes.h.inc"

namespace {

using plan::FunctionKind;
using plan::Role;

/// One function `prepare` per stage, grown while the other functions ask for what is derived from parameters.
class Preparation {
public:
  /// `rounds`: what is read in a type of 16 bits is rounded by chance; on the host it is packed from fp32.
  Preparation(plan::StageOp stage, bool onHost, bool rounds)
      : builder(stage.getContext()), module(stage->getParentOfType<ModuleOp>()), onHost(onHost),
        rounds(rounds) {
    Location location = madeBy("prepare-weights", stage.getLoc());
    builder.setInsertionPointToStart(&stage.getBody().front());
    function = plan::FunctionOp::create(builder, location, FunctionKind::Prepare, builder.getArrayAttr({}),
                                        builder.getArrayAttr({}));
    body = builder.createBlock(&function.getBody());
    yield = plan::ReturnOp::create(builder, location, ValueRange{});
    builder.setInsertionPoint(yield);
  }

  /// Name and type of what `user` reads in the place of this parameter; build(builder, location, parameter)
  /// makes it where nobody has asked for the name yet.
  std::pair<plan::ValueAttr, Type> derive(plan::ValueAttr parameter, StringRef suffix, OpOperand &user,
                                          llvm::function_ref<Value(OpBuilder &, Location, Value)> build) {
    auto name =
        plan::ValueAttr::get(builder.getContext(), Role::Derived, (parameter.getName() + suffix).str());
    Type &known = derived[name];
    if (!known) {
      Location location = user.getOwner()->getLoc();
      Value &weight = weights[parameter];
      if (!weight) {
        weight = body->addArgument(user.get().getType(), location);
        append(parameter, /*result=*/false);
      }
      Location made = madeBy("prepare-weights", location);
      Type element = cast<RankedTensorType>(user.getOwner()->getOperand(0).getType()).getElementType();
      bool isRounded = rounds && !element.isF32();
      Value value = build(builder, made, isRounded ? rounded(parameter, weight, element, made) : weight);
      if (isRounded) {
        lastOf[parameter] = value.getDefiningOp();
        builder.setInsertionPoint(yield);
      }
      yield->insertOperands(yield->getNumOperands(), value);
      append(name, /*result=*/true);
      known = value.getType();
    }
    return {name, known};
  }

private:
  /// The weight in this type, for the host as fp32; what is made of it stands behind it, so that it need not
  /// be kept. The builder is where that belongs.
  Value rounded(plan::ValueAttr parameter, Value weight, Type element, Location location) {
    if (Operation *last = lastOf.lookup(parameter)) {
      builder.setInsertionPointAfter(last);
      return roundedWeights[parameter];
    }
    if (!numbers) {
      numbers = body->addArgument(RankedTensorType::get({5}, builder.getI32Type()), function.getLoc());
      append(plan::ValueAttr::get(builder.getContext(), Role::Scalar, "rounding"), /*result=*/false);
    }
    int64_t number = 0, split = 0;
    for (auto [i, entry] : llvm::enumerate(module.getOps<layer::ParameterOp>())) {
      if (entry.getSymName() == parameter.getName()) {
        number = static_cast<int64_t>(i);
        split = entry.getSplit().has_value();
      }
    }
    auto type = cast<RankedTensorType>(weight.getType());
    Value value =
        layer::CastStochasticOp::create(builder, location, type.clone(element), weight, numbers,
                                        builder.getI64IntegerAttr(number), builder.getI64IntegerAttr(split));
    value = onHost ? layer::CastFromOp::create(builder, location, type, value).getY() : value;
    return roundedWeights[parameter] = value;
  }

  void append(plan::ValueAttr name, bool result) {
    ArrayAttr names = result ? function.getOutputs() : function.getInputs();
    SmallVector<Attribute> longer(names.begin(), names.end());
    longer.push_back(name);
    result ? function.setOutputsAttr(builder.getArrayAttr(longer))
           : function.setInputsAttr(builder.getArrayAttr(longer));
  }

  OpBuilder builder;
  ModuleOp module;
  const bool onHost, rounds;
  Value numbers; ///< by which weights are rounded
  llvm::DenseMap<Attribute, Value> roundedWeights;
  llvm::DenseMap<Attribute, Operation *> lastOf; ///< what is made of a rounded weight
  plan::FunctionOp function;
  Block *body;
  plan::ReturnOp yield;
  llvm::MapVector<Attribute, Value> weights;
  llvm::MapVector<Attribute, Type> derived;
};

/// Gives matrix products of one function what is derived from their parameters: for the host packed weights;
/// for CUDA weights and biases in the type of the activations, where that is another one.
void useDerived(plan::FunctionOp function, Preparation &preparation, bool onCuda) {
  Block &body = function.getBody().front();
  SmallVector<Attribute> names(function.getInputs().begin(), function.getInputs().end());
  llvm::MapVector<Attribute, Value> arguments;
  auto replace = [&](OpOperand &operand, StringRef suffix,
                     llvm::function_ref<Value(OpBuilder &, Location, Value)> build) {
    auto parameter = cast<BlockArgument>(layer::withoutUse(operand.get()));
    auto [name, type] =
        preparation.derive(cast<plan::ValueAttr>(names[parameter.getArgNumber()]), suffix, operand, build);
    Value &argument = arguments[name];
    if (!argument) {
      argument = body.addArgument(type, operand.getOwner()->getLoc());
      names.push_back(name);
    }
    operand.set(argument);
  };
  for (Operation &op : body) {
    auto user = dyn_cast<layer::PackedOperand>(op);
    if (!user || user.isPacked() || (onCuda && user.isPlain())) {
      continue;
    }
    if (!onCuda) {
      replace(user.packedOperand(), user.packedSuffix(),
              [&](OpBuilder &builder, Location location, Value weight) {
                return user.buildPack(builder, location, weight);
              });
      continue;
    }
    Type element = cast<RankedTensorType>(op.getOperand(0).getType()).getElementType();
    for (OpOperand *operand : user.parameterOperands()) {
      replace(*operand, "/cast", [&](OpBuilder &builder, Location location, Value parameter) -> Value {
        auto type = cast<RankedTensorType>(parameter.getType());
        return type.getElementType() == element
                   ? parameter // rounded by chance
                   : layer::CastToOp::create(builder, location, type.clone(element), parameter).getY();
      });
    }
  }
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(body))) {
    if (isa<layer::ParameterUseOp>(op) && op.use_empty()) {
      op.erase();
    }
  }
  // Parameters that only matrix products read are no longer arguments.
  for (unsigned i = body.getNumArguments(); i-- > 0;) {
    if (body.getArgument(i).use_empty() && cast<plan::ValueAttr>(names[i]).getRole() == Role::Parameter) {
      body.eraseArgument(i);
      names.erase(names.begin() + i);
    }
  }
  function.setInputsAttr(Builder(function.getContext()).getArrayAttr(names));
}

struct PrepareWeightsPass : impl::PrepareWeightsBase<PrepareWeightsPass> {
  void runOnOperation() override {
    plan::SettingsOp settings = *getOperation().getOps<plan::SettingsOp>().begin();
    bool onCuda = catalogue::isCuda(cast<StringAttr>(settings.getTargets()[0]).getValue());
    for (plan::StageOp stage : getOperation().getOps<plan::StageOp>()) {
      Preparation preparation(stage, !onCuda, settings.getStochasticRounding());
      for (FunctionKind kind : {FunctionKind::Forward, FunctionKind::BackwardInput, FunctionKind::Evaluate}) {
        if (plan::FunctionOp function = plan::findFunction(stage, kind)) {
          useDerived(function, preparation, onCuda);
        }
      }
    }
  }
};

} // namespace
} // namespace stagewright
