// Every kernel of the catalogue: it is there, it computes what its reference computes, and its bits depend on
// neither the instruction set nor the threads nor on working in place.
#include "KernelCases.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <gtest/gtest.h>
#include <map>
#include <sys/mman.h>
#include <unistd.h>

namespace stagewright::kernels {

namespace {

class KernelTest : public testing::TestWithParam<std::string> {
protected:
  KernelTest() { setFlushToZero(); }
  const std::vector<KernelCase> &cases = casesOnce(GetParam());
  SerialTileRunner serial;

private:
  /// Made once for all tests of a kernel.
  static const std::vector<KernelCase> &casesOnce(const std::string &kernel) {
    static std::map<std::string, std::vector<KernelCase>> known;
    const auto [at, isNew] = known.try_emplace(kernel);
    if (isNew)
      at->second = casesOf(kernel);
    return at->second;
  }
};

INSTANTIATE_TEST_SUITE_P(Every, KernelTest, testing::ValuesIn(testedKernels()),
                         [](const auto &info) { return info.param; });

TEST(Kernels, EachIsImplementedTestedAndHasAReference) {
  const std::vector<std::string> tested = testedKernels();
  std::size_t own = 0;
  for (const catalogue::Kernel &kernel : catalogue::kernels()) {
    if (kernel.isCollective) // tests/exec
      continue;
    const std::vector<KernelCase> cases = casesOf(kernel.name, kernel.version);
    ASSERT_FALSE(cases.empty()) << kernel.name << " has no entry in KernelCases.cpp";
    const bool onHost = catalogue::existsOn(kernel, "host");
    own += onHost;
    EXPECT_EQ(std::ranges::count(tested, kernel.name), onHost || kernel.version > 1 ? 1 : 0) << kernel.name;
    for (Isa isa : supportedIsas()) {
      const auto prepared = prepare(cases[0].instance, isa);
      EXPECT_EQ(bool(prepared), onHost) << kernel.name << ": " << (prepared ? "" : prepared.error().text());
    }
    ReferenceOperands operands;
    for (const Buffer &operand : cases[0].operands)
      operands.push_back(operand.values());
    EXPECT_TRUE(runReference(cases[0].instance, operands)) << kernel.name << " has no reference";
  }
  EXPECT_EQ(tested.size(), own);
}

TEST_P(KernelTest, MatchesReference) {
  for (const KernelCase &one : cases) {
    ReferenceOperands expected;
    for (const Buffer &operand : one.operands)
      expected.push_back(operand.values());
    ASSERT_TRUE(runReference(one.instance, expected));
    const std::vector<Buffer> results = runCase(one, bestIsa(), serial);
    for (std::size_t operand = 0; operand < results.size(); ++operand) {
      const auto &rule = one.instance.kernel->operands[operand];
      if (rule.access == catalogue::Access::Read) {
        EXPECT_TRUE(results[operand].sameBits(one.operands[operand]))
            << one.text() << " changed " << rule.name;
        continue;
      }
      for (std::int64_t i = 0; i < results[operand].elements; ++i) {
        const double want = expected[operand][std::size_t(i)], got = results[operand].at(i);
        ASSERT_LE(std::abs(got - want), one.absolute + one.relative * std::abs(want))
            << one.text() << " " << rule.name << "[" << i << "] is " << got << ", not " << want;
      }
    }
  }
}

TEST_P(KernelTest, BitsDoNotDependOnInstructionSetOrThreads) {
  ThreadTileRunner threads(3);
  for (const KernelCase &one : cases) {
    const std::vector<Buffer> expected = runCase(one, Isa::Portable, serial);
    for (Isa isa : supportedIsas())
      for (TileRunner *runner : {static_cast<TileRunner *>(&serial), static_cast<TileRunner *>(&threads)}) {
        if (isa == Isa::Portable && runner == &serial)
          continue;
        const std::vector<Buffer> results = runCase(one, isa, *runner);
        for (std::size_t operand = 0; operand < results.size(); ++operand)
          ASSERT_TRUE(results[operand].sameBits(expected[operand]))
              << one.text() << " operand " << operand << " on " << name(isa)
              << (runner == &threads ? " with three threads" : "");
      }
  }
}

TEST_P(KernelTest, InPlaceGivesTheSameBits) {
  for (const KernelCase &one : cases)
    for (const catalogue::InPlacePair &pair : one.instance.kernel->inPlace) {
      const std::vector<Buffer> expected = runCase(one, bestIsa(), serial);
      for (Isa isa : supportedIsas()) {
        const std::vector<Buffer> results = runCase(one, isa, serial, pair);
        ASSERT_TRUE(results[std::size_t(pair.output)].sameBits(expected[std::size_t(pair.output)]))
            << one.text() << " on " << name(isa);
      }
    }
}

/// A copy of an operand that ends where memory ends: the next page cannot be touched.
class PageEnd {
public:
  explicit PageEnd(const Buffer &buffer) {
    const std::size_t size = std::size_t(buffer.elements) * catalogue::byteSize(buffer.dtype);
    const std::size_t page = std::size_t(sysconf(_SC_PAGESIZE)), used = (size + page - 1) / page * page;
    bytes = used + page;
    start = static_cast<std::byte *>(mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    EXPECT_EQ(mprotect(start, used, PROT_READ | PROT_WRITE), 0);
    contents = start + used - size;
    std::memcpy(contents, buffer.data(), size);
  }
  PageEnd(const PageEnd &) = delete;
  ~PageEnd() { munmap(start, bytes); }
  void *data() const { return contents; }

private:
  std::size_t bytes = 0;
  std::byte *start = nullptr, *contents = nullptr;
};

TEST_P(KernelTest, TouchesNothingBeyondItsOperands) {
  for (const KernelCase &one : cases) {
    const std::vector<Buffer> expected = runCase(one, bestIsa(), serial);
    for (Isa isa : supportedIsas()) {
      std::deque<PageEnd> pages;
      std::vector<void *> operands(one.instance.kernel->operands.size());
      for (std::size_t i = 0; i < one.operands.size(); ++i)
        operands[i] = pages.emplace_back(one.operands[i]).data();
      const auto workspaceBytes = one.instance.kernel->workspaceBytes;
      const std::size_t size = workspaceBytes ? workspaceBytes(one.instance.shapes, "host") : 0;
      const PageEnd workspace(Buffer(catalogue::DType::F32, std::int64_t(size / 4)));
      auto prepared = prepare(one.instance, isa);
      ASSERT_TRUE(prepared);
      (*prepared)->run(operands.data(), workspace.data(), serial);
      for (std::size_t i = 0; i < expected.size(); ++i)
        ASSERT_EQ(std::memcmp(operands[i], expected[i].data(),
                              std::size_t(expected[i].elements) * catalogue::byteSize(expected[i].dtype)),
                  0)
            << one.text() << " operand " << i;
    }
  }
}

TEST(Kernels, LargeCallsAreSpreadAndSmallOnesAreNot) {
  const auto tilesOf = [](const char *kernel, std::vector<catalogue::Shape> shapes) {
    KernelCase one{{catalogue::find(kernel, 1), std::move(shapes), {}}, {}, 0, 0};
    for (std::size_t i = 0; i < one.instance.shapes.size(); ++i)
      one.operands.emplace_back(one.instance.kernel->operands[i].dtype,
                                catalogue::elements(one.instance.shapes[i]));
    SerialTileRunner runner;
    runCase(one, bestIsa(), runner);
    return runner.mostTiles;
  };
  EXPECT_GE(tilesOf("linear", {{16, 784}, {784 * 256}, {16, 256}}), 2);
  EXPECT_GE(tilesOf("linear_weight_grad", {{128, 256}, {128, 784}, {256, 784}}), 8);
  EXPECT_EQ(tilesOf("linear", {{16, 256}, {256 * 32}, {16, 10}}), 1);
  EXPECT_EQ(tilesOf("linear", {{5000, 2}, {2 * 32}, {5000, 2}}), 1);
  EXPECT_EQ(tilesOf("relu", {{32768}, {32768}}), 1);
  EXPECT_EQ(tilesOf("relu", {{32769}, {32769}}), 3);
  EXPECT_GE(tilesOf("bias_grad", {{1000, 256}, {256}}), 4);
  EXPECT_GE(tilesOf("softmax_cross_entropy_grad", {{128, 1000}, {128}, {128}, {1}, {128, 1000}}), 4);
}

/// The order of a reduction as docs/kernels.md has it: sixteen lanes, then a tree of halves.
TEST(Kernels, ReductionsHaveTheDocumentedOrder) {
  for (const KernelCase &one : casesOf("gradient_norm_partials"))
    for (Isa isa : supportedIsas()) {
      SerialTileRunner serial;
      const Buffer partials = runCase(one, isa, serial)[1];
      for (std::int64_t granule = 0; granule < partials.elements; ++granule) {
        double lanes[16] = {};
        const std::int64_t begin = granule * catalogue::kGranule;
        for (std::int64_t i = begin; i < std::min(begin + catalogue::kGranule, one.operands[0].elements); ++i)
          lanes[i % 16] += one.operands[0].at(i) * one.operands[0].at(i);
        for (int half : {8, 4, 2, 1})
          for (int lane = 0; lane < half; ++lane)
            lanes[lane] += lanes[lane + half];
        ASSERT_EQ(partials.at(granule), lanes[0]) << one.text() << " on " << name(isa);
      }
    }
}

TEST(Kernels, PrepareRefusesWhatTheCatalogueRefuses) {
  const auto refused = [](const char *kernel, std::vector<catalogue::Shape> shapes,
                          std::vector<catalogue::Attribute> attributes) {
    const auto prepared =
        prepare({catalogue::find(kernel, 1), std::move(shapes), std::move(attributes)}, bestIsa());
    return !prepared && prepared.error().kind == ErrorKind::User;
  };
  EXPECT_TRUE(refused("relu", {{4}, {5}}, {}));
  EXPECT_TRUE(refused("relu", {{4}}, {}));
  EXPECT_TRUE(refused("relu", {{4}, {4}, {4}}, {}));
  EXPECT_TRUE(refused("gelu", {{4}, {4}}, {{"approximate", std::string("sigmoid")}}));
  EXPECT_FALSE(refused("gelu", {{4}, {4}}, {{"approximate", std::string("tanh")}}));
  const auto none = prepare({}, bestIsa());
  EXPECT_TRUE(!none && none.error().kind == ErrorKind::Bug);
}

TEST(Kernels, AKernelWithoutHostImplementationIsAnError) {
  catalogue::Kernel unknown = *catalogue::find("relu", 1);
  unknown.version = 99;
  const auto prepared = prepare({&unknown, {{4}, {4}}, {}}, bestIsa());
  ASSERT_FALSE(prepared);
  EXPECT_EQ(
      prepared.error().text(),
      "kernel relu: version 99 for elements of f32 does not run on the host; compile for another target");
}

} // namespace

} // namespace stagewright::kernels
