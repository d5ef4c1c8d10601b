#include "FiniteDifferences.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <random>

namespace stagewright::kernels {

static std::vector<std::string> &covered() {
  static std::vector<std::string> kernels;
  return kernels;
}

CoveredGradients::CoveredGradients(std::vector<std::string> kernels) {
  std::ranges::move(kernels, std::back_inserter(covered()));
}

Vector randomVector(std::int64_t size, double low, double high) {
  static std::mt19937_64 engine(7);
  Vector out(static_cast<std::size_t>(size));
  for (double &value : out)
    value = std::uniform_real_distribution<double>(low, high)(engine);
  return out;
}

ReferenceOperands call(const char *kernel, std::vector<Shape> shapes, ReferenceOperands operands,
                       std::vector<Attribute> attributes, int version) {
  for (std::size_t i = 0; i < operands.size(); ++i)
    operands[i].resize(std::size_t(catalogue::elements(shapes[i])));
  const KernelInstance instance{catalogue::find(kernel, version), std::move(shapes), std::move(attributes)};
  if (onKernelCall)
    onKernelCall(instance);
  EXPECT_TRUE(runReference(instance, operands));
  return operands;
}

double dot(const Vector &a, const Vector &b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    sum += a[i] * b[i];
  return sum;
}

void expectGradient(const Vector &gradient, Vector at, const std::function<double(const Vector &)> &loss) {
  constexpr double kStep = 1e-5;
  ASSERT_EQ(gradient.size(), at.size());
  for (std::size_t i = 0; i < at.size(); ++i) {
    const double value = at[i];
    at[i] = value + kStep;
    const double above = loss(at);
    at[i] = value - kStep;
    const double below = loss(at);
    at[i] = value;
    ASSERT_NEAR(gradient[i], (above - below) / (2 * kStep), 1e-7) << "element " << i;
  }
}

TEST(Gradient, EveryGradientKernelIsCovered) {
  for (const catalogue::Kernel &kernel : catalogue::kernels())
    if (kernel.name.ends_with("_grad") && !kernel.name.starts_with("pack_"))
      EXPECT_EQ(std::ranges::count(covered(), kernel.name), 1) << kernel.name;
}

} // namespace stagewright::kernels
