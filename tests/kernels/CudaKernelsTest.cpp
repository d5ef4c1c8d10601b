// Every CUDA kernel on an emulated GPU: it computes what its reference computes, and its bits depend neither
// on the order of threads and blocks nor on working in place.
#include "KernelCases.h"

#include "kernels/cuda/Cuda.h"
#include "kernels/cuda/emulation/EmulatedGpu.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>

namespace stagewright::cuda {
namespace {

using emulation::EmulatedGpu;
using emulation::Order;
using kernels::Buffer;
using kernels::KernelCase;

/// Runs a call on copies of its operands and returns them.
std::vector<Buffer> runCase(const KernelCase &call, Order order,
                            std::optional<catalogue::InPlacePair> aliased = {}) {
  EmulatedGpu gpu;
  gpu.order = order;
  const auto api = gpu.api();
  KernelCache cache(*api);
  std::vector<Buffer> operands = call.operands;
  std::vector<void *> pointers;
  for (Buffer &operand : operands) {
    pointers.push_back(operand.data());
  }
  pointers.resize(call.instance.kernel->operands.size());
  if (aliased) {
    pointers[std::size_t(aliased->output)] = pointers[std::size_t(aliased->input)];
  }
  const auto prepared = prepare(call.instance, cache);
  if (!prepared) {
    ADD_FAILURE() << call.text() << ": " << prepared.error().text();
    return operands;
  }
  const auto rule = call.instance.kernel->workspaceBytes;
  Buffer workspace(catalogue::DType::F64,
                   rule ? std::int64_t(rule(call.instance.shapes, "cuda:sm_90") + 7) / 8 : 0);
  for (std::int64_t i = 0; i < workspace.elements; ++i) {
    workspace.set(i, NAN);
  }
  const Stream stream = *api->createStream();
  auto done = (*prepared)->enqueue(pointers.data(), workspace.data(), stream);
  done = done ? api->synchronize(stream) : std::move(done);
  EXPECT_TRUE(done) << call.text() << ": " << (done ? "" : done.error().text());
  if (aliased) {
    operands[std::size_t(aliased->output)] = operands[std::size_t(aliased->input)];
  }
  EXPECT_TRUE(workspace.guardsIntact()) << call.text();
  for (std::size_t i = 0; i < operands.size(); ++i) {
    EXPECT_TRUE(operands[i].guardsIntact()) << call.text() << " operand " << i;
  }
  return operands;
}

class CudaKernelTest : public testing::TestWithParam<std::string> {
protected:
  const std::vector<KernelCase> cases = kernels::casesOf(GetParam());
};

std::vector<std::string> cudaKernels() {
  EmulatedGpu gpu;
  const auto api = gpu.api();
  KernelCache cache(*api);
  std::vector<std::string> names;
  for (const std::string &name : kernels::testedKernels()) {
    const auto cases = kernels::casesOf(name);
    if (!cases.empty() && prepare(cases[0].instance, cache)) {
      names.push_back(name);
    }
  }
  return names;
}

INSTANTIATE_TEST_SUITE_P(Every, CudaKernelTest, testing::ValuesIn(cudaKernels()),
                         [](const auto &info) { return info.param; });

TEST_P(CudaKernelTest, MatchesReference) {
  for (const KernelCase &one : cases) {
    kernels::ReferenceOperands expected;
    for (const Buffer &operand : one.operands) {
      expected.push_back(operand.values());
    }
    ASSERT_TRUE(runReference(one.instance, expected));
    const std::vector<Buffer> results = runCase(one, Order::Ascending);
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

TEST_P(CudaKernelTest, BitsDependNeitherOnTheOrderOfThreadsNorOnWorkingInPlace) {
  for (const KernelCase &one : cases) {
    const std::vector<Buffer> expected = runCase(one, Order::Ascending);
    const std::vector<Buffer> results = runCase(one, Order::Descending);
    for (std::size_t operand = 0; operand < results.size(); ++operand) {
      ASSERT_TRUE(results[operand].sameBits(expected[operand])) << one.text() << " operand " << operand;
    }
    for (const catalogue::InPlacePair &pair : one.instance.kernel->inPlace) {
      const std::vector<Buffer> inPlace = runCase(one, Order::Descending, pair);
      ASSERT_TRUE(inPlace[std::size_t(pair.output)].sameBits(expected[std::size_t(pair.output)]))
          << one.text() << " in place";
    }
  }
}

} // namespace
} // namespace stagewright::cuda
