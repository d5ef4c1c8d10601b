#include "stagefile/StageFile.h"

#include "schema/Checksum.h"
#include "schema/Version.h"
#include "stagefile/StagePlanner.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <unistd.h>

namespace stagewright::stagefile {

/// Tests want a loud end, not an error value.
template <typename T>
static T take(Result<T> result) {
  if (!result) {
    throw std::runtime_error(result.error().text());
  }
  return std::move(*result);
}

static void describeModel(executable::ExecutableT &file, const Classifier &c) {
  const std::int64_t pixels = catalogue::elements(c.image);
  const auto stageOf = [&](int block) {
    int stage = 0;
    while (block >= c.boundaries[stage + 1]) {
      ++stage;
    }
    return stage;
  };
  const char *blocks[][2] = {{"flatten", "Flatten"}, {"fc1", "Linear"}, {"relu", "ReLU"}, {"fc2", "Linear"}};
  for (int i = 0; i < 4; ++i) {
    auto block = std::make_unique<executable::BlockT>();
    block->name = blocks[i][0];
    block->type = blocks[i][1];
    block->stage = stageOf(i);
    file.blocks.push_back(std::move(block));
  }
  const auto parameter = [&](const char *name, std::vector<std::int64_t> shape, int block,
                             std::int64_t fanIn) {
    auto entry = std::make_unique<executable::ParameterT>();
    entry->name = name;
    entry->shape = std::move(shape);
    entry->block = block;
    entry->stage = stageOf(block);
    entry->initializer = std::make_unique<executable::InitializerT>();
    entry->initializer->kind = "uniform";
    entry->initializer->bound = 1.0 / std::sqrt(static_cast<double>(fanIn));
    file.parameters.push_back(std::move(entry));
  };
  parameter("fc1.weight", {c.hidden, pixels}, 1, pixels);
  parameter("fc1.bias", {c.hidden}, 1, pixels);
  parameter("fc2.weight", {c.classes, c.hidden}, 3, c.hidden);
  parameter("fc2.bias", {c.classes}, 3, c.hidden);
  for (int i = 0; i < 2; ++i) {
    auto input = std::make_unique<executable::ModelInputT>();
    input->name = i == 0 ? "image" : "label";
    input->role = i == 0 ? "feature" : "label";
    input->dtype = i == 0 ? executable::DType::F32 : executable::DType::I32;
    input->sample_shape = i == 0 ? c.image : std::vector<std::int64_t>{};
    input->scale = i == 0 ? c.scale : 1;
    input->mean = i == 0 ? c.mean : 0;
    input->deviation = i == 0 ? c.deviation : 1;
    file.inputs.push_back(std::move(input));
  }
}

static void describeRecipe(executable::ExecutableT &file, const Classifier &c) {
  file.recipe = std::make_unique<executable::RecipeT>();
  file.recipe->train_batch_size = c.microBatchSize * c.microBatches;
  file.recipe->micro_batch_size = c.microBatchSize;
  file.recipe->micro_batches = c.microBatches;
  file.recipe->seed = c.seed;
  file.recipe->gradient_clipping = c.gradientClipping;
  file.recipe->steps_per_print = c.stepsPerPrint;
  file.recipe->optimizer = c.optimizer;
  file.recipe->learning_rate = c.learningRate;
  file.recipe->beta1 = 0.9;
  file.recipe->beta2 = 0.999;
  file.recipe->shuffle = c.shuffle;
  file.contract = std::make_unique<executable::ResultContractT>();
  file.contract->device_family = catalogue::familiesOf(c.targets);
  file.contract->global_batch = file.recipe->train_batch_size;
  file.contract->micro_batches = c.microBatches;
  file.contract->data_parallel = 1;
  file.contract->gradient_reduction = "step";
}

static std::vector<std::unique_ptr<executable::RankTasksT>> taskLists(const schedule::Schedule &schedule) {
  std::vector<std::unique_ptr<executable::RankTasksT>> lists;
  for (const auto &rank : schedule.ranks) {
    lists.push_back(std::make_unique<executable::RankTasksT>());
    for (const schedule::Task &task : rank) {
      lists.back()->tasks.emplace_back(static_cast<executable::TaskKind>(task.kind),
                                       static_cast<std::int16_t>(task.stage), task.microBatch);
    }
  }
  return lists;
}

static ScalarLayout layoutScalars(const executable::ExecutableT &file, const Classifier &c) {
  ScalarLayout layout;
  for (const auto &parameter : file.parameters) {
    layout.partialOf.push_back(layout.partials + 8 * static_cast<std::uint64_t>(layout.granules));
    layout.granulesOf.push_back(catalogue::granules(catalogue::elements(parameter->shape)));
    layout.granules += layout.granulesOf.back();
  }
  const auto padded = [](std::uint64_t bytes) { return (bytes + 63) / 64 * 64; };
  layout.losses = padded(layout.partials + 8 * static_cast<std::uint64_t>(layout.granules));
  layout.correct = padded(layout.losses + 4 * static_cast<std::uint64_t>(c.microBatches));
  layout.bytes = padded(layout.correct + 8 * static_cast<std::uint64_t>(c.microBatches));
  return layout;
}

static void addCells(executable::RankPlanT &rank, const Plan &plan) {
  const ScalarLayout &s = plan.scalars;
  const auto m = static_cast<std::uint32_t>(plan.classifier.microBatches);
  const std::uint16_t arena = static_cast<std::uint16_t>(rank.arenas.size() - 1);
  const auto cell = [&](const char *name, std::uint64_t offset, executable::DType dtype,
                        std::uint32_t count) {
    auto scalar = std::make_unique<executable::ScalarT>();
    scalar->name = name;
    scalar->arena = arena;
    scalar->offset = offset;
    scalar->dtype = dtype;
    scalar->count = count;
    rank.scalars.push_back(std::move(scalar));
  };
  cell("learning_rate", s.learningRate, executable::DType::F64, 1);
  cell("step", s.step, executable::DType::I32, 1);
  cell("bias_corrections", s.biasCorrections, executable::DType::F64, 2);
  cell("clip_coefficient", s.coefficient, executable::DType::F32, 1);
  cell("gradient_norm", s.norm, executable::DType::F64, 1);
  cell("loss", s.loss, executable::DType::F64, 1);
  cell("losses", s.losses, executable::DType::F32, m);
  cell("correct", s.correct, executable::DType::I64, m);
  const int last = plan.train.rankCount() - 1;
  const auto segment = [&](std::unique_ptr<executable::CollectiveT> &collective, int owner,
                           std::uint64_t offset, std::uint64_t bytes) {
    if (!collective) {
      collective = std::make_unique<executable::CollectiveT>();
      collective->arena = arena;
    }
    auto result = std::make_unique<executable::SegmentT>();
    result->rank = owner;
    result->offset = offset;
    result->bytes = bytes;
    collective->segments.push_back(std::move(result));
  };
  for (std::size_t i = 0; i < plan.file.parameters.size(); ++i) {
    segment(rank.train_collective, plan.file.parameters[i]->stage, s.partialOf[i],
            8 * static_cast<std::uint64_t>(s.granulesOf[i]));
  }
  segment(rank.train_collective, last, s.loss, 8);
  segment(rank.evaluate_collective, last, s.losses, 4ull * m);
  segment(rank.evaluate_collective, last, s.correct, 8ull * m);
}

executable::ExecutableT build(const Classifier &classifier) {
  executable::ExecutableT file;
  file.version_major = executable::kVersionMajor;
  file.version_minor = executable::kVersionMinor;
  file.checksum = std::make_unique<executable::Sha256>();
  file.compiler = "test";
  file.model = "classifier";
  file.partition = "explicit";
  file.loss = "CrossEntropyLoss";
  file.accuracy = true;
  file.boundaries.assign(classifier.boundaries.begin(), classifier.boundaries.end());
  const int stages = static_cast<int>(classifier.boundaries.size()) - 1;
  file.pipeline_ranks = stages;
  describeModel(file, classifier);
  describeRecipe(file, classifier);
  Plan plan{classifier, file, {}, {}, layoutScalars(file, classifier), {}};
  plan.train = schedule::addStepTasks(take(schedule::addTransfers(
      take(schedule::generate(classifier.schedule, stages, classifier.microBatches)))));
  plan.evaluate = take(schedule::generateEvaluation(stages, classifier.microBatches));
  file.schedule = std::make_unique<executable::ScheduleT>();
  file.schedule->kind = classifier.schedule;
  file.schedule->stages = stages;
  file.schedule->rank_of_stage.assign(plan.train.rankOfStage.begin(), plan.train.rankOfStage.end());
  file.schedule->train = taskLists(plan.train);
  file.schedule->evaluate = taskLists(plan.evaluate);
  file.schedule->plan_invariant = schedule::isPlanInvariant(plan.train);
  for (const std::string &target : classifier.targets) {
    plan.target = target;
    executable::VariantT &variant = *file.variants.emplace_back(std::make_unique<executable::VariantT>());
    variant.target = target;
    for (int stage = 0; stage < stages; ++stage) {
      variant.ranks.push_back(std::make_unique<executable::RankPlanT>(StagePlanner(plan, stage).run()));
      addCells(*variant.ranks.back(), plan);
    }
  }
  return file;
}

namespace {

executable::RankPlanT &rankOf(executable::ExecutableT &file, int index) {
  return *file.variants[0]->ranks[static_cast<std::size_t>(index)];
}

/// A new arena of the rank; returns its index.
int addArena(executable::ExecutableT &file, int rankIndex, executable::ArenaClass arenaClass,
             std::uint64_t bytes) {
  auto arena = std::make_unique<executable::ArenaT>();
  arena->name = "tied";
  arena->arena_class = arenaClass;
  arena->bytes = bytes;
  rankOf(file, rankIndex).arenas.push_back(std::move(arena));
  return static_cast<int>(rankOf(file, rankIndex).arenas.size()) - 1;
}

void addTransfer(executable::ExecutableT &file, executable::TaskKind kind, int stage, int arena,
                 std::uint64_t offset, std::uint64_t bytes) {
  auto transfer = std::make_unique<executable::TransferT>();
  transfer->kind = kind;
  transfer->stage = stage;
  transfer->peer = transfer->partner = 1 - stage;
  transfer->arena = arena;
  transfer->offset = offset;
  transfer->bytes = bytes;
  rankOf(file, stage).transfers.push_back(std::move(transfer));
}

} // namespace

executable::ExecutableT buildTied() {
  executable::ExecutableT file = build({});
  executable::ParameterT &parameter = *file.parameters[0];
  parameter.holders = {1};
  const std::uint64_t bytes = 4 * static_cast<std::uint64_t>(parameter.shape[0] * parameter.shape[1]);
  const executable::PlacementT &owned = *rankOf(file, 0).placements[0];
  const int copy = addArena(file, 1, executable::ArenaClass::Parameters, bytes);
  auto placement = std::make_unique<executable::PlacementT>();
  placement->arena = static_cast<std::uint16_t>(copy);
  rankOf(file, 1).placements.push_back(std::move(placement));
  addTransfer(file, executable::TaskKind::ReceiveSum, 0,
              addArena(file, 0, executable::ArenaClass::Gradients, bytes), 0, bytes);
  addTransfer(file, executable::TaskKind::SendWeight, 0, owned.arena, owned.offset, bytes);
  addTransfer(file, executable::TaskKind::SendSum, 1,
              addArena(file, 1, executable::ArenaClass::Gradients, bytes), 0, bytes);
  addTransfer(file, executable::TaskKind::ReceiveWeight, 1, copy, 0, bytes);

  const std::vector<schedule::Tie> ties = {{0, 1}};
  const auto training =
      schedule::addStepTasks(*schedule::addTransfers(*schedule::generate("1f1b", 2, 4), {ties}), {ties});
  file.schedule->train = taskLists(training);
  return file;
}

executable::ExecutableT buildReplicated() {
  executable::ExecutableT file = build({});
  file.recipe->data_parallel = file.contract->data_parallel = 2;
  file.recipe->train_batch_size *= 2;
  file.contract->global_batch *= 2;
  file.required_features |= executable::kFeatureReplicas;
  for (auto &rank : file.variants[0]->ranks) {
    auto add = [&](int stage, int arena, std::uint64_t offset, std::uint64_t bytes, executable::DType dtype) {
      auto reduction = std::make_unique<executable::ReductionT>();
      reduction->stage = stage;
      reduction->arena = static_cast<std::uint16_t>(arena);
      reduction->offset = offset;
      reduction->bytes = bytes;
      reduction->dtype = dtype;
      reduction->mean = stage < 0;
      rank->reductions.push_back(std::move(reduction));
    };
    for (const auto &placement : rank->placements) {
      const executable::StateSliceT &gradient = *placement->states[0];
      std::uint64_t bytes = 4;
      for (const std::int64_t size : gradient.shape) {
        bytes *= static_cast<std::uint64_t>(size);
      }
      add(file.parameters[static_cast<std::size_t>(placement->parameter)]->stage, gradient.arena,
          gradient.offset, bytes, executable::DType::F32);
    }
    for (const auto &scalar : rank->scalars) {
      if (scalar->name == "loss") {
        add(-1, scalar->arena, scalar->offset, 8 * scalar->count, executable::DType::F64);
      }
    }
  }
  file.schedule->train = taskLists(schedule::addStepTasks(
      take(schedule::addTransfers(take(schedule::generate("1f1b", 2, 4)), {.reduces = true}))));
  return file;
}

executable::ExecutableT buildOverlapped() {
  executable::ExecutableT file = buildReplicated();
  for (auto &rank : file.variants[0]->ranks) {
    auto arena = std::make_unique<executable::ArenaT>();
    arena->name = "communication";
    arena->arena_class = executable::ArenaClass::Communication;
    for (int i = 0; i < 2; ++i) {
      const executable::ReductionT sum = *rank->reductions.front();
      rank->reductions.erase(rank->reductions.begin());
      auto exchange = std::make_unique<executable::ExchangeT>();
      exchange->stage = sum.stage;
      exchange->scratch = arena->bytes;
      arena->bytes += (sum.bytes + 63) / 64 * 64;
      auto piece = std::make_unique<executable::ExchangePieceT>();
      piece->replica = 1;
      piece->arena = sum.arena;
      piece->offset = sum.offset;
      piece->bytes = sum.bytes;
      exchange->pieces.push_back(std::move(piece));
      rank->exchanges.push_back(std::move(exchange));
      auto gather = std::make_unique<executable::ReplicaGatherT>();
      gather->task = executable::TaskKind::Reduce;
      gather->stage = sum.stage;
      gather->arena = sum.arena;
      gather->offset = sum.offset;
      gather->bytes = sum.bytes;
      gather->replica = 1;
      rank->gathers.push_back(std::move(gather));
      for (auto &program : rank->programs) {
        if (program->kind == executable::ProgramKind::BackwardWeight) {
          program->points.emplace_back(static_cast<std::uint32_t>(program->commands.size()), i, true);
        }
      }
    }
    rank->arenas.push_back(std::move(arena));
  }
  return file;
}

executable::ExecutableT buildAccumulated() {
  executable::ExecutableT file = buildOverlapped();
  file.contract->gradient_reduction = "micro_batch";
  for (auto &rank : file.variants[0]->ranks) {
    const auto found = std::find_if(rank->arenas.begin(), rank->arenas.end(), [](const auto &entry) {
      return entry->arena_class == executable::ArenaClass::Workspace;
    });
    const auto window = static_cast<std::uint16_t>(found - rank->arenas.begin());
    executable::ArenaT &arena = **found;
    executable::ProgramT &program =
        **std::find_if(rank->programs.begin(), rank->programs.end(), [](const auto &entry) {
          return entry->kind == executable::ProgramKind::BackwardWeight;
        });
    const auto end = static_cast<std::uint32_t>(program.commands.size());
    program.points.clear();
    for (std::uint16_t i = 0; i < 2; ++i) {
      executable::ExchangeT &exchange = *rank->exchanges[i];
      executable::ExchangePieceT &piece = *exchange.pieces[0];
      exchange.kind = executable::ExchangeKind::Accumulate;
      for (auto &command : program.commands) {
        for (auto &operand : command->operands) {
          if (operand->arena == piece.arena && operand->offset == piece.offset) {
            operand->arena = window;
            operand->offset = arena.bytes;
          }
        }
      }
      piece.shard_arena = piece.arena;
      piece.shard_offset = piece.offset;
      piece.arena = window;
      piece.offset = arena.bytes;
      arena.bytes += (piece.bytes + 63) / 64 * 64;
      program.points.emplace_back(end, i, true);
    }
    program.points.emplace_back(end, 0, false);
    program.points.emplace_back(end, 1, false);
  }
  return file;
}

executable::ExecutableT buildSharded() {
  executable::ExecutableT file = buildReplicated();
  file.recipe->zero = 1;
  file.required_features |= executable::kFeatureShards;
  for (auto &rank : file.variants[0]->ranks) {
    auto gather = [&](executable::TaskKind task, int stage, int arena, std::uint64_t offset,
                      std::uint64_t bytes, int replica) {
      auto entry = std::make_unique<executable::ReplicaGatherT>();
      entry->task = task;
      entry->stage = stage;
      entry->arena = static_cast<std::uint16_t>(arena);
      entry->offset = offset;
      entry->bytes = bytes;
      entry->replica = replica;
      rank->gathers.push_back(std::move(entry));
    };
    for (int replica = 0; replica < 2; ++replica) {
      executable::PlacementT &placement = *rank->placements[static_cast<std::size_t>(replica)];
      executable::ReductionT &sum = *rank->reductions[static_cast<std::size_t>(replica)];
      sum.replica = replica;
      gather(executable::TaskKind::Gather, sum.stage, placement.arena, placement.offset, sum.bytes, replica);
      for (std::size_t i = 1; i < placement.states.size(); ++i) {
        placement.states[i]->replica = replica;
      }
      for (auto &program : rank->programs) {
        const bool isNorm = program->kind == executable::ProgramKind::Norm;
        for (auto &command : program->commands) {
          const bool ofSum =
              (isNorm || program->kind == executable::ProgramKind::Update) &&
              std::any_of(command->operands.begin(), command->operands.end(), [&](const auto &operand) {
                return operand->arena == sum.arena && operand->offset == sum.offset;
              });
          command->replica = ofSum ? replica : command->replica;
          if (ofSum && isNorm) {
            const executable::OperandT &partials = *command->operands[1];
            gather(executable::TaskKind::AllGather, sum.stage, partials.arena, partials.offset,
                   8 * static_cast<std::uint64_t>(partials.shape[0]), replica);
          }
        }
      }
    }
  }
  file.schedule->train =
      taskLists(schedule::addStepTasks(take(schedule::addTransfers(take(schedule::generate("1f1b", 2, 4)),
                                                                   {.reduces = true, .gathers = true})),
                                       {.reduces = true, .gathers = true}));
  return file;
}

executable::ExecutableT buildServed(int staleness) {
  executable::ExecutableT file = buildSharded();
  file.recipe->zero = 0;
  file.recipe->servers = 2;
  file.contract->staleness = staleness;
  file.required_features |= executable::kFeatureServers;
  return file;
}

executable::ExecutableT buildOffloaded() {
  executable::ExecutableT file = buildSharded();
  file.recipe->states_offload = std::make_unique<executable::OffloadT>();
  file.recipe->states_offload->tier = executable::MemoryTier::Host;
  file.required_features |= executable::kFeatureOffload;
  for (auto &rank : file.variants[0]->ranks) {
    const auto home = static_cast<std::uint16_t>(rank->placements[0]->states[1]->arena);
    rank->arenas[home]->tier = executable::MemoryTier::Host;
    auto windows = std::make_unique<executable::ArenaT>();
    windows->name = "windows";
    windows->arena_class = executable::ArenaClass::Windows;
    const auto window = static_cast<std::uint16_t>(rank->arenas.size());
    executable::ProgramT &update =
        **std::find_if(rank->programs.begin(), rank->programs.end(),
                       [](const auto &entry) { return entry->kind == executable::ProgramKind::Update; });
    for (std::uint32_t at = 0; at < update.commands.size(); ++at) {
      executable::CommandT &command = *update.commands[at];
      auto load = std::make_unique<executable::ExchangeT>();
      load->kind = executable::ExchangeKind::Load;
      load->stage = update.stage;
      for (auto &operand : command.operands) {
        if (operand->arena != home || operand->pool >= 0) {
          continue;
        }
        auto piece = std::make_unique<executable::ExchangePieceT>();
        piece->replica = command.replica;
        piece->shard_arena = home;
        piece->shard_offset = operand->offset;
        piece->bytes = 4;
        for (const std::int64_t size : operand->shape) {
          piece->bytes *= static_cast<std::uint64_t>(size);
        }
        piece->arena = operand->arena = window;
        piece->offset = operand->offset = windows->bytes;
        windows->bytes += (piece->bytes + 63) / 64 * 64;
        load->pieces.push_back(std::move(piece));
      }
      if (load->pieces.empty()) {
        continue;
      }
      auto store = std::make_unique<executable::ExchangeT>(*load);
      store->kind = executable::ExchangeKind::Store;
      const auto number = static_cast<std::uint16_t>(rank->exchanges.size());
      update.points.emplace_back(at, number, true);
      update.points.emplace_back(at, number, false);
      update.points.emplace_back(at + 1, number + 1, true);
      update.points.emplace_back(at + 1, number + 1, false);
      rank->exchanges.push_back(std::move(load));
      rank->exchanges.push_back(std::move(store));
    }
    rank->arenas.push_back(std::move(windows));
  }
  return file;
}

executable::ExecutableT buildGathered() {
  executable::ExecutableT file = buildSharded();
  file.recipe->zero = 3;
  for (auto &rank : file.variants[0]->ranks) {
    std::erase_if(rank->gathers,
                  [](const auto &gather) { return gather->task == executable::TaskKind::Gather; });
    for (int replica = 0; replica < 2; ++replica) {
      executable::PlacementT &placement = *rank->placements[static_cast<std::size_t>(replica)];
      auto part = std::make_unique<executable::StateSliceT>(*placement.states[0]);
      part->name = "";
      part->arena = placement.arena;
      part->offset = placement.offset;
      part->replica = replica;
      placement.shards.push_back(std::move(part));
    }
    const executable::ReductionT &sum = *rank->reductions.front();
    auto arena = std::make_unique<executable::ArenaT>();
    arena->name = "window";
    arena->arena_class = executable::ArenaClass::Derived;
    arena->bytes = sum.bytes;
    auto exchange = std::make_unique<executable::ExchangeT>();
    exchange->kind = executable::ExchangeKind::Gather;
    exchange->stage = sum.stage;
    auto piece = std::make_unique<executable::ExchangePieceT>();
    piece->arena = static_cast<std::uint16_t>(rank->arenas.size());
    piece->bytes = sum.bytes;
    piece->shard_arena = rank->placements[0]->arena;
    piece->shard_offset = rank->placements[0]->offset;
    exchange->pieces.push_back(std::move(piece));
    rank->exchanges.push_back(std::move(exchange));
    rank->arenas.push_back(std::move(arena));
    for (auto &program : rank->programs) {
      if (program->kind == executable::ProgramKind::Forward) {
        program->points.emplace_back(0, 0, true);
        program->points.emplace_back(1, 0, false);
      }
    }
  }
  const schedule::StepExchanges exchanges{.reduces = true};
  file.schedule->train = taskLists(schedule::addStepTasks(
      take(schedule::addTransfers(take(schedule::generate("1f1b", 2, 4)), exchanges)), exchanges));
  return file;
}

std::vector<std::uint8_t> serialize(const executable::ExecutableT &file, bool seal) {
  flatbuffers::FlatBufferBuilder builder;
  executable::FinishExecutableBuffer(builder, executable::Executable::Pack(builder, &file));
  std::vector<std::uint8_t> bytes(builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize());
  if (seal) {
    if (auto ok = executable::sealExecutable(bytes); !ok) {
      throw std::runtime_error(ok.error().text());
    }
  }
  return bytes;
}

std::string write(const std::string &path, const Classifier &classifier) {
  const std::vector<std::uint8_t> bytes = serialize(build(classifier));
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char *>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  return path;
}

std::string temporaryFolder() {
  struct Folder {
    std::string path = (std::filesystem::temp_directory_path() / "stagewright-test-XXXXXX").string();
    pid_t owner = getpid();
    Folder() {
      if (!mkdtemp(path.data())) {
        throw std::runtime_error("mkdtemp " + path);
      }
    }
    ~Folder() {
      std::error_code ignored;
      if (getpid() == owner) { // and not a process that it forked
        std::filesystem::remove_all(path, ignored);
      }
    }
  };
  static const Folder folder;
  return folder.path + "/";
}

} // namespace stagewright::stagefile
