// Values of the model that tensor ranks can split together.
#ifndef STAGEWRIGHT_PASSES_TENSOR_SPLITREGION_H
#define STAGEWRIGHT_PASSES_TENSOR_SPLITREGION_H

#include "ir/layer/LayerDialect.h"

#include "llvm/ADT/MapVector.h"

#include <cstdint>
#include <string>
#include <vector>

namespace stagewright {

/// Behind block arguments and results: the result of the op that makes it, or an argument of the model.
mlir::Value madeValue(mlir::Value value);

/// Operands of ops in blocks that are this made value.
std::vector<mlir::OpOperand *> readersOf(mlir::Value made);

/// What is connected to the output of a linear layer by ops that work on parts: every one of its values is
/// split along one dimension (Megatron-LM, Shoeybi et al. 2019). It begins behind linear layers that are
/// split by their outputs' columns, and ends at linear layers that are split by their inputs', or at the
/// loss.
///
///   x --linear--> [M, 3 D / T] --slice, attention--> [M, D / T] --linear--> partial sums
///       columns          the region                                rows
class SplitRegion {
public:
  SplitRegion(layer::LinearOp first, int64_t ranks);

  /// Empty: the values can be split. Else why not.
  const std::string &refusal() const { return reason; }

  /// Split dimension of each value.
  const llvm::MapVector<mlir::Value, int64_t> &values() const { return dims; }
  /// Sizes of the parts of the whole dimension that are split each for itself, as queries, keys and values
  /// are.
  std::vector<int64_t> sections(mlir::Value value) const;

  std::vector<layer::LinearOp> columns, rows;
  std::vector<layer::SoftmaxCrossEntropyOp> losses;
  std::vector<layer::SliceOp> slices;     ///< of the split dimension
  std::vector<mlir::OpOperand *> randoms; ///< by which its ops draw numbers for parts

private:
  void visit(mlir::Value value);
  void visit(mlir::Operation *op, mlir::Value from, int64_t dim);
  void visitLinear(layer::LinearOp linear, mlir::Value from, int64_t dim);
  template <typename Attention>
  void visitAttention(Attention attention, mlir::Value from, int64_t dim);
  void draws(mlir::OpOperand &random);
  void assign(mlir::Value value, int64_t dim);
  void cut(layer::SliceOp slice, int64_t dim);
  void check();
  void checkSections(mlir::Value value);
  void refuse(mlir::Operation *op, const std::string &why);

  const int64_t ranks;
  llvm::MapVector<mlir::Value, int64_t> dims;
  llvm::DenseMap<mlir::Value, std::vector<std::pair<int64_t, int64_t>>> cuts; ///< starts and sizes of slices
  std::vector<mlir::Value> open;
  std::string reason;
};

} // namespace stagewright

#endif
