// Gradient rules and costs of arithmetic, movement, sums and batched products.
#include "ir/layer/LayerDialect.h"

using namespace mlir;

namespace stagewright::layer {
namespace {

/// factor x.
Value scaled(GradientBuilder &gradients, Location location, Value x, double factor) {
  OpBuilder &b = gradients.builder;
  return ScaleOp::create(b, location, x.getType(), x, b.getF64FloatAttr(factor), b.getF64FloatAttr(0));
}

} // namespace

// Operands from the last to the first: the order in which gradients are added.
void AddOp::buildInputGradients(GradientBuilder &gradients) {
  for (Value operand : {getB(), getA()}) {
    if (Value g = gradients.gradientFor(getY(), operand)) {
      gradients.addGradient(operand, g);
    }
  }
}

void SubtractOp::buildInputGradients(GradientBuilder &gradients) {
  if (Value g = gradients.gradientFor(getY(), getB())) {
    gradients.addGradient(getB(), scaled(gradients, getLoc(), g, -1));
  }
  if (Value g = gradients.gradientFor(getY(), getA())) {
    gradients.addGradient(getA(), g);
  }
}

void MultiplyOp::buildInputGradients(GradientBuilder &gradients) {
  for (auto [operand, other] : {std::pair(getB(), getA()), std::pair(getA(), getB())}) {
    if (Value g = gradients.gradientFor(getY(), operand)) {
      gradients.addGradient(operand, MultiplyOp::create(gradients.builder, getLoc(), g, other));
    }
  }
}

// d(a / b) = g / b for a, -(g / b) y for b.
void DivideOp::buildInputGradients(GradientBuilder &gradients) {
  Value g = gradients.gradient(getY());
  if (!g || (!gradients.isNeeded(getA()) && !gradients.isNeeded(getB()))) {
    return;
  }
  Value quotient = DivideOp::create(gradients.builder, getLoc(), g, getB());
  if (gradients.isNeeded(getB())) {
    Value product = MultiplyOp::create(gradients.builder, getLoc(), quotient, getY());
    gradients.addGradient(getB(), scaled(gradients, getLoc(), product, -1));
  }
  if (gradients.isNeeded(getA())) {
    gradients.addGradient(getA(), quotient);
  }
}

void ScaleOp::buildInputGradients(GradientBuilder &gradients) {
  if (Value g = gradients.gradientFor(getY(), getX())) {
    gradients.addGradient(getX(), scaled(gradients, getLoc(), g, getFactor().convertToDouble()));
  }
}

// An accumulator takes a gradient of any type.
void CastToOp::buildInputGradients(GradientBuilder &gradients) {
  if (Value g = gradients.gradientFor(getY(), getX())) {
    bool isSum = static_cast<bool>(gradients.accumulator(getX()));
    gradients.addGradient(
        getX(), isSum ? g : Value(CastFromOp::create(gradients.builder, getLoc(), getX().getType(), g)));
  }
}

void CastFromOp::buildInputGradients(GradientBuilder &gradients) {
  if (Value g = gradients.gradientFor(getY(), getX())) {
    gradients.addGradient(getX(), CastToOp::create(gradients.builder, getLoc(), getX().getType(), g));
  }
}

void ExpandOp::buildInputGradients(GradientBuilder &gradients) {
  if (Value g = gradients.gradientFor(getY(), getX())) {
    gradients.addGradient(
        getX(), ReduceSumOp::create(gradients.builder, getLoc(), getX().getType(), g, getScaleAttr()));
  }
}

void ReduceSumOp::buildInputGradients(GradientBuilder &gradients) {
  if (Value g = gradients.gradientFor(getY(), getX())) {
    gradients.addGradient(getX(),
                          ExpandOp::create(gradients.builder, getLoc(), getX().getType(), g, getScaleAttr()));
  }
}

void PermuteOp::buildInputGradients(GradientBuilder &gradients) {
  if (Value g = gradients.gradientFor(getY(), getX())) {
    SmallVector<int64_t> inverse(getDims().size());
    for (auto [to, from] : llvm::enumerate(getDims())) {
      inverse[from] = static_cast<int64_t>(to);
    }
    gradients.addGradient(getX(),
                          PermuteOp::create(gradients.builder, getLoc(), getX().getType(), g, inverse));
  }
}

void SliceOp::buildInputGradients(GradientBuilder &gradients) {
  if (Value g = gradients.gradientFor(getY(), getX())) {
    gradients.addGradient(getX(),
                          SliceGradOp::create(gradients.builder, getLoc(), getX().getType(), g, getStarts()));
  }
}

void ConcatOp::buildInputGradients(GradientBuilder &gradients) {
  auto a = cast<RankedTensorType>(getA().getType());
  for (Value operand : {getB(), getA()}) {
    if (Value g = gradients.gradientFor(getY(), operand)) {
      SmallVector<int64_t> starts(a.getRank(), 0);
      starts[getDim()] = operand == getB() ? a.getDimSize(getDim()) : 0;
      gradients.addGradient(operand,
                            SliceOp::create(gradients.builder, getLoc(), operand.getType(), g, starts));
    }
  }
}

// y = a b:    da = g b^T,   db = a^T g.
void MatmulOp::buildInputGradients(GradientBuilder &gradients) {
  if (Value g = gradients.gradientFor(getY(), getB())) {
    gradients.addGradient(getB(),
                          MatmulTnOp::create(gradients.builder, getLoc(), getB().getType(), getA(), g));
  }
  if (Value g = gradients.gradientFor(getY(), getA())) {
    gradients.addGradient(getA(),
                          MatmulNtOp::create(gradients.builder, getLoc(), getA().getType(), g, getB()));
  }
}

// y = a b^T:  da = g b,     db = g^T a.
void MatmulNtOp::buildInputGradients(GradientBuilder &gradients) {
  if (Value g = gradients.gradientFor(getY(), getB())) {
    gradients.addGradient(getB(),
                          MatmulTnOp::create(gradients.builder, getLoc(), getB().getType(), g, getA()));
  }
  if (Value g = gradients.gradientFor(getY(), getA())) {
    gradients.addGradient(getA(), MatmulOp::create(gradients.builder, getLoc(), getA().getType(), g, getB()));
  }
}

// y = a^T b:  da = b g^T,   db = a g.
void MatmulTnOp::buildInputGradients(GradientBuilder &gradients) {
  if (Value g = gradients.gradientFor(getY(), getB())) {
    gradients.addGradient(getB(), MatmulOp::create(gradients.builder, getLoc(), getB().getType(), getA(), g));
  }
  if (Value g = gradients.gradientFor(getY(), getA())) {
    gradients.addGradient(getA(),
                          MatmulNtOp::create(gradients.builder, getLoc(), getA().getType(), getB(), g));
  }
}

// One operation per element made; products 2 per multiply-add.
#define STAGEWRIGHT_ELEMENT_COST(Op)                                                                         \
  double Op::flops() {                                                                                       \
    return elementsOf(getY());                                                                               \
  }                                                                                                          \
  double Op::gradientFlops() {                                                                               \
    return elementsOf(getY());                                                                               \
  }
STAGEWRIGHT_ELEMENT_COST(AddOp)
STAGEWRIGHT_ELEMENT_COST(SubtractOp)
STAGEWRIGHT_ELEMENT_COST(ScaleOp)
STAGEWRIGHT_ELEMENT_COST(CastToOp)
STAGEWRIGHT_ELEMENT_COST(CastFromOp)
STAGEWRIGHT_ELEMENT_COST(ExpandOp)
STAGEWRIGHT_ELEMENT_COST(PermuteOp)
STAGEWRIGHT_ELEMENT_COST(SliceOp)
STAGEWRIGHT_ELEMENT_COST(ConcatOp)
#undef STAGEWRIGHT_ELEMENT_COST

double MultiplyOp::flops() {
  return elementsOf(getY());
}
double MultiplyOp::gradientFlops() {
  return 2 * elementsOf(getY());
}
double DivideOp::flops() {
  return elementsOf(getY());
}
double DivideOp::gradientFlops() {
  return 3 * elementsOf(getY());
}
double ReduceSumOp::flops() {
  return elementsOf(getX());
}
double ReduceSumOp::gradientFlops() {
  return elementsOf(getX());
}

static double productFlops(Value y, Value a, int64_t contractionDimension) {
  return 2 * elementsOf(y) *
         static_cast<double>(cast<RankedTensorType>(a.getType()).getDimSize(contractionDimension));
}
double MatmulOp::flops() {
  return productFlops(getY(), getA(), 2);
}
double MatmulOp::gradientFlops() {
  return 2 * flops();
}
double MatmulNtOp::flops() {
  return productFlops(getY(), getA(), 2);
}
double MatmulNtOp::gradientFlops() {
  return 2 * flops();
}
double MatmulTnOp::flops() {
  return productFlops(getY(), getA(), 1);
}
double MatmulTnOp::gradientFlops() {
  return 2 * flops();
}

} // namespace stagewright::layer
