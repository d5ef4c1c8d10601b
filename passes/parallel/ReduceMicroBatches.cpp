#include "passes/Passes.h"
#include "passes/Provenance.h"

#include "mlir/IR/Builders.h"
#include "llvm/ADT/MapVector.h"

using namespace mlir;

namespace stagewright {

#define GEN_PASS_DEF_REDUCEMICROBATCHES
#include "generated-passes/Passes.h.inc"

namespace {

/// Gives the gradients of one W function memory of the call, from which the replicas add them up.
class MicroBatchSums {
public:
  explicit MicroBatchSums(plan::FunctionOp function)
      : function(function), body(function.getBody().front()), builder(function.getContext()) {}

  void run() {
    SmallVector<Attribute> inputs(function.getInputs().begin(), function.getInputs().end()), outputs;
    Operation *yield = body.getTerminator();
    SmallVector<std::pair<plan::ValueAttr, Value>> sums;
    for (unsigned i = yield->getNumOperands(); i-- > 0;) {
      auto name = cast<plan::ValueAttr>(function.getOutputs()[i]);
      if (name.getRole() != plan::Role::Accumulator) {
        outputs.insert(outputs.begin(), name);
        continue;
      }
      Value sum = yield->getOperand(i);
      yield->eraseOperand(i);
      auto at = static_cast<unsigned>(llvm::find(inputs, name) - inputs.begin());
      useOwnMemory(body.getArgument(at));
      body.eraseArgument(at);
      inputs.erase(inputs.begin() + at);
      sums.push_back({name, sum});
    }
    function.setInputsAttr(builder.getArrayAttr(inputs));
    function.setOutputsAttr(builder.getArrayAttr(outputs));
    reduce(sums);
  }

private:
  /// From zeros, made in front of the first op that adds.
  void useOwnMemory(BlockArgument argument) {
    Operation *first = nullptr;
    for (Operation *user : argument.getUsers()) {
      first = !first || user->isBeforeInBlock(first) ? user : first;
    }
    builder.setInsertionPoint(first);
    Location location = madeBy("reduce-micro-batches", first->getLoc());
    Value memory = plan::GradientOp::create(builder, location, argument.getType());
    Value zeros = layer::ClearOp::create(builder, location, argument.getType(), memory).getCleared();
    argument.replaceAllUsesWith(zeros);
  }

  //   W   | block 2 | reduce 2 | block 1 | await 2, reduce 1 | block 0 | await 1, reduce 0, await 0
  void reduce(ArrayRef<std::pair<plan::ValueAttr, Value>> sums) {
    llvm::MapVector<StringRef, SmallVector<std::pair<plan::ValueAttr, Value>>> ofBlock;
    for (auto &sum : sums) {
      ofBlock[blockName(sum.second.getDefiningOp()->getLoc())].push_back(sum);
    }
    auto lastOf = [](ArrayRef<std::pair<plan::ValueAttr, Value>> list) {
      Operation *last = list.front().second.getDefiningOp();
      for (auto &[name, value] : list) {
        last = last->isBeforeInBlock(value.getDefiningOp()) ? value.getDefiningOp() : last;
      }
      return last;
    };
    auto chunks = llvm::to_vector(llvm::make_second_range(ofBlock));
    llvm::sort(chunks, [&](auto &a, auto &b) { return lastOf(a)->isBeforeInBlock(lastOf(b)); });
    SmallVector<Value> underWay;
    for (auto &chunk : chunks) {
      builder.setInsertionPointAfter(lastOf(chunk));
      await(underWay);
      SmallVector<Attribute> names;
      underWay.clear();
      for (auto &[name, value] : chunk) {
        names.push_back(name);
        underWay.push_back(value);
      }
      plan::ReduceOp::create(builder, madeBy("reduce-micro-batches", lastOf(chunk)->getLoc()),
                             builder.getArrayAttr(names), underWay);
    }
    builder.setInsertionPoint(body.getTerminator());
    await(underWay);
  }

  void await(ArrayRef<Value> values) {
    if (!values.empty()) {
      plan::AwaitOp::create(builder, madeBy("reduce-micro-batches", function.getLoc()), values);
    }
  }

  plan::FunctionOp function;
  Block &body;
  OpBuilder builder;
};

struct ReduceMicroBatchesPass : impl::ReduceMicroBatchesBase<ReduceMicroBatchesPass> {
  void runOnOperation() override {
    plan::SettingsOp settings = *getOperation().getOps<plan::SettingsOp>().begin();
    for (plan::StageOp stage : getOperation().getOps<plan::StageOp>()) {
      if (settings.reducesMicroBatches()) {
        MicroBatchSums(plan::findFunction(stage, plan::FunctionKind::BackwardWeight)).run();
      }
    }
  }
};

} // namespace
} // namespace stagewright
