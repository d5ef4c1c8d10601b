// Files with programs for several targets: all of them are proved, and one is chosen.
#include "Mistakes.h"

#include "catalogue/Catalogue.h"

namespace stagewright::mistakes {

namespace {

ExecutableT build(std::vector<std::string> targets) {
  stagefile::Classifier classifier;
  classifier.targets = std::move(targets);
  return stagefile::build(classifier);
}

ExecutableT both() {
  return build({"host", "cuda:sm_90"});
}

Result<Executable> load(const ExecutableT &file, std::string_view wanted) {
  return Executable::fromBytes(stagefile::serialize(file), "x.stage", wanted);
}

/// Rank 0's program of a kind, for CUDA.
executable::ProgramT &onCuda(ExecutableT &file, executable::ProgramKind kind) {
  for (auto &entry : file.variants[1]->ranks[0]->programs)
    if (entry->kind == kind)
      return *entry;
  throw std::runtime_error("no such program");
}

std::uint16_t kernelNumber(const ExecutableT &file, const std::string &name, int version) {
  for (std::size_t i = 0; i < file.kernels.size(); ++i)
    if (file.kernels[i]->name == name && file.kernels[i]->version == version)
      return static_cast<std::uint16_t>(i);
  throw std::runtime_error("no such kernel");
}

TEST(Targets, TheWantedOneIsChosen) {
  const ExecutableT file = both();
  for (const auto &[wanted, target] : {std::pair("host", "host"), std::pair("cuda", "cuda:sm_90"),
                                       std::pair("cuda:sm_90", "cuda:sm_90"), std::pair("", "host")}) {
    const auto loaded = load(file, wanted);
    ASSERT_TRUE(loaded) << loaded.error().text();
    EXPECT_EQ(loaded->target(), target);
    EXPECT_EQ(loaded->targets(), (std::vector<std::string>{"host", "cuda:sm_90"}));
    EXPECT_EQ(loaded->integerRules().size(), 2u);
  }
  // Of the family, the first.
  EXPECT_EQ(load(build({"cuda:sm_100", "host", "cuda:sm_80"}), "cuda")->target(), "cuda:sm_100");
  EXPECT_EQ(load(build({"cuda:sm_100", "host", "cuda:sm_80"}), "cuda:sm_80")->target(), "cuda:sm_80");
}

TEST(Targets, EachHasItsOwnMemory) {
  auto plan = load(both(), "host");
  ASSERT_TRUE(plan);
  const auto bytesOf = [&](executable::ArenaClass wanted) {
    std::uint64_t bytes = 0;
    for (const executable::Arena *arena : *plan->rank(0).arenas())
      bytes += arena->arena_class() == wanted ? arena->bytes() : 0;
    return bytes;
  };
  EXPECT_GT(bytesOf(executable::ArenaClass::Derived), 0u);
  EXPECT_LT(bytesOf(executable::ArenaClass::Workspace), catalogue::kCudaWorkspace);
  const std::uint64_t host = plan->plannedBytes(0);
  ASSERT_TRUE(plan->choose("cuda"));
  EXPECT_EQ(bytesOf(executable::ArenaClass::Derived), 0u);
  EXPECT_EQ(bytesOf(executable::ArenaClass::Workspace), catalogue::kCudaWorkspace);
  EXPECT_GT(plan->plannedBytes(0), host);
}

TEST(Targets, AMissingOneIsSaid) {
  const auto missing = load(build({"cuda:sm_90"}), "host");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().kind, ErrorKind::User);
  EXPECT_EQ(missing.error().text(),
            "x.stage at variants: the file has programs for cuda:sm_90, and none for host; "
            "compile the model again with --target cuda:sm_90,host");
  const auto onHost = load(build({"host"}), "cuda");
  ASSERT_FALSE(onHost);
  EXPECT_EQ(onHost.error().advice, "compile the model again with --target host,cuda");
  const auto unknown = load(both(), "tpu");
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().advice, "name one of host,cuda:sm_90");
  EXPECT_FALSE(load(build({"cuda:sm_90"}), "cuda:sm_80"));
}

TEST(Targets, Mistakes) {
  using executable::ProgramKind;
  refuseEach(
      both,
      {{[](ExecutableT &f) { f.variants[1]->target = "host"; }, "variants[0].target", "host twice"},
       {[](ExecutableT &f) { f.variants[1]->target = "tpu"; }, "variants[1].target", "\"tpu\""},
       {[](ExecutableT &f) { f.variants.clear(); }, "variants", "no programs"},
       {[](ExecutableT &f) { f.contract->device_family = "host"; }, "contract.device_family", "host,cuda"},
       {[](ExecutableT &f) { f.contract->device_family = "cuda,host"; }, "contract.device_family",
        "host,cuda"},
       {[](ExecutableT &f) { f.variants.pop_back(); }, "contract.device_family", "\"host\""},
       // Every check looks at the second target as well.
       {[](ExecutableT &f) { f.variants[1]->ranks.pop_back(); }, "variants.ranks",
        "in the programs for cuda:sm_90"},
       {[](ExecutableT &f) { f.variants[1]->ranks[1]->arenas[0]->bytes = 64; }, "ranks[1]",
        "in the programs for cuda:sm_90"},
       {[](ExecutableT &f) { f.variants[1]->ranks[0]->transfers[0]->bytes += 4; }, "ranks.transfers",
        "in the programs for cuda:sm_90"},
       {[](ExecutableT &f) { onCuda(f, ProgramKind::Forward).commands.back()->operands[0]->offset = 1; },
        "ranks[0].programs", "in the programs for cuda:sm_90"},
       // Kernels and workspace are those of the target.
       {[](ExecutableT &f) {
          onCuda(f, ProgramKind::Forward).commands[0]->kernel = kernelNumber(f, "linear", 1);
        },
        "ranks[0].programs[1].commands[0].kernel",
        "\"linear\" version 1 does not run on the target cuda:sm_90"},
       {[](ExecutableT &f) {
          program(f, ProgramKind::Forward).commands[0]->kernel = kernelNumber(f, "linear", 2);
        },
        "ranks[0].programs[1].commands[0].kernel", "\"linear\" version 2 does not run on the target host"},
       {[](ExecutableT &f) { --onCuda(f, ProgramKind::Forward).commands[0]->workspace; },
        "ranks[0].programs[1].commands[0].workspace", "needs 33554432 bytes"}});
}

TEST(Targets, OneTargetHasNoWordAboutIt) {
  ExecutableT file = build({"host"});
  file.variants[0]->ranks.pop_back();
  const auto loaded = load(file, "host");
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().what, "the number of plans is not the number of ranks");
}

} // namespace

} // namespace stagewright::mistakes
