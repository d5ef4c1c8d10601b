#include "passes/Passes.h"
#include "passes/Provenance.h"
#include "passes/parallel/TiedParameters.h"

#include "catalogue/Catalogue.h"
#include "mlir/IR/Builders.h"

using namespace mlir;

namespace stagewright {

#define GEN_PASS_DEF_INSERTUPDATE
#include "generated-passes/Passes.h.inc"

namespace {

using plan::FunctionKind;
using plan::Role;

/// A function under construction: arguments are added as they are asked for.
class FunctionMaker {
public:
  FunctionMaker(plan::StageOp stage, FunctionKind kind)
      : builder(stage.getContext()), location(madeBy("insert-update", stage.getLoc())) {
    builder.setInsertionPointToEnd(&stage.getBody().front());
    function =
        plan::FunctionOp::create(builder, location, kind, builder.getArrayAttr({}), builder.getArrayAttr({}));
    body = builder.createBlock(&function.getBody());
  }

  Value argument(Role role, StringRef name, Type type) {
    inputs.push_back(plan::ValueAttr::get(builder.getContext(), role, name));
    return body->addArgument(type, location);
  }
  void result(Role role, StringRef name, Value value) {
    outputs.push_back(plan::ValueAttr::get(builder.getContext(), role, name));
    values.push_back(value);
  }
  void finish() {
    plan::ReturnOp::create(builder, location, values);
    function.setInputsAttr(builder.getArrayAttr(inputs));
    function.setOutputsAttr(builder.getArrayAttr(outputs));
  }
  RankedTensorType vectorOf(int64_t size, Type element) { return RankedTensorType::get({size}, element); }

  OpBuilder builder;
  Location location;

private:
  plan::FunctionOp function;
  Block *body;
  SmallVector<Attribute> inputs, outputs;
  SmallVector<Value> values;
};

struct StageParameter {
  Location location;
  StringRef name;
  RankedTensorType type;
  std::optional<int64_t> group;
};

class StepEnd {
public:
  StepEnd(ModuleOp module)
      : module(module), settings(*module.getOps<plan::SettingsOp>().begin()), builder(module.getContext()),
        sums(gradientSums(module)), losses((*module.getOps<layer::LossOp>().begin()).width()) {
    stages = llvm::range_size(module.getOps<plan::StageOp>());
    for (layer::ParameterOp parameter : module.getOps<layer::ParameterOp>()) {
      auto type = cast<RankedTensorType>(parameter.getType());
      granules += parameter.getFrozen() ? 0 : catalogue::granules(type.getNumElements());
    }
  }

  void run() {
    builder.setInsertionPoint(*module.getOps<plan::StageOp>().begin());
    Location location = madeBy("insert-update", settings.getLoc());
    int64_t microBatches = settings.getMicroBatches();
    share(location, "loss", vectorOf(losses, builder.getF64Type()), stages - 1, false);
    share(location, "losses", vectorOf(microBatches * losses, builder.getF32Type()), stages - 1, true);
    share(location, "correct", vectorOf(microBatches, builder.getI64Type()), stages - 1, true);
    for (layer::ParameterOp parameter : module.getOps<layer::ParameterOp>()) {
      for (plan::StageOp stage : module.getOps<plan::StageOp>()) {
        if (needsNorm() && owns(stage, parameter.getSymName())) {
          auto type = cast<RankedTensorType>(parameter.getType());
          share(location, ("partials/" + parameter.getSymName()).str(),
                vectorOf(catalogue::granules(type.getNumElements()), builder.getF64Type()), stage.getIndex(),
                false);
        }
      }
    }
    for (plan::StageOp stage : module.getOps<plan::StageOp>()) {
      makeNorm(stage);
      makeUpdate(stage);
    }
  }

private:
  /// 16-bit gradients overflow, so their norm is looked at whether it is clipped or not.
  bool skipsOverflow() { return settings.getPrecision() != "fp32"; }
  bool needsNorm() { return granules > 0 && (!settings.getGradientClipping().isZero() || skipsOverflow()); }
  RankedTensorType vectorOf(int64_t size, Type element) { return RankedTensorType::get({size}, element); }

  void share(Location location, StringRef name, Type type, int64_t stage, bool evaluation) {
    plan::SharedOp::create(builder, location, builder.getStringAttr(name), TypeAttr::get(type),
                           builder.getI64IntegerAttr(stage), evaluation ? builder.getUnitAttr() : UnitAttr());
  }

  /// The stage of a trained parameter's first use adds the gradient of all uses, and updates.
  bool owns(plan::StageOp stage, StringRef parameter) {
    auto found = sums.find(parameter);
    return found != sums.end() && found->second.front().stage == stage;
  }

  SmallVector<StageParameter> parametersOf(plan::StageOp stage) {
    SmallVector<StageParameter> list;
    for (layer::ParameterOp op : module.getOps<layer::ParameterOp>()) {
      if (owns(stage, op.getSymName())) {
        list.push_back({madeBy("insert-update", op.getLoc()), op.getSymName(),
                        cast<RankedTensorType>(op.getType()), op.getGroup()});
      }
    }
    return list;
  }

  /// Moves the sums of the further uses of a tied parameter into that of the first, in the order of the uses:
  /// the gradient. Those of other stages have been received. Null when there is one use.
  Value addUses(FunctionMaker &maker, const StageParameter &parameter) {
    Value sum;
    for (const GradientSum &use : ArrayRef(sums[parameter.name]).drop_front()) {
      sum = sum ? sum : maker.argument(Role::Accumulator, parameter.name, parameter.type);
      Value further = maker.argument(Role::Accumulator, use.name.getName(), parameter.type);
      auto op = layer::AddAndClearOp::create(maker.builder, parameter.location, parameter.type,
                                             parameter.type, further, sum);
      maker.result(Role::Accumulator, use.name.getName(), op.getCleared());
      sum = op.getSum();
    }
    if (sum) {
      maker.result(Role::Accumulator, parameter.name, sum);
    }
    return sum;
  }

  void makeNorm(plan::StageOp stage) {
    FunctionMaker maker(stage, FunctionKind::Norm);
    for (const StageParameter &parameter : parametersOf(stage)) {
      Value gradient = addUses(maker, parameter);
      if (needsNorm()) {
        gradient = gradient ? gradient : maker.argument(Role::Accumulator, parameter.name, parameter.type);
        maker.result(Role::Shared, ("partials/" + parameter.name).str(),
                     layer::GradientNormPartialsOp::create(maker.builder, parameter.location, gradient));
      }
    }
    if (stage.getIndex() == stages - 1) {
      Value all = maker.argument(Role::Shared, "losses",
                                 vectorOf(settings.getMicroBatches() * losses, builder.getF32Type()));
      maker.result(Role::Shared, "loss",
                   layer::MeanLossOp::create(maker.builder, maker.location,
                                             vectorOf(losses, builder.getF64Type()), all));
    }
    maker.finish();
  }

  void makeUpdate(plan::StageOp stage) {
    SmallVector<StageParameter> parameters = parametersOf(stage);
    FunctionMaker maker(stage, FunctionKind::Update);
    RankedTensorType f32 = vectorOf(1, builder.getF32Type());
    Value coefficient;
    if (needsNorm()) {
      Value partials = maker.argument(Role::Shared, "partials", vectorOf(granules, builder.getF64Type()));
      Value lossScale = module.getOps<plan::LossScaleOp>().empty()
                            ? Value()
                            : maker.argument(Role::Scalar, "loss_scale", f32);
      auto clip = layer::ClipCoefficientOp::create(
          maker.builder, maker.location, f32, vectorOf(1, builder.getF64Type()), partials, lossScale,
          settings.getGradientClippingAttr(), builder.getI64IntegerAttr(skipsOverflow() ? 1 : 0));
      maker.result(Role::Scalar, "clip_coefficient", clip.getCoefficient());
      maker.result(Role::Scalar, "gradient_norm", clip.getNorm());
      coefficient = clip.getCoefficient();
    }
    if (!parameters.empty()) {
      if (!coefficient) {
        coefficient = maker.argument(Role::Scalar, "clip_coefficient", f32);
      }
      llvm::StringMap<Value> rates; // arguments in order of their first use
      auto rateOf = [&](const StageParameter &parameter) {
        std::string name = "learning_rate" + (parameter.group ? "." + std::to_string(*parameter.group) : "");
        Value &rate = rates[name];
        rate = rate ? rate : maker.argument(Role::Scalar, name, vectorOf(1, builder.getF64Type()));
        return rate;
      };
      rateOf(parameters.front());
      UpdateRule rule = updateRule();
      Value clock;
      if (!rule.clock.empty()) {
        clock = maker.argument(Role::Scalar, rule.clock, rule.clockType);
      }
      Value firstBeta = rule.attributes.get("beta1") && settings.cyclesFirstBeta()
                            ? maker.argument(Role::Scalar, "beta1", vectorOf(1, builder.getF64Type()))
                            : Value();
      for (const StageParameter &parameter : parameters) {
        if (parameter.group) {
          plan::GroupOp group = *std::next(module.getOps<plan::GroupOp>().begin(), *parameter.group);
          rule.attributes.set("weight_decay", group.getWeightDecayAttr());
        } else {
          rule.attributes.set("weight_decay", settings.getWeightDecayAttr());
        }
        update(maker, rule, parameter, rateOf(parameter), coefficient, clock, firstBeta);
      }
    }
    clearSent(maker, stage);
    maker.finish();
  }

  /// Sums that have gone to another stage begin the next step with zeros.
  void clearSent(FunctionMaker &maker, plan::StageOp stage) {
    for (auto &[parameter, uses] : sums) {
      for (const GradientSum &use : uses) {
        if (use.stage == stage && uses.front().stage != stage) {
          Value sum = maker.argument(Role::Accumulator, use.name.getName(), use.type);
          maker.result(Role::Accumulator, use.name.getName(),
                       layer::ClearOp::create(maker.builder, maker.location, use.type, sum).getCleared());
        }
      }
    }
  }

  /// The optimizer's op: (parameter, gradient, learning_rate, coefficient, clock?, states..., first beta?) ->
  /// (parameter, gradient, states...).
  struct UpdateRule {
    StringRef op;
    StringRef clock; ///< the scalar that counts steps; empty: none
    RankedTensorType clockType;
    SmallVector<StringRef> states;
    NamedAttrList attributes;
  };

  UpdateRule updateRule() {
    auto named = [&](std::initializer_list<std::pair<StringRef, Attribute>> list) {
      NamedAttrList attributes;
      for (auto [name, value] : list) {
        attributes.append(name, value);
      }
      return attributes;
    };
    const auto steps = vectorOf(1, builder.getI32Type()), corrections = vectorOf(2, builder.getF64Type());
    const std::pair<StringRef, Attribute> beta1{"beta1", settings.getBeta1Attr()},
        beta2{"beta2", settings.getBeta2Attr()}, epsilon{"epsilon", settings.getEpsilonAttr()},
        decay{"weight_decay", settings.getWeightDecayAttr()};
    const StringRef optimizer = settings.getOptimizer();
    if (optimizer == "sgd") {
      SmallVector<StringRef> states(settings.getMomentum().isZero() ? 0 : 1, "momentum_buffer");
      return {"layer.sgd", "step", steps, states,
              named({{"momentum", settings.getMomentumAttr()},
                     {"dampening", settings.getDampeningAttr()},
                     {"nesterov", builder.getI64IntegerAttr(settings.getNesterov())},
                     decay})};
    }
    if (optimizer == "adagrad") {
      return {"layer.adagrad",
              "step",
              steps,
              {"sum"},
              named({{"lr_decay", settings.getLrDecayAttr()}, epsilon, decay})};
    }
    if (optimizer == "lion") {
      return {"layer.lion", "", {}, {"exp_avg"}, named({beta1, beta2, decay})};
    }
    if (optimizer == "lamb") {
      return {"layer.lamb",
              "bias_corrections",
              corrections,
              {"exp_avg", "exp_avg_sq"},
              named({beta1,
                     beta2,
                     epsilon,
                     decay,
                     {"max_coeff", settings.getMaxCoeffAttr()},
                     {"min_coeff", settings.getMinCoeffAttr()}})};
    }
    return {"layer.adam",
            "bias_corrections",
            corrections,
            {"exp_avg", "exp_avg_sq"}, // adam, adamw
            named({beta1,
                   beta2,
                   epsilon,
                   decay,
                   {"decoupled", builder.getI64IntegerAttr(settings.getDecoupledDecay())}})};
  }

  static void update(FunctionMaker &maker, const UpdateRule &rule, const StageParameter &p, Value rate,
                     Value coefficient, Value clock, Value firstBeta) {
    Value weight = maker.argument(Role::Parameter, p.name, p.type),
          gradient = maker.argument(Role::Accumulator, p.name, p.type);
    SmallVector<Value> operands = {weight, gradient, rate, coefficient};
    if (clock) {
      operands.push_back(clock);
    }
    SmallVector<std::string> states;
    for (StringRef state : rule.states) {
      states.push_back((p.name + ":" + state).str());
      operands.push_back(maker.argument(Role::State, states.back(), p.type));
    }
    if (firstBeta) {
      operands.push_back(firstBeta);
    }
    OperationState made(p.location, rule.op, operands, SmallVector<Type>(2 + states.size(), p.type),
                        ArrayRef<NamedAttribute>(rule.attributes.getAttrs()));
    Operation *op = maker.builder.create(made);
    maker.result(Role::Parameter, p.name, op->getResult(0));
    maker.result(Role::Accumulator, p.name, op->getResult(1));
    for (auto [i, state] : llvm::enumerate(states)) {
      maker.result(Role::State, state, op->getResult(2 + i));
    }
  }

  ModuleOp module;
  plan::SettingsOp settings;
  OpBuilder builder;
  llvm::MapVector<StringRef, std::vector<GradientSum>> sums;
  const int64_t losses; ///< of a micro-batch
  int64_t stages = 0, granules = 0;
};

struct InsertUpdatePass : impl::InsertUpdateBase<InsertUpdatePass> {
  void runOnOperation() override { StepEnd(getOperation()).run(); }
};

} // namespace
} // namespace stagewright
