#include "passes/emit/EmitExecutable.h"

#include "passes/Passes.h"

#include "catalogue/Target.h"
#include "schema/Checksum.h"
#include "schema/Version.h"
#include "schema/stage_generated.h"

using namespace mlir;

namespace stagewright {
namespace {

namespace file = executable;

template <typename T>
using Table = std::unique_ptr<T>;

file::DType dtypeOf(Type type) {
  return static_cast<file::DType>(command::dtypeOf(cast<RankedTensorType>(type).getElementType()).value());
}

std::vector<int64_t> shapeOf(Type type) {
  return layer::shapeOf(type);
}

Table<file::OperandT> operandOf(command::SliceAttr slice) {
  auto operand = std::make_unique<file::OperandT>();
  operand->arena = static_cast<uint16_t>(slice.getArena());
  operand->pool = static_cast<int16_t>(slice.getPool());
  operand->offset = static_cast<uint64_t>(slice.getOffset());
  operand->dtype = dtypeOf(slice.getType());
  operand->shape = shapeOf(slice.getType());
  return operand;
}

std::vector<uint16_t> slotsOf(ArrayRef<int64_t> list) {
  return {list.begin(), list.end()};
}

/// One per module: collects the tables, kernel names interned on the way.
class Emitter {
public:
  explicit Emitter(ModuleOp module) : module(module), settings(*module.getOps<plan::SettingsOp>().begin()) {}

  Result<std::vector<uint8_t>> emit() {
    root.version_major = file::kVersionMajor;
    root.version_minor = file::kVersionMinor;
    root.checksum = std::make_unique<file::Sha256>(0, 0, 0, 0);
    root.compiler = "stagewright";
    root.model = settings.getModel().str();
    root.model_sha256 = settings.getModelSha256().str();
    declarations();
    folder();
    recipe();
    choice();
    scheduleTables();
    for (command::ExecutableOp executable : module.getOps<command::ExecutableOp>()) {
      auto variant = std::make_unique<file::VariantT>();
      variant->target = executable.getTarget().str();
      for (command::RankOp rank : executable.getBody().getOps<command::RankOp>()) {
        variant->ranks.push_back(rankPlan(rank));
      }
      root.variants.push_back(std::move(variant));
    }
    if (error) {
      return *error;
    }
    flatbuffers::FlatBufferBuilder builder(1 << 16);
    builder.Finish(file::Executable::Pack(builder, &root), file::ExecutableIdentifier());
    std::vector<uint8_t> bytes(builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize());
    if (Result<void> sealed = file::sealExecutable(bytes); !sealed) {
      return sealed.takeError();
    }
    return bytes;
  }

private:
  void declarations() {
    for (layer::InputOp input : module.getOps<layer::InputOp>()) {
      if (!input.isOfSamples()) {
        continue; // bound as inputs -1 to -4
      }
      auto table = std::make_unique<file::ModelInputT>();
      table->name = input.getName().str();
      table->role = input.getRole().str();
      table->dtype = dtypeOf(input.getSample());
      table->sample_shape = shapeOf(input.getSample());
      table->scale = input.getScale().convertToDouble();
      table->mean = input.getMean().convertToDouble();
      table->deviation = input.getDeviation().convertToDouble();
      root.inputs.push_back(std::move(table));
    }
    ArrayRef<int64_t> boundaries = choiceOp().getBoundaries();
    for (auto [index, block] : llvm::enumerate(module.getOps<plan::BlockOp>())) {
      auto table = std::make_unique<file::BlockT>();
      table->name = block.getName().str();
      table->type = block.getType().str();
      table->stage =
          static_cast<int>(llvm::upper_bound(boundaries, static_cast<int64_t>(index)) - boundaries.begin()) -
          1;
      table->output_shape.assign(block.getOutput().begin(), block.getOutput().end());
      table->parameters = static_cast<uint64_t>(block.getParameters());
      table->forward_flops = block.getForwardFlops().convertToDouble();
      table->backward_flops = block.getGradientFlops().convertToDouble();
      root.blocks.push_back(std::move(table));
    }
    for (layer::ParameterOp parameter : module.getOps<layer::ParameterOp>()) {
      auto table = std::make_unique<file::ParameterT>();
      parameterIndex[parameter.getSymName()] = static_cast<int>(root.parameters.size());
      table->name = parameter.getSymName().str();
      table->block = blockNamed(parameter.getBlock());
      table->stage = table->block < 0 ? -1 : root.blocks[static_cast<size_t>(table->block)]->stage;
      table->dtype = dtypeOf(parameter.getType());
      table->shape = shapeOf(parameter.getType());
      table->trainable = !parameter.getFrozen();
      table->group = parameter.getGroup() ? static_cast<int>(*parameter.getGroup()) : -1;
      table->initializer = std::make_unique<file::InitializerT>();
      table->initializer->kind = parameter.getInitializer().str();
      table->initializer->bound = parameter.getBound().convertToDouble();
      table->initializer->value = parameter.getValue().convertToDouble();
      if (parameter.getZeroRow()) {
        table->initializer->zero_row = static_cast<int64_t>(*parameter.getZeroRow());
        root.required_features |= file::kFeatureZeroRow;
      }
      if (auto split = parameter.getSplit()) {
        table->split = std::make_unique<file::SplitT>();
        table->split->dim = static_cast<int>(split->front());
        table->split->sections.assign(split->begin() + 1, split->end());
      }
      root.parameters.push_back(std::move(table));
    }
    for (layer::BufferOp buffer : module.getOps<layer::BufferOp>()) {
      auto table = std::make_unique<file::BufferT>();
      bufferIndex[buffer.getSymName()] = static_cast<int>(root.buffers.size());
      table->name = buffer.getSymName().str();
      table->block = blockNamed(buffer.getBlock());
      table->dtype = dtypeOf(buffer.getType());
      table->shape = shapeOf(buffer.getType());
      table->initializer = std::make_unique<file::InitializerT>();
      table->initializer->kind = "constant";
      table->initializer->value = buffer.getValue().convertToDouble();
      root.buffers.push_back(std::move(table));
      root.required_features |= file::kFeatureBuffers;
    }
  }

  void folder() {
    for (plan::FolderOp op : module.getOps<plan::FolderOp>()) {
      auto table = std::make_unique<file::FolderT>();
      table->config = op.getConfig().str();
      table->prefix = op.getPrefix().str();
      // Its verifier has seen that they are parameters.
      for (StringRef name : op.getTransposed().getAsValueRange<StringAttr>()) {
        table->transposed.push_back(parameterIndex.lookup(name));
      }
      for (unsigned i = 0; i + 1 < op.getCopies().size(); i += 2) {
        auto copy = std::make_unique<file::FolderCopyT>();
        copy->name = cast<StringAttr>(op.getCopies()[i]).str();
        copy->parameter = parameterIndex.lookup(cast<StringAttr>(op.getCopies()[i + 1]).getValue());
        table->copies.push_back(std::move(copy));
      }
      for (StringRef ending : op.getIgnored().getAsValueRange<StringAttr>()) {
        table->ignored.push_back(ending.str());
      }
      root.folder = std::move(table);
      root.required_features |= file::kFeatureFolder;
    }
  }

  static std::unique_ptr<file::OffloadT> offloadOf(plan::OffloadAttr offload) {
    if (!offload) {
      return nullptr;
    }
    auto table = std::make_unique<file::OffloadT>();
    table->tier = static_cast<file::MemoryTier>(offload.tierNumber());
    table->ratio = offload.getRatio().getValueAsDouble();
    table->path = offload.getPath().str();
    return table;
  }

  void recipe() {
    auto table = std::make_unique<file::RecipeT>();
    table->train_batch_size = static_cast<int>(settings.getTrainBatchSize());
    table->micro_batch_size = static_cast<int>(settings.getMicroBatchSize());
    table->micro_batches = static_cast<int>(settings.getMicroBatches());
    table->data_parallel = static_cast<int>(settings.getDataParallel());
    root.required_features |= table->data_parallel > 1 ? file::kFeatureReplicas : 0;
    table->tensor_parallel = static_cast<int>(settings.getTensorParallel());
    root.required_features |= table->tensor_parallel > 1 ? file::kFeatureTensor : 0;
    table->zero = static_cast<int>(settings.getZero());
    root.required_features |= settings.shards() ? file::kFeatureShards : 0;
    table->servers = static_cast<int>(settings.getServers());
    root.required_features |= table->servers > 0 ? file::kFeatureServers : 0;
    if (settings.repeatsShards()) {
      table->shard_group = static_cast<int>(settings.getShardGroup());
      root.required_features |= file::kFeatureShardGroups;
    }
    if (settings.offloads()) {
      table->states_offload = offloadOf(settings.getStatesOffloadAttr());
      table->weights_offload = offloadOf(settings.getWeightsOffloadAttr());
      root.required_features |= file::kFeatureOffload;
    }
    table->seed = static_cast<uint64_t>(settings.getSeed());
    table->gradient_clipping = settings.getGradientClipping().convertToDouble();
    table->steps_per_print = static_cast<int>(settings.getStepsPerPrint());
    table->optimizer = settings.getOptimizer().str();
    table->learning_rate = settings.getLearningRate().convertToDouble();
    table->beta1 = settings.getBeta1().convertToDouble();
    table->beta2 = settings.getBeta2().convertToDouble();
    table->bias_correction = settings.getBiasCorrection();
    table->shuffle = settings.getShuffle();
    if (settings.getScheduler()) {
      table->scheduler = std::make_unique<file::SchedulerT>();
      table->scheduler->type = settings.getScheduler()->str();
      std::vector<catalogue::Attribute> params =
          *command::catalogueAttributes(*settings.getSchedulerParams());
      for (const catalogue::Attribute &param : params) { // its verifier has seen that they are of these kinds
        table->scheduler->params.push_back(attributeOf(param));
      }
      root.required_features |= file::kFeatureScheduler;
    }
    table->precision = settings.getPrecision().str();
    root.required_features |= settings.getPrecision() == "fp32" ? 0 : file::kFeaturePrecision;
    for (plan::LossScaleOp scale : module.getOps<plan::LossScaleOp>()) {
      auto rules = std::make_unique<file::LossScaleT>();
      rules->initial = scale.getInitial().convertToDouble();
      rules->dynamic = scale.getDynamic();
      rules->window = scale.getWindow();
      rules->hysteresis = static_cast<int>(scale.getHysteresis());
      rules->consecutive_hysteresis = scale.getConsecutiveHysteresis();
      rules->minimum = scale.getMinimum().convertToDouble();
      rules->ends_at_minimum = scale.getEndsAtMinimum();
      table->loss_scale = std::move(rules);
    }
    for (plan::GroupOp group : module.getOps<plan::GroupOp>()) {
      auto entry = std::make_unique<file::ParameterGroupT>();
      entry->match = group.getMatch().str();
      entry->learning_rate = group.getLearningRate().convertToDouble();
      entry->weight_decay = group.getWeightDecay().convertToDouble();
      table->parameter_groups.push_back(std::move(entry));
    }
    root.recipe = std::move(table);
    for (ArrayAttr entry : settings.getEntries().getAsRange<ArrayAttr>()) {
      auto setting = std::make_unique<file::SettingT>();
      setting->path = cast<StringAttr>(entry[0]).str();
      setting->value = cast<StringAttr>(entry[1]).str();
      setting->origin = cast<StringAttr>(entry[2]).str();
      root.settings.push_back(std::move(setting));
    }
    auto contract = std::make_unique<file::ResultContractT>();
    std::vector<std::string> targets;
    for (StringRef target : settings.getTargets().getAsValueRange<StringAttr>()) {
      targets.push_back(target.str());
    }
    contract->device_family = catalogue::familiesOf(targets);
    contract->global_batch = static_cast<int>(settings.getTrainBatchSize());
    contract->micro_batches = static_cast<int>(settings.getMicroBatches());
    contract->data_parallel = static_cast<int>(settings.getDataParallel());
    contract->staleness = static_cast<int>(settings.getStaleness());
    contract->tensor_parallel = static_cast<int>(settings.getTensorParallel());
    contract->tf32 = settings.getTf32();
    root.required_features |= contract->tf32 ? file::kFeatureTf32 : 0;
    contract->stochastic_rounding = settings.getStochasticRounding();
    root.required_features |= contract->stochastic_rounding ? file::kFeatureStochasticRounding : 0;
    // A GELU that is computed again has no product to be computed by.
    contract->gelu_epilogues = llvm::any_of(targets, catalogue::isCuda) && !recomputes();
    contract->gradient_reduction = settings.getReduction().str();
    if (settings.getDataParallel() > 1 && settings.getWire() != "fp32") {
      contract->gradient_wire = settings.getWire() == "fp16" ? file::DType::F16 : file::DType::BF16;
      root.required_features |= file::kFeatureWire;
    }
    if (settings.compressesGradients()) {
      const catalogue::GradientWire wire = settings.gradientWire();
      contract->gradient_compression = static_cast<file::Compression>(wire.compression);
      contract->compression_ratio = wire.ratio;
      root.required_features |= file::kFeatureCompression;
    }
    root.contract = std::move(contract);
  }

  bool recomputes() {
    return settings.getRecompute() && llvm::any_of(settings.getRecompute()->getAsValueRange<StringAttr>(),
                                                   [](StringRef policy) { return policy != "none"; });
  }

  int blockNamed(StringRef name) {
    auto found = llvm::find_if(root.blocks, [&](auto &block) { return block->name == name; });
    return found == root.blocks.end() ? -1 : static_cast<int>(found - root.blocks.begin());
  }

  plan::ChoiceOp choiceOp() { return *module.getOps<plan::ChoiceOp>().begin(); }

  void choice() {
    plan::ChoiceOp op = choiceOp();
    root.boundaries.assign(op.getBoundaries().begin(), op.getBoundaries().end());
    root.partition = settings.getPartition().str();
    root.explanation = op.getExplanation().str();
    root.pipeline_ranks = static_cast<int>((*module.getOps<plan::MeshOp>().begin()).getPipe());
    layer::LossOp loss = *module.getOps<layer::LossOp>().begin();
    root.loss = loss.getType().str();
    root.required_features |= root.loss.empty() ? file::kFeatureNoLoss : 0;
    if (auto terms = loss.getTerms()) {
      root.required_features |= file::kFeatureLossTerms;
      for (StringRef term : terms->getAsValueRange<StringAttr>()) {
        root.loss_terms.push_back(term.str());
      }
    }
    if (auto label = loss.getAccuracy()) {
      root.accuracy = true;
      for (layer::InputOp input : module.getOps<layer::InputOp>()) {
        if (input.getName() == *label) {
          break;
        }
        root.accuracy_label += input.getRole() == "label"; // those before it
      }
    }
  }

  void scheduleTables() {
    plan::ScheduleOp op = *module.getOps<plan::ScheduleOp>().begin();
    auto table = std::make_unique<file::ScheduleT>();
    schedule::Schedule training = op.training(), evaluation = op.evaluation();
    auto tasksOf = [](const std::vector<schedule::Task> &tasks) {
      auto list = std::make_unique<file::RankTasksT>();
      for (const schedule::Task &task : tasks) {
        list->tasks.emplace_back(static_cast<file::TaskKind>(task.kind), static_cast<int16_t>(task.stage),
                                 task.microBatch);
      }
      return list;
    };
    table->kind = training.kind;
    table->stages = training.stages;
    table->rank_of_stage = training.rankOfStage;
    table->plan_invariant = schedule::isPlanInvariant(training);
    for (int rank = 0; rank < training.rankCount(); ++rank) {
      table->train.push_back(tasksOf(training.ranks[rank]));
      table->evaluate.push_back(tasksOf(evaluation.ranks[rank]));
    }
    root.schedule = std::move(table);
  }

  uint16_t kernelIndex(StringRef name, int64_t version) {
    for (size_t i = 0; i < root.kernels.size(); ++i) {
      if (root.kernels[i]->name == name && root.kernels[i]->version == version) {
        return static_cast<uint16_t>(i);
      }
    }
    auto kernel = std::make_unique<file::KernelRefT>();
    kernel->name = name.str();
    kernel->version = static_cast<uint16_t>(version);
    kernel->kind = "library";
    root.kernels.push_back(std::move(kernel));
    return static_cast<uint16_t>(root.kernels.size() - 1);
  }

  static Table<file::AttributeT> attributeOf(const catalogue::Attribute &attribute) {
    auto entry = std::make_unique<file::AttributeT>();
    entry->name = attribute.name;
    if (const auto *integer = std::get_if<int64_t>(&attribute.value)) {
      entry->integer = *integer;
    } else if (const auto *real = std::get_if<double>(&attribute.value)) {
      entry->real = *real;
    } else if (const auto *integers = std::get_if<std::vector<int64_t>>(&attribute.value)) {
      entry->integers = *integers;
    } else {
      entry->text = std::get<std::string>(attribute.value);
    }
    return entry;
  }

  Table<file::CommandT> commandOf(command::LaunchOp launch) {
    auto table = std::make_unique<file::CommandT>();
    table->kernel = kernelIndex(launch.getKernel(), launch.getVersion());
    for (command::SliceAttr slice : launch.getSlices().getAsRange<command::SliceAttr>()) {
      table->operands.push_back(operandOf(slice));
    }
    // The launch's verifier has seen that there are no others.
    std::vector<catalogue::Attribute> attributes = *command::catalogueAttributes(launch.getSettings());
    for (const catalogue::Attribute &attribute : attributes) {
      table->attributes.push_back(attributeOf(attribute));
    }
    table->block = static_cast<int>(launch.getBlock());
    table->workspace = static_cast<uint64_t>(launch.getWorkspace());
    table->workspace_offset = static_cast<uint64_t>(launch.getWorkspaceOffset());
    table->replica = static_cast<int>(launch.getReplica().value_or(-1));
    return table;
  }

  Table<file::RankPlanT> rankPlan(command::RankOp rank) {
    auto table = std::make_unique<file::RankPlanT>();
    table->rank = static_cast<int>(rank.getIndex());
    for (Operation &op : rank.getBody().front()) {
      if (auto arena = dyn_cast<command::ArenaOp>(op)) {
        auto entry = std::make_unique<file::ArenaT>();
        entry->name = arena.getName().str();
        entry->arena_class = static_cast<file::ArenaClass>(arena.getArenaClass());
        entry->tier = static_cast<file::MemoryTier>(arena.getTier());
        entry->bytes = static_cast<uint64_t>(arena.getBytes());
        table->arenas.push_back(std::move(entry));
      } else if (auto pool = dyn_cast<command::PoolOp>(op)) {
        table->pools.push_back(poolOf(pool));
      } else if (auto program = dyn_cast<command::ProgramOp>(op)) {
        auto entry = std::make_unique<file::ProgramT>();
        entry->kind = static_cast<file::ProgramKind>(program.getKind());
        entry->stage = static_cast<int>(program.getStage());
        for (Operation &inner : program.getBody().front()) {
          if (auto launch = dyn_cast<command::LaunchOp>(inner)) {
            entry->commands.push_back(commandOf(launch));
          } else if (auto point = dyn_cast<command::ExchangePointOp>(inner)) {
            entry->points.emplace_back(static_cast<uint32_t>(entry->commands.size()),
                                       static_cast<uint32_t>(point.getExchange()), point.getBegins());
          }
        }
        table->programs.push_back(std::move(entry));
      } else {
        binding(op, *table);
      }
    }
    return table;
  }

  Table<file::SlotPoolT> poolOf(command::PoolOp pool) {
    auto entry = std::make_unique<file::SlotPoolT>();
    entry->name = pool.getName().str();
    entry->arena = static_cast<uint16_t>(pool.getArena());
    entry->offset = static_cast<uint64_t>(pool.getOffset());
    entry->slot_bytes = static_cast<uint64_t>(pool.getSlotBytes());
    entry->slots = static_cast<uint16_t>(pool.getSlots());
    entry->stage = static_cast<int>(pool.getStage());
    entry->first = static_cast<file::TaskKind>(pool.getFirst());
    entry->last = static_cast<file::TaskKind>(pool.getLast());
    entry->sent = pool.getSent();
    entry->train_slots = slotsOf(pool.getTrain());
    entry->evaluate_slots = slotsOf(pool.getEvaluate());
    return entry;
  }

  /// What connects programs with the outside: transfers, collectives, inputs, placements, scalars.
  void binding(Operation &op, file::RankPlanT &table) {
    if (auto transfer = dyn_cast<command::TransferOp>(op)) {
      auto entry = std::make_unique<file::TransferT>();
      entry->kind = static_cast<file::TaskKind>(transfer.getTask());
      entry->stage = static_cast<int>(transfer.getStage());
      entry->peer = static_cast<int>(transfer.getPeer());
      entry->pool = static_cast<uint16_t>(transfer.getArena() ? 0 : transfer.getPool());
      entry->offset = static_cast<uint64_t>(transfer.getOffset());
      entry->bytes = static_cast<uint64_t>(transfer.getBytes());
      entry->arena = static_cast<int>(transfer.getArena().value_or(-1));
      entry->partner = static_cast<int>(transfer.getPartner().value_or(-1));
      entry->replica = static_cast<int>(transfer.getReplica().value_or(-1));
      table.transfers.push_back(std::move(entry));
    } else if (auto collective = dyn_cast<command::CollectiveOp>(op)) {
      auto entry = std::make_unique<file::CollectiveT>();
      entry->arena = static_cast<uint16_t>(collective.getArena());
      ArrayRef<int64_t> segments = collective.getSegments();
      for (size_t i = 0; i < segments.size(); i += 3) {
        auto segment = std::make_unique<file::SegmentT>();
        segment->rank = static_cast<int>(segments[i]);
        segment->offset = static_cast<uint64_t>(segments[i + 1]);
        segment->bytes = static_cast<uint64_t>(segments[i + 2]);
        entry->segments.push_back(std::move(segment));
      }
      (collective.getEvaluation() ? table.evaluate_collective : table.train_collective) = std::move(entry);
    } else if (auto reduction = dyn_cast<command::ReductionOp>(op)) {
      auto entry = std::make_unique<file::ReductionT>();
      command::SliceAttr slice = reduction.getSlice();
      entry->stage = static_cast<int>(reduction.getStage());
      entry->arena = static_cast<uint16_t>(slice.getArena());
      entry->offset = static_cast<uint64_t>(slice.getOffset());
      entry->bytes = static_cast<uint64_t>(command::byteSize(slice.getType()));
      entry->dtype = dtypeOf(slice.getType());
      entry->mean = reduction.getMean();
      entry->replica = static_cast<int>(reduction.getReplica().value_or(-1));
      entry->tensor = reduction.getTensor();
      table.reductions.push_back(std::move(entry));
    } else if (auto gather = dyn_cast<command::ReplicaGatherOp>(op)) {
      auto entry = std::make_unique<file::ReplicaGatherT>();
      command::SliceAttr slice = gather.getSlice();
      entry->task = static_cast<file::TaskKind>(gather.getTask());
      entry->stage = static_cast<int>(gather.getStage());
      entry->arena = static_cast<uint16_t>(slice.getArena());
      entry->offset = static_cast<uint64_t>(slice.getOffset());
      entry->bytes = static_cast<uint64_t>(command::byteSize(slice.getType()));
      entry->replica = static_cast<int>(gather.getReplica());
      table.gathers.push_back(std::move(entry));
    } else if (auto exchange = dyn_cast<command::ExchangeOp>(op)) {
      table.exchanges.push_back(exchangeOf(exchange));
    } else if (auto input = dyn_cast<command::InputOp>(op)) {
      auto entry = std::make_unique<file::InputBindingT>();
      entry->input = static_cast<int>(input.getInput());
      entry->stage = static_cast<int>(input.getStage());
      entry->pool = static_cast<uint16_t>(input.getPool());
      entry->offset = static_cast<uint64_t>(input.getOffset());
      entry->shape.assign(input.getShape().begin(), input.getShape().end());
      table.inputs.push_back(std::move(entry));
    } else if (auto placement = dyn_cast<command::PlacementOp>(op)) {
      place(placement, table);
    } else if (auto buffer = dyn_cast<command::BufferOp>(op)) {
      auto entry = std::make_unique<file::BufferPlacementT>();
      entry->buffer = bufferIndex.lookup(buffer.getBuffer()); // declared: verify-lower has seen that
      entry->arena = static_cast<uint16_t>(buffer.getSlice().getArena());
      entry->offset = static_cast<uint64_t>(buffer.getSlice().getOffset());
      root.buffers[static_cast<size_t>(entry->buffer)]->stage = static_cast<int>(buffer.getStage());
      table.buffers.push_back(std::move(entry));
    } else if (auto output = dyn_cast<command::OutputOp>(op)) {
      auto entry = std::make_unique<file::OutputBindingT>();
      entry->name = output.getName().str();
      entry->stage = static_cast<int>(output.getStage());
      entry->value = operandOf(output.getSlice());
      table.outputs.push_back(std::move(entry));
    } else if (auto scalar = dyn_cast<command::ScalarOp>(op)) {
      if (scalar.getName().starts_with("partials")) {
        return; // between programs only: the runtime neither writes nor reads them
      }
      auto entry = std::make_unique<file::ScalarT>();
      entry->name = scalar.getName().str();
      entry->arena = static_cast<uint16_t>(scalar.getSlice().getArena());
      entry->offset = static_cast<uint64_t>(scalar.getSlice().getOffset());
      entry->dtype = dtypeOf(scalar.getSlice().getType());
      entry->count = static_cast<uint32_t>(scalar.getSlice().getType().getNumElements());
      table.scalars.push_back(std::move(entry));
    }
  }

  static Table<file::ExchangeT> exchangeOf(command::ExchangeOp op) {
    auto entry = std::make_unique<file::ExchangeT>();
    entry->kind = static_cast<file::ExchangeKind>(op.getKind());
    entry->stage = static_cast<int>(op.getStage());
    entry->scratch = static_cast<uint64_t>(op.getScratch());
    ArrayRef<int64_t> pieces = op.getPieces();
    for (size_t i = 0; i < pieces.size(); i += 6) {
      auto piece = std::make_unique<file::ExchangePieceT>();
      piece->replica = static_cast<int>(pieces[i]);
      piece->arena = static_cast<uint16_t>(pieces[i + 1]);
      piece->offset = static_cast<uint64_t>(pieces[i + 2]);
      piece->bytes = static_cast<uint64_t>(pieces[i + 3]);
      piece->shard_arena = static_cast<int>(pieces[i + 4]);
      piece->shard_offset = static_cast<uint64_t>(pieces[i + 5]);
      entry->pieces.push_back(std::move(piece));
    }
    return entry;
  }

  void place(command::PlacementOp op, file::RankPlanT &table) {
    auto known = parameterIndex.find(op.getParameter());
    if (known == parameterIndex.end()) {
      error = error ? error
                    : bugError("command.placement", "places the parameter " + op.getParameter().str() +
                                                        ", which no layer.parameter declares");
      return;
    }
    int parameter = known->second;
    auto found = llvm::find_if(table.placements, [&](auto &entry) { return entry->parameter == parameter; });
    if (found == table.placements.end()) {
      auto entry = std::make_unique<file::PlacementT>();
      entry->parameter = parameter;
      table.placements.push_back(std::move(entry));
      found = std::prev(table.placements.end());
    }
    command::SliceAttr slice = op.getSlice();
    auto entry = std::make_unique<file::StateSliceT>();
    entry->name = op.getState().str();
    entry->arena = static_cast<uint16_t>(slice.getArena());
    entry->offset = static_cast<uint64_t>(slice.getOffset());
    entry->dtype = dtypeOf(slice.getType());
    entry->shape = shapeOf(slice.getType());
    entry->first = static_cast<uint64_t>(op.getFirst());
    entry->replica = static_cast<int>(op.getReplica().value_or(-1));
    if (op.getState().empty()) {
      (*found)->arena = op.getReplica() ? 0 : entry->arena;
      (*found)->offset = op.getReplica() ? 0 : entry->offset;
      file::ParameterT &table = *root.parameters[static_cast<size_t>(parameter)];
      int stage = static_cast<int>(op.getStage());
      if (stage != table.stage && !llvm::is_contained(table.holders, stage)) {
        table.holders.push_back(stage);
        root.required_features |= file::kFeatureTies;
      }
      if (op.getReplica()) {
        (*found)->shards.push_back(std::move(entry));
      }
      return;
    }
    (*found)->states.push_back(std::move(entry));
  }

  ModuleOp module;
  plan::SettingsOp settings;
  file::ExecutableT root;
  llvm::StringMap<int> parameterIndex, bufferIndex;
  std::optional<Error> error;
};

} // namespace

Result<std::vector<uint8_t>> emitExecutable(ModuleOp module) {
  return Emitter(module).emit();
}

} // namespace stagewright
