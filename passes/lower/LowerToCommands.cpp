#include "passes/Passes.h"
#include "passes/Provenance.h"
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
      : module(module), rank(rank), schedule(*module.getOps<plan::ScheduleOp>().begin()),
        builder(OpBuilder::atBlockEnd(&rank.getBody().front())), tied(tiedParameters(module)) {
    for (auto [index, block] : llvm::enumerate(module.getOps<plan::BlockOp>())) {
      blocks[block.getName()] = static_cast<int64_t>(index);
    }
    for (plan::PlacementOp placement : rank.getBody().getOps<plan::PlacementOp>()) {
      places[{placement.getStage(), placement.getValue()}] = placement;
    }
    for (command::ScalarOp scalar : rank.getBody().getOps<command::ScalarOp>()) {
      cells[scalar.getName()] = scalar.getSlice();
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
      reductions(stage);
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

  command::SliceAttr slice(int64_t stage, plan::ValueAttr name, RankedTensorType type) {
    if (name.getRole() == Role::Scalar || name.getRole() == Role::Shared) {
      command::SliceAttr cell = cells.lookup(name.getName());
      return command::SliceAttr::get(type.getContext(), cell.getArena(), -1, cell.getOffset(), type);
    }
    plan::PlacementOp place = places.lookup({stage, name});
    return command::SliceAttr::get(type.getContext(), place.getArena(), place.getPool(), place.getOffset(),
                                   type);
  }

  LogicalResult lowerFunction(int64_t stage, plan::FunctionOp function) {
    OpBuilder::InsertionGuard guard(builder);
    auto program = command::ProgramOp::create(builder, made(function.getLoc()),
                                              static_cast<int64_t>(function.getKind()), stage);
    builder.createBlock(&program.getBody());
    FunctionBuffers buffers(function);
    plan::LocalsOp local = locals.lookup({stage, static_cast<int64_t>(function.getKind())});
    for (Operation &op : function.getBody().front()) {
      auto kernel = dyn_cast<layer::Kernel>(op);
      if (!kernel) {
        continue; // a view, or the return
      }
      SmallVector<Attribute> slices;
      std::vector<catalogue::Shape> shapes;
      for (Value operand : kernel.kernelOperands()) {
        auto type = cast<RankedTensorType>(operand.getType());
        plan::ValueAttr name = buffers.named(operand);
        slices.push_back(name ? slice(stage, name, type)
                              : command::SliceAttr::get(type.getContext(), local.getArena(), -1,
                                                        local.getOffsets()[buffers.local(operand)], type));
        shapes.push_back(layer::shapeOf(type));
      }
      const catalogue::Kernel *entry = layer::kernelOf(&op);
      if (!entry) {
        return op.emitOpError("has the kernel \"")
               << kernel.kernelName() << "\", which the catalogue does not have";
      }
      FailureOr<DictionaryAttr> attributes = attributesOf(&op, *entry);
      if (failed(attributes)) {
        return failure();
      }
      int64_t workspace =
          entry->workspaceBytes ? static_cast<int64_t>(entry->workspaceBytes(shapes, target())) : 0;
      command::LaunchOp::create(builder, made(op.getLoc()), builder.getStringAttr(kernel.kernelName()),
                                builder.getI64IntegerAttr(kernel.kernelVersion()),
                                builder.getI64IntegerAttr(blockIndex(op.getLoc())),
                                builder.getArrayAttr(slices), *attributes,
                                builder.getI64IntegerAttr(workspace > 0 ? local.getWorkspace() : 0),
                                builder.getI64IntegerAttr(workspace));
    }
    builder.setInsertionPointAfter(program);
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
    }
    llvm::StringMap<int64_t> inputs; // "rows" is -1, "random" -2
    int64_t next = 0;
    for (layer::InputOp input : module.getOps<layer::InputOp>()) {
      inputs[input.getName()] = input.getRole() == "rows" ? -1 : input.getRole() == "random" ? -2 : next++;
    }
    for (plan::PlacementOp place : rank.getBody().getOps<plan::PlacementOp>()) {
      plan::ValueAttr name = place.getValue();
      if (place.getStage() != stage.getIndex() || !types.contains(name)) {
        continue;
      }
      RankedTensorType type = types[name];
      command::SliceAttr where = slice(stage.getIndex(), name, type);
      auto [parameter, state] = name.parameterAndState();
      if (name.getRole() == Role::Input) {
        command::InputOp::create(builder, made(stage.getLoc()), inputs.lookup(name.getName()),
                                 stage.getIndex(), place.getPool(), place.getOffset(), type.getShape());
      } else if (name.getRole() == Role::Parameter || name.getRole() == Role::State) {
        command::PlacementOp::create(builder, made(stage.getLoc()), parameter, state, stage.getIndex(),
                                     where);
      } else if (name.getRole() == Role::Buffer) {
        command::BufferOp::create(builder, made(stage.getLoc()), name.getName(), stage.getIndex(), where);
      } else if (name.getRole() == Role::Accumulator && state.empty()) { // those of further uses are no state
        command::PlacementOp::create(builder, made(stage.getLoc()), parameter, "gradient", stage.getIndex(),
                                     where);
      }
    }
  }

  void transfers(plan::StageOp stage) {
    ArrayRef<int64_t> rankOf = schedule.getRankOfStage();
    int64_t index = stage.getIndex(), last = static_cast<int64_t>(rankOf.size()) - 1;
    auto move = [&](TaskKind task, Role role, int64_t peerStage) {
      for (auto &[key, place] : places) { // any value of the role leads to the pool, which holds nothing else
        if (key.first == index && key.second.getRole() == role) {
          command::TransferOp::create(builder, made(stage.getLoc()), static_cast<int64_t>(task), index,
                                      rankOf[peerStage], place.getPool(), 0,
                                      pools[place.getPool()].getSlotBytes(), IntegerAttr(), IntegerAttr());
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
    auto move = [&](TaskKind task, Role role, StringRef name, RankedTensorType type, int64_t partner) {
      command::SliceAttr where =
          slice(stage.getIndex(), plan::ValueAttr::get(builder.getContext(), role, name), type);
      command::TransferOp::create(builder, made(stage.getLoc()), static_cast<int64_t>(task), stage.getIndex(),
                                  schedule.getRankOfStage()[partner], -1, where.getOffset(),
                                  command::byteSize(type), builder.getI64IntegerAttr(where.getArena()),
                                  builder.getI64IntegerAttr(partner));
    };
    for (const TiedParameter &parameter : tied) {
      RankedTensorType type = parameter.elsewhere.front().type;
      for (const GradientSum &sum : parameter.elsewhere) {
        int64_t holder = plan::StageOp(sum.stage).getIndex();
        if (stage.getIndex() == holder) {
          move(TaskKind::SendSum, Role::Accumulator, sum.name.getName(), type, parameter.owner);
        } else if (stage.getIndex() == parameter.owner) {
          move(TaskKind::ReceiveSum, Role::Accumulator, sum.name.getName(), type, holder);
        }
      }
      for (int64_t holder : parameter.holders()) {
        if (stage.getIndex() == holder) {
          move(TaskKind::ReceiveWeight, Role::Parameter, parameter.name, type, parameter.owner);
        } else if (stage.getIndex() == parameter.owner) {
          move(TaskKind::SendWeight, Role::Parameter, parameter.name, type, holder);
        }
      }
    }
  }

  /// Over the replicas: the gradient sums of the stage's uses, neighbours as one.
  void reductions(plan::StageOp stage) {
    if ((*module.getOps<plan::MeshOp>().begin()).getData() == 1) {
      return;
    }
    std::vector<std::pair<int64_t, int64_t>> ranges; // offset, end
    int64_t arena = 0;
    for (auto &[parameter, sums] : gradientSums(module)) {
      for (const GradientSum &sum : sums) {
        if (sum.stage == stage) {
          command::SliceAttr where = slice(stage.getIndex(), sum.name, sum.type);
          arena = where.getArena();
          ranges.push_back({where.getOffset(), where.getOffset() + command::byteSize(sum.type)});
        }
      }
    }
    llvm::sort(ranges);
    for (size_t i = 0; i < ranges.size();) {
      auto [begin, end] = ranges[i];
      // What lies between two neighbours is padding, which nobody reads.
      for (++i; i < ranges.size() && ranges[i].first - end < static_cast<int64_t>(catalogue::kAlignment);
           ++i) {
        end = ranges[i].second;
      }
      auto type = RankedTensorType::get({(end - begin) / 4}, builder.getF32Type());
      auto where = command::SliceAttr::get(builder.getContext(), arena, -1, begin, type);
      command::ReductionOp::create(builder, made(stage.getLoc()), stage.getIndex(), where, false);
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
      command::SliceAttr cell = cells.lookup(shared.getName());
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
      command::ReductionOp::create(builder, made(rank.getLoc()), -1, cells.lookup("loss"), true);
    }
  }

  ModuleOp module;
  command::RankOp rank;
  plan::ScheduleOp schedule;
  OpBuilder builder;
  std::vector<TiedParameter> tied;
  llvm::StringMap<int64_t> blocks;
  llvm::MapVector<std::pair<int64_t, plan::ValueAttr>, plan::PlacementOp> places;
  llvm::StringMap<command::SliceAttr> cells;
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
      if (isa<plan::StageOp, plan::SharedOp>(op)) {
        op.erase();
      }
    }
  }
};

} // namespace
} // namespace stagewright
