#include "passes/Passes.h"
#include "passes/Provenance.h"
#include "passes/lower/ExchangeParts.h"
#include "passes/lower/MicroBatchSums.h"
#include "passes/lower/OffloadedUpdate.h"
#include "passes/lower/RankSlices.h"
#include "passes/lower/ReplicaExchanges.h"
#include "passes/lower/WeightGathers.h"
#include "passes/memory/FunctionBuffers.h"
#include "passes/parallel/TiedParameters.h"

#include "mlir/IR/Builders.h"
#include "llvm/ADT/StringMap.h"

using namespace mlir;

namespace stagewright {

#define GEN_PASS_DEF_LOWERTOCOMMANDS
#include "generated-passes/Passes.h.inc"

namespace {

using plan::FunctionKind;
using plan::Role;
using schedule::TaskKind;

/// Writes the programs and bindings of one rank behind its arenas and pools.
class RankLowering {
public:
  RankLowering(ModuleOp module, command::RankOp rank)
      : module(module), rank(rank), settings(*module.getOps<plan::SettingsOp>().begin()),
        schedule(*module.getOps<plan::ScheduleOp>().begin()),
        builder(OpBuilder::atBlockEnd(&rank.getBody().front())), tied(tiedParameters(module)),
        slices(module, rank), scratch(exchangeScratch(module, rank.getIndex()).bytes) {
    for (auto [index, block] : llvm::enumerate(module.getOps<plan::BlockOp>())) {
      blocks[block.getName()] = static_cast<int64_t>(index);
    }
    for (plan::LocalsOp entry : rank.getBody().getOps<plan::LocalsOp>()) {
      locals[{entry.getStage(), static_cast<int64_t>(entry.getFunction())}] = entry;
    }
    llvm::append_range(pools, rank.getBody().getOps<command::PoolOp>());
  }

  LogicalResult run() {
    for (plan::StageOp stage : module.getOps<plan::StageOp>()) {
      if (stage.getRank() != rank.getIndex()) {
        continue;
      }
      for (plan::FunctionOp function : stage.getBody().getOps<plan::FunctionOp>()) {
        if (failed(lowerFunction(stage.getIndex(), function))) {
          return failure();
        }
      }
      bindValues(stage);
      transfers(stage);
      tiedTransfers(stage);
      writeReplicaExchanges(module, rank, stage, slices, scratch, builder);
    }
    collective(false);
    collective(true);
    for (Operation &op : llvm::make_early_inc_range(rank.getBody().front())) {
      if (isa<plan::PlacementOp, plan::LocalsOp>(op)) {
        op.erase();
      }
    }
    return success();
  }

private:
  Location made(Location from) { return madeBy("lower-to-commands", from); }

  LogicalResult lowerFunction(int64_t stage, plan::FunctionOp function) {
    OpBuilder::InsertionGuard guard(builder);
    auto program = command::ProgramOp::create(builder, made(function.getLoc()),
                                              static_cast<int64_t>(function.getKind()), stage);
    builder.createBlock(&program.getBody());
    FunctionBuffers buffers(function);
    plan::LocalsOp local = locals.lookup({stage, static_cast<int64_t>(function.getKind())});
    ExchangeWriter writer(rank, stage, function.getLoc(), builder);
    WeightGathers gathers(function, slices, buffers, local, writer);
    MicroBatchSums sums(function, scratch, slices, buffers, local, writer);
    OffloadedUpdate offloaded(module, rank, function, slices, buffers, writer);
    for (Operation &op : function.getBody().front()) {
      gathers.lower(op);
      sums.lower(op);
      auto kernel = dyn_cast<layer::Kernel>(op);
      if (!kernel) {
        continue; // a view, an exchange between replicas, or the return
      }
      const std::vector<OffloadedUpdate::Chunk> &chunks = offloaded.chunks(kernel);
      LogicalResult done = chunks.empty() ? launch(stage, kernel, buffers, local, nullptr) : success();
      for (const OffloadedUpdate::Chunk &chunk : chunks) {
        chunk.windows.empty() ? void() : offloaded.begin(chunk);
        done = succeeded(done) ? launch(stage, kernel, buffers, local, &chunk) : done;
        chunk.windows.empty() ? void() : offloaded.end(chunk);
      }
      if (failed(done)) {
        return failure();
      }
    }
    gathers.finish();
    offloaded.finish();
    builder.setInsertionPointToEnd(&rank.getBody().front());
    for (auto [name, value] : llvm::zip(function.getOutputs().getAsRange<plan::ValueAttr>(),
                                        function.getBody().front().getTerminator()->getOperands())) {
      if (name.getRole() == Role::Output && function.getKind() == FunctionKind::Evaluate) {
        auto type = cast<RankedTensorType>(value.getType());
        auto where = command::SliceAttr::get(type.getContext(), local.getArena(), -1,
                                             local.getOffsets()[buffers.local(value)], type);
        command::OutputOp::create(builder, made(function.getLoc()), name.getName(), stage, where);
      }
    }
    return success();
  }

  /// One call of the op's kernel: on all of its operands, or for one replica on its piece of a parameter.
  LogicalResult launch(int64_t stage, layer::Kernel kernel, const FunctionBuffers &buffers,
                       plan::LocalsOp local, const OffloadedUpdate::Chunk *chunk) {
    Operation *op = kernel.getOperation();
    const RankSlices::Piece *piece = chunk ? &chunk->piece : nullptr;
    SmallVector<Attribute> operands;
    std::vector<catalogue::Shape> shapes;
    for (Value operand : kernel.kernelOperands()) {
      auto type = cast<RankedTensorType>(operand.getType());
      plan::ValueAttr name = buffers.named(operand);
      bool divided = piece && name && (!slices.ownedPieces(stage, name).empty() || isPartials(name));
      auto where = divided && chunk->windows.contains(name) ? chunk->windows.lookup(name)
                   : divided                                ? slices.sliceOfPiece(stage, name, type, *piece)
                   : name                                   ? slices.slice(stage, name, type)
                          : command::SliceAttr::get(type.getContext(), local.getArena(), -1,
                                                    local.getOffsets()[buffers.local(operand)], type);
      operands.push_back(where);
      shapes.push_back(layer::shapeOf(where.getType()));
    }
    const catalogue::Kernel *entry = layer::kernelOf(op);
    if (!entry) {
      return op->emitOpError("has the kernel \"")
             << kernel.kernelName() << "\", which the catalogue does not have";
    }
    FailureOr<DictionaryAttr> attributes = attributesOf(op, *entry);
    if (failed(attributes)) {
      return failure();
    }
    int64_t workspace =
        entry->workspaceBytes ? static_cast<int64_t>(entry->workspaceBytes(shapes, target())) : 0;
    command::LaunchOp::create(builder, made(op->getLoc()), builder.getStringAttr(kernel.kernelName()),
                              builder.getI64IntegerAttr(kernel.kernelVersion()),
                              builder.getI64IntegerAttr(blockIndex(op->getLoc())),
                              builder.getArrayAttr(operands), *attributes,
                              builder.getI64IntegerAttr(workspace > 0 ? local.getWorkspace() : 0),
                              builder.getI64IntegerAttr(workspace),
                              piece ? builder.getI64IntegerAttr(piece->replica) : IntegerAttr());
    return success();
  }

  /// The partial sums of one parameter's norm.
  static bool isPartials(plan::ValueAttr name) {
    return name.getRole() == Role::Shared && name.getName().starts_with("partials/");
  }

  StringRef target() { return cast<command::ExecutableOp>(rank->getParentOp()).getTarget(); }

  int64_t blockIndex(Location location) {
    auto found = blocks.find(blockName(location));
    return found == blocks.end() ? -1 : found->second;
  }

  /// The op's inherent attributes, which are those of the catalogue entry: a name that only one of the two
  /// knows is a mistake, as its value would be lost or be a default that nobody chose.
  FailureOr<DictionaryAttr> attributesOf(Operation *op, const catalogue::Kernel &entry) {
    NamedAttrList list;
    for (StringAttr name : op->getRegisteredInfo()->getAttributeNames()) {
      Attribute value = name.getValue() == "operandSegmentSizes" ? Attribute() : op->getAttr(name);
      bool isKnown = llvm::any_of(entry.attributes, [&](const catalogue::AttributeRule &rule) {
        return name.getValue() == StringRef(rule.name.data(), rule.name.size());
      });
      if (value && !isKnown) {
        return op->emitOpError("has the attribute ") << name << ", which its kernel does not take";
      }
      if (value) {
        list.append(name, value);
      }
    }
    for (const catalogue::AttributeRule &rule : entry.attributes) {
      StringRef name(rule.name.data(), rule.name.size());
      if (!list.get(name)) {
        return op->emitOpError("has no attribute \"") << name << "\", which its kernel takes";
      }
    }
    return list.getDictionary(op->getContext());
  }

  void bindValues(plan::StageOp stage) {
    llvm::MapVector<plan::ValueAttr, RankedTensorType> types;
    for (plan::FunctionOp function : stage.getBody().getOps<plan::FunctionOp>()) {
      for (auto [name, argument] : llvm::zip(function.getInputs().getAsRange<plan::ValueAttr>(),
                                             function.getBody().front().getArguments())) {
        types[name] = cast<RankedTensorType>(argument.getType());
      }
      for (plan::GatherOp gather : function.getBody().getOps<plan::GatherOp>()) {
        auto name = plan::ValueAttr::get(builder.getContext(), Role::Parameter, gather.getParameter());
        types[name] = cast<RankedTensorType>(gather.getType());
      }
    }
    for (auto &[parameter, sums] : gradientSums(module)) {
      for (const GradientSum &sum : sums) {
        types[sum.residual()] = sum.type;
      }
    }
    llvm::StringMap<int64_t> inputs; // "rows" is -1, "random" -2, "tensor_rank" -3, "tensor_random" -4
    int64_t next = 0;
    for (layer::InputOp input : module.getOps<layer::InputOp>()) {
      inputs[input.getName()] = input.isOfSamples()                ? next++
                                : input.getRole() == "rows"        ? -1
                                : input.getRole() == "random"      ? -2
                                : input.getRole() == "tensor_rank" ? -3
                                                                   : -4;
    }
    for (plan::PlacementOp place : rank.getBody().getOps<plan::PlacementOp>()) {
      plan::ValueAttr name = place.getValue();
      if (place.getStage() != stage.getIndex() || !types.contains(name) || place.getOffloaded()) {
        continue;
      }
      RankedTensorType type = types[name];
      command::SliceAttr where = slices.slice(stage.getIndex(), name, type);
      auto [parameter, state] = name.parameterAndState();
      if (name.getRole() == Role::Input) {
        command::InputOp::create(builder, made(stage.getLoc()), inputs.lookup(name.getName()),
                                 stage.getIndex(), place.getPool(), place.getOffset(), type.getShape());
      } else if (slices.isSharded(stage.getIndex(), name)) {
        for (const RankSlices::Piece &piece : slices.pieces(stage.getIndex(), name)) {
          bool isSum = name.getRole() == Role::Accumulator;
          if (isSum && !state.empty()) {
            continue; // those of further uses are no state
          }
          command::PlacementOp::create(builder, made(stage.getLoc()), parameter, isSum ? "gradient" : state,
                                       stage.getIndex(),
                                       slices.sliceOfPiece(stage.getIndex(), name, type, piece), piece.first,
                                       builder.getI64IntegerAttr(piece.replica));
        }
      } else if (name.getRole() == Role::Parameter || name.getRole() == Role::State) {
        bind(stage, parameter, state, where);
      } else if (name.getRole() == Role::Buffer) {
        command::BufferOp::create(builder, made(stage.getLoc()), name.getName(), stage.getIndex(), where);
      } else if (name.getRole() == Role::Accumulator && state.empty()) { // those of further uses are no state
        bind(stage, parameter, "gradient", where);
      } else if (name.getRole() == Role::Residual) {
        bind(stage, parameter, state.empty() ? "residual" : "residual." + state.str(), where);
      }
    }
  }

  void bind(plan::StageOp stage, StringRef parameter, StringRef state, command::SliceAttr where) {
    command::PlacementOp::create(builder, made(stage.getLoc()), parameter, state, stage.getIndex(), where, 0,
                                 IntegerAttr());
  }

  void transfers(plan::StageOp stage) {
    ArrayRef<int64_t> rankOf = schedule.getRankOfStage();
    int64_t index = stage.getIndex(), last = static_cast<int64_t>(rankOf.size()) - 1;
    auto move = [&](TaskKind task, Role role, int64_t peerStage) {
      for (auto &[key, place] :
           slices.places) { // any value of the role leads to the pool, which holds nothing else
        if (key.first == index && key.second.getRole() == role) {
          command::TransferOp::create(builder, made(stage.getLoc()), static_cast<int64_t>(task), index,
                                      rankOf[peerStage], place.getPool(), 0,
                                      pools[place.getPool()].getSlotBytes(), IntegerAttr(), IntegerAttr(),
                                      IntegerAttr());
          return;
        }
      }
    };
    if (index > 0 && rankOf[index - 1] != rankOf[index]) {
      move(TaskKind::ReceiveForward, Role::Receive, index - 1);
      move(TaskKind::SendBackward, Role::SendGradient, index - 1);
    }
    if (index < last && rankOf[index + 1] != rankOf[index]) {
      move(TaskKind::SendForward, Role::Send, index + 1);
      move(TaskKind::ReceiveBackward, Role::ReceiveGradient, index + 1);
    }
  }

  /// Of the parameters that a stage shares with others, in import order on either side: the sums of the
  /// holder's uses, and the weights that the owner has updated.
  void tiedTransfers(plan::StageOp stage) {
    auto move = [&](TaskKind task, command::SliceAttr where, int64_t partner, IntegerAttr replica) {
      command::TransferOp::create(
          builder, made(stage.getLoc()), static_cast<int64_t>(task), stage.getIndex(),
          schedule.getRankOfStage()[partner], -1, where.getOffset(), command::byteSize(where.getType()),
          builder.getI64IntegerAttr(where.getArena()), builder.getI64IntegerAttr(partner), replica);
    };
    auto moveSum = [&](TaskKind task, const GradientSum &sum, int64_t partner) {
      if (slices.ownedPieces(stage.getIndex(), sum.name).empty()) {
        move(task, slices.slice(stage.getIndex(), sum.name, sum.type), partner, IntegerAttr());
      }
      for (const RankSlices::Piece &piece : slices.ownedPieces(stage.getIndex(), sum.name)) {
        move(task, slices.sliceOfPiece(stage.getIndex(), sum.name, sum.type, piece), partner,
             builder.getI64IntegerAttr(piece.replica));
      }
    };
    auto moveWeight = [&](TaskKind task, plan::ValueAttr name, RankedTensorType type, int64_t partner) {
      if (!slices.isSharded(stage.getIndex(), name)) {
        move(task, slices.slice(stage.getIndex(), name, type), partner, IntegerAttr());
        return;
      }
      for (const RankSlices::Piece &piece : slices.pieces(stage.getIndex(), name)) {
        move(task, slices.sliceOfPiece(stage.getIndex(), name, type, piece), partner,
             builder.getI64IntegerAttr(piece.replica));
      }
    };
    for (const TiedParameter &parameter : tied) {
      auto name = plan::ValueAttr::get(builder.getContext(), Role::Parameter, parameter.name);
      RankedTensorType type = parameter.elsewhere.front().type;
      for (const GradientSum &sum : parameter.elsewhere) {
        int64_t holder = plan::StageOp(sum.stage).getIndex();
        if (stage.getIndex() == holder) {
          moveSum(TaskKind::SendSum, sum, parameter.owner);
        } else if (stage.getIndex() == parameter.owner) {
          moveSum(TaskKind::ReceiveSum, sum, holder);
        }
      }
      for (int64_t holder : parameter.holders()) {
        if (stage.getIndex() == holder) {
          moveWeight(TaskKind::ReceiveWeight, name, type, parameter.owner);
        } else if (stage.getIndex() == parameter.owner) {
          moveWeight(TaskKind::SendWeight, name, type, holder);
        }
      }
    }
  }

  /// Neighbouring values of one rank move as one segment.
  void collective(bool evaluation) {
    SmallVector<int64_t> segments;
    int64_t arena = 0;
    for (plan::SharedOp shared : module.getOps<plan::SharedOp>()) {
      if (shared.getEvaluation() != evaluation) {
        continue;
      }
      command::SliceAttr cell = *slices.cell(shared.getName());
      int64_t owner = schedule.getRankOfStage()[shared.getStage()];
      int64_t bytes = command::byteSize(cast<RankedTensorType>(shared.getType()));
      arena = cell.getArena();
      size_t size = segments.size();
      if (size >= 3 && segments[size - 3] == owner &&
          segments[size - 2] + segments[size - 1] == cell.getOffset()) {
        segments[size - 1] += bytes;
      } else {
        segments.append({owner, cell.getOffset(), bytes});
      }
    }
    command::CollectiveOp::create(builder, made(rank.getLoc()), arena, segments, evaluation);
    if (!evaluation && (*module.getOps<plan::MeshOp>().begin()).getData() > 1) {
      command::ReductionOp::create(builder, made(rank.getLoc()), -1, *slices.cell("loss"), true,
                                   IntegerAttr(), false);
    }
    // The norm is of the whole of a split parameter.
    for (layer::ParameterOp parameter : module.getOps<layer::ParameterOp>()) {
      auto partials = slices.cell(("partials/" + parameter.getSymName()).str());
      if (!evaluation && parameter.getSplit() && partials) {
        command::ReductionOp::create(builder, made(parameter.getLoc()), -1, *partials, false, IntegerAttr(),
                                     true);
      }
    }
  }

  ModuleOp module;
  command::RankOp rank;
  plan::SettingsOp settings;
  plan::ScheduleOp schedule;
  OpBuilder builder;
  std::vector<TiedParameter> tied;
  RankSlices slices;
  const int64_t scratch; ///< bytes of an exchange that adds up gradients
  llvm::StringMap<int64_t> blocks;
  llvm::DenseMap<std::pair<int64_t, int64_t>, plan::LocalsOp> locals;
  SmallVector<command::PoolOp> pools;
};

struct LowerToCommandsPass : impl::LowerToCommandsBase<LowerToCommandsPass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    for (command::ExecutableOp executable : module.getOps<command::ExecutableOp>()) {
      for (command::RankOp rank : executable.getBody().getOps<command::RankOp>()) {
        if (failed(RankLowering(module, rank).run())) {
          return signalPassFailure();
        }
      }
    }
    for (Operation &op : llvm::make_early_inc_range(*module.getBody())) {
      if (isa<plan::StageOp, plan::SharedOp, plan::ShardOp>(op)) {
        op.erase();
      }
    }
  }
};

} // namespace
} // namespace stagewright
