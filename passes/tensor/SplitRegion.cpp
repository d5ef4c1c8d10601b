#include "passes/tensor/SplitRegion.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;

namespace stagewright {

Value madeValue(Value value) {
  while (true) {
    if (auto argument = dyn_cast<BlockArgument>(value)) {
      auto block = dyn_cast<layer::BlockOp>(argument.getOwner()->getParentOp());
      if (!block) {
        return value;
      }
      value = block.getInputs()[argument.getArgNumber()];
    } else if (auto block = value.getDefiningOp<layer::BlockOp>()) {
      value = block.getBody().front().getTerminator()->getOperand(cast<OpResult>(value).getResultNumber());
    } else {
      return value;
    }
  }
}

std::vector<OpOperand *> readersOf(Value made) {
  std::vector<OpOperand *> readers;
  std::vector<Value> names = {made};
  while (!names.empty()) {
    Value name = names.back();
    names.pop_back();
    for (OpOperand &use : name.getUses()) {
      if (auto block = dyn_cast<layer::BlockOp>(use.getOwner())) {
        names.push_back(block.getBody().getArgument(use.getOperandNumber()));
      } else if (auto block = dyn_cast<layer::BlockOp>(use.getOwner()->getParentOp());
                 block && isa<layer::YieldOp>(use.getOwner())) {
        names.push_back(block.getOutputs()[use.getOperandNumber()]);
      } else {
        readers.push_back(&use);
      }
    }
  }
  return readers;
}

static ArrayRef<int64_t> shapeOf(Value value) {
  return cast<RankedTensorType>(value.getType()).getShape();
}

static int64_t product(ArrayRef<int64_t> sizes) {
  int64_t result = 1;
  for (int64_t size : sizes) {
    result *= size;
  }
  return result;
}

/// The dimension of `to` that begins where `dim` of `from` begins; -1: none does.
static int64_t reshapedDim(ArrayRef<int64_t> from, int64_t dim, ArrayRef<int64_t> to) {
  const int64_t before = product(from.take_front(dim));
  for (int64_t i = 0, seen = 1; i < static_cast<int64_t>(to.size()); seen *= to[i++]) {
    if (seen == before && to[i] > 1) {
      return i;
    }
  }
  return -1;
}

SplitRegion::SplitRegion(layer::LinearOp first, int64_t ranks) : ranks(ranks) {
  assign(first.getY(), 1);
  while (!open.empty() && reason.empty()) {
    Value value = open.back();
    open.pop_back();
    visit(value);
  }
  if (reason.empty() && rows.empty() && losses.empty()) {
    reason = "nothing behind it adds its columns up";
  }
  if (reason.empty()) {
    check();
  }
}

void SplitRegion::refuse(Operation *op, const std::string &why) {
  auto block = op->getParentOfType<layer::BlockOp>();
  reason = reason.empty() ? op->getName().stripDialect().str() + " of layer \"" +
                                (block ? block.getName().str() : std::string()) + "\" " + why
                          : reason;
}

void SplitRegion::assign(Value value, int64_t dim) {
  value = madeValue(value);
  auto [entry, isNew] = dims.insert({value, dim});
  if (!isNew) {
    if (entry->second != dim && value.getDefiningOp()) {
      refuse(value.getDefiningOp(), "would be split along two dimensions");
    }
    return;
  }
  open.push_back(value);
}

void SplitRegion::visit(Value value) {
  Operation *maker = value.getDefiningOp();
  if (!maker) {
    reason = "it is combined with an input of the model";
    return;
  }
  visit(maker, value, dims[value]);
  for (OpOperand *use : readersOf(value)) {
    if (reason.empty() && use->getOwner() != maker) {
      visit(use->getOwner(), value, dims[value]);
    }
  }
}

void SplitRegion::visit(Operation *op, Value from, int64_t dim) {
  const auto all = [&](ValueRange values) {
    for (Value value : values) {
      assign(value, dim);
    }
  };
  llvm::TypeSwitch<Operation *>(op)
      .Case<layer::ReluOp, layer::TanhOp, layer::SiluOp, layer::SigmoidOp, layer::GeluOp, layer::ScaleOp,
            layer::AddOp, layer::SubtractOp, layer::MultiplyOp, layer::DivideOp, layer::SwigluOp>(
          [&](auto) { // element by element
            all(op->getOperands());
            all(op->getResults());
          })
      .Case([&](layer::ReshapeOp reshape) {
        const bool forward = madeValue(reshape.getX()) == from;
        Value to = forward ? reshape.getY() : reshape.getX();
        const int64_t moved = reshapedDim(shapeOf(from), dim, shapeOf(to));
        moved < 0 ? refuse(op, "mixes what is split") : assign(to, moved);
      })
      .Case([&](layer::SliceOp slice) {
        all({slice.getX(), slice.getY()});
        cut(slice, dim);
      })
      .Case([&](layer::RotaryOp rotary) {
        dim == 2 ? all({rotary.getX(), rotary.getY()}) : refuse(op, "turns whole heads");
      })
      .Case([&](layer::AttentionOp attention) { visitAttention(attention, from, dim); })
      .Case([&](layer::AttentionDropoutOp attention) {
        draws(attention.getRandomMutable());
        visitAttention(attention, from, dim);
      })
      .Case([&](layer::DropoutOp dropout) {
        draws(dropout.getRandomMutable());
        all({dropout.getX(), dropout.getY()});
      })
      .Case([&](layer::LinearOp linear) { visitLinear(linear, from, dim); })
      .Case([&](layer::SoftmaxCrossEntropyOp loss) {
        dim == 1 ? losses.push_back(loss) : refuse(op, "is split by classes only");
      })
      .Case([&](layer::CountCorrectOp) {}) // reads what the layer hands out
      .Default([&](Operation *) { refuse(op, "works on whole tensors"); });
}

void SplitRegion::draws(OpOperand &random) {
  if (!llvm::is_contained(randoms, &random)) {
    randoms.push_back(&random);
  }
}

template <typename Attention>
void SplitRegion::visitAttention(Attention attention, Value from, int64_t dim) {
  if (dim != (from == attention.getLogSumExp() ? 1 : 2)) {
    return refuse(attention, "is split by heads only");
  }
  for (Value value : {attention.getQ(), attention.getK(), attention.getV(), attention.getY()}) {
    assign(value, 2);
  }
  assign(attention.getLogSumExp(), 1);
}

void SplitRegion::visitLinear(layer::LinearOp linear, Value from, int64_t dim) {
  auto parameter = layer::withoutUse(linear.getWeight()).getDefiningOp<layer::ParameterValueOp>();
  if (!parameter || dim != 1) {
    return refuse(linear, dim == 1 ? "has a computed weight" : "takes whole rows");
  }
  if (from == linear.getY()) {
    columns.push_back(linear);
  } else if (madeValue(linear.getX()) == from) {
    rows.push_back(linear);
  } else {
    refuse(linear, "reads it as a weight");
  }
}

/// The slices of a value say where its sections are; so they do for what it was made from.
void SplitRegion::cut(layer::SliceOp slice, int64_t dim) {
  ArrayRef<int64_t> whole = shapeOf(slice.getX()), part = shapeOf(slice.getY());
  if (whole[dim] == part[dim] || llvm::is_contained(slices, slice)) {
    return;
  }
  slices.push_back(slice);
  std::pair<int64_t, int64_t> place(slice.getStarts()[dim], part[dim]);
  for (Value value = madeValue(slice.getX()); value;) {
    std::vector<std::pair<int64_t, int64_t>> &known = cuts[value];
    if (!llvm::is_contained(known, place)) {
      known.push_back(place);
    }
    Operation *maker = value.getDefiningOp();
    const bool goesOn = maker && !isa<layer::LinearOp>(maker) && maker->getNumOperands() == 1 &&
                        maker->getNumResults() == 1 && !isa<layer::SliceOp>(maker);
    value = goesOn ? madeValue(maker->getOperand(0)) : Value();
  }
}

std::vector<int64_t> SplitRegion::sections(Value value) const {
  value = madeValue(value);
  auto found = cuts.find(value);
  if (found == cuts.end()) {
    return {shapeOf(value)[dims.lookup(value)]};
  }
  auto places = found->second;
  llvm::sort(places);
  std::vector<int64_t> sizes;
  for (auto [start, size] : places) {
    sizes.push_back(size);
  }
  return sizes;
}

/// Sections lie one behind the other, all ranks get as much of each, and ops that join values find the same.
void SplitRegion::check() {
  for (layer::SoftmaxCrossEntropyOp loss : losses) {
    if (sections(loss.getLogits()).size() > 1) {
      return refuse(loss, "reads logits in sections");
    }
  }
  for (auto &[value, dim] : dims) {
    int64_t size = 0;
    auto found = cuts.find(value);
    auto places = found == cuts.end() ? std::vector<std::pair<int64_t, int64_t>>() : found->second;
    llvm::sort(places);
    bool follow = true;
    for (auto [start, length] : places) {
      follow = follow && start == size;
      size += length;
    }
    if (!follow || (!places.empty() && size != shapeOf(value)[dim])) {
      return refuse(value.getDefiningOp(), "is read in parts that overlap or leave something out");
    }
    for (int64_t section : sections(value)) {
      if (section % ranks != 0) {
        return refuse(value.getDefiningOp(), "has " + std::to_string(section) + " " +
                                                 (shapeOf(value).size() == 4 ? "heads" : "columns") +
                                                 ", which " + std::to_string(ranks) +
                                                 " tensor ranks cannot divide");
      }
    }
  }
  for (auto &[value, dim] : dims) {
    checkSections(value);
  }
}

/// What an op makes has its operands' sections, or lies within one of them.
void SplitRegion::checkSections(Value value) {
  Operation *maker = value.getDefiningOp();
  const bool isPart = isa<layer::SliceOp>(maker) && llvm::is_contained(slices, maker);
  if (isPart && sections(value).size() > 1) {
    return refuse(maker, "is cut twice");
  }
  for (Value operand : isPart ? ValueRange() : maker->getOperands()) {
    const bool joins = dims.contains(madeValue(operand)) &&
                       (shapeOf(operand) == shapeOf(value) || isa<layer::SliceOp, layer::ReshapeOp>(maker));
    const std::vector<int64_t> own = sections(value), read = joins ? sections(operand) : own;
    if (own != read && (own.size() > 1 || read.size() > 1)) {
      return refuse(maker, "joins or reshapes values in sections");
    }
  }
}

} // namespace stagewright
