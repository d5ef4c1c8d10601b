// Products with epilogues on an emulated GPU: what they compute is what the kernels compute that they take
// the place of, within rounding.
#include "FusedCases.h"

#include "kernels/cuda/emulation/EmulatedGpu.h"

#include <gtest/gtest.h>

namespace stagewright::cuda {
namespace {

using catalogue::DType;
using kernels::KernelInstance;

KernelInstance instanceOf(const char *name, int version, std::vector<catalogue::Shape> shapes, DType dtype,
                          std::vector<catalogue::Attribute> attributes = {}) {
  return {catalogue::find(name, version), std::move(shapes), std::move(attributes), dtype};
}
const std::vector<catalogue::Attribute> kTanh = {{"approximate", std::string("tanh")}};

class Fused : public testing::TestWithParam<std::string> {};

TEST_P(Fused, AsTheTwoKernels) {
  emulation::EmulatedGpu gpu;
  gpu.hasEpilogue = [](const Product &) { return true; };
  const auto api = gpu.api();
  KernelCache cache{*api};
  DeviceRuns runs(cache);
  for (FusedCase &one : fusedCases(GetParam())) {
    if (one.epilogue == Epilogue::GeluAux) {
      one.ofAux = 0; // z is rounded as it is without an epilogue
    } else if (one.epilogue == Epilogue::RowSums) {
      one.tolerance = 1e-6; // the emulated product adds in the kernel's order
    }
    const auto parity = runFused(one, cache, runs);
    ASSERT_TRUE(parity) << one.text() << ": " << parity.error().text();
    ASSERT_TRUE(*parity) << one.text();
    EXPECT_EQ((*parity)->fault, "");
  }
}

INSTANTIATE_TEST_SUITE_P(All, Fused, testing::ValuesIn(fusedNames()), [](const auto &info) {
  std::string name = info.param;
  std::erase_if(name, [](char c) { return c == ' ' || c == '+'; });
  return name;
});

TEST(Fusion, OtherPairsStayApart) {
  const auto linear = instanceOf("linear", 2, {{4, 8}, {16, 8}, {4, 16}}, DType::F32);
  const catalogue::Shape z = {4, 16};
  EXPECT_TRUE(fusionOf(linear, instanceOf("gelu", 1, {z, z}, DType::F32, kTanh)));
  EXPECT_FALSE(fusionOf(linear, instanceOf("gelu", 1, {z, z}, DType::F32))); // with erf
  EXPECT_FALSE(fusionOf(linear, instanceOf("relu", 1, {z, z}, DType::F32)));
  EXPECT_FALSE(fusionOf(linear, instanceOf("gelu", 1, {{4, 8}, {4, 8}}, DType::F32, kTanh)));
  EXPECT_FALSE(fusionOf(linear, instanceOf("gelu", 1, {z, z}, DType::F16, kTanh)));
}

TEST(Fusion, WhatTheLibraryDoesNotHaveIsNotAskedForAgain) {
  emulation::EmulatedGpu gpu;
  const auto api = gpu.api();
  KernelCache cache{*api};
  int questions = 0;
  gpu.hasEpilogue = [&](const Product &) { return ++questions < 0; };
  const Product product{.epilogue = Epilogue::Gelu, .m = 4, .n = 4, .k = 4};
  for (int i = 0; i < 3; ++i) {
    auto prepared = prepare(product, cache);
    ASSERT_TRUE(prepared);
    EXPECT_FALSE(*prepared);
  }
  EXPECT_EQ(questions, 1);
}

} // namespace
} // namespace stagewright::cuda
