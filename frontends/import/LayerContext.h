// What an importer of a layer type works with.
#ifndef STAGEWRIGHT_FRONTENDS_IMPORT_LAYERCONTEXT_H
#define STAGEWRIGHT_FRONTENDS_IMPORT_LAYERCONTEXT_H

#include "frontends/layerspec/ModelSpec.h"
#include "ir/layer/LayerDialect.h"

#include "mlir/IR/Builders.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"

#include <memory>
#include <optional>

namespace stagewright {

/// Initial distribution of a parameter, as layer.parameter declares it.
struct Initializer {
  const char *kind;
  double bound = 0, value = 0;
  std::optional<std::int64_t> zeroRow = {};
  static Initializer uniform(double bound) { return {"uniform", bound}; }
  static Initializer normal(double deviation) { return {"normal", deviation}; }
  static Initializer constant(double value) { return {"constant", 0, value}; }
};

/// "[16, 784]".
std::string shapeText(llvm::ArrayRef<std::int64_t> shape);

/// Why no tensor may have this shape ("has 9 dimensions, ..."), or nothing. The limits are the catalogue's.
std::string beyondLimits(llvm::ArrayRef<std::int64_t> shape);

/// What layers of one model share while they are built.
struct ParameterTable {
  std::int64_t replicas = 1;                      ///< that train the model
  bool syncsBatchNorm = false;                    ///< every BatchNorm is a SyncBatchNorm
  llvm::StringMap<mlir::RankedTensorType> inputs; ///< of the model, a micro-batch of each
  struct Tied {
    std::string name; ///< of the parameter
    mlir::RankedTensorType type;
    std::int64_t uses = 0;
  };
  llvm::StringSet<> names;
  llvm::StringMap<Tied> tied; ///< by the layers' key
};

/// One layer (or the loss) while its block is built. The builder stands at the block's end.
class LayerContext {
public:
  /// Parameters are declared before `model`. The values that the layer reads are in the order of its inputs;
  /// a loss reads the last layer, the label and the count of valid rows.
  LayerContext(mlir::OpBuilder &builder, layer::ModelOp model, ParameterTable &parameters,
               const LayerSpec &spec, bool isLoss, mlir::Location location, mlir::ValueRange inputs,
               std::int64_t blockNumber = 0)
      : builder(builder), location(location), inputs(inputs), isLoss(isLoss), model(model),
        parameters(parameters), spec(spec), block(spec.name), path(spec.name), trainable(spec.trainable),
        random(std::make_shared<RandomNumbers>(RandomNumbers{{}, blockNumber, 0})),
        named(std::make_shared<NamedInputs>()) {}
  /// A layer of a Sequential.
  LayerContext(const LayerContext &outer, const LayerSpec &spec, mlir::ValueRange inputs)
      : builder(outer.builder), location(outer.location), inputs(inputs), isLoss(false), model(outer.model),
        parameters(outer.parameters), spec(spec), block(outer.block), path(outer.path + "." + spec.name),
        trainable(outer.trainable && spec.trainable), random(outer.random), named(outer.named) {}

  mlir::OpBuilder &builder;
  const mlir::Location location;
  const llvm::SmallVector<mlir::Value> inputs;
  const bool isLoss;

  /// An argument of the type's entry in layerTypes(): bool, int64_t, double, std::string or a list of
  /// int64_t.
  template <typename T>
  const T &argument(const char *name) const {
    return std::get<T>(spec.arguments.at(name).value);
  }

  std::int64_t replicas() const { return parameters.replicas; }
  bool syncsBatchNorm() const { return parameters.syncsBatchNorm; }

  /// Of a Sequential.
  const std::vector<LayerSpec> &layers() const { return spec.layers; }

  /// Declares the parameter "LAYER.name" (fp32) and reads it; in a Sequential "SEQUENTIAL.LAYER.name". The
  /// "weight" of a tied layer is the one that the first layer of the key has declared.
  mlir::Value parameter(llvm::StringRef name, llvm::ArrayRef<std::int64_t> shape, Initializer initializer);

  /// Declares the buffer "LAYER.name", whose elements begin as `value`, and reads it.
  mlir::Value buffer(llvm::StringRef name, mlir::RankedTensorType type, double value);
  /// Makes `value` the buffer that `read` has read.
  void updateBuffer(mlir::Value read, mlir::Value value);

  /// By what an op of this block draws random numbers: the operand `random`, an argument of the block behind
  /// its inputs, and the op's own number among them.
  struct RandomNumbers {
    mlir::Value value;
    std::int64_t block, ordinal;
  };
  RandomNumbers randomNumbers();

  /// The model input that the argument names, an argument of the block behind its inputs: a layer of a
  /// Sequential reads it like one of the list. Null when the argument names none.
  mlir::Value feature(const char *argument);

  /// Model inputs that the block's further arguments are, in their order; "" stands for what random numbers
  /// are drawn by.
  using NamedInputs = llvm::SmallVector<std::pair<std::string, mlir::Value>>;
  const NamedInputs &furtherInputs() const { return *named; }

  template <typename Op, typename... Arguments>
  Op make(Arguments &&...arguments) {
    return Op::create(builder, location, std::forward<Arguments>(arguments)...);
  }

  mlir::RankedTensorType inputType(unsigned index = 0) const {
    return mlir::cast<mlir::RankedTensorType>(inputs[index].getType());
  }
  /// x under another shape of as many elements.
  mlir::Value reshape(mlir::Value x, llvm::ArrayRef<std::int64_t> shape);
  /// x as a matrix whose columns are its last `dimensions` dimensions.
  mlir::Value asRows(mlir::Value x, unsigned dimensions = 1);
  mlir::Value asVector(mlir::Value x) { return reshape(x, {layer::elementCount(x)}); }
  static llvm::ArrayRef<std::int64_t> shapeOf(mlir::Value x) {
    return mlir::cast<mlir::RankedTensorType>(x.getType()).getShape();
  }

  mlir::RankedTensorType f32(llvm::ArrayRef<std::int64_t> shape) {
    return mlir::RankedTensorType::get(shape, builder.getF32Type());
  }

  /// The layer does not fit what it reads: "layer fc1 (Linear) <what>".
  Error mismatch(const std::string &what, std::string advice) const;

  /// What went wrong with a parameter.
  const std::optional<Error> &failure() const { return error; }

private:
  layer::ModelOp model;
  /// The full name of a parameter or a buffer, which no earlier one may have.
  std::string declare(llvm::StringRef name, const char *kind, llvm::ArrayRef<std::int64_t> shape);
  mlir::Value tiedWeight(ParameterTable::Tied &tied, llvm::ArrayRef<std::int64_t> shape);

  ParameterTable &parameters; ///< so far, of the whole model
  const LayerSpec &spec;
  const std::string block, path; ///< the LayerSpec of the list, and the names down to this layer
  const bool trainable;
  std::shared_ptr<RandomNumbers> random; ///< of the whole block, with the next ordinal
  std::shared_ptr<NamedInputs> named;    ///< of the whole block
  std::optional<Error> error;
};

} // namespace stagewright

#endif
