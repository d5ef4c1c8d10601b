// Products with epilogues on an emulated GPU: what they compute is what the kernels compute that they take
// the place of, within rounding.
#include "kernels/cuda/Fusion.h"

#include "kernels/cuda/emulation/Elements.h"
#include "kernels/cuda/emulation/EmulatedGpu.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace stagewright::cuda {
namespace {

using catalogue::DType;
using emulation::EmulatedGpu;
using kernels::KernelInstance;

/// Operands of two kernels in memory of an emulated GPU.
class PairTest : public testing::Test {
protected:
  PairTest() {
    gpu.hasEpilogue = [](const Product &) { return true; };
    stream = *api->createStream();
  }
  ~PairTest() override {
    for (void *data : allocated) {
      api->release(data);
    }
    api->destroy(stream);
  }

  void *make(Element element, std::int64_t count, float value = NAN) {
    void *data = *api->allocate(static_cast<std::size_t>(count) * 4);
    allocated.push_back(data);
    for (std::int64_t i = 0; i < count; ++i) {
      emulation::store(element, data, i, std::isnan(value) ? draw(random) : value);
    }
    return data;
  }
  void run(const PreparedKernel &kernel, std::vector<void *> operands) {
    auto ok = kernel.enqueue(operands.data(), workspace, stream);
    ok = ok ? api->synchronize(stream) : std::move(ok);
    ASSERT_TRUE(ok) << ok.error().text();
  }
  void run(const KernelInstance &instance, std::vector<void *> operands) {
    auto kernel = prepare(instance, cache);
    ASSERT_TRUE(kernel) << kernel.error().text();
    run(**kernel, std::move(operands));
  }
  void expectNear(Element element, const void *found, const void *expected, std::int64_t count, double most) {
    const auto one = emulation::floats(element, found, count),
               other = emulation::floats(element, expected, count);
    for (std::size_t i = 0; i < one.size(); ++i) {
      ASSERT_NEAR(one[i], other[i], most * (1 + std::abs(other[i]))) << "element " << i << " of " << count;
    }
  }

  EmulatedGpu gpu;
  std::unique_ptr<Api> api = gpu.api();
  KernelCache cache{*api};
  Stream stream;
  std::vector<void *> allocated;
  void *workspace = make(Element::F32, std::int64_t{9} << 20, 0);
  std::mt19937 random{7};
  std::uniform_real_distribution<float> draw{-1.5, 1.5};
};

struct Case {
  std::int64_t m, n, k;
  DType dtype;
  Element element;
  double tolerance;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const auto &[m, n, k] : {std::tuple{1, 1, 1}, {5, 7, 3}, {16, 24, 8}, {33, 40, 17}}) {
    all.push_back({m, n, k, DType::F32, Element::F32, 1e-5});
    all.push_back({m, n, k, DType::F16, Element::F16, 4e-3});
    all.push_back({m, n, k, DType::BF16, Element::BF16, 3e-2});
  }
  return all;
}

KernelInstance instanceOf(const char *name, int version, std::vector<catalogue::Shape> shapes, DType dtype,
                          std::vector<catalogue::Attribute> attributes = {}) {
  return {catalogue::find(name, version), std::move(shapes), std::move(attributes), dtype};
}
const std::vector<catalogue::Attribute> kTanh = {{"approximate", std::string("tanh")}};

TEST_F(PairTest, LinearAndGelu) {
  for (const Case &c : cases()) {
    for (const bool hasBias : {false, true}) {
      std::vector<catalogue::Shape> shapes = {{c.m, c.k}, {c.n, c.k}, {c.m, c.n}};
      if (hasBias) {
        shapes.push_back({c.n});
      }
      const auto linear = instanceOf("linear", 2, shapes, c.dtype);
      const auto gelu = instanceOf("gelu", 1, {{1, c.m, c.n}, {1, c.m, c.n}}, c.dtype, kTanh);
      void *x = make(c.element, c.m * c.k), *w = make(c.element, c.n * c.k),
           *bias = hasBias ? make(c.element, c.n) : nullptr;
      void *z = make(c.element, c.m * c.n), *y = make(c.element, c.m * c.n);
      ASSERT_NO_FATAL_FAILURE(run(linear, {x, w, z, bias}));
      ASSERT_NO_FATAL_FAILURE(run(gelu, {z, y}));
      auto fusion = fusionOf(linear, gelu);
      ASSERT_TRUE(fusion);
      EXPECT_EQ(fusion->product.hasBias, hasBias);
      for (const Epilogue epilogue : {Epilogue::GeluAux, Epilogue::Gelu}) {
        fusion->product.epilogue = epilogue;
        void *aux = epilogue == Epilogue::Gelu ? nullptr : make(c.element, c.m * c.n);
        void *d = make(c.element, c.m * c.n);
        auto product = prepare(fusion->product, cache);
        ASSERT_TRUE(product && *product);
        ASSERT_NO_FATAL_FAILURE(run(**product, {x, w, d, bias, aux}));
        ASSERT_NO_FATAL_FAILURE(expectNear(c.element, d, y, c.m * c.n, c.tolerance));
        if (aux) {
          ASSERT_NO_FATAL_FAILURE(expectNear(c.element, aux, z, c.m * c.n, 0));
        }
      }
    }
  }
}

TEST_F(PairTest, LinearInputGradAndGeluGrad) {
  for (const Case &c : cases()) {
    const auto linear = instanceOf("linear_input_grad", 2, {{c.m, c.k}, {c.k, c.n}, {c.m, c.n}}, c.dtype);
    const auto gelu = instanceOf("gelu_grad", 1, {{c.m, c.n}, {c.m, c.n}, {c.m, c.n}}, c.dtype, kTanh);
    void *g = make(c.element, c.m * c.k), *w = make(c.element, c.n * c.k), *z = make(c.element, c.m * c.n);
    void *dy = make(c.element, c.m * c.n), *dz = make(c.element, c.m * c.n), *d = make(c.element, c.m * c.n);
    ASSERT_NO_FATAL_FAILURE(run(linear, {g, w, dy}));
    ASSERT_NO_FATAL_FAILURE(run(gelu, {dy, z, dz}));
    const auto fusion = fusionOf(linear, gelu);
    ASSERT_TRUE(fusion);
    auto product = prepare(fusion->product, cache);
    ASSERT_TRUE(product && *product);
    ASSERT_NO_FATAL_FAILURE(run(**product, {g, w, d, nullptr, z}));
    ASSERT_NO_FATAL_FAILURE(expectNear(c.element, d, dz, c.m * c.n, c.tolerance));
  }
}

TEST_F(PairTest, LinearWeightGradAndBiasGrad) {
  for (const Case &c : cases()) {
    const auto weight = instanceOf("linear_weight_grad", 1, {{c.m, c.n}, {c.m, c.k}, {c.n, c.k}}, c.dtype);
    const auto bias = instanceOf("bias_grad", 1, {{c.m, c.n}, {c.n}}, c.dtype);
    void *g = make(c.element, c.m * c.n), *x = make(c.element, c.m * c.k);
    void *expected = make(Element::F32, c.n * c.k, 0.5), *sums = make(Element::F32, c.n, 0);
    void *found = make(Element::F32, c.n * c.k, 0.5), *written = make(Element::F32, c.n);
    ASSERT_NO_FATAL_FAILURE(run(weight, {g, x, expected}));
    ASSERT_NO_FATAL_FAILURE(run(bias, {g, sums}));
    const auto fusion = fusionOf(weight, bias);
    ASSERT_TRUE(fusion);
    auto product = prepare(fusion->product, cache);
    ASSERT_TRUE(product && *product);
    ASSERT_NO_FATAL_FAILURE(run(**product, {g, x, found, nullptr, written}));
    ASSERT_NO_FATAL_FAILURE(expectNear(Element::F32, found, expected, c.n * c.k, 1e-6));
    ASSERT_NO_FATAL_FAILURE(expectNear(Element::F32, written, sums, c.n, 1e-5));
  }
}

TEST_F(PairTest, OtherPairsStayApart) {
  const auto linear = instanceOf("linear", 2, {{4, 8}, {16, 8}, {4, 16}}, DType::F32);
  const catalogue::Shape z = {4, 16};
  EXPECT_TRUE(fusionOf(linear, instanceOf("gelu", 1, {z, z}, DType::F32, kTanh)));
  EXPECT_FALSE(fusionOf(linear, instanceOf("gelu", 1, {z, z}, DType::F32))); // with erf
  EXPECT_FALSE(fusionOf(linear, instanceOf("relu", 1, {z, z}, DType::F32)));
  EXPECT_FALSE(fusionOf(linear, instanceOf("gelu", 1, {{4, 8}, {4, 8}}, DType::F32, kTanh)));
  EXPECT_FALSE(fusionOf(linear, instanceOf("gelu", 1, {z, z}, DType::F16, kTanh)));
}

TEST_F(PairTest, WhatTheLibraryDoesNotHaveIsNotAskedForAgain) {
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
