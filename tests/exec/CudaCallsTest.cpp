// Commands as calls: which pairs are one, and that the bits of a pair depend neither on where its memory lies
// nor on what stands between its commands.
#include "runtime/exec/CudaCalls.h"

#include "kernels/cuda/emulation/EmulatedGpu.h"

#include <gtest/gtest.h>

#include <cmath>

namespace stagewright::runtime {
namespace {

using cuda::Epilogue;
using cuda::emulation::EmulatedGpu;

constexpr std::int64_t kRows = 5, kInner = 8, kColumns = 16;

/// Commands of fp32 kernels on memory at offsets, which begins as fixed numbers.
class CudaCalls : public testing::Test {
protected:
  CudaCalls() : stream(*api->createStream()) { begin(); }
  ~CudaCalls() override { api->destroy(stream); }

  void begin() {
    memory.assign(1 << 12, 0);
    for (std::size_t i = 0; i < memory.size(); ++i) {
      memory[i] = std::sin(float(i));
    }
    commands.clear();
  }
  /// `offsets`: of elements, for each operand.
  void add(const char *kernel, int version, const std::vector<catalogue::Shape> &shapes,
           const std::vector<std::size_t> &offsets, std::vector<catalogue::Attribute> attributes = {}) {
    CudaCommand command{unsigned(commands.size()),
                        0,
                        {catalogue::find(kernel, version), shapes, attributes},
                        {},
                        workspace.data()};
    for (std::size_t i = 0; i < shapes.size(); ++i) {
      std::uint64_t bytes = sizeof(float);
      for (const std::int64_t size : shapes[i]) {
        bytes *= std::uint64_t(size);
      }
      command.operands.push_back({reinterpret_cast<std::byte *>(memory.data() + offsets[i]), 0, bytes});
    }
    command.operands.resize(command.instance.kernel->operands.size());
    commands.push_back(std::move(command));
  }
  void addLinear(std::size_t x, std::size_t z) {
    add("linear", 2, {{kRows, kInner}, {kColumns, kInner}, {kRows, kColumns}}, {x, 512, z});
  }
  void addGelu(std::size_t z, std::size_t y) {
    add("gelu", 1, {{kRows, kColumns}, {kRows, kColumns}}, {z, y}, {{"approximate", std::string("tanh")}});
  }
  /// Runs them; the number of calls.
  std::size_t run(bool fusesGelu = true) {
    CudaScratch scratch(*api);
    cuda::KernelCache kernels(*api);
    auto calls = cudaCalls(commands, {}, {}, fusesGelu, scratch, kernels);
    EXPECT_TRUE(calls) << calls.error().text();
    for (const CudaCall &call : *calls) {
      std::vector<void *> operands;
      for (const CudaOperand &operand : call.operands) {
        operands.push_back(operand.base);
      }
      EXPECT_TRUE(call.kernel->enqueue(operands.data(), call.workspace, stream));
    }
    EXPECT_TRUE(api->synchronize(stream));
    return calls->size();
  }
  std::vector<float> valueAt(std::size_t offset, std::size_t count = kRows * kColumns) const {
    return {memory.begin() + std::ptrdiff_t(offset), memory.begin() + std::ptrdiff_t(offset + count)};
  }
  std::int64_t products(Epilogue epilogue) const {
    return gpu.counts().epilogues[static_cast<std::size_t>(epilogue)];
  }

  EmulatedGpu gpu;
  std::unique_ptr<cuda::Api> api = gpu.api();
  cuda::Stream stream;
  std::vector<float> memory;
  std::vector<std::byte> workspace = std::vector<std::byte>(catalogue::kCudaWorkspace);
  std::vector<CudaCommand> commands;
};

TEST_F(CudaCalls, AResultWhereTheProductStillReadsHasTheSameBits) {
  std::vector<float> z, y;
  // y apart from everything, and where x was.
  for (const std::size_t at : {1024, 0}) {
    begin();
    addLinear(0, 768);
    addGelu(768, at);
    add("relu", 1, {{kRows, kColumns}, {kRows, kColumns}}, {768, 2048}); // z is kept
    EXPECT_EQ(run(), at == 0 ? 3u : 2u);                                 // and a copy
    EXPECT_EQ(products(Epilogue::None), 0);
    z = z.empty() ? valueAt(768) : z;
    y = y.empty() ? valueAt(at) : y;
    EXPECT_EQ(valueAt(768), z);
    EXPECT_EQ(valueAt(at), y);
  }
  EXPECT_EQ(products(Epilogue::GeluAux), 2);
}

TEST_F(CudaCalls, WhatNobodyReadsIsNotKept) {
  addLinear(0, 768);
  addGelu(768, 1024);
  add("relu", 1, {{kRows, kColumns}, {kRows, kColumns}}, {1024, 768}); // memory of z, with another value
  add("relu", 1, {{kRows, kColumns}, {kRows, kColumns}}, {768, 2048});
  EXPECT_EQ(run(), 3u);
  EXPECT_EQ(products(Epilogue::Gelu), 1);
  EXPECT_EQ(products(Epilogue::GeluAux), 0);
  const std::vector<float> apart = valueAt(1024);
  begin();
  addLinear(0, 768);
  addGelu(768, 768);
  EXPECT_EQ(run(), 1u);
  EXPECT_EQ(valueAt(768), apart);
}

TEST_F(CudaCalls, OfTwoLayersNothingIsFused) {
  addLinear(0, 768);
  addGelu(768, 1024);
  commands[1].block = 1;
  EXPECT_EQ(run(), 2u);
  commands[1].block = 0;
  commands[1].number = 2; // a collective stands between them
  EXPECT_EQ(run(), 2u);
  commands[1].number = 1;
  EXPECT_EQ(run(false), 2u);
  EXPECT_EQ(products(Epilogue::None), 3);
  EXPECT_EQ(run(), 1u);
}

TEST_F(CudaCalls, AGradientThatAnotherReadsIsNotSkipped) {
  for (const bool isRead : {false, true}) {
    begin();
    add("linear_input_grad", 2, {{kRows, kInner}, {kInner, kColumns}, {kRows, kColumns}}, {0, 512, 768});
    add("gelu_grad", 1, {{kRows, kColumns}, {kRows, kColumns}, {kRows, kColumns}}, {768, 1024, 1280},
        {{"approximate", std::string("tanh")}});
    if (isRead) {
      add("relu", 1, {{kRows, kColumns}, {kRows, kColumns}}, {768, 2048});
    }
    EXPECT_EQ(run(), isRead ? 3u : 1u);
  }
  EXPECT_EQ(products(Epilogue::GeluGrad), 1);
}

/// Sums are added to where the second command adds them: until then others may have that memory.
TEST_F(CudaCalls, SumsOfABiasAreAddedAtTheirOwnPlace) {
  add("linear_weight_grad", 1, {{kRows, kColumns}, {kRows, kInner}, {kColumns, kInner}}, {0, 512, 768});
  add("bias_grad", 1, {{kRows, kColumns}, {kColumns}}, {0, 1024});
  const std::vector<float> g = valueAt(0), before = valueAt(1024, kColumns);
  CudaScratch scratch(*api);
  cuda::KernelCache kernels(*api);
  const auto calls = cudaCalls(commands, {}, {}, false, scratch, kernels);
  ASSERT_TRUE(calls);
  ASSERT_EQ(calls->size(), 2u);
  EXPECT_EQ((*calls)[0].command, 0u);
  EXPECT_EQ((*calls)[1].command, 1u);
  EXPECT_EQ(scratch.bytes(), kColumns * sizeof(float));
  EXPECT_EQ(run(), 2u);
  EXPECT_EQ(products(Epilogue::RowSums), 1);
  for (std::size_t column = 0; column < kColumns; ++column) {
    double sum = before[column];
    for (std::size_t row = 0; row < kRows; ++row) {
      sum += g[row * kColumns + column];
    }
    EXPECT_NEAR(memory[1024 + column], sum, 1e-5);
  }
}

} // namespace
} // namespace stagewright::runtime
