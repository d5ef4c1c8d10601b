// Replicas of the pipeline: what a file says that they add up, and one wrong field at a time.
#include "Mistakes.h"

using namespace stagewright;
using namespace stagewright::mistakes;
using executable::ReductionT;
using executable::TaskKind;

namespace {

ReductionT &gradients(ExecutableT &file) {
  return *rank(file, 1).reductions.front();
}
ReductionT &loss(ExecutableT &file) {
  return *rank(file, 1).reductions.back();
}

void eraseTask(ExecutableT &file, int rank, TaskKind kind) {
  std::erase_if(file.schedule->train[static_cast<std::size_t>(rank)]->tasks,
                [&](const executable::Task &task) { return task.kind() == kind; });
}

} // namespace

TEST(Replicas, TheFileLoads) {
  const auto loaded = load(stagefile::buildReplicated());
  ASSERT_TRUE(loaded) << loaded.error().text();
  const runtime::Mesh mesh = loaded->mesh();
  EXPECT_EQ(mesh.size(), 4);
  EXPECT_EQ(mesh.rank(1, 0), 2);
  EXPECT_EQ(mesh.pipelineRank(3), 1);
  EXPECT_EQ(mesh.replica(3), 1);
}

namespace {

executable::CommandT &command(ExecutableT &file, int index, executable::ProgramKind kind, int replica) {
  for (auto &program : rank(file, index).programs) {
    for (auto &entry : program->commands) {
      if (program->kind == kind && entry->replica == replica) {
        return *entry;
      }
    }
  }
  throw std::runtime_error("no such command");
}

} // namespace

TEST(Replicas, OneWrongFieldAtATime) {
  const std::vector<Mistake> mistakes = {
      {[](ExecutableT &f) { f.required_features = 0; }, "required_features", "replicas"},
      {[](ExecutableT &f) { f.recipe->train_batch_size /= 2; }, "recipe.train_batch_size", "2 replicas"},
      {[](ExecutableT &f) { f.contract->data_parallel = 1; }, "contract", "disagree"},
      {[](ExecutableT &f) { eraseTask(f, 1, TaskKind::Reduce); }, "schedule.train", "1REDUCE is missing"},
      {[](ExecutableT &f) {
         eraseTask(f, 0, TaskKind::Reduce);
         eraseTask(f, 1, TaskKind::Reduce);
       },
       "schedule.train", "several replicas"},
      {[](ExecutableT &f) { gradients(f).stage = 0; }, "ranks[1].reductions[0].stage", "does not hold"},
      {[](ExecutableT &f) { gradients(f).stage = -2; }, "ranks[1].reductions[0].stage", "does not hold"},
      {[](ExecutableT &f) { gradients(f).arena = 99; }, "ranks[1].reductions[0].arena", "no such arena"},
      {[](ExecutableT &f) { gradients(f).arena = loss(f).arena; }, "ranks[1].reductions[0]", "nothing else"},
      {[](ExecutableT &f) { gradients(f).dtype = executable::DType::F16; }, "ranks[1].reductions[0]",
       "nothing else"},
      {[](ExecutableT &f) { gradients(f).mean = true; }, "ranks[1].reductions[0]", "nothing else"},
      {[](ExecutableT &f) { gradients(f).bytes += 1; }, "ranks[1].reductions[0].bytes", "whole elements"},
      {[](ExecutableT &f) { gradients(f).bytes = 0; }, "ranks[1].reductions[0].bytes", "whole elements"},
      {[](ExecutableT &f) { gradients(f).offset = ~std::uint64_t{3}; }, "ranks[1].reductions[0].bytes",
       "whole elements"},
      {[](ExecutableT &f) { gradients(f).bytes -= 4; }, "ranks[1].reductions", "not added up"},
      {[](ExecutableT &f) { rank(f, 0).reductions.erase(rank(f, 0).reductions.begin()); },
       "ranks[0].reductions", "not added up"},
      {[](ExecutableT &f) {
         rank(f, 1).reductions.insert(rank(f, 1).reductions.begin(),
                                      std::make_unique<ReductionT>(gradients(f)));
       },
       "ranks[1].reductions", "overlap"},
      {[](ExecutableT &f) { rank(f, 1).reductions.pop_back(); }, "ranks[1].reductions", "the loss"},
      {[](ExecutableT &f) { rank(f, 1).reductions.push_back(std::make_unique<ReductionT>(loss(f))); },
       "ranks[1].reductions", "overlap"},
      {[](ExecutableT &f) { loss(f).mean = false; }, "ranks[1].reductions", "nothing else"},
      {[](ExecutableT &f) { // what replicas have, in a file of one
         f.recipe->data_parallel = f.contract->data_parallel = 1;
         f.recipe->train_batch_size /= 2;
         f.contract->global_batch /= 2;
         f.required_features = 0;
       },
       "schedule.train", "several replicas"},
      {[](ExecutableT &f) {
         std::vector<std::unique_ptr<ReductionT>> list = std::move(rank(f, 0).reductions);
         f = stagefile::build({});
         rank(f, 0).reductions = std::move(list);
       },
       "ranks[0].reductions", "one replica"},
  };
  refuseEach(stagefile::buildReplicated, mistakes);
}

TEST(Exchanges, TheFileLoads) {
  const auto loaded = load(stagefile::buildOverlapped());
  ASSERT_TRUE(loaded) << loaded.error().text();
}

TEST(Exchanges, OneWrongFieldAtATime) {
  using executable::ProgramKind;
  const auto points = [](ExecutableT & f) -> auto & {
    return program(f, ProgramKind::BackwardWeight).points;
  };
  const auto exchange = [](ExecutableT &f) -> executable::ExchangeT & { return *rank(f, 0).exchanges[0]; };
  const std::vector<Mistake> mistakes = {
      {[&](ExecutableT &f) { exchange(f).stage = 1; }, "ranks[0].exchanges[0].stage", "does not hold"},
      {[&](ExecutableT &f) { exchange(f).kind = static_cast<executable::ExchangeKind>(99); },
       "ranks[0].exchanges[0].stage", "of no kind"},
      {[&](ExecutableT &f) { exchange(f).scratch += 64; }, "ranks[0].programs", "share memory"},
      {[&](ExecutableT &f) { exchange(f).scratch = 1 << 30; }, "ranks[0].exchanges[0].scratch",
       "communication"},
      {[&](ExecutableT &f) { exchange(f).scratch = ~std::uint64_t{63}; }, "ranks[0].exchanges[0].scratch",
       "communication"},
      {[&](ExecutableT &f) { exchange(f).scratch = 4; }, "ranks[0].exchanges[0].scratch", "communication"},
      {[&](ExecutableT &f) { rank(f, 0).arenas.back()->bytes -= 64; }, "ranks[0].exchanges[1].scratch",
       "communication"},
      {[&](ExecutableT &f) { exchange(f).pieces[0]->replica = 2; }, "exchanges[0].pieces[0].replica",
       "a piece is"},
      {[&](ExecutableT &f) { exchange(f).pieces[0]->replica = 0; }, "exchanges[0].pieces[0].replica",
       "does not share"},
      {[&](ExecutableT &f) { exchange(f).pieces[0]->arena = 99; }, "exchanges[0].pieces[0].replica",
       "a piece is"},
      {[&](ExecutableT &f) { exchange(f).pieces[0]->shard_arena = 0; }, "exchanges[0].pieces[0].replica",
       "a piece is"},
      {[&](ExecutableT &f) { exchange(f).pieces[0]->bytes += 2; }, "exchanges[0].pieces[0].bytes",
       "whole elements"},
      {[&](ExecutableT &f) { exchange(f).pieces[0]->bytes -= 4; }, "ranks[0].reductions", "not added up"},
      {[&](ExecutableT &f) { exchange(f).pieces[0]->offset = rank(f, 0).exchanges[1]->pieces[0]->offset; },
       "exchanges[0].pieces[0].bytes", "whole elements"}, // the other gradient's place is too small
      {[&](ExecutableT &f) { *rank(f, 0).exchanges[1]->pieces[0] = *exchange(f).pieces[0]; },
       "ranks[0].exchanges[1].scratch", "communication"},
      {[&](ExecutableT &f) { rank(f, 0).exchanges[1]->pieces[0]->offset = exchange(f).pieces[0]->offset; },
       "ranks[0].exchanges", "overlap"},
      {[&](ExecutableT &f) { rank(f, 0).gathers.pop_back(); }, "exchanges[1].pieces[0].replica",
       "does not share"},
      {[&](ExecutableT &f) { rank(f, 0).gathers[0]->task = TaskKind::Gather; }, "ranks[0].gathers[0].task",
       "REDUCE gathers"},
      {[&](ExecutableT &f) { points(f).pop_back(); }, "ranks[0].exchanges[1]", "begins in no program"},
      {[&](ExecutableT &f) { points(f).push_back(points(f).back()); }, "points[2]", "begins once"},
      {[&](ExecutableT &f) { points(f)[0].mutate_command(0); }, "commands[0]", "touches the place"},
      {[&](ExecutableT &f) { points(f)[1].mutate_command(0); }, "points[1]", "not in order"},
      {[&](ExecutableT &f) { points(f)[1].mutate_command(99); }, "points[1]", "no such command"},
      {[&](ExecutableT &f) { points(f)[1].mutate_exchange(9); }, "points[1]", "no such exchange"},
      {[&](ExecutableT &f) { points(f)[0].mutate_begins(false); }, "points[0]", "not under way"},
      {[&](ExecutableT &f) {
         std::swap(points(f), program(f, ProgramKind::BackwardInput).points);
         program(f, ProgramKind::BackwardInput).points[0].mutate_command(0);
       },
       "points[0]", "of gradients in its W"},
      {[&](ExecutableT &f) {
         auto exchanges = std::move(rank(f, 0).exchanges);
         f = stagefile::build({});
         rank(f, 0).exchanges = std::move(exchanges);
       },
       "ranks[0].exchanges", "one replica"},
  };
  refuseEach(stagefile::buildOverlapped, mistakes);
}

TEST(Exchanges, In16BitsNeedTheirScratch) {
  const auto narrow = [] {
    ExecutableT file = stagefile::buildOverlapped();
    file.contract->gradient_wire = executable::DType::BF16;
    file.required_features |= executable::kFeatureWire;
    std::uint64_t end = 0;
    for (auto &plan : file.variants[0]->ranks) {
      for (auto &exchange : plan->exchanges) { // a contribution, and what is sent
        exchange->scratch = end;
        end += 2 * ((exchange->pieces[0]->bytes / 2 + 63) / 64 * 64);
      }
      plan->arenas.back()->bytes = end;
    }
    return file;
  };
  const auto loaded = load(narrow());
  ASSERT_TRUE(loaded) << loaded.error().text();
  const std::vector<Mistake> mistakes = {
      {[](ExecutableT &f) { f.required_features &= ~executable::kFeatureWire; }, "contract.gradient_wire",
       "f16"},
      {[](ExecutableT &f) { f.contract->gradient_wire = executable::DType::F32; }, "contract.gradient_wire",
       "required features"},
      {[](ExecutableT &f) { f.contract->gradient_wire = executable::DType::F64; }, "contract.gradient_wire",
       "f16"},
      {[](ExecutableT &f) { rank(f, 1).arenas.back()->bytes -= 64; }, "ranks[1].exchanges[1].scratch",
       "communication"},
      {[](ExecutableT &f) { rank(f, 0).exchanges[1]->scratch -= 64; }, "ranks[0].programs", "share memory"},
      {[](ExecutableT &f) { // a sum of REDUCE beside them
         executable::ExecutableT step = stagefile::buildReplicated();
         rank(f, 0).reductions.push_back(std::make_unique<ReductionT>(*rank(step, 0).reductions[0]));
       },
       "ranks[0].reductions[1]", "in 16 bits"},
  };
  refuseEach(narrow, mistakes);
}

TEST(MicroBatchSums, TheFileLoads) {
  const auto loaded = load(stagefile::buildAccumulated());
  ASSERT_TRUE(loaded) << loaded.error().text();
}

TEST(MicroBatchSums, OneWrongFieldAtATime) {
  using executable::ProgramKind;
  const auto points = [](ExecutableT & f) -> auto & {
    return program(f, ProgramKind::BackwardWeight).points;
  };
  const auto piece = [](ExecutableT &f) -> executable::ExchangePieceT & {
    return *rank(f, 0).exchanges[0]->pieces[0];
  };
  const std::vector<Mistake> mistakes = {
      {[&](ExecutableT &f) { f.contract->gradient_reduction = "step"; }, "pieces[0].replica",
       "from memory of W"},
      {[&](ExecutableT &f) { f.contract->gradient_reduction = "epoch"; }, "contract.gradient_reduction",
       "neither step"},
      {[&](ExecutableT &f) { rank(f, 0).exchanges[0]->kind = executable::ExchangeKind::Reduce; },
       "pieces[0].replica", "where they are added up"},
      {[&](ExecutableT &f) { piece(f).shard_arena = -1; }, "pieces[0].replica", "from memory of W"},
      {[&](ExecutableT &f) { piece(f).shard_arena = 99; }, "pieces[0].replica", "from memory of W"},
      {[&](ExecutableT &f) { piece(f).shard_arena = piece(f).arena; }, "pieces[0].replica",
       "from memory of W"},
      {[&](ExecutableT &f) { piece(f).arena = static_cast<std::uint16_t>(piece(f).shard_arena); },
       "pieces[0].replica", "from memory of W"},
      {[&](ExecutableT &f) { piece(f).replica = 2; }, "pieces[0].replica", "from memory of W"},
      {[&](ExecutableT &f) { piece(f).replica = 0; }, "pieces[0].replica", "does not share"},
      {[&](ExecutableT &f) { piece(f).shard_offset = 1 << 30; }, "pieces[0].bytes", "whole elements"},
      {[&](ExecutableT &f) { piece(f).offset = ~std::uint64_t{3}; }, "pieces[0].bytes", "whole elements"},
      {[&](ExecutableT &f) { piece(f).bytes += 2; }, "pieces[0].bytes", "whole elements"},
      {[&](ExecutableT &f) { rank(f, 0).exchanges[0]->scratch = 1 << 30; }, "exchanges[0].scratch",
       "communication"},
      {[&](ExecutableT &f) { // two sums at one place
         rank(f, 0).exchanges[1]->pieces[0]->shard_offset = piece(f).shard_offset;
       },
       "ranks[0].exchanges", "overlap"},
      {[&](ExecutableT &f) { points(f).pop_back(); }, "points", "under way"},
      {[&](ExecutableT &f) { points(f).erase(points(f).begin()); }, "points", "not under way"},
      {[&](ExecutableT &f) { points(f)[0].mutate_command(0); }, "commands[0]", "touches the place"},
      {[&](ExecutableT &f) { // a command of W writes the sum, too
         executable::ProgramT &w = program(f, ProgramKind::BackwardWeight);
         for (auto &operand : w.commands.back()->operands) {
           if (operand->arena == rank(f, 0).exchanges[1]->pieces[0]->arena) {
             operand->arena = static_cast<std::uint16_t>(piece(f).shard_arena);
             operand->offset = rank(f, 0).exchanges[1]->pieces[0]->shard_offset;
           }
         }
         w.points[1].mutate_command(0);
         std::swap(w.points[0], w.points[1]);
       },
       "commands[1]", "touches the place"},
      {[&](ExecutableT &f) { rank(f, 0).gathers.clear(); }, "pieces[0].replica", "does not share"},
      {[&](ExecutableT &f) { // a sum of the whole step beside them
         executable::ExecutableT step = stagefile::buildReplicated();
         rank(f, 0).reductions.push_back(std::make_unique<ReductionT>(*rank(step, 0).reductions[0]));
       },
       "ranks[0].reductions[1]", "not in REDUCE"},
  };
  refuseEach(stagefile::buildAccumulated, mistakes);
}

TEST(Shards, TheFileLoads) {
  const auto loaded = load(stagefile::buildSharded());
  ASSERT_TRUE(loaded) << loaded.error().text();
  EXPECT_EQ(loaded->file().recipe()->zero(), 1);
}

TEST(Shards, OneWrongFieldAtATime) {
  using executable::ProgramKind;
  const std::vector<Mistake> mistakes = {
      {[](ExecutableT &f) { f.recipe->zero = 0; }, "required_features", "ZeRO"},
      {[](ExecutableT &f) { f.recipe->zero = 7; }, "recipe.zero", "stages 0 to"},
      {[](ExecutableT &f) { eraseTask(f, 0, TaskKind::Gather); }, "schedule.train", "0GATHER is missing"},
      {[](ExecutableT &f) {
         eraseTask(f, 0, TaskKind::Gather);
         eraseTask(f, 1, TaskKind::Gather);
       },
       "schedule.train", "GATHER belongs"},
      {[](ExecutableT &f) { gradients(f).replica = -1; }, "ranks[1].reductions[0].replica",
       "belongs to a replica"},
      {[](ExecutableT &f) { gradients(f).replica = 2; }, "ranks[1].reductions[0].replica",
       "belongs to a replica"},
      {[](ExecutableT &f) { loss(f).replica = 0; }, "ranks[1].reductions[2].replica", "belongs to a replica"},
      {[](ExecutableT &f) {
         std::swap(rank(f, 1).reductions[0]->replica, rank(f, 1).reductions[1]->replica);
       },
       "ranks[1].programs", "would part"},
      {[](ExecutableT &f) { command(f, 0, ProgramKind::Update, 1).replica = -1; }, "ranks[0].programs",
       "would part"},
      {[](ExecutableT &f) { command(f, 0, ProgramKind::Update, 1).replica = 0; }, "ranks[0].programs",
       "would part"},
      {[](ExecutableT &f) { command(f, 0, ProgramKind::Norm, 1).replica = -1; }, "ranks[0].programs",
       "would part"},
      {[](ExecutableT &f) { command(f, 0, ProgramKind::Norm, 0).replica = 2; }, "replica", "alone computes"},
      {[](ExecutableT &f) { command(f, 0, ProgramKind::Forward, -1).replica = 1; }, "replica",
       "alone computes"},
      {[](ExecutableT &f) { rank(f, 0).gathers.erase(rank(f, 0).gathers.begin()); }, "ranks[0].programs",
       "would part"},
      {[](ExecutableT &f) { rank(f, 0).gathers[1]->replica = 1; }, "ranks[0].programs", "would part"},
      {[](ExecutableT &f) { rank(f, 0).gathers[0]->bytes -= 4; }, "ranks[0].programs", "would part"},
      {[](ExecutableT &f) { rank(f, 0).gathers[0]->bytes += 2; }, "ranks[0].gathers[0].bytes",
       "whole elements"},
      {[](ExecutableT &f) { rank(f, 0).gathers[0]->replica = 2; }, "ranks[0].gathers[0].arena",
       "no such replica"},
      {[](ExecutableT &f) { rank(f, 0).gathers[0]->stage = 1; }, "ranks[0].gathers[0].stage",
       "does not hold"},
      {[](ExecutableT &f) { rank(f, 0).gathers[0]->stage = -1; }, "ranks[0].gathers[0].stage",
       "does not hold"},
      {[](ExecutableT &f) { rank(f, 0).gathers[0]->task = TaskKind::AllGather; }, "ranks[0].gathers[0].task",
       "partial sums"},
      {[](ExecutableT &f) { rank(f, 0).gathers[0]->task = TaskKind::Update; }, "ranks[0].gathers[0].task",
       "partial sums"},
      {[](ExecutableT &f) {
         rank(f, 0).gathers.push_back(std::make_unique<executable::ReplicaGatherT>(*rank(f, 0).gathers[0]));
       },
       "ranks[0].gathers", "overlap"},
      {[](ExecutableT &f) { rank(f, 0).placements[0]->states[1]->replica = -1; }, "states[1].replica",
       "states of replicas"},
      {[](ExecutableT &f) { rank(f, 0).placements[0]->states[1]->replica = 2; }, "states[1].replica",
       "states of replicas"},
      {[](ExecutableT &f) { rank(f, 0).placements[0]->states[0]->replica = 0; }, "states[0].replica",
       "states of replicas"},
      {[](ExecutableT &f) { rank(f, 0).placements[0]->states[1]->first = 1; }, "states[1].shape", "differ"},
      {[](ExecutableT &f) { rank(f, 0).placements[0]->states[1]->shape[0] -= 1; }, "placements[0].states",
       "a part of the state"},
      {[](ExecutableT &f) { // two pieces of one replica at one place
         auto &states = rank(f, 0).placements[1]->states;
         states[1]->offset = rank(f, 0).placements[0]->states[1]->offset;
         states[1]->replica = 0;
       },
       "ranks[0].placements", "overlap"},
      {[](ExecutableT &f) { // what ZeRO has, in a file without
         f.recipe->zero = 0;
         f.required_features &= ~executable::kFeatureShards;
       },
       "schedule.train", "GATHER belongs"},
      {[](ExecutableT &f) {
         auto gathers = std::move(rank(f, 0).gathers);
         f = stagefile::buildReplicated();
         rank(f, 0).gathers = std::move(gathers);
       },
       "ranks[0].gathers[0].task", "with ZeRO"},
  };
  refuseEach(stagefile::buildSharded, mistakes);
}

TEST(Offload, TheFileLoads) {
  const auto loaded = load(stagefile::buildOffloaded());
  ASSERT_TRUE(loaded) << loaded.error().text();
  EXPECT_GT(loaded->plannedBytes(0, executable::MemoryTier::Host), 0u);
}

TEST(Offload, OneWrongFieldAtATime) {
  using executable::MemoryTier;
  using executable::ProgramKind;
  const auto points = [](ExecutableT & f) -> auto & {
    return program(f, ProgramKind::Update).points;
  };
  const auto piece = [](ExecutableT &f) -> executable::ExchangePieceT & {
    return *rank(f, 0).exchanges[0]->pieces[0];
  };
  const auto home = [](ExecutableT &f) -> executable::ArenaT & {
    return *rank(f, 0).arenas[static_cast<std::size_t>(rank(f, 0).placements[0]->states[1]->arena)];
  };
  const auto first = [](ExecutableT &f) { return program(f, ProgramKind::Update).points[0].command(); };
  const std::vector<Mistake> mistakes = {
      {[&](ExecutableT &f) { f.recipe->states_offload.reset(); }, "required_features", "offloaded"},
      {[&](ExecutableT &f) {
         f.recipe->states_offload.reset();
         f.required_features &= ~executable::kFeatureOffload;
       },
       "ranks[0].arenas", "does not offload"},
      {[&](ExecutableT &f) { f.recipe->states_offload->tier = MemoryTier::Device; }, "recipe.states_offload",
       "shards go"},
      {[&](ExecutableT &f) { f.recipe->states_offload->tier = static_cast<MemoryTier>(9); },
       "recipe.states_offload", "shards go"},
      {[&](ExecutableT &f) { f.recipe->states_offload->tier = MemoryTier::File; }, "recipe.states_offload",
       "shards go"}, // without a folder
      {[&](ExecutableT &f) { f.recipe->states_offload->ratio = 0; }, "recipe.states_offload", "shards go"},
      {[&](ExecutableT &f) { f.recipe->weights_offload = std::make_unique<executable::OffloadT>(); },
       "recipe.weights_offload", "shards go"},
      {[&](ExecutableT &f) { home(f).tier = MemoryTier::File; }, "arenas", "to another tier"},
      {[&](ExecutableT &f) { home(f).tier = MemoryTier::Device; }, "exchanges[0].pieces[0].arena",
       "what a replica has offloaded"},
      {[&](ExecutableT &f) { piece(f).arena = static_cast<std::uint16_t>(piece(f).shard_arena); },
       "pieces[0].arena", "what a replica has offloaded"},
      {[&](ExecutableT &f) { piece(f).shard_arena = -1; }, "pieces[0].arena", "what a replica has offloaded"},
      {[&](ExecutableT &f) { piece(f).shard_arena = 99; }, "pieces[0].arena", "what a replica has offloaded"},
      {[&](ExecutableT &f) { piece(f).replica = 2; }, "pieces[0].arena", "what a replica has offloaded"},
      {[&](ExecutableT &f) { piece(f).replica = 1 - piece(f).replica; }, "pieces[0].shard_offset", "neither"},
      {[&](ExecutableT &f) { piece(f).shard_offset = 1 << 30; }, "pieces[0].bytes", "whole elements"},
      {[&](ExecutableT &f) { piece(f).offset = ~std::uint64_t{3}; }, "pieces[0].bytes", "whole elements"},
      {[&](ExecutableT &f) { piece(f).bytes += 2; }, "pieces[0].bytes", "whole elements"},
      {[&](ExecutableT &f) { // an operand outside the device's memory
         auto &operand = program(f, ProgramKind::Update).commands[first(f)]->operands;
         for (auto &entry : operand) {
           if (entry->arena == piece(f).arena) {
             entry->arena = static_cast<std::uint16_t>(piece(f).shard_arena);
             entry->offset = piece(f).shard_offset;
             break;
           }
         }
       },
       "operands", "the device's memory has no arena"},
      {[&](ExecutableT &f) { points(f).erase(points(f).begin() + 1); }, "programs", "on its way"},
      {[&](ExecutableT &f) { // in files, of which an update loads a part only
         f.recipe->states_offload->tier = MemoryTier::File;
         f.recipe->states_offload->path = "/tmp";
         for (int i = 0; i < 2; ++i) {
           rank(f, i).arenas[static_cast<std::size_t>(rank(f, i).placements[0]->states[1]->arena)]->tier =
               MemoryTier::File;
         }
         piece(f).bytes -= 4;
       },
       "placements[0].states", "no update loads"},
      {[&](ExecutableT &f) {
         piece(f).shard_offset += 4;
         piece(f).bytes -= 4;
         rank(f, 0).exchanges.push_back(std::make_unique<executable::ExchangeT>(*rank(f, 0).exchanges[0]));
       },
       "ranks[0].exchanges", "overlap"},
      {[&](ExecutableT &f) { // the store begins before the command
         points(f)[2].mutate_command(first(f));
         points(f)[3].mutate_command(first(f) + 1);
       },
       "commands", "touches the place"},
      {[&](ExecutableT &f) { // stored while it is loaded
         std::swap(points(f)[1], points(f)[2]);
         points(f)[1].mutate_command(first(f));
       },
       "points[1]", "share memory"},
      {[&](ExecutableT &f) { points(f).pop_back(); }, "points", "under way"},
      {[&](ExecutableT &f) {
         std::swap(points(f), program(f, ProgramKind::BackwardWeight).points);
         for (auto &point : program(f, ProgramKind::BackwardWeight).points) {
           point.mutate_command(0);
         }
       },
       "points[0]", "in its UPDATE"},
      {[&](ExecutableT &f) { rank(f, 0).arenas.back()->arena_class = executable::ArenaClass::Communication; },
       "pieces[0].arena", "what a replica has offloaded"},
  };
  refuseEach(stagefile::buildOffloaded, mistakes);
}

TEST(Gathers, TheFileLoads) {
  const auto loaded = load(stagefile::buildGathered());
  ASSERT_TRUE(loaded) << loaded.error().text();
}

TEST(Gathers, OneWrongFieldAtATime) {
  using executable::ProgramKind;
  const auto forward = [](ExecutableT &f) -> executable::ProgramT & {
    return program(f, ProgramKind::Forward);
  };
  const auto piece = [](ExecutableT &f) -> executable::ExchangePieceT & {
    return *rank(f, 0).exchanges[0]->pieces[0];
  };
  const auto part = [](ExecutableT &f) -> executable::StateSliceT & {
    return *rank(f, 0).placements[0]->shards[0];
  };
  const std::vector<Mistake> mistakes = {
      {[&](ExecutableT &f) { f.recipe->zero = 2; }, "schedule.train", "GATHER belongs"},
      {[&](ExecutableT &f) { rank(f, 0).placements[0]->shards.clear(); }, "placements[0].shards",
       "has a part"},
      {[&](ExecutableT &f) { part(f).replica = 2; }, "placements[0].shards[0].replica",
       "belongs to a replica"},
      {[&](ExecutableT &f) { part(f).replica = -1; }, "placements[0].shards[0].replica",
       "belongs to a replica"},
      {[&](ExecutableT &f) { part(f).dtype = executable::DType::F16; }, "placements[0].shards[0].replica",
       "belongs to a replica"},
      {[&](ExecutableT &f) { part(f).first = 1; }, "placements[0].shards[0].shape", "follow each other"},
      {[&](ExecutableT &f) { part(f).shape[0] -= 1; }, "placements[0].shards", "not the whole"},
      {[&](ExecutableT &f) { part(f).offset += 4; }, "placements[0].shards[0].offset", "not aligned"},
      {[&](ExecutableT &f) {
         rank(f, 0).arenas[part(f).arena]->arena_class = executable::ArenaClass::Activations;
       },
       "placements[0].shards[0].arena", "among the parameters"},
      {[&](ExecutableT &f) { part(f).replica = 1; }, "ranks[0].exchanges[0].pieces[0].arena",
       "part of a weight"},
      {[&](ExecutableT &f) { piece(f).replica = 1; }, "pieces[0].arena", "part of a weight"},
      {[&](ExecutableT &f) { piece(f).replica = 2; }, "pieces[0].replica", "from replicas"},
      {[&](ExecutableT &f) { piece(f).shard_arena = -1; }, "pieces[0].bytes", "inside the arenas"},
      {[&](ExecutableT &f) { piece(f).shard_arena = 99; }, "pieces[0].bytes", "inside the arenas"},
      {[&](ExecutableT &f) { piece(f).shard_offset += 64; }, "pieces[0].arena", "part of a weight"},
      {[&](ExecutableT &f) { piece(f).bytes += 4; }, "pieces[0].bytes", "inside the arenas"},
      {[&](ExecutableT &f) { piece(f).offset = ~std::uint64_t{3}; }, "pieces[0].bytes", "inside the arenas"},
      {[&](ExecutableT &f) { piece(f).arena = static_cast<std::uint16_t>(piece(f).shard_arena); },
       "pieces[0].arena", "memory of programs"},
      {[&](ExecutableT &f) { forward(f).points.pop_back(); }, "points", "under way"},
      {[&](ExecutableT &f) { // where shards change
         program(f, ProgramKind::Update).points = std::move(forward(f).points);
         forward(f).points.clear();
       },
       "points[0]", "begins once"},
      {[&](ExecutableT &f) { forward(f).points.erase(forward(f).points.begin()); }, "points[0]",
       "not under way"},
      {[&](ExecutableT &f) { // into what a command in between reads
         executable::ProgramT &program = forward(f);
         for (std::size_t c = 0; c < program.commands.size(); ++c) {
           for (const auto &operand : program.commands[c]->operands) {
             if (operand->pool < 0 &&
                 rank(f, 0).arenas[operand->arena]->arena_class == executable::ArenaClass::Derived) {
               piece(f).arena = operand->arena;
               piece(f).offset = operand->offset;
               piece(f).bytes = 4;
               program.points[1].mutate_command(static_cast<std::uint32_t>(c) + 1);
             }
           }
         }
       },
       "programs[1].commands[0]", "touches the place"},
      {[&](ExecutableT &f) { // two on their way to one place
         rank(f, 0).exchanges.push_back(std::make_unique<executable::ExchangeT>(*rank(f, 0).exchanges[0]));
         forward(f).points.insert(forward(f).points.begin(), {0, 1, true});
         forward(f).points.emplace_back(1, 1, false);
       },
       "points[1]", "share memory"},
  };
  refuseEach(stagefile::buildGathered, mistakes);
}
