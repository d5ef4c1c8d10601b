// Gradient kernels' references against central differences of the forward references, in fp64.
#ifndef STAGEWRIGHT_TESTS_KERNELS_GRADIENTS_FINITEDIFFERENCES_H
#define STAGEWRIGHT_TESTS_KERNELS_GRADIENTS_FINITEDIFFERENCES_H

#include "../KernelCases.h"

#include <functional>

namespace stagewright::kernels {

using Vector = std::vector<double>;
using catalogue::Attribute;
using catalogue::Shape;

/// Uniform in [low, high].
Vector randomVector(std::int64_t size, double low = -1, double high = 1);

/// Runs a reference; operands without contents are zero. Returns all operands.
ReferenceOperands call(const char *kernel, std::vector<Shape> shapes, ReferenceOperands operands,
                       std::vector<Attribute> attributes = {}, int version = 1);

double dot(const Vector &a, const Vector &b);

/// Expects d loss / d at, where loss is a function of `at`.
void expectGradient(const Vector &gradient, Vector at, const std::function<double(const Vector &)> &loss);

/// The _grad kernels that this file's tests are about. Every one of the catalogue must be in one such list.
struct CoveredGradients {
  explicit CoveredGradients(std::vector<std::string> kernels);
};

} // namespace stagewright::kernels

#endif
