// Runs of calls on an emulated GPU.
#ifndef STAGEWRIGHT_TESTS_KERNELS_CUDARUNS_H
#define STAGEWRIGHT_TESTS_KERNELS_CUDARUNS_H

#include "KernelCases.h"

#include "kernels/cuda/Cuda.h"
#include "kernels/cuda/emulation/EmulatedGpu.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

namespace stagewright::cuda {

/// Workspace full of NaNs between guards, whose memory is used again by the next call.
class RunWorkspace {
public:
  explicit RunWorkspace(const kernels::KernelInstance &instance) {
    const auto rule = instance.kernel->workspaceBytes;
    const std::size_t bytes = rule ? rule(instance.shapes, "cuda:sm_90") : 0;
    static kernels::Buffer kept(catalogue::DType::F64, 0);
    if (std::size_t(kept.elements) * sizeof(double) < bytes) {
      kept = kernels::Buffer(catalogue::DType::F64, std::int64_t(bytes + 7) / 8);
    }
    buffer = &kept;
    end = static_cast<std::byte *>(kept.data()) + bytes;
    std::memset(kept.data(), 0xFF, bytes);
    std::memcpy(before, end, sizeof before);
  }
  void *data() { return buffer->data(); }
  bool isIntact() const { return buffer->guardsIntact() && std::memcmp(end, before, sizeof before) == 0; }

private:
  kernels::Buffer *buffer;
  const std::byte *end;
  std::byte before[32]; ///< what lies behind
};

/// Runs a call on copies of its operands and returns them.
inline std::vector<kernels::Buffer> runCase(const kernels::KernelCase &call, KernelCache &cache,
                                            std::optional<catalogue::InPlacePair> aliased = {}) {
  std::vector<kernels::Buffer> operands = call.operands;
  std::vector<void *> pointers;
  for (kernels::Buffer &operand : operands) {
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
  RunWorkspace workspace(call.instance);
  const Stream stream = *cache.api().createStream();
  auto done = (*prepared)->enqueue(pointers.data(), workspace.data(), stream);
  done = done ? cache.api().synchronize(stream) : std::move(done);
  EXPECT_TRUE(done) << call.text() << ": " << (done ? "" : done.error().text());
  if (aliased) {
    operands[std::size_t(aliased->output)] = operands[std::size_t(aliased->input)];
  }
  EXPECT_TRUE(workspace.isIntact()) << call.text();
  for (std::size_t i = 0; i < operands.size(); ++i) {
    EXPECT_TRUE(operands[i].guardsIntact()) << call.text() << " operand " << i;
  }
  return operands;
}

/// Expects what the reference computes, within the case's tolerance and `more` of each element plus one.
inline void expectReference(const kernels::KernelCase &one, const std::vector<kernels::Buffer> &results,
                            double more = 0) {
  kernels::ReferenceOperands expected;
  for (const kernels::Buffer &operand : one.operands) {
    expected.push_back(operand.values());
  }
  ASSERT_TRUE(runReference(one.instance, expected));
  for (std::size_t operand = 0; operand < results.size(); ++operand) {
    const auto &rule = one.instance.kernel->operands[operand];
    if (rule.access == catalogue::Access::Read) {
      EXPECT_TRUE(results[operand].sameBits(one.operands[operand])) << one.text() << " changed " << rule.name;
      continue;
    }
    for (std::int64_t i = 0; i < results[operand].elements; ++i) {
      const double want = expected[operand][std::size_t(i)], got = results[operand].at(i);
      ASSERT_LE(std::abs(got - want),
                one.absolute + one.relative * std::abs(want) + more * (1 + std::abs(want)))
          << one.text() << " " << rule.name << "[" << i << "] is " << got << ", not " << want;
    }
  }
}

} // namespace stagewright::cuda

#endif
