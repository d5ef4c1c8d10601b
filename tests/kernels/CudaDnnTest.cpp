// Kernels that cuDNN may run: by it, by ours where it has no plan, and always by the one that was chosen
// first.
#include "CudaRuns.h"

namespace stagewright::cuda {
namespace {

using emulation::EmulatedGpu;
using kernels::Buffer;
using kernels::KernelCase;
using Kind = Convolution::Kind;

struct Table {
  EmulatedGpu gpu;
  std::unique_ptr<Api> api = gpu.api();
  KernelCache cache = KernelCache(*api);
};

struct KernelName {
  const char *name;
  int version;
};
constexpr KernelName kConvolutions[] = {{"conv2d", 2}, {"conv2d_input_grad", 2}, {"conv2d_weight_grad", 1}};

/// All cases of the three kernels in f32 and bf16, run by whom the table has.
template <typename Expect>
void eachConvolution(Table &table, const Expect &expect) {
  for (const KernelName &kernel : kConvolutions) {
    for (const KernelCase &one : kernels::casesOf(kernel.name, kernel.version)) {
      if (one.instance.element != catalogue::DType::F16) {
        expect(one, runCase(one, table.cache));
      }
    }
  }
}

TEST(CudaDnn, ConvolutionsMatchTheReference) {
  Table table;
  table.gpu.hasConvolution = [](const Convolution &) { return true; };
  std::int64_t calls = 0;
  eachConvolution(table, [&](const KernelCase &one, const std::vector<Buffer> &results) {
    expectReference(one, results);
    ++calls;
  });
  EXPECT_EQ(table.gpu.counts().dnnRuns, calls);
  for (const KernelName &kernel : kConvolutions) {
    EXPECT_EQ(table.cache.dnnUse().at(kernel.name).byOwn, 0) << kernel.name;
  }
}

/// As with images in NCHW: no bias, and the gradient of a weight in the type of its factors.
TEST(CudaDnn, WhatTheLibraryDoesNotFuseIsDoneAfterIt) {
  Table table;
  table.gpu.hasConvolution = [](const Convolution &c) { return !c.hasBias && c.result == c.element; };
  std::int64_t calls = 0;
  eachConvolution(table, [&](const KernelCase &one, const std::vector<Buffer> &results) {
    // Rounding before the last sum, whose other term is at most 1.
    const double unit = one.instance.element == catalogue::DType::BF16 ? 0x1p-8 : 0x1p-23;
    expectReference(one, results, unit);
    ++calls;
  });
  EXPECT_EQ(table.gpu.counts().dnnRuns, calls);
  EXPECT_GT(table.gpu.counts().launches, 0);
}

/// By cuDNN where nothing is masked, and elements are halves; the gradient also of what our kernel computed.
TEST(CudaDnn, AttentionMatchesTheReference) {
  for (const char *name : {"attention", "attention_grad"}) {
    const std::size_t mask = name == std::string("attention") ? 5 : 9;
    Table table;
    table.gpu.hasAttention = [](const Attention &) { return true; };
    std::int64_t byDnn = 0;
    for (const KernelCase &one : kernels::casesOf(name)) {
      byDnn += one.instance.element != catalogue::DType::F32 && one.operands.size() <= mask;
      ASSERT_NO_FATAL_FAILURE(expectReference(one, runCase(one, table.cache)));
      ASSERT_EQ(table.gpu.counts().dnnRuns, byDnn) << one.text();
    }
    EXPECT_GT(table.cache.dnnUse().at(name).byDnn, 0);
    EXPECT_GT(table.cache.dnnUse().at(name).byOwn, 0);
  }
}

/// A gradient whose matrix of scores is larger than its workspace may be: cuDNN is not asked.
TEST(CudaDnn, LongSequencesAreOurs) {
  for (const std::int64_t length : {1024, 8192}) {
    Table table;
    table.gpu.hasAttention = [](const Attention &) { return true; };
    const catalogue::Shape q = {2, length, 8, 64}, statistics = {2, 8, length};
    kernels::KernelInstance call{
        catalogue::find("attention_grad", 1), {q, q, q, q, q, statistics, q, q, q}, {}};
    call.element = catalogue::DType::BF16;
    ASSERT_TRUE(prepare(call, table.cache));
    EXPECT_EQ(table.gpu.counts().dnnQuestions, length == 1024 ? 1 : 0);
    const std::size_t bytes = call.kernel->workspaceBytes(call.shapes, "cuda:sm_90");
    EXPECT_EQ(bytes, length == 1024 ? 2 * 8 * 1024 * (1024 * 2 + 4 + 4) + (1u << 20) : 2 * 8 * 8192 * 4);
  }
}

TEST(CudaDnn, WithoutPlansOurKernelsRun) {
  Table table;
  const KernelCase one = kernels::casesOf("conv2d", 2)[1];
  expectReference(one, runCase(one, table.cache));
  EXPECT_EQ(table.gpu.counts().dnnRuns, 0);
  EXPECT_EQ(table.cache.dnnUse().at("conv2d").byOwn, 1);
  EXPECT_EQ(table.cache.dnnUse().at("conv2d").byDnn, 0);
  EXPECT_EQ(table.cache.refusal(), "the emulated GPU has no cuDNN");
}

/// Whoever ran a call first runs it ever after, and is asked when the call is prepared: plans are not made
/// while a stream is captured.
TEST(CudaDnn, TheFirstChoiceIsKept) {
  for (const bool isThere : {false, true}) {
    Table table;
    bool answer = isThere;
    table.gpu.hasConvolution = [&](const Convolution &) { return answer; };
    const KernelCase one = kernels::casesOf("conv2d_weight_grad", 1)[1];
    const std::vector<Buffer> first = runCase(one, table.cache);
    const std::int64_t questions = table.gpu.counts().dnnQuestions;
    answer = !isThere;
    const std::vector<Buffer> second = runCase(one, table.cache);
    EXPECT_TRUE(second[2].sameBits(first[2]));
    EXPECT_EQ(table.gpu.counts().dnnQuestions, questions);
    EXPECT_EQ(table.gpu.counts().dnnRuns, isThere ? 2 : 0);
  }
}

TEST(CudaDnn, PlansAreMadeWhenACallIsPrepared) {
  Table table;
  const KernelCase one = kernels::casesOf("conv2d", 2)[1];
  const auto prepared = prepare(one.instance, table.cache);
  ASSERT_TRUE(prepared);
  const std::int64_t questions = table.gpu.counts().dnnQuestions;
  EXPECT_GT(questions, 0);
  runCase(one, table.cache);
  EXPECT_EQ(table.gpu.counts().dnnQuestions, questions);
}

/// Each changes another field; there is one for every field.
std::vector<Convolution> otherConvolutions() {
  Convolution one;
  auto &[kind, element, result, hasBias, allowsTf32, samples, inputs, outputs, groups, image, filter,
         positions, stride, padding, dilation] = one;
  std::vector<Convolution> out = {one};
  const auto with = [&](auto &field, const auto &value) {
    const auto before = std::exchange(field, value);
    out.push_back(one);
    field = before;
  };
  with(kind, Kind::InputGradient);
  with(element, Element::F16);
  with(result, Element::F16);
  with(hasBias, true);
  with(allowsTf32, true);
  for (std::int64_t *size : {&samples, &inputs, &outputs, &groups}) {
    with(*size, 77);
  }
  for (Convolution::Pair *pair : {&image, &filter, &positions, &stride, &padding, &dilation}) {
    with((*pair)[0], 77);
    with((*pair)[1], 77);
  }
  return out;
}

std::vector<Attention> otherAttentions() {
  Attention one;
  auto &[isGradient, element, batch, queries, keys, heads, keyHeads, headSize, isCausal, scale] = one;
  std::vector<Attention> out = {one};
  const auto with = [&](auto &field, const auto &value) {
    const auto before = std::exchange(field, value);
    out.push_back(one);
    field = before;
  };
  with(isGradient, true);
  with(element, Element::F16);
  with(isCausal, true);
  with(scale, 0.5f);
  for (std::int64_t *size : {&batch, &queries, &keys, &heads, &keyHeads, &headSize}) {
    with(*size, 77);
  }
  return out;
}

template <typename Description>
void expectOneQuestionEach(const std::vector<Description> &descriptions) {
  Table table;
  for (int times = 0; times < 2; ++times) {
    for (const Description &one : descriptions) {
      ASSERT_TRUE(table.cache.plan(one, 0));
    }
    EXPECT_EQ(table.gpu.counts().dnnQuestions, std::int64_t(descriptions.size()));
  }
}

TEST(CudaDnn, EveryFieldOfADescriptionMakesItAnother) {
  expectOneQuestionEach(otherConvolutions());
  expectOneQuestionEach(otherAttentions());
}

TEST(CudaDnn, Tf32IsAskedForWhereItIsAllowedAndOfFp32Alone) {
  for (const bool isAllowed : {false, true}) {
    for (const auto element : {catalogue::DType::F32, catalogue::DType::BF16}) {
      EmulatedGpu gpu;
      int asked = 0;
      gpu.hasConvolution = [&](const Convolution &convolution) {
        ++asked;
        EXPECT_EQ(convolution.allowsTf32, isAllowed && element == catalogue::DType::F32);
        return false;
      };
      const auto api = gpu.api();
      KernelCache cache(*api, isAllowed);
      KernelCase one = kernels::withElement(kernels::casesOf("conv2d", 2).at(0), element);
      ASSERT_TRUE(prepare(one.instance, cache));
      EXPECT_GT(asked, 0);
    }
  }
}

} // namespace
} // namespace stagewright::cuda
