// Builds gradient ops behind a function's forward ops: what the gradient rules of the layer dialect write
// with.
#ifndef STAGEWRIGHT_IR_LAYER_GRADIENTBUILDER_H
#define STAGEWRIGHT_IR_LAYER_GRADIENTBUILDER_H

#include "mlir/IR/Builders.h"
#include "mlir/IR/Value.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/DenseSet.h"

namespace stagewright::layer {

/// One per differentiated function. Gradient rules ask for the gradients of their results and give those of
/// their operands; parameters get an accumulator.
class GradientBuilder {
public:
  GradientBuilder(mlir::OpBuilder &builder, double lossSeed) : builder(builder), seed(lossSeed) {}
  void setLossScale(mlir::Value value) { scale = value; }

  mlir::OpBuilder &builder;

  /// d(step loss)/d(loss) without the loss scale: 1 / micro-batches, times the weight of a term.
  double lossSeed(mlir::Value loss) const {
    auto weight = weights.find(loss);
    return weight == weights.end() ? seed : seed * weight->second;
  }
  /// To be called before the rule of the loss's op.
  void addLossWeight(mlir::Value loss, double weight) {
    weights.try_emplace(loss, 0).first->second += weight;
  }
  /// f32[1] by which the gradient of the loss is multiplied; null where losses are not scaled.
  mlir::Value lossScale() const { return scale; }

  /// True when the gradient of this value is of use: it depends on a parameter or on an earlier stage.
  bool isNeeded(mlir::Value value) const { return needed.contains(value); }
  void markNeeded(mlir::Value value) { needed.insert(value); }

  /// The gradient of a forward value; null when no use of the value gave one.
  mlir::Value gradient(mlir::Value value) const { return gradients.lookup(value); }
  /// The gradient of an op's result y when its operand x needs one, else null.
  mlir::Value gradientFor(mlir::Value y, mlir::Value x) const {
    return isNeeded(x) ? gradient(y) : mlir::Value();
  }
  /// Adds what one use of the value gives. Uses come from the last to the first, so a value with three uses
  /// gets
  /// ((g3 + g2) + g1): a stage that receives g3 + g2 from its successor goes on in the same order, whatever
  /// the cuts. A parameter that an op reads like any other tensor has the gradient added to its accumulator.
  void addGradient(mlir::Value value, mlir::Value gradient);

  /// The current sum of the gradient of a parameter's value; null for a value that is not a trainable
  /// parameter.
  mlir::Value accumulator(mlir::Value parameter) const { return accumulators.lookup(parameter); }
  void setAccumulator(mlir::Value parameter, mlir::Value sum) { accumulators[parameter] = sum; }

private:
  double seed;
  mlir::Value scale;
  llvm::DenseMap<mlir::Value, double> weights; ///< of the terms of a loss
  llvm::DenseSet<mlir::Value> needed;
  llvm::DenseMap<mlir::Value, mlir::Value> gradients, accumulators;
};

} // namespace stagewright::layer

#endif
