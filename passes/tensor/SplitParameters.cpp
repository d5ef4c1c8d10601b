#include "passes/Passes.h"
#include "passes/Provenance.h"
#include "passes/tensor/SplitRegion.h"

#include "mlir/IR/Builders.h"

using namespace mlir;

namespace stagewright {

#define GEN_PASS_DEF_SPLITPARAMETERS
#include "generated-passes/Passes.h.inc"

namespace {

/// Of a value that the ranks split along a dimension: one rank's part.
RankedTensorType partOf(Type type, int64_t dim, int64_t ranks) {
  auto tensor = cast<RankedTensorType>(type);
  SmallVector<int64_t> shape(tensor.getShape());
  shape[dim] /= ranks;
  return RankedTensorType::get(shape, tensor.getElementType());
}

/// Dimension and sections, as `layer.parameter` has them.
using Split = SmallVector<int64_t>;

class ParameterSplitter {
public:
  ParameterSplitter(ModuleOp module, int64_t ranks)
      : module(module), model(*module.getOps<layer::ModelOp>().begin()), builder(model), ranks(ranks) {
    loss = cast<layer::BlockOp>(*std::next(model.getBody().front().rbegin()));
    module.walk([&](layer::ParameterValueOp read) { reads[read.getParameter()].push_back(read); });
  }

  LogicalResult run() {
    SmallVector<layer::LinearOp> linears;
    model.walk([&](layer::LinearOp linear) { linears.push_back(linear); });
    std::vector<SplitRegion> regions;
    for (layer::LinearOp linear : linears) {
      SplitRegion region(linear, ranks);
      std::string why = used.contains(linear) ? "" : region.refusal();
      if (used.contains(linear) || !why.empty() || !(why = takeParameters(region)).empty()) {
        refusals += why.empty() ? "" : "\n  " + nameOf(linear) + ": " + why;
        continue;
      }
      regions.push_back(std::move(region));
    }
    takeEmbeddings();
    if (splits.empty()) {
      return refuse();
    }
    for (const SplitRegion &region : regions) {
      rewrite(region);
    }
    for (auto &[name, split] : splits) {
      writeSplit(name, split);
    }
    rewriteEmbeddings();
    return success();
  }

private:
  std::string nameOf(Operation *op) {
    return "layer \"" + op->getParentOfType<layer::BlockOp>().getName().str() + "\"";
  }

  LogicalResult refuse() {
    auto diagnostic =
        model.emitError("no parameter of the model can be split over ")
        << ranks << " tensor ranks: "
        << (refusals.empty() ? std::string("it has no Linear and no Embedding layers") : refusals);
    diagnostic.attachNote()
        << "tensor ranks split pairs of Linear layers, attention between two of them, Embedding, and the "
           "last layer before CrossEntropyLoss; use pipeline stages or replicas instead";
    return failure();
  }

  /// The split of each parameter that the region asks for, if it can have it; else why not.
  std::string takeParameters(const SplitRegion &region) {
    llvm::MapVector<StringRef, Split> wanted;
    llvm::SmallPtrSet<Operation *, 8> own;
    std::string reason;
    const auto require = [&](bool holds, const std::string &why) {
      reason = holds || !reason.empty() ? reason : why;
    };
    const auto want = [&](Value value, int64_t dim, const std::vector<int64_t> &sections) {
      auto read = value ? layer::withoutUse(value).getDefiningOp<layer::ParameterValueOp>() : nullptr;
      require(read, "a weight or bias is computed");
      if (!read) {
        return;
      }
      Split split = {dim};
      llvm::append_range(split, sections);
      auto known = splits.find(read.getParameter());
      auto [entry, isNew] = wanted.insert({read.getParameter(), split});
      require(entry->second == split && (known == splits.end() || known->second == split),
              "parameter " + read.getParameter().str() + " would be split in two ways");
      own.insert(read);
    };
    for (layer::LinearOp linear : region.columns) {
      want(linear.getWeight(), 0, region.sections(linear.getY()));
      if (linear.getBias()) {
        want(linear.getBias(), 0, region.sections(linear.getY()));
      }
      require(!used.contains(linear), "its neighbour is split already");
    }
    for (layer::LinearOp linear : region.rows) {
      want(linear.getWeight(), 1, region.sections(linear.getX()));
      require(!used.contains(linear) && !llvm::is_contained(region.columns, linear),
              "its neighbour is split already");
    }
    require(handsOutWholes(region), "the loss or the user of the model reads all of it");
    for (auto &[name, split] : wanted) {
      for (layer::ParameterValueOp read : reads[name]) { // of a tied one also by others
        require(own.contains(read) || splits.count(name) || (embeddingOf(read) && split == wholeRows(read)),
                "parameter " + name.str() + " is also read by a layer that stays whole");
      }
    }
    if (reason.empty()) {
      for (auto &entry : wanted) {
        splits.insert(entry);
      }
      used.insert(region.columns.begin(), region.columns.end());
      used.insert(region.rows.begin(), region.rows.end());
    }
    return reason;
  }

  /// Whether the region's values reach the loss and the model's user only as logits of its losses, which are
  /// gathered for them.
  bool handsOutWholes(const SplitRegion &region) {
    llvm::SmallDenseSet<Value> gathered;
    for (layer::SoftmaxCrossEntropyOp crossEntropy : region.losses) {
      BlockArgument argument = lossInput(crossEntropy);
      if (!argument) {
        return false;
      }
      gathered.insert(madeValue(argument));
    }
    const auto isWhole = [&](Value value) {
      return gathered.contains(madeValue(value)) || !region.values().count(madeValue(value));
    };
    auto last = cast<layer::BlockOp>(loss->getPrevNode());
    return isWhole(last.getOutputs().front()) && llvm::all_of(loss.getInputs(), isWhole);
  }

  /// Rows in one section.
  Split wholeRows(layer::ParameterValueOp read) {
    return {0, cast<RankedTensorType>(read.getType()).getDimSize(0)};
  }

  layer::EmbeddingOp embeddingOf(layer::ParameterValueOp read) {
    Value value = read.getValue();
    if (auto use = value.hasOneUse() ? dyn_cast<layer::ParameterUseOp>(*value.user_begin()) : nullptr) {
      value = use.getValue();
    }
    auto embedding = value.hasOneUse() ? dyn_cast<layer::EmbeddingOp>(*value.user_begin()) : nullptr;
    return embedding && embedding.getWeight() == value ? embedding : nullptr;
  }

  /// Tables that embeddings alone read, and those that a region has split.
  void takeEmbeddings() {
    for (auto &[name, list] : reads) {
      const bool all = llvm::all_of(list, [&](layer::ParameterValueOp read) { return embeddingOf(read); });
      Split rows = all ? wholeRows(list.front()) : Split();
      if (all && rows[1] % ranks == 0) {
        splits.insert({name, rows});
      } else if (all) {
        refusals += "\n  " + nameOf(list.front()) + ": it has " + std::to_string(rows[1]) +
                    " rows, which cannot be divided";
      }
      for (layer::ParameterValueOp read : list) {
        if (layer::EmbeddingOp embedding = embeddingOf(read); embedding && splits.count(name)) {
          embeddings.push_back(embedding);
        }
      }
    }
  }

  void rewrite(const SplitRegion &region) {
    for (layer::SoftmaxCrossEntropyOp crossEntropy : region.losses) {
      rewriteLoss(region, crossEntropy);
    }
    for (layer::SliceOp slice : region.slices) {
      SmallVector<int64_t> starts(slice.getStarts());
      starts[region.values().lookup(madeValue(slice.getX()))] /= ranks;
      slice.setStarts(starts);
    }
    for (OpOperand *random : region.randoms) {
      random->set(rankInput("tensor_random", 4, cast<layer::BlockOp>(random->getOwner()->getParentOp())));
    }
    for (auto &[value, dim] : region.values()) {
      retype(value, partOf(value.getType(), dim, ranks));
    }
    for (layer::LinearOp linear : region.columns) {
      shareInput(linear);
    }
    for (layer::LinearOp linear : region.rows) {
      addUp(linear);
    }
  }

  /// A value and its names in other blocks, but for the loss: what that reads stays whole.
  void retype(Value made, Type type) {
    if (made.getDefiningOp()->getParentOp() == loss) {
      return;
    }
    std::vector<Value> names = {made};
    while (!names.empty()) {
      Value name = names.back();
      names.pop_back();
      name.setType(type);
      for (OpOperand &use : name.getUses()) {
        auto reader = dyn_cast<layer::BlockOp>(use.getOwner());
        if (reader && reader != loss) {
          names.push_back(reader.getBody().getArgument(use.getOperandNumber()));
        } else if (isa<layer::YieldOp>(use.getOwner())) {
          auto block = cast<layer::BlockOp>(use.getOwner()->getParentOp());
          names.push_back(block.getOutputs()[use.getOperandNumber()]);
        }
      }
    }
  }

  /// Gradients of what all ranks read are parts of its gradient: they are added up, once for all readers of a
  /// block.
  void shareInput(layer::LinearOp linear) {
    Value &shared = sharedInputs[linear.getX()];
    if (!shared) {
      builder.setInsertionPoint(linear);
      shared =
          layer::SharedInputOp::create(builder, madeBy("split-parameters", linear.getLoc()), linear.getX());
    }
    linear.getXMutable().assign(shared);
    if (!shared.getDefiningOp()->isBeforeInBlock(linear)) {
      shared.getDefiningOp()->moveBefore(linear);
    }
  }

  /// y = sum of x W^T over the ranks, then the bias.
  void addUp(layer::LinearOp linear) {
    builder.setInsertionPointAfter(linear);
    Location location = madeBy("split-parameters", linear.getLoc());
    auto reduced = layer::AllReduceOp::create(builder, location, linear.getY(), "tensor");
    Value y = reduced.getY();
    llvm::SmallPtrSet<Operation *, 4> keep = {reduced};
    if (Value bias = linear.getBias()) {
      linear.getBiasMutable().clear();
      auto expand = layer::ExpandOp::create(builder, location, y.getType(), bias, builder.getF64FloatAttr(1));
      auto add = layer::AddOp::create(builder, location, y, expand.getY());
      keep.insert(add);
      y = add.getY();
    }
    linear.getY().replaceAllUsesExcept(y, keep);
  }

  /// The argument of the loss's block that the op's logits are a view of; null when they are not.
  BlockArgument lossInput(layer::SoftmaxCrossEntropyOp crossEntropy) {
    auto argument = dyn_cast<BlockArgument>(layer::stripViews(crossEntropy.getLogits()));
    const bool isOfLayer =
        argument && crossEntropy->getParentOp() == loss &&
        loss.getInputs()[argument.getArgNumber()].getDefiningOp<layer::BlockOp>() != nullptr;
    return isOfLayer ? argument : BlockArgument();
  }

  /// The rank's columns, and three numbers of each row that all ranks exchange, in place of all logits.
  void rewriteLoss(const SplitRegion &region, layer::SoftmaxCrossEntropyOp crossEntropy) {
    unsigned number = lossInput(crossEntropy).getArgNumber();
    const auto logitsOf = [&] { return cast<OpResult>(loss.getInputs()[number]); };
    if (!parts.contains(logitsOf())) {
      int64_t dim = region.values().lookup(madeValue(logitsOf()));
      const bool isLast = logitsOf().getOwner() == loss->getPrevNode() && logitsOf().getResultNumber() == 0;
      Value part = isLast ? handOutPart(logitsOf(), dim) : gatherInLoss(logitsOf(), dim);
      parts[logitsOf()] = part;
    }
    Value part = parts[logitsOf()];
    builder.setInsertionPoint(crossEntropy);
    Location location = madeBy("split-parameters", crossEntropy.getLoc());
    auto type = cast<RankedTensorType>(crossEntropy.getLogits().getType());
    Value logits = layer::ReshapeOp::create(builder, location, partOf(type, 1, ranks), part);
    Value rank = rankInput("tensor_rank", 1, loss), labels = crossEntropy.getLabels();
    Type f32 = builder.getF32Type();
    auto statisticsType = RankedTensorType::get({type.getDimSize(0), 3}, f32);
    Value statistics =
        layer::VocabularyStatisticsOp::create(builder, location, statisticsType, logits, labels, rank);
    auto gathered = RankedTensorType::get({ranks, type.getDimSize(0), 3}, f32);
    Value all = layer::AllGatherOp::create(builder, location, gathered, statistics, "tensor");
    auto op = layer::VocabularyCrossEntropyOp::create(
        builder, location, crossEntropy.getResultTypes(), all, labels, crossEntropy.getValidRows(),
        crossEntropy.getIgnoreIndexAttr(), crossEntropy.getLabelSmoothingAttr(),
        crossEntropy.getRowsPerSampleAttr(), builder.getI64IntegerAttr(type.getDimSize(1)));
    crossEntropy.replaceAllUsesWith(op.getResults());
    crossEntropy.erase();
  }

  /// The loss's block reads the part; what it does with all of it (counting) is behind a gather.
  Value gatherInLoss(OpResult logits, int64_t dim) {
    Type whole = logits.getType();
    Value part, all;
    for (auto [input, argument] : llvm::zip(loss.getInputs(), loss.getBody().getArguments())) {
      if (input == logits) {
        part = part ? part : Value(argument);
        all = all ? all : gathered(argument, dim, &loss.getBody().front().front());
        argument.replaceUsesWithIf(all,
                                   [&](OpOperand &use) { return !isa<layer::AllGatherOp>(use.getOwner()); });
        argument.setType(partOf(whole, dim, ranks));
      }
    }
    return part;
  }

  /// The last layer hands out all of its value, which evaluation alone uses, and behind its other results the
  /// part. Returns the argument of the loss's block for that.
  Value handOutPart(OpResult whole, int64_t dim) {
    auto block = cast<layer::BlockOp>(whole.getOwner());
    Operation *yield = block.getBody().front().getTerminator();
    Value own = yield->getOperand(whole.getResultNumber());
    yield->setOperand(whole.getResultNumber(), gathered(own, dim, yield));
    yield->insertOperands(yield->getNumOperands(), own);
    SmallVector<Type> types(block.getResultTypes());
    types.push_back(partOf(whole.getType(), dim, ranks));
    builder.setInsertionPoint(block);
    auto longer =
        layer::BlockOp::create(builder, block.getLoc(), types, block->getOperands(), block->getAttrs());
    longer.getBody().takeBody(block.getBody());
    for (auto [old, made] : llvm::zip(block.getOutputs(), longer.getOutputs())) {
      old.replaceAllUsesWith(made);
    }
    Value part = longer.getOutputs().back();
    longer.getOutputs()[whole.getResultNumber()].replaceUsesWithIf(
        part, [&](OpOperand &use) { return use.getOwner() != loss; });
    for (auto &entry : rankInputs) {
      if (auto known = rankIn.find({block, entry.getValue()}); known != rankIn.end()) {
        rankIn[{longer, entry.getValue()}] = known->second;
        rankIn.erase({block, entry.getValue()});
      }
    }
    block.erase();
    return passTo(loss, part);
  }

  /// All ranks' parts of a value of which `own` will be one.
  Value gathered(Value own, int64_t dim, Operation *before) {
    builder.setInsertionPoint(before);
    Location location = madeBy("split-parameters", before->getLoc());
    auto whole = cast<RankedTensorType>(own.getType());
    SmallVector<int64_t> shape = {ranks}, order, turned;
    llvm::append_range(shape, partOf(whole, dim, ranks).getShape());
    for (int64_t i = 0; i < whole.getRank(); ++i) {
      if (i == dim) {
        order.push_back(0);
      }
      order.push_back(i + 1);
    }
    for (int64_t from : order) {
      turned.push_back(shape[from]);
    }
    Type element = whole.getElementType();
    Value all =
        layer::AllGatherOp::create(builder, location, RankedTensorType::get(shape, element), own, "tensor");
    Value inOrder =
        layer::PermuteOp::create(builder, location, RankedTensorType::get(turned, element), all, order);
    return layer::ReshapeOp::create(builder, location, whole, inOrder);
  }

  /// The argument of the block for a value of the model.
  Value passTo(layer::BlockOp block, Value value) {
    block->insertOperands(block->getNumOperands(), value);
    return block.getBody().front().addArgument(value.getType(), value.getLoc());
  }

  /// The argument of the block for an input of this role, which the model gets where it has none.
  Value rankInput(StringRef role, int64_t elements, layer::BlockOp block) {
    Value &input = rankInputs[role];
    if (!input) {
      OpBuilder::InsertionGuard guard(builder);
      builder.setInsertionPoint(model);
      Location location = madeBy("split-parameters", model.getLoc());
      auto type = RankedTensorType::get({elements}, builder.getI32Type());
      const auto real = [&](double value) { return builder.getF64FloatAttr(value); };
      layer::InputOp::create(builder, location, builder.getStringAttr("/" + role),
                             builder.getStringAttr(role), TypeAttr::get(type), real(1), real(0), real(1));
      input = model.getBody().front().addArgument(type, location);
    }
    Value &known = rankIn[{block, input}];
    known = known ? known : passTo(block, input);
    return known;
  }

  void writeSplit(StringRef name, const Split &split) {
    auto parameter = cast<layer::ParameterOp>(SymbolTable::lookupSymbolIn(module, name));
    RankedTensorType part = partOf(parameter.getType(), split[0], ranks);
    parameter.setTypeAttr(TypeAttr::get(part));
    parameter.setSplit(ArrayRef<int64_t>(split));
    for (layer::ParameterValueOp read : reads[name]) {
      read.getValue().setType(part);
      for (Operation *user : read.getValue().getUsers()) {
        if (auto use = dyn_cast<layer::ParameterUseOp>(user)) {
          use.getValue().setType(part);
        }
      }
    }
  }

  /// Rows of other ranks are zeros.
  void rewriteEmbeddings() {
    for (layer::EmbeddingOp embedding : embeddings) {
      embedding.getTensorRankMutable().assign(
          rankInput("tensor_rank", 1, cast<layer::BlockOp>(embedding->getParentOp())));
      builder.setInsertionPointAfter(embedding);
      auto reduced = layer::AllReduceOp::create(builder, madeBy("split-parameters", embedding.getLoc()),
                                                embedding.getY(), "tensor");
      embedding.getY().replaceAllUsesExcept(reduced.getY(), reduced);
    }
  }

  ModuleOp module;
  layer::ModelOp model;
  layer::BlockOp loss;
  OpBuilder builder;
  const int64_t ranks;
  llvm::MapVector<StringRef, SmallVector<layer::ParameterValueOp>> reads;
  llvm::MapVector<StringRef, Split> splits;
  llvm::SmallPtrSet<Operation *, 16> used; ///< linear layers
  SmallVector<layer::EmbeddingOp> embeddings;
  llvm::DenseMap<Value, Value> sharedInputs, parts;
  llvm::StringMap<Value> rankInputs; ///< the model's arguments, once they are needed
  llvm::DenseMap<std::pair<Operation *, Value>, Value> rankIn;
  std::string refusals;
};

struct SplitParametersPass : impl::SplitParametersBase<SplitParametersPass> {
  void runOnOperation() override {
    plan::SettingsOp settings = *getOperation().getOps<plan::SettingsOp>().begin();
    if (settings.getTensorParallel() > 1 &&
        failed(ParameterSplitter(getOperation(), settings.getTensorParallel()).run())) {
      signalPassFailure();
    }
  }
};

} // namespace
} // namespace stagewright
