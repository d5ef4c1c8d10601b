#include "passes/Passes.h"
#include "passes/Provenance.h"

#include "mlir/IR/Builders.h"
#include "llvm/ADT/MapVector.h"

using namespace mlir;

namespace stagewright {

#define GEN_PASS_DEF_PREPAREWEIGHTS
#include "generated-passes/Passes.h.inc"

namespace {

using plan::FunctionKind;
using plan::Role;

/// One function `prepare` per stage, grown while the other functions ask for packed weights.
class Preparation {
public:
  explicit Preparation(plan::StageOp stage) : builder(stage.getContext()) {
    Location location = madeBy("prepare-weights", stage.getLoc());
    builder.setInsertionPointToStart(&stage.getBody().front());
    function = plan::FunctionOp::create(builder, location, FunctionKind::Prepare, builder.getArrayAttr({}),
                                        builder.getArrayAttr({}));
    body = builder.createBlock(&function.getBody());
    yield = plan::ReturnOp::create(builder, location, ValueRange{});
    builder.setInsertionPoint(yield);
  }

  /// Name and type of the packed copy of this parameter that `user` reads.
  std::pair<plan::ValueAttr, Type> derive(plan::ValueAttr parameter, layer::PackedOperand user) {
    auto name = plan::ValueAttr::get(builder.getContext(), Role::Derived,
                                     (parameter.getName() + user.packedSuffix()).str());
    Type &known = derived[name];
    if (!known) {
      Location location = madeBy("prepare-weights", user->getLoc());
      Value &weight = weights[parameter];
      if (!weight) {
        weight = body->addArgument(user.packedOperand().get().getType(), user->getLoc());
        append(parameter, /*result=*/false);
      }
      Value packed = user.buildPack(builder, location, weight);
      yield->insertOperands(yield->getNumOperands(), packed);
      append(name, /*result=*/true);
      known = packed.getType();
    }
    return {name, known};
  }

private:
  void append(plan::ValueAttr name, bool result) {
    ArrayAttr names = result ? function.getOutputs() : function.getInputs();
    SmallVector<Attribute> longer(names.begin(), names.end());
    longer.push_back(name);
    result ? function.setOutputsAttr(builder.getArrayAttr(longer))
           : function.setInputsAttr(builder.getArrayAttr(longer));
  }

  OpBuilder builder;
  plan::FunctionOp function;
  Block *body;
  plan::ReturnOp yield;
  llvm::MapVector<Attribute, Value> weights;
  llvm::MapVector<Attribute, Type> derived;
};

/// Gives matrix products of one function packed weights in place of the parameter.
void usePackedWeights(plan::FunctionOp function, Preparation &preparation) {
  Block &body = function.getBody().front();
  SmallVector<Attribute> names(function.getInputs().begin(), function.getInputs().end());
  llvm::MapVector<Attribute, Value> packedArguments;
  auto replace = [&](OpOperand &weight, std::pair<plan::ValueAttr, Type> derived) {
    Value &argument = packedArguments[derived.first];
    if (!argument) {
      argument = body.addArgument(derived.second, weight.getOwner()->getLoc());
      names.push_back(derived.first);
    }
    weight.set(argument);
  };
  for (Operation &op : body) {
    auto user = dyn_cast<layer::PackedOperand>(op);
    if (!user || user.isPacked()) {
      continue;
    }
    OpOperand &weight = user.packedOperand();
    auto argument = cast<BlockArgument>(layer::withoutUse(weight.get()));
    replace(weight, preparation.derive(cast<plan::ValueAttr>(names[argument.getArgNumber()]), user));
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
    for (plan::StageOp stage : getOperation().getOps<plan::StageOp>()) {
      Preparation preparation(stage);
      for (FunctionKind kind : {FunctionKind::Forward, FunctionKind::BackwardInput, FunctionKind::Evaluate}) {
        if (plan::FunctionOp function = plan::findFunction(stage, kind)) {
          usePackedWeights(function, preparation);
        }
      }
    }
  }
};

} // namespace
} // namespace stagewright
