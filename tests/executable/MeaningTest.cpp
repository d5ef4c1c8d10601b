// Meaning: one wrong field at a time, each refused with the place of that field.
#include "runtime/executable/Executable.h"
#include "runtime/executable/Version.h"
#include "stagefile/StageFile.h"

#include <functional>
#include <gtest/gtest.h>
#include <limits>

using namespace stagewright;
using executable::ExecutableT;
using runtime::Executable;

namespace {

struct Mistake {
  const char *name;
  std::function<void(ExecutableT &)> make;
  const char *place; ///< how the error's place begins, behind "x.stage at "
  const char *says;  ///< part of the message
};

executable::RankPlanT &rank(ExecutableT &file, int index) {
  return *file.variants[0]->ranks[index];
}

executable::ProgramT &program(ExecutableT &file, int rankIndex, executable::ProgramKind kind) {
  for (auto &entry : rank(file, rankIndex).programs) {
    if (entry->kind == kind) {
      return *entry;
    }
  }
  throw std::logic_error("no such program");
}

int poolCalled(ExecutableT &file, int rankIndex, const std::string &name) {
  auto &pools = rank(file, rankIndex).pools;
  for (std::size_t i = 0; i < pools.size(); ++i) {
    if (pools[i]->name == name) {
      return static_cast<int>(i);
    }
  }
  throw std::logic_error("no pool " + name);
}

executable::ScalarT &scalar(ExecutableT &file, int rankIndex, const std::string &name) {
  for (auto &entry : rank(file, rankIndex).scalars) {
    if (entry->name == name) {
      return *entry;
    }
  }
  throw std::logic_error("no scalar " + name);
}

/// Gives rank 1 a buffer of the last block, in an arena of its own.
executable::BufferPlacementT &addBuffer(ExecutableT &file) {
  auto buffer = std::make_unique<executable::BufferT>();
  buffer->name = "bn.running_mean";
  buffer->shape = {10};
  buffer->initializer = std::make_unique<executable::InitializerT>();
  buffer->initializer->kind = "constant";
  buffer->stage = 1;
  buffer->block = 3;
  file.buffers.push_back(std::move(buffer));
  auto arena = std::make_unique<executable::ArenaT>();
  arena->name = "buffers";
  arena->arena_class = executable::ArenaClass::Buffers;
  arena->bytes = 128;
  executable::RankPlanT &plan = rank(file, 1);
  auto placement = std::make_unique<executable::BufferPlacementT>();
  placement->arena = static_cast<std::uint16_t>(plan.arenas.size());
  plan.arenas.push_back(std::move(arena));
  plan.buffers.push_back(std::move(placement));
  return *plan.buffers[0];
}

/// A change of a file with a buffer.
std::function<void(ExecutableT &)>
ofBuffer(std::function<void(ExecutableT &, executable::BufferT &, executable::BufferPlacementT &)> change) {
  return [change](ExecutableT &file) {
    executable::BufferPlacementT &placement = addBuffer(file);
    change(file, *file.buffers[0], placement);
  };
}

/// A change of a file that hands out ten values per sample, wherever they lie.
std::function<void(ExecutableT &)> ofOutput(std::function<void(executable::OutputBindingT &)> change) {
  return [change](ExecutableT &file) {
    auto output = std::make_unique<executable::OutputBindingT>();
    output->name = "fc2";
    output->stage = 1;
    output->value = std::make_unique<executable::OperandT>();
    output->value->shape = {4, 10};
    change(*output);
    rank(file, 1).outputs.push_back(std::move(output));
  };
}

/// The last operand of the last command of rank 1's program becomes the buffer.
void useBuffer(ExecutableT &file, executable::ProgramKind kind, std::size_t operand) {
  executable::OperandT &changed = *program(file, 1, kind).commands.back()->operands[operand];
  changed.arena = rank(file, 1).buffers[0]->arena;
  changed.pool = -1;
  changed.offset = 0;
}

void addGroup(ExecutableT &file, double rate) {
  file.recipe->parameter_groups.push_back(std::make_unique<executable::ParameterGroupT>());
  file.recipe->parameter_groups.back()->match = "bias";
  file.recipe->parameter_groups.back()->learning_rate = rate;
}

executable::FolderT &addFolder(ExecutableT &file) {
  file.folder = std::make_unique<executable::FolderT>();
  return *file.folder;
}

constexpr auto kForward = executable::ProgramKind::Forward;
constexpr auto kUpdate = executable::ProgramKind::Update;
const double kNan = std::numeric_limits<double>::quiet_NaN();
const double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::uint64_t kHuge = ~std::uint64_t{0};

// The file: stages {Flatten, Linear} and {ReLU, Linear}, 1f1b, 4 micro-batches of 4. Rank 1's Forward is
// relu, linear, softmax_cross_entropy.
const std::vector<Mistake> &mistakes() {
  static const std::vector<Mistake> list = {
      // Recipe
      {"MicroBatchSize", [](ExecutableT &f) { f.recipe->micro_batch_size = 0; }, "recipe.micro_batch_size", "positive"},
      {"NegativeBatch", [](ExecutableT &f) { f.recipe->micro_batches = -4; }, "recipe.micro_batch_size", "positive"},
      {"Triangle", [](ExecutableT &f) { f.recipe->train_batch_size = 17; }, "recipe.train_batch_size", "17"},
      {"DataParallel", [](ExecutableT &f) { f.recipe->data_parallel = 2; }, "required_features", "replicas"},
      {"ManyReplicas", [](ExecutableT &f) { f.recipe->data_parallel = 5000; }, "recipe.data_parallel",
       "5000"},
      {"LearningRate", [](ExecutableT &f) { f.recipe->learning_rate = kNan; }, "recipe.learning_rate", "finite"},
      {"Clipping", [](ExecutableT &f) { f.recipe->gradient_clipping = kInfinity; }, "recipe.gradient_clipping", "finite"},
      {"Beta", [](ExecutableT &f) { f.recipe->beta2 = 1; }, "recipe.beta1", "[0, 1)"},
      {"Optimizer", [](ExecutableT &f) { f.recipe->optimizer = "muon"; }, "recipe.optimizer", "muon"},
      {"OptimizerState", [](ExecutableT &f) { f.recipe->optimizer = "adagrad"; }, "ranks[0].placements[0].states",
       "lacks the state \"sum\""},
      {"Scheduler",
       [](ExecutableT &f) {
         f.recipe->scheduler = std::make_unique<executable::SchedulerT>();
         f.recipe->scheduler->type = "WarmupLR";
       },
       "recipe.scheduler", "warmup_num_steps"},
      {"StepsPerPrint", [](ExecutableT &f) { f.recipe->steps_per_print = -1; }, "recipe.steps_per_print", "0"},
      {"Contract", [](ExecutableT &f) { f.contract->global_batch = 8; }, "contract", "disagree"},
      // Model
      {"InputName", [](ExecutableT &f) { f.inputs[1]->name = "image"; }, "inputs[1].name", "image"},
      {"InputRole", [](ExecutableT &f) { f.inputs[1]->role = "mask"; }, "inputs[1].role", "mask"},
      {"InputType", [](ExecutableT &f) { f.inputs[0]->dtype = executable::DType::I64; }, "inputs[0].dtype", "f32"},
      {"InputShape", [](ExecutableT &f) { f.inputs[0]->sample_shape[1] = 0; }, "inputs[0].sample_shape", "[1, 0, 7]"},
      {"InputShapeOverflow", [](ExecutableT &f) { f.inputs[0]->sample_shape = {1 << 30, 1 << 30, 1 << 30}; },
       "inputs[0].sample_shape", "impossible"},
      {"Deviation", [](ExecutableT &f) { f.inputs[0]->deviation = 0; }, "inputs[0].deviation", "not 0"},
      {"Boundaries", [](ExecutableT &f) { f.boundaries = {0, 4}; }, "boundaries", "2 boundaries"},
      {"BoundariesEnd", [](ExecutableT &f) { f.boundaries = {0, 2, 5}; }, "boundaries", "number of blocks"},
      {"BoundariesFall", [](ExecutableT &f) { f.boundaries = {0, 4, 4}; }, "boundaries[2]", "ascend"},
      {"BlockStage", [](ExecutableT &f) { f.blocks[2]->stage = 0; }, "blocks[2].stage", "relu"},
      {"BlockShape", [](ExecutableT &f) { f.blocks[2]->output_shape = {4, -1}; }, "blocks[2].output_shape", "[4, -1]"},
      {"BlockFlops", [](ExecutableT &f) { f.blocks[2]->forward_flops = kNan; }, "blocks[2].forward_flops", "at least 0"},
      {"ParameterName", [](ExecutableT &f) { f.parameters[1]->name = "fc1.weight"; }, "parameters[1].name", "fc1.weight"},
      {"ParameterType", [](ExecutableT &f) { f.parameters[1]->dtype = executable::DType::BF16; }, "parameters[1].dtype",
       "f32"},
      {"ParameterShape", [](ExecutableT &f) { f.parameters[1]->shape = {-33}; }, "parameters[1].shape", "-33"},
      {"Initializer", [](ExecutableT &f) { f.parameters[1]->initializer->kind = "zeros"; },
       "parameters[1].initializer.kind", "zeros"},
      {"InitializerBound", [](ExecutableT &f) { f.parameters[1]->initializer->bound = kInfinity; },
       "parameters[1].initializer", "finite"},
      {"ParameterGroup", [](ExecutableT &f) { f.parameters[1]->group = 0; }, "parameters[1].group", "group 0"},
      {"Transposed",
       [](ExecutableT &f) { addFolder(f).transposed = {1}; }, // a bias
       "folder.transposed[0]", "1 is no parameter of two dimensions"},
      {"TransposedIndex", [](ExecutableT &f) { addFolder(f).transposed = {-1}; }, "folder.transposed[0]", "-1"},
      {"FolderCopy",
       [](ExecutableT &f) {
         addFolder(f).copies.push_back(std::make_unique<executable::FolderCopyT>());
         f.folder->copies[0]->parameter = 4;
       },
       "folder.copies[0]", "no parameter 4"},
      {"GroupRate", [](ExecutableT &f) { addGroup(f, -1); }, "recipe.parameter_groups", "group 0"},
      {"GroupCell", [](ExecutableT &f) { addGroup(f, 0.5); }, "ranks[0].scalars", "learning_rate.0"},
      {"ParameterBlock", [](ExecutableT &f) { f.parameters[1]->block = 3; }, "parameters[1].block", "fc1.bias"},
      // Schedule
      {"Ranks", [](ExecutableT &f) { f.pipeline_ranks = 3; }, "schedule.train", "2 task lists"},
      {"NoRanks", [](ExecutableT &f) { f.pipeline_ranks = 0; }, "pipeline_ranks", "one rank"},
      {"TaskDropped", [](ExecutableT &f) { f.schedule->train[0]->tasks.pop_back(); }, "schedule.train", "0UPDATE"},
      {"TasksSwapped", [](ExecutableT &f) { std::swap(f.schedule->train[1]->tasks[1], f.schedule->train[1]->tasks[2]); },
       "schedule.train", "rank 1"},
      {"TaskStage", [](ExecutableT &f) { f.schedule->train[0]->tasks[1].mutate_stage(7); }, "schedule.train", "stage"},
      {"TaskKind",
       [](ExecutableT &f) { f.schedule->train[0]->tasks[1].mutate_kind(static_cast<executable::TaskKind>(99)); },
       "schedule.train", "kind"},
      {"EvaluateTask", [](ExecutableT &f) { f.schedule->evaluate[1]->tasks.pop_back(); }, "schedule.evaluate",
       "ALL_GATHER"},
      {"RankOfStage", [](ExecutableT &f) { f.schedule->rank_of_stage[1] = -1; }, "schedule.train", "rank -1"},
      {"PlanInvariant", [](ExecutableT &f) { f.schedule->plan_invariant = false; }, "schedule.plan_invariant", "mark"},
      // Memory
      {"Target", [](ExecutableT &f) { f.variants[0]->target = "cuda:sm_90"; }, "contract.device_family", "cuda"},
      {"TargetName", [](ExecutableT &f) { f.variants[0]->target = "cuda"; }, "variants[0].target", "cuda"},
      {"StochasticRounding", [](ExecutableT &f) { f.contract->stochastic_rounding = true; },
       "contract.stochastic_rounding", "required features"},
      {"Tf32", [](ExecutableT &f) { f.contract->tf32 = true; }, "contract.tf32", "required features"},
      {"DeviceFamily", [](ExecutableT &f) { f.contract->device_family = "cpu"; }, "contract.device_family", "cpu"},
      {"RankPlans", [](ExecutableT &f) { f.variants[0]->ranks.pop_back(); }, "variants.ranks", "plans"},
      {"RankOrder", [](ExecutableT &f) { rank(f, 0).rank = 1; }, "ranks[0].rank", "order"},
      {"ArenaSize", [](ExecutableT &f) { rank(f, 1).arenas[4]->bytes = kHuge; }, "ranks[1].arenas[4].bytes", "size"},
      {"ArenaTooSmall", [](ExecutableT &f) { rank(f, 1).arenas[4]->bytes = 64; }, "ranks[1].pools", "inside"},
      {"ArenaTier", [](ExecutableT &f) { rank(f, 1).arenas[4]->tier = executable::MemoryTier::File; },
       "ranks[1].arenas[4].tier", "does not offload"},
      {"WorkspaceArenas", [](ExecutableT &f) { rank(f, 1).arenas[4]->arena_class = executable::ArenaClass::Workspace; },
       "ranks[1].arenas[6]", "one workspace arena"},
      {"PoolArena", [](ExecutableT &f) { rank(f, 0).pools[0]->arena = 99; }, "ranks[0].pools[0].offset", "inside"},
      {"PoolOffset", [](ExecutableT &f) { rank(f, 0).pools[0]->offset = kHuge - 63; }, "ranks[0].pools[0].offset",
       "inside"},
      {"PoolSlotBytes", [](ExecutableT &f) { rank(f, 0).pools[0]->slot_bytes = kHuge / 4; }, "ranks[0].pools[0].slots",
       "slot size"},
      {"PoolOverlap", [](ExecutableT &f) { rank(f, 1).pools[1]->offset = rank(f, 1).pools[0]->offset; }, "ranks[1].pools",
       "overlap"},
      {"PoolStage", [](ExecutableT &f) { rank(f, 0).pools[0]->stage = 1; }, "ranks[0].pools[0].stage", "another rank"},
      {"PoolLife", [](ExecutableT &f) { rank(f, 0).pools[0]->last = executable::TaskKind::ReceiveForward; },
       "ranks[0].pools[0].first", "begins"},
      {"PoolReceived",
       [](ExecutableT &f) {
         auto &pool = rank(f, 0).pools[poolCalled(f, 0, "gradient of output")];
         pool->last = executable::TaskKind::ReceiveBackward;
       },
       "ranks[0].pools[2].last", "waits for it"},
      {"PoolBegin", [](ExecutableT &f) { rank(f, 0).pools[0]->first = executable::TaskKind::SendForward; },
       "ranks[0].pools[0].first", "makes no value"},
      {"TrainSlots", [](ExecutableT &f) { rank(f, 0).pools[0]->train_slots = {0, 0, 0, 0}; },
       "ranks[0].pools[0].train_slots", "overwrites"},
      {"TrainSlotRange", [](ExecutableT &f) { rank(f, 0).pools[0]->train_slots[2] = 9; },
       "ranks[0].pools[0].train_slots", "slot 9"},
      {"TrainSlotCount", [](ExecutableT &f) { rank(f, 0).pools[0]->train_slots.pop_back(); },
       "ranks[0].pools[0].train_slots", "3"},
      {"EvaluateSlots",
       [](ExecutableT &f) { rank(f, 1).pools[poolCalled(f, 1, "losses")]->evaluate_slots = {0, 0, 1, 2}; },
       "ranks[1].pools", "overwrites"},
      {"BindingInput", [](ExecutableT &f) { rank(f, 0).inputs[0]->input = 2; }, "ranks[0].inputs[0].input", "input 2"},
      {"BindingReserved", [](ExecutableT &f) { rank(f, 0).inputs[0]->input = -5; }, "ranks[0].inputs[0].input", "input -5"},
      {"BindingRandom", [](ExecutableT &f) { rank(f, 0).inputs[0]->input = -2; }, "ranks[0].inputs[0].shape", ""},
      {"BindingStage", [](ExecutableT &f) { rank(f, 0).inputs[0]->stage = 1; }, "ranks[0].inputs[0].stage", "another"},
      {"BindingPool", [](ExecutableT &f) { rank(f, 0).inputs[0]->pool = 44; }, "ranks[0].inputs[0].pool", "pool"},
      {"BindingShape", [](ExecutableT &f) { rank(f, 0).inputs[0]->shape = {4, 36}; }, "ranks[0].inputs[0].shape",
       "[4, 36]"},
      {"BindingRows", [](ExecutableT &f) { rank(f, 0).inputs[0]->shape = {2, 70}; }, "ranks[0].inputs[0].shape",
       "micro-batch"},
      {"BindingOverflow",
       [](ExecutableT &f) { // (2^44 + 1) 2^20 is 2^20 modulo 2^64
         f.inputs[0]->sample_shape = {(std::int64_t{1} << 44) + 1};
         f.recipe->micro_batch_size = 1 << 20;
         f.recipe->train_batch_size = 1 << 22;
         f.contract->global_batch = 1 << 22;
         rank(f, 0).inputs[0]->shape = {1 << 20, 1};
       },
       "ranks[0].inputs[0].shape", "impossible size"},
      {"BindingOffset", [](ExecutableT &f) { rank(f, 0).inputs[0]->offset = kHuge - 3; }, "ranks[0].inputs[0].offset",
       "inside"},
      {"InputUnread", [](ExecutableT &f) { rank(f, 0).inputs.clear(); }, "inputs[0]", "no stage reads"},
      {"PlacementParameter", [](ExecutableT &f) { rank(f, 0).placements[0]->parameter = 9; },
       "ranks[0].placements[0].parameter", "9"},
      {"PlacementRank", [](ExecutableT &f) { rank(f, 0).placements[0]->parameter = 2; },
       "ranks[0].placements[0].parameter", "fc2.weight"},
      {"PlacementMissing", [](ExecutableT &f) { rank(f, 0).placements.pop_back(); }, "parameters[1]", "0 places"},
      {"PlacementOutside", [](ExecutableT &f) { rank(f, 0).placements[0]->offset = 1 << 20; },
       "ranks[0].placements[0].offset", "inside"},
      {"PlacementAlignment", [](ExecutableT &f) { rank(f, 0).placements[1]->offset += 4; },
       "ranks[0].placements[1].offset", "aligned"},
      {"PlacementOverlap",
       [](ExecutableT &f) { rank(f, 0).placements[1]->offset = rank(f, 0).placements[0]->offset; },
       "ranks[0].placements", "overlap"},
      {"StateMissing", [](ExecutableT &f) { rank(f, 0).placements[0]->states.pop_back(); },
       "ranks[0].placements[0].states", "exp_avg_sq"},
      {"StateShape", [](ExecutableT &f) { rank(f, 0).placements[0]->states[1]->shape[0] = 3; },
       "ranks[0].placements[0].states[1].shape", "differ"},
      {"ScalarMissing", [](ExecutableT &f) { rank(f, 1).scalars.erase(rank(f, 1).scalars.begin()); }, "ranks[1].scalars",
       "learning_rate"},
      {"ScalarUnknown", [](ExecutableT &f) { rank(f, 1).scalars[0]->name = "lr"; }, "ranks[1].scalars[0].name", "lr"},
      {"ScalarType", [](ExecutableT &f) { scalar(f, 1, "loss").dtype = executable::DType::F32; },
       "ranks[1].scalars[5].dtype", "f64"},
      {"ScalarCount", [](ExecutableT &f) { scalar(f, 1, "losses").count = 5; }, "ranks[1].scalars[6].dtype", "4"},
      {"LossTermTwice", [](ExecutableT &f) { f.loss_terms = {"a", "b", "a"}; }, "loss_terms[2]", "\"a\""},
      {"LossTermsWithoutCells", [](ExecutableT &f) { f.loss_terms = {"a", "b"}; }, "ranks[0].scalars", "f64 x 3"},
      {"LossTermOfControlCharacters", [](ExecutableT &f) { f.loss_terms = {"a\x1b[2J"}; }, "loss_terms[0]", "control"},
      {"LossTermWithoutName", [](ExecutableT &f) { f.loss_terms = {""}; }, "loss_terms[0]", "empty"},
      {"AccuracyOfNoLabel", [](ExecutableT &f) { f.accuracy_label = 1; }, "accuracy_label", "no label 1"},
      {"ScalarPlace", [](ExecutableT &f) { scalar(f, 1, "loss").offset = 25; }, "ranks[1].scalars[5].offset", "aligned"},
      {"ScalarOverlap", [](ExecutableT &f) { scalar(f, 1, "step").offset = 0; }, "ranks[1].scalars", "overlap"},
      // Programs
      {"ProgramMissing", [](ExecutableT &f) { rank(f, 0).programs.pop_back(); }, "ranks[0].programs", "Evaluate"},
      {"ProgramTwice", [](ExecutableT &f) { rank(f, 0).programs[1]->kind = executable::ProgramKind::Prepare; },
       "ranks[0].programs[1]", "second"},
      {"ProgramStage", [](ExecutableT &f) { rank(f, 0).programs[1]->stage = 1; }, "ranks[0].programs[1].stage",
       "another rank"},
      {"KernelIndex", [](ExecutableT &f) { program(f, 1, kForward).commands[0]->kernel = 99; },
       "ranks[1].programs[1].commands[0].kernel", "99"},
      {"KernelName", [](ExecutableT &f) { f.kernels[0]->name = "teleport"; }, "kernels[0]", "teleport"},
      {"KernelVersion", [](ExecutableT &f) { f.kernels[0]->version = 2; }, "kernels[0]", "version 2"},
      {"KernelKind", [](ExecutableT &f) { f.kernels[0]->kind = "object"; }, "kernels[0].kind", "object"},
      {"CommandBlock", [](ExecutableT &f) { program(f, 1, kForward).commands[0]->block = 4; },
       "ranks[1].programs[1].commands[0].block", "4"},
      {"OperandCount", [](ExecutableT &f) { program(f, 1, kForward).commands[1]->operands.resize(2); },
       "ranks[1].programs[1].commands[1]", "linear"},
      {"OperandMany",
       [](ExecutableT &f) {
         auto &operands = program(f, 1, kForward).commands[0]->operands;
         operands.push_back(std::make_unique<executable::OperandT>(*operands[0]));
       },
       "ranks[1].programs[1].commands[0]", "relu"},
      {"OperandType",
       [](ExecutableT &f) { program(f, 1, kForward).commands[0]->operands[0]->dtype = executable::DType::F64; },
       "ranks[1].programs[1].commands[0]", "f64"},
      {"OperandTypeUnknown",
       [](ExecutableT &f) {
         program(f, 1, kForward).commands[0]->operands[0]->dtype = static_cast<executable::DType>(200);
       },
       "ranks[1].programs[1].commands[0].operands[0]", "dtype"},
      {"OperandShape", [](ExecutableT &f) { program(f, 1, kForward).commands[1]->operands[2]->shape = {4, 11}; },
       "ranks[1].programs[1].commands[1]", "linear"},
      {"OperandShapeOverflow",
       [](ExecutableT &f) {
         program(f, 1, kForward).commands[0]->operands[0]->shape = {std::int64_t{1} << 40, std::int64_t{1} << 40};
       },
       "ranks[1].programs[1].commands[0].operands[0]", "shape"},
      {"OperandPool", [](ExecutableT &f) { program(f, 1, kForward).commands[0]->operands[0]->pool = 99; },
       "ranks[1].programs[1].commands[0].operands[0].pool", "99"},
      {"OperandArena", [](ExecutableT &f) { program(f, 1, kForward).commands[0]->operands[0]->arena = 0; },
       "ranks[1].programs[1].commands[0].operands[0].arena", "another arena"},
      {"OperandFixedArena",
       [](ExecutableT &f) { program(f, 1, kForward).commands[1]->operands[1]->arena = 1000; },
       "ranks[1].programs[1].commands[1].operands[1].arena", "1000"},
      {"OperandOutsideSlot", [](ExecutableT &f) { program(f, 1, kForward).commands[0]->operands[1]->offset = 512; },
       "ranks[1].programs[1].commands[0].operands[1].offset", "slot"},
      {"OperandOutsideArena",
       [](ExecutableT &f) { program(f, 1, kForward).commands[1]->operands[1]->offset = kHuge - 63; },
       "ranks[1].programs[1].commands[1].operands[1].offset", "arena"},
      {"OperandAlignment",
       [](ExecutableT &f) { program(f, 1, kForward).commands[1]->operands[3]->offset += 4; },
       "ranks[1].programs[1].commands[1].operands[3].offset", ""},
      {"OperandDead",
       [](ExecutableT &f) {
         const int pool = poolCalled(f, 1, "gradient of logits");
         program(f, 1, kForward).commands[1]->operands[2]->pool = static_cast<std::int16_t>(pool);
       },
       "ranks[1].programs[1].commands[1].operands[2].pool", "not alive"},
      {"OperandInUpdate",
       [](ExecutableT &f) {
         auto &operand = *program(f, 1, kUpdate).commands[1]->operands[0];
         operand.pool = 0;
         operand.arena = 4;
       },
       "ranks[1].programs[5].commands[1].operands[0].pool", "not alive"},
      {"FixedOverPool",
       [](ExecutableT &f) {
         auto &operand = *program(f, 1, kForward).commands[0]->operands[1];
         operand.pool = -1;
         operand.offset = 0;
       },
       "ranks[1].programs[1].commands[0].operands[1].offset", "overlaps a pool"},
      {"Aliasing",
       [](ExecutableT &f) { *program(f, 1, kForward).commands[1]->operands[2] = *program(f, 1, kForward).commands[1]->operands[0];
                            program(f, 1, kForward).commands[1]->operands[2]->shape = {4, 10}; },
       "ranks[1].programs[1].commands[1].operands[2]", "shares bytes"},
      {"LabelsFromElsewhere",
       [](ExecutableT &f) {
         rank(f, 1).inputs[0]->offset = 16;
       },
       "ranks[1].programs[1].commands[2].operands[1]", "not a model input"},
      {"RandomFromElsewhere", // a dropout in relu's place that takes the labels for what it draws by
       [](ExecutableT &f) {
         auto kernel = std::make_unique<executable::KernelRefT>();
         kernel->name = "dropout";
         kernel->version = 1;
         f.kernels.push_back(std::move(kernel));
         auto &commands = program(f, 1, kForward).commands;
         auto &operands = commands[0]->operands;
         operands.insert(operands.begin() + 1, std::make_unique<executable::OperandT>(*commands[2]->operands[1]));
         commands[0]->kernel = static_cast<std::uint16_t>(f.kernels.size() - 1);
       },
       "ranks[1].programs", "\"random\" is not a model input"},
      {"RoundingFromElsewhere", // a cast in relu's place that takes the labels for what it draws by
       [](ExecutableT &f) {
         auto kernel = std::make_unique<executable::KernelRefT>();
         kernel->name = "cast_stochastic";
         kernel->version = 1;
         f.kernels.push_back(std::move(kernel));
         auto &commands = program(f, 1, kForward).commands;
         auto &operands = commands[0]->operands;
         operands.insert(operands.begin() + 1, std::make_unique<executable::OperandT>(*commands[2]->operands[1]));
         operands[1]->shape = {5};
         commands[0]->kernel = static_cast<std::uint16_t>(f.kernels.size() - 1);
       },
       "ranks[1].programs", "\"rounding\" is not the scalar"},
      {"UnknownRounding",
       [](ExecutableT &f) {
         auto cell = std::make_unique<executable::ScalarT>(*rank(f, 0).scalars[0]);
         cell->name = "rounding";
         rank(f, 0).scalars.push_back(std::move(cell));
       },
       "ranks[0].scalars", "unknown or repeated scalar \"rounding\""},
      {"NoRounding",
       [](ExecutableT &f) {
         f.contract->stochastic_rounding = true;
         f.required_features |= executable::kFeatureStochasticRounding;
       },
       "ranks[0].scalars", "scalar \"rounding\" is missing"},
      {"RowsFromElsewhere", [](ExecutableT &f) { rank(f, 1).inputs[1]->offset = 4; },
       "ranks[1].programs[1].commands[2].operands[2]", "not a model input"},
      {"TokensFromElsewhere", // the count of rows as a token
       [](ExecutableT &f) {
         auto &loss = *program(f, 1, kForward).commands[2];
         auto embedding = std::make_unique<executable::CommandT>();
         embedding->kernel = static_cast<std::uint16_t>(f.kernels.size());
         f.kernels.push_back(std::make_unique<executable::KernelRefT>());
         f.kernels.back()->name = "embedding";
         f.kernels.back()->version = 1;
         for (int operand : {2, 3, 3}) {
           embedding->operands.push_back(std::make_unique<executable::OperandT>(*loss.operands[operand]));
         }
         embedding->operands[1]->shape = embedding->operands[2]->shape = {1, 1};
         program(f, 1, kForward).commands.push_back(std::move(embedding));
       },
       "ranks[1].programs[1].commands[3].operands[0]", "\"ids\" is not a model input"},
      {"AttributeName",
       [](ExecutableT &f) { program(f, 1, kUpdate).commands[0]->attributes[0]->name = "limit"; },
       "ranks[1].programs[5].commands[0]", "limit"},
      {"AttributeValues",
       [](ExecutableT &f) { program(f, 1, kUpdate).commands[0]->attributes[0]->text = "both"; },
       "ranks[1].programs[5].commands[0].attributes[0]", "exactly one"},
      {"Workspace", [](ExecutableT &f) { program(f, 1, kForward).commands[2]->workspace = 8; },
       "ranks[1].programs[1].commands[2].workspace", "16"},
      {"WorkspaceOutside", [](ExecutableT &f) { program(f, 1, kForward).commands[2]->workspace_offset = 64; },
       "ranks[1].programs[1].commands[2].workspace_offset", "inside"},
      {"WorkspaceArena", [](ExecutableT &f) { rank(f, 1).arenas[6]->arena_class = executable::ArenaClass::Buffers; },
       "ranks[1].programs[1].commands[2].workspace_offset", "workspace arena"},
      // Transfers
      {"BufferName", ofBuffer([](auto &, auto &b, auto &) { b.name = "fc1.weight"; }), "buffers[0].name", "fc1.weight"},
      {"BufferType", ofBuffer([](auto &, auto &b, auto &) { b.dtype = executable::DType::BF16; }), "buffers[0].dtype",
       "f32 or i64"},
      {"BufferShape", ofBuffer([](auto &, auto &b, auto &) { b.shape = {-1}; }), "buffers[0].shape", "[-1]"},
      {"BufferKind", ofBuffer([](auto &, auto &b, auto &) { b.initializer->kind = "normal"; }), "buffers[0].initializer",
       "constant"},
      {"BufferValue", ofBuffer([](auto &, auto &b, auto &) { b.initializer->value = kNan; }), "buffers[0].initializer",
       "finite"},
      {"BufferBlock", ofBuffer([](auto &, auto &b, auto &) { b.block = 0; }), "buffers[0].block", "no block of its stage"},
      {"BufferIndex", ofBuffer([](auto &, auto &, auto &p) { p.buffer = 3; }), "ranks[1].buffers[0].buffer", "buffer 3"},
      {"BufferRank", ofBuffer([](auto &f, auto &, auto &) { rank(f, 0).buffers.swap(rank(f, 1).buffers); }),
       "ranks[0].buffers[0].buffer", "another rank"},
      {"BufferMissing", ofBuffer([](auto &f, auto &, auto &) { rank(f, 1).buffers.clear(); }), "buffers[0]", "0 places"},
      {"BufferOutside", ofBuffer([](auto &, auto &, auto &p) { p.offset = 128; }), "ranks[1].buffers[0].offset", "inside"},
      {"BufferAlignment", ofBuffer([](auto &, auto &, auto &p) { p.offset = 4; }), "ranks[1].buffers[0].offset", "aligned"},
      {"BufferOverlap", ofBuffer([](auto &f, auto &, auto &p) { p.arena = rank(f, 1).placements[0]->arena; }), "ranks[1]",
       "overlap"},
      {"BufferUpdated", ofBuffer([](auto &f, auto &, auto &) { useBuffer(f, kUpdate, 0); }), "ranks[1].programs",
       "only Forward updates the buffer"},
      {"OutputStage", ofOutput([](auto &o) { o.stage = 0; }), "ranks[1].outputs[0].stage", "another rank"},
      {"OutputTwice",
       [](ExecutableT &f) {
         ofOutput([](auto &) {})(f);
         ofOutput([](auto &) {})(f);
       },
       "ranks[1].outputs[1].stage", "one output"},
      {"OutputType", ofOutput([](auto &o) { o.value->dtype = executable::DType::I32; }), "ranks[1].outputs[0].value.dtype",
       "f32, f16 or bf16"},
      {"OutputShape", ofOutput([](auto &o) { o.value->shape = {5, 10}; }), "ranks[1].outputs[0].value.shape",
       "micro-batch"},
      {"OutputScalar", ofOutput([](auto &o) { o.value->shape = {}; }), "ranks[1].outputs[0].value.shape", "micro-batch"},
      {"OutputPool", ofOutput([](auto &o) { o.value->pool = 0; }), "ranks[1].outputs[0].value.offset", "inside an arena"},
      {"OutputArena", ofOutput([](auto &o) { o.value->arena = 99; }), "ranks[1].outputs[0].value.offset", "inside an arena"},
      {"OutputOutside", ofOutput([](auto &o) { o.value->offset = kHuge - 63; }), "ranks[1].outputs[0].value.offset",
       "inside an arena"},
      {"OutputAlignment", ofOutput([](auto &o) { o.value->offset += 4; }), "ranks[1].outputs[0].value.offset", "aligned"},
      {"ZeroRow", [](ExecutableT &f) { f.parameters[0]->initializer->zero_row = f.parameters[0]->shape[0]; },
       "parameters[0].initializer.zero_row", "no row"},
      {"ZeroRowOfAVector", [](ExecutableT &f) { f.parameters[1]->initializer->zero_row = 0; },
       "parameters[1].initializer.zero_row", "no row"},
      {"BufferReadInBackward",
       ofBuffer([](auto &f, auto &, auto &) { useBuffer(f, executable::ProgramKind::BackwardWeight, 1); }),
       "ranks[1].programs", "only Evaluate reads"},
      {"TransferKind", [](ExecutableT &f) { rank(f, 0).transfers[0]->kind = executable::TaskKind::Forward; },
       "ranks[0].transfers[0].kind", "not a transfer"},
      {"TransferStage", [](ExecutableT &f) { rank(f, 0).transfers[0]->stage = 1; }, "ranks[0].transfers[0].stage",
       "another"},
      {"TransferPeer", [](ExecutableT &f) { rank(f, 0).transfers[0]->peer = 0; }, "ranks[0].transfers[0].peer", "rank 0"},
      {"TransferPool", [](ExecutableT &f) { rank(f, 0).transfers[0]->pool = 99; }, "ranks[0].transfers[0].pool", "pool"},
      {"TransferWrongPool", [](ExecutableT &f) { rank(f, 0).transfers[0]->pool = 0; }, "ranks[0].transfers[0]", ""},
      {"TransferBytes", [](ExecutableT &f) { rank(f, 0).transfers[0]->bytes = kHuge; }, "ranks[0].transfers[0].bytes",
       "slot"},
      {"TransferSides", [](ExecutableT &f) { rank(f, 0).transfers[0]->bytes -= 4; }, "ranks.transfers", "something else"},
      {"TransferMissing", [](ExecutableT &f) { rank(f, 1).transfers.pop_back(); }, "ranks.transfers", "stage 1"},
      {"CollectiveMissing", [](ExecutableT &f) { rank(f, 1).train_collective.reset(); }, "ranks[1].train_collective",
       "nothing"},
      {"CollectiveArena", [](ExecutableT &f) { rank(f, 1).train_collective->arena = 70; },
       "ranks[1].train_collective.arena", "arena"},
      {"CollectiveSegment", [](ExecutableT &f) { rank(f, 1).train_collective->segments[0]->bytes = kHuge; },
       "ranks[1].train_collective.segments[0]", "inside"},
      {"CollectiveRank", [](ExecutableT &f) { rank(f, 0).train_collective->segments[0]->rank = 2; },
       "ranks[0].train_collective.segments[0]", "no rank"},
      {"CollectiveSides", [](ExecutableT &f) { rank(f, 1).evaluate_collective->segments.pop_back(); },
       "ranks[1].evaluate_collective.segments", "agree"},
      {"CollectiveOverlap",
       [](ExecutableT &f) {
         for (int r = 0; r < 2; ++r) {
           rank(f, r).train_collective->segments[1]->offset = rank(f, r).train_collective->segments[0]->offset;
         }
       },
       "ranks[0].train_collective.segments", "overlap"},
      {"TransferCount",
       [](ExecutableT &f) {
         auto &transfers = rank(f, 0).transfers;
         while (transfers.size() <= (1u << 22) / 4) {
           transfers.push_back(std::make_unique<executable::TransferT>(*transfers[0]));
         }
       },
       "ranks[0].transfers", "too many"},
      {"LossNotGathered",
       [](ExecutableT &f) {
         for (int r = 0; r < 2; ++r) {
           rank(f, r).train_collective->segments.pop_back();
         }
       },
       "ranks[0].train_collective", "\"loss\" is not gathered"},
      {"LossGatheredInPart",
       [](ExecutableT &f) {
         for (int r = 0; r < 2; ++r) {
           rank(f, r).train_collective->segments.back()->bytes = 4;
         }
       },
       "ranks[0].train_collective", "\"loss\" is not gathered"},
      {"LossElsewhere", [](ExecutableT &f) { scalar(f, 1, "loss").offset = 64; }, // gathered, as a partial sum
       "ranks[1].train_collective", "\"loss\" is not gathered"},
      {"LossOfAnotherArena", [](ExecutableT &f) { scalar(f, 1, "loss").arena = 6; },
       "ranks[1].train_collective", "\"loss\" is not gathered"},
      {"LossesNotGathered",
       [](ExecutableT &f) {
         for (int r = 0; r < 2; ++r) {
           rank(f, r).evaluate_collective->segments[0]->bytes -= 4;
         }
       },
       "ranks[0].evaluate_collective", "\"losses\" is not gathered"},
      {"CorrectElsewhere", [](ExecutableT &f) { scalar(f, 1, "correct").offset -= 8; },
       "ranks[1].evaluate_collective", "\"correct\" is not gathered"},
  };
  return list;
}

class Meaning : public testing::TestWithParam<Mistake> {};

TEST_P(Meaning, IsRefusedAtItsPlace) {
  ExecutableT file = stagefile::build({});
  GetParam().make(file);
  auto result = Executable::fromBytes(stagefile::serialize(file), "x.stage");
  ASSERT_FALSE(result);
  const Error &error = result.error();
  EXPECT_EQ(error.kind, ErrorKind::User);
  EXPECT_EQ(error.place.rfind(std::string("x.stage at ") + GetParam().place, 0), 0u) << error.text();
  EXPECT_NE(error.what.find(GetParam().says), std::string::npos) << error.text();
  EXPECT_NE(error.advice.find("compile the model again"), std::string::npos) << error.text();
}

TEST(MeaningOfBuffers, AFileWithABufferLoads) {
  ExecutableT file = stagefile::build({});
  addBuffer(file);
  auto result = Executable::fromBytes(stagefile::serialize(file), "x.stage");
  EXPECT_TRUE(result) << result.error().text();
}

TEST(MeaningOfOutputs, AFileThatHandsOutValuesLoads) {
  ExecutableT file = stagefile::build({});
  ofOutput([](auto &) {})(file);
  auto result = Executable::fromBytes(stagefile::serialize(file), "x.stage");
  EXPECT_TRUE(result) << result.error().text();
}

TEST(MeaningAdvice, FitsTheReason) {
  const auto adviceOn = [](auto change) {
    ExecutableT file = stagefile::build({});
    change(file);
    auto result = Executable::fromBytes(stagefile::serialize(file), "x.stage");
    return result ? std::string() : result.error().advice;
  };
  EXPECT_EQ(adviceOn([](ExecutableT &f) { f.kernels[0]->kind = "object"; }),
            "use a newer stagewright, or compile the model again with this one");
  EXPECT_EQ(adviceOn([](ExecutableT &f) { f.pipeline_ranks = 0; }), "compile the model again");
}

INSTANTIATE_TEST_SUITE_P(Mistakes, Meaning, testing::ValuesIn(mistakes()),
                         [](const testing::TestParamInfo<Mistake> &info) {
                           return std::string(info.param.name);
                         });

TEST(MeaningOfCounts, MicroBatchesWithoutTasksAreRefused) {
  ExecutableT file = stagefile::build({});
  file.recipe->micro_batches = 50000;
  file.recipe->train_batch_size = 200000;
  file.contract->micro_batches = 50000;
  file.contract->global_batch = 200000;
  auto result = Executable::fromBytes(stagefile::serialize(file), "x.stage");
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().what.find("forward tasks"), std::string::npos) << result.error().text();
}

} // namespace
