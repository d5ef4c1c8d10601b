// Tensor ranks: which elements of a parameter each of them has, what a file says that they add up, and one
// wrong field at a time.
#include "Mistakes.h"

#include "runtime/executable/TensorSplit.h"

using namespace stagewright;
using namespace stagewright::mistakes;
using executable::ReductionT;

namespace {

std::uint16_t addKernel(ExecutableT &file, const char *name) {
  auto kernel = std::make_unique<executable::KernelRefT>();
  kernel->name = name;
  kernel->version = 1;
  file.kernels.push_back(std::move(kernel));
  return static_cast<std::uint16_t>(file.kernels.size() - 1);
}

std::unique_ptr<executable::AttributeT> axis(const char *value) {
  auto attribute = std::make_unique<executable::AttributeT>();
  attribute->name = "axis";
  attribute->text = value;
  return attribute;
}

/// A collective in place of the first value that the program writes.
executable::CommandT &addCollective(ExecutableT &file, executable::ProgramKind kind, const char *kernel,
                                    const char *ranks) {
  auto command = std::make_unique<executable::CommandT>();
  command->kernel = addKernel(file, kernel);
  executable::ProgramT &place = program(file, kind);
  const auto &linear = *place.commands[0];
  for (int i = 0; i < 2; ++i) {
    command->operands.push_back(std::make_unique<executable::OperandT>(*linear.operands[2]));
  }
  command->attributes.push_back(axis(ranks));
  place.commands.push_back(std::move(command));
  return *place.commands.back();
}
executable::CommandT &addAllReduce(ExecutableT &file, executable::ProgramKind kind) {
  return addCollective(file, kind, "all_reduce", "tensor");
}
/// Of so many parts.
void addAllGather(ExecutableT &file, executable::ProgramKind kind, const char *ranks, int parts) {
  auto &shape = addCollective(file, kind, "all_gather", ranks).operands[1]->shape;
  shape.insert(shape.begin(), parts);
}

/// Of the default classifier: two tensor ranks split the first parameter of each stage by rows, whose partial
/// sums of the norm they add up.
ExecutableT buildTensor() {
  ExecutableT file = stagefile::build({});
  file.recipe->tensor_parallel = file.contract->tensor_parallel = 2;
  file.required_features |= executable::kFeatureTensor;
  std::vector<ReductionT> sums;
  for (int index = 0; index < 2; ++index) {
    const executable::PlacementT &placement = *rank(file, index).placements[0];
    executable::ParameterT &parameter = *file.parameters[static_cast<std::size_t>(placement.parameter)];
    parameter.split = std::make_unique<executable::SplitT>();
    parameter.split->sections = {2 * parameter.shape[0]};
    for (const auto &command : program(file, executable::ProgramKind::Norm, index).commands) {
      if (command->operands[0]->offset == placement.states[0]->offset &&
          file.kernels[command->kernel]->name == "gradient_norm_partials") {
        ReductionT sum;
        sum.stage = -1;
        sum.arena = command->operands[1]->arena;
        sum.offset = command->operands[1]->offset;
        sum.bytes = 8 * static_cast<std::uint64_t>(command->operands[1]->shape[0]);
        sum.dtype = executable::DType::F64;
        sum.tensor = true;
        sums.push_back(sum);
      }
    }
  }
  for (int index = 0; index < 2; ++index) {
    for (const ReductionT &sum : sums) {
      rank(file, index).reductions.push_back(std::make_unique<ReductionT>(sum));
    }
  }
  return file;
}

ReductionT &sum(ExecutableT &file) {
  return *rank(file, 0).reductions[0];
}
executable::SplitT &split(ExecutableT &file) {
  return *file.parameters[0]->split;
}

} // namespace

TEST(TensorRanks, TheFileLoads) {
  const auto loaded = load(buildTensor());
  ASSERT_TRUE(loaded) << loaded.error().text();
  ExecutableT file = buildTensor();
  addAllReduce(file, executable::ProgramKind::Forward);
  const auto reduces = load(file);
  ASSERT_TRUE(reduces) << reduces.error().text();
}

TEST(TensorRanks, MeshCountsTensorRanksFirst) {
  const runtime::Mesh mesh{2, 3, 4};
  EXPECT_EQ(mesh.size(), 24);
  for (int rank = 0, p = 0; p < 2; ++p) {
    for (int d = 0; d < 3; ++d) {
      for (int t = 0; t < 4; ++t, ++rank) {
        EXPECT_EQ(mesh.rank(p, d, t), rank);
        EXPECT_EQ(mesh.pipelineRank(rank), p);
        EXPECT_EQ(mesh.replica(rank), d);
        EXPECT_EQ(mesh.tensorRank(rank), t);
      }
    }
  }
  EXPECT_EQ(mesh.ranksText(1), "12-23");
}

TEST(TensorRanks, OneWrongFieldAtATime) {
  const std::vector<Mistake> mistakes = {
      {[](ExecutableT &f) { f.required_features = 0; }, "required_features", "tensor ranks"},
      {[](ExecutableT &f) { f.contract->tensor_parallel = 1; }, "contract", "disagree"},
      {[](ExecutableT &f) { f.recipe->tensor_parallel = 0; }, "recipe.tensor_parallel", "1 to 256"},
      {[](ExecutableT &f) { f.recipe->tensor_parallel = 257; }, "recipe.tensor_parallel", "1 to 256"},
      {[](ExecutableT &f) {
         f.recipe->tensor_parallel = f.contract->tensor_parallel = 1;
         f.required_features &= ~executable::kFeatureTensor;
       },
       "parameters[0].split", "1 tensor ranks"},
      {[](ExecutableT &f) { split(f).dim = 2; }, "parameters[0].split", "not those of 2"},
      {[](ExecutableT &f) { split(f).dim = -1; }, "parameters[0].split", "not those of 2"},
      {[](ExecutableT &f) { split(f).dim = 1; }, "parameters[0].split", "not those of 2"},
      {[](ExecutableT &f) { split(f).sections[0] -= 2; }, "parameters[0].split", "not those of 2"},
      {[](ExecutableT &f) {
         split(f).sections = {3, split(f).sections[0] - 3};
       },
       "parameters[0].split", "not those of 2"},
      {[](ExecutableT &f) {
         split(f).sections = {-2, split(f).sections[0] + 2};
       },
       "parameters[0].split", "not those of 2"},
      {[](ExecutableT &f) { split(f).sections.clear(); }, "parameters[0].split", "not those of 2"},
      {[](ExecutableT &f) { rank(f, 0).reductions.pop_back(); }, "ranks[1].reductions", "other partial sums"},
      {[](ExecutableT &f) {
         rank(f, 0).reductions.erase(rank(f, 0).reductions.begin());
         rank(f, 1).reductions.erase(rank(f, 1).reductions.begin());
       },
       "ranks[0].programs", "of split parameters"},
      {[](ExecutableT &f) { f.parameters[0]->split.reset(); }, "ranks[0].programs", "of no others"},
      {[](ExecutableT &f) { // what nobody makes
         for (int index = 0; index < 2; ++index) {
           auto more = std::make_unique<ReductionT>(*rank(f, index).reductions[0]);
           for (const auto &scalar : rank(f, index).scalars) {
             more->offset = scalar->name == "loss" ? scalar->offset : more->offset;
           }
           rank(f, index).reductions.push_back(std::move(more));
         }
       },
       "ranks[0].reductions", "no partial sum"},
      {[](ExecutableT &f) { sum(f).stage = 0; }, "ranks[0].reductions[0]", "partial sums of the norm"},
      {[](ExecutableT &f) { sum(f).mean = true; }, "ranks[0].reductions[0]", "partial sums of the norm"},
      {[](ExecutableT &f) { sum(f).replica = 0; }, "ranks[0].reductions[0]", "partial sums of the norm"},
      {[](ExecutableT &f) { sum(f).dtype = executable::DType::F32; }, "ranks[0].reductions[0]",
       "partial sums"},
      {[](ExecutableT &f) { sum(f).arena += 1; }, "ranks[0].reductions[0]", "partial sums of the norm"},
      {[](ExecutableT &f) { sum(f).offset = ~std::uint64_t{7}; }, "ranks[0].reductions[0]", "partial sums"},
      {[](ExecutableT &f) { sum(f).bytes += 4; }, "ranks[0].reductions[0]", "partial sums of the norm"},
      {[](ExecutableT &f) { rank(f, 0).reductions.push_back(std::make_unique<ReductionT>(sum(f))); },
       "ranks[0].reductions[2]", "overlap"},
      {[](ExecutableT &f) { addAllReduce(f, executable::ProgramKind::Forward).attributes[0]->text = "data"; },
       "ranks[0].programs", "all ranks of a group of several"},
      {[](ExecutableT &f) { addAllReduce(f, executable::ProgramKind::Forward).replica = 0; },
       "ranks[0].programs", "all ranks of a group of several"},
      {[](ExecutableT &f) {
         auto &command = addAllReduce(f, executable::ProgramKind::Forward);
         auto &update = program(f, executable::ProgramKind::Update);
         update.commands.push_back(std::make_unique<executable::CommandT>(command));
         program(f, executable::ProgramKind::Forward).commands.pop_back();
       },
       "ranks[0].programs", "all ranks of a group of several"},
      {[](ExecutableT &f) { addAllGather(f, executable::ProgramKind::Forward, "tensor", 3); },
       "ranks[0].programs", "3 parts of 2 ranks"},
  };
  refuseEach(buildTensor, mistakes);
}

/// Two replicas gather in F what each of them has, not in evaluation, which is of one.
TEST(TensorRanks, ReplicasHaveCollectivesOfTheirOwn) {
  using executable::ProgramKind;
  refuseEach(stagefile::buildReplicated,
             {{[](ExecutableT &f) { addAllGather(f, ProgramKind::Forward, "data", 3); }, "ranks[0].programs",
               "3 parts of 2 ranks"},
              {[](ExecutableT &f) { addAllGather(f, ProgramKind::Forward, "data", 1); }, "ranks[0].programs",
               "1 parts of 2 ranks"},
              {[](ExecutableT &f) { addAllGather(f, ProgramKind::Evaluate, "data", 2); }, "ranks[0].programs",
               "all ranks of a group of several"},
              {[](ExecutableT &f) { addAllGather(f, ProgramKind::Forward, "tensor", 2); },
               "ranks[0].programs", "all ranks of a group of several"}});
  refuseEach(buildTensor, {{[](ExecutableT &f) { addAllGather(f, ProgramKind::Forward, "data", 2); },
                            "ranks[0].programs", "all ranks of a group of several"}});
}

/// All ranks' runs together are the whole, once each, in the order of the part's elements.
TEST(TensorRanks, RunsCoverTheWhole) {
  const struct {
    std::vector<std::int64_t> whole;
    int dim;
    std::vector<std::int64_t> sections;
    int ranks;
  } cases[] = {{{6, 5}, 0, {6}, 2},     {{6, 5}, 0, {6}, 3},        {{5, 8}, 1, {8}, 4},
               {{5, 12}, 1, {4, 8}, 2}, {{18, 7}, 0, {6, 6, 6}, 3}, {{3, 10, 4}, 1, {2, 6, 2}, 2},
               {{2, 3, 4}, 2, {4}, 2},  {{16}, 0, {8, 4, 4}, 4}};
  for (const auto &one : cases) {
    executable::ParameterT table;
    table.name = "p";
    table.initializer = std::make_unique<executable::InitializerT>();
    table.initializer->kind = "constant";
    table.shape = one.whole;
    table.shape[static_cast<std::size_t>(one.dim)] /= one.ranks;
    table.split = std::make_unique<executable::SplitT>();
    table.split->dim = one.dim;
    table.split->sections = one.sections;
    flatbuffers::FlatBufferBuilder builder;
    builder.Finish(executable::Parameter::Pack(builder, &table));
    const auto &parameter = *flatbuffers::GetRoot<executable::Parameter>(builder.GetBufferPointer());
    EXPECT_EQ(runtime::wholeShape(parameter), one.whole);

    // By indices: of each element of the whole the rank, and its place among that rank's.
    const auto count = static_cast<std::size_t>(catalogue::elements(one.whole));
    std::vector<std::vector<std::uint64_t>> expected(static_cast<std::size_t>(one.ranks));
    std::uint64_t inner = 1;
    for (std::size_t i = static_cast<std::size_t>(one.dim) + 1; i < one.whole.size(); ++i) {
      inner *= static_cast<std::uint64_t>(one.whole[i]);
    }
    const auto size = static_cast<std::uint64_t>(one.whole[static_cast<std::size_t>(one.dim)]);
    for (std::uint64_t element = 0; element < count; ++element) {
      std::uint64_t row = element / inner % size;
      for (const std::int64_t section : one.sections) {
        if (row < static_cast<std::uint64_t>(section)) {
          expected[row * static_cast<unsigned>(one.ranks) / static_cast<std::uint64_t>(section)].push_back(
              element);
          break;
        }
        row -= static_cast<std::uint64_t>(section);
      }
    }
    for (int rank = 0; rank < one.ranks; ++rank) {
      const std::vector<std::uint64_t> &wanted = expected[static_cast<std::size_t>(rank)];
      for (std::uint64_t first = 0; first < wanted.size(); ++first) {
        for (std::uint64_t length = 1; first + length <= wanted.size(); ++length) {
          std::vector<std::uint64_t> found;
          std::uint64_t next = first;
          runtime::forEachRun(parameter, one.ranks, rank, first, length,
                              [&](std::uint64_t ofWhole, std::uint64_t ofPart, std::uint64_t run) {
                                EXPECT_EQ(ofPart, next);
                                next += run;
                                for (std::uint64_t i = 0; i < run; ++i) {
                                  found.push_back(ofWhole + i);
                                }
                              });
          const auto begin = wanted.begin() + static_cast<std::ptrdiff_t>(first);
          EXPECT_EQ(found, std::vector<std::uint64_t>(begin, begin + static_cast<std::ptrdiff_t>(length)));
        }
      }
    }
  }
}
