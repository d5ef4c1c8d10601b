#include "passes/Passes.h"
#include "passes/Provenance.h"
#include "passes/parallel/Shards.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/MapVector.h"

#include <set>

using namespace mlir;

namespace stagewright {

#define GEN_PASS_DEF_GATHERPARAMETERS
#include "generated-passes/Passes.h.inc"

namespace {

using plan::FunctionKind;
using plan::Role;

/// The blocks of a function in the order in which its ops visit them: a run is what lies between two changes.
class Runs {
public:
  explicit Runs(Block &body) {
    StringRef block;
    for (Operation &op : body.without_terminator()) {
      StringRef here = blockName(op.getLoc());
      if (first.empty() || (!here.empty() && here != block)) {
        first.push_back(&op);
        block = here;
      }
      runOf[&op] = first.size() - 1;
    }
  }
  size_t of(Operation *op) const { return runOf.lookup(op); }
  Operation *begin(size_t run) const { return first[run]; }
  void add(Operation *op, size_t run) { runOf[op] = run; }

private:
  SmallVector<Operation *> first;
  llvm::DenseMap<Operation *, size_t> runOf;
};

/// A view stands in front of each of its users, as part of their block.
Block &withViewsAtUsers(Block &body) {
  for (Operation &op : llvm::make_early_inc_range(body.without_terminator())) {
    if (!isa<layer::ParameterUseOp>(op)) {
      continue;
    }
    for (OpOperand &use : llvm::make_early_inc_range(op.getResult(0).getUses())) {
      OpBuilder builder(use.getOwner());
      Operation *copy = builder.clone(op);
      copy->setLoc(use.getOwner()->getLoc());
      use.set(copy->getResult(0));
    }
    op.erase();
  }
  return body;
}

/// Replaces the parameters that a function reads, and what `prepare` derives from them, by gathered ones.
class FunctionGathers {
public:
  FunctionGathers(plan::FunctionOp function, plan::FunctionOp prepare, const ShardTable &shards,
                  int64_t stage, bool wholeVisit)
      : function(function), prepare(prepare), shards(shards), stage(stage), wholeVisit(wholeVisit),
        body(withViewsAtUsers(function.getBody().front())), runs(body), builder(function.getContext()) {}

  void run() {
    SmallVector<Attribute> names(function.getInputs().begin(), function.getInputs().end());
    for (auto [name, argument] : llvm::zip(names, body.getArguments())) {
      for (OpOperand &use : argument.getUses()) {
        if (gathers(cast<plan::ValueAttr>(name))) {
          reading.insert(runs.of(use.getOwner()));
        }
      }
    }
    for (unsigned i = body.getNumArguments(); i-- > 0;) {
      auto name = cast<plan::ValueAttr>(names[i]);
      if (gathers(name) && replace(name, body.getArgument(i))) {
        body.eraseArgument(i);
        names.erase(names.begin() + i);
      }
    }
    for (auto &[name, argument] : scalars) {
      names.push_back(name);
    }
    function.setInputsAttr(builder.getArrayAttr(names));
  }

private:
  bool gathers(plan::ValueAttr name) const {
    return name.getRole() == Role::Parameter ? shards.isSharded(stage, name)
                                             : name.getRole() == Role::Derived && plan::FunctionOp(prepare);
  }

  /// In each run that reads the argument. False: it is not derived from a parameter that is divided.
  bool replace(plan::ValueAttr name, BlockArgument argument) {
    llvm::MapVector<size_t, SmallVector<OpOperand *>> uses;
    for (OpOperand &use : argument.getUses()) {
      uses[runs.of(use.getOwner())].push_back(&use);
    }
    for (auto &[run, operands] : uses) {
      Operation *first = operands.front()->getOwner();
      for (OpOperand *use : operands) {
        first = use->getOwner()->isBeforeInBlock(first) ? use->getOwner() : first;
      }
      Value value = name.getRole() == Role::Parameter ? gather(name, argument.getType(), run)
                                                      : derive(name, first, run);
      if (!value) {
        return false;
      }
      for (OpOperand *use : operands) {
        use->set(value);
      }
    }
    return true;
  }

  /// Begun with the run before that reads weights, so that it arrives while that one computes; or with the
  /// function.
  Value gather(plan::ValueAttr name, Type type, size_t run) {
    Value &known = gathered[{run, name}];
    if (!known) {
      auto here = reading.find(run);
      builder.setInsertionPoint(runs.begin(wholeVisit || here == reading.begin() ? 0 : *std::prev(here)));
      known = plan::GatherOp::create(builder, madeBy("gather-parameters", runs.begin(run)->getLoc()), type,
                                     builder.getStringAttr(name.getName()));
    }
    return known;
  }

  /// What `prepare` computes, in front of `user`.
  Value derive(plan::ValueAttr name, Operation *user, size_t run) {
    Block &source = prepare.getBody().front();
    Value result;
    for (auto [output, value] : llvm::zip(prepare.getOutputs().getAsRange<plan::ValueAttr>(),
                                          source.getTerminator()->getOperands())) {
      result = output == name ? value : result;
    }
    SmallVector<Operation *> chain;
    IRMapping mapping;
    for (Value next = result; next;) {
      Operation *op = next.getDefiningOp();
      chain.push_back(op);
      Value weight = op->getOperand(0); // a pack reads the weight, perhaps through a view
      next = weight.getDefiningOp() ? weight : Value();
      if (auto argument = dyn_cast<BlockArgument>(weight)) {
        auto parameter = cast<plan::ValueAttr>(prepare.getInputs()[argument.getArgNumber()]);
        if (!shards.isSharded(stage, parameter)) {
          return {};
        }
        mapping.map(weight, gather(parameter, weight.getType(), run));
      }
      for (Value scalar : llvm::drop_begin(op->getOperands())) { // by which weights are rounded
        mapping.map(scalar, ofStep(cast<BlockArgument>(scalar)));
      }
    }
    builder.setInsertionPoint(user);
    for (Operation *op : llvm::reverse(chain)) {
      runs.add(builder.clone(*op, mapping), run);
    }
    return mapping.lookup(result);
  }

  /// The function's own argument for a scalar that `prepare` reads.
  Value ofStep(BlockArgument scalar) {
    Value &known = scalars[prepare.getInputs()[scalar.getArgNumber()]];
    known = known ? known : body.addArgument(scalar.getType(), scalar.getLoc());
    return known;
  }

  plan::FunctionOp function, prepare;
  const ShardTable &shards;
  const int64_t stage;
  const bool wholeVisit;
  Block &body;
  Runs runs;
  OpBuilder builder;
  std::set<size_t> reading;                  ///< runs that read weights
  llvm::MapVector<Attribute, Value> scalars; ///< new arguments
  llvm::MapVector<std::pair<size_t, Attribute>, Value> gathered;
};

/// What other functions no longer read.
void dropUnreadResults(plan::StageOp stage, plan::FunctionOp prepare) {
  llvm::SmallDenseSet<Attribute> read;
  for (plan::FunctionOp function : stage.getBody().getOps<plan::FunctionOp>()) {
    if (function != prepare) {
      read.insert(function.getInputs().begin(), function.getInputs().end());
    }
  }
  Block &body = prepare.getBody().front();
  Operation *yield = body.getTerminator();
  SmallVector<Attribute> outputs(prepare.getOutputs().begin(), prepare.getOutputs().end());
  for (unsigned i = outputs.size(); i-- > 0;) {
    if (!read.contains(outputs[i])) {
      yield->eraseOperand(i);
      outputs.erase(outputs.begin() + i);
    }
  }
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(body))) {
    if (&op != yield && op.use_empty()) {
      op.erase();
    }
  }
  SmallVector<Attribute> inputs(prepare.getInputs().begin(), prepare.getInputs().end());
  for (unsigned i = inputs.size(); i-- > 0;) {
    if (body.getArgument(i).use_empty()) {
      body.eraseArgument(i);
      inputs.erase(inputs.begin() + i);
    }
  }
  Builder builder(prepare.getContext());
  prepare.setInputsAttr(builder.getArrayAttr(inputs));
  prepare.setOutputsAttr(builder.getArrayAttr(outputs));
}

/// Of policy "step": what the functions read directly becomes a derived value, too, and `prepare` gathers it.
void deriveWholeParameters(plan::StageOp stage, plan::FunctionOp prepare, const ShardTable &shards) {
  Builder builder(stage.getContext());
  Block &body = prepare.getBody().front();
  llvm::MapVector<Attribute, Type> wanted; // parameters
  auto derivedName = [&](plan::ValueAttr name) {
    return plan::ValueAttr::get(builder.getContext(), Role::Derived, (name.getName() + "/gathered").str());
  };
  for (plan::FunctionOp function : stage.getBody().getOps<plan::FunctionOp>()) {
    if (function == prepare || function.getKind() == FunctionKind::Update) {
      continue;
    }
    SmallVector<Attribute> inputs(function.getInputs().begin(), function.getInputs().end());
    for (auto [i, input] : llvm::enumerate(inputs)) {
      auto name = cast<plan::ValueAttr>(input);
      if (name.getRole() == Role::Parameter && shards.isSharded(stage.getIndex(), name)) {
        wanted[name] = function.getBody().front().getArgument(i).getType();
        input = derivedName(name);
      }
    }
    function.setInputsAttr(builder.getArrayAttr(inputs));
  }
  for (BlockArgument weight : body.getArguments()) { // one gather serves all that is derived from a weight
    if (cast<plan::ValueAttr>(prepare.getInputs()[weight.getArgNumber()]).getRole() != Role::Parameter) {
      continue;
    }
    auto users = llvm::to_vector(weight.getUsers());
    llvm::sort(users, [](Operation *a, Operation *b) { return a->isBeforeInBlock(b); });
    for (size_t i = 1; i < users.size(); ++i) {
      users[i]->moveAfter(users[i - 1]);
    }
  }
  OpBuilder ops = OpBuilder::atBlockBegin(&body);
  SmallVector<Attribute> outputs(prepare.getOutputs().begin(), prepare.getOutputs().end());
  for (auto &[parameter, type] : wanted) {
    auto name = cast<plan::ValueAttr>(parameter);
    Value value = plan::GatherOp::create(ops, madeBy("gather-parameters", prepare.getLoc()), type,
                                         builder.getStringAttr(name.getName()));
    auto *yield = body.getTerminator();
    yield->insertOperands(yield->getNumOperands(), value);
    outputs.push_back(derivedName(name));
  }
  prepare.setOutputsAttr(builder.getArrayAttr(outputs));
}

struct GatherParametersPass : impl::GatherParametersBase<GatherParametersPass> {
  void runOnOperation() override {
    plan::SettingsOp settings = *getOperation().getOps<plan::SettingsOp>().begin();
    if (!settings.shardsWeights()) {
      return;
    }
    ShardTable shards(getOperation());
    for (plan::StageOp stage : getOperation().getOps<plan::StageOp>()) {
      plan::FunctionOp prepare = plan::findFunction(stage, FunctionKind::Prepare);
      if (settings.getGather() == "step") {
        deriveWholeParameters(stage, prepare, shards);
        FunctionGathers(prepare, {}, shards, stage.getIndex(), false).run();
        continue;
      }
      for (FunctionKind kind : {FunctionKind::Forward, FunctionKind::BackwardInput,
                                FunctionKind::BackwardWeight, FunctionKind::Evaluate}) {
        FunctionGathers(plan::findFunction(stage, kind), prepare, shards, stage.getIndex(),
                        settings.getGather() == "visit")
            .run();
      }
      dropUnreadResults(stage, prepare);
    }
  }
};

} // namespace
} // namespace stagewright
