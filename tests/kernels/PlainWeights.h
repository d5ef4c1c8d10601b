// Version 2 of the products, whose weight is plain: of it the host has the fp64 reference alone.
#ifndef STAGEWRIGHT_TESTS_KERNELS_PLAINWEIGHTS_H
#define STAGEWRIGHT_TESTS_KERNELS_PLAINWEIGHTS_H

#include "GoldenCalls.h"

#include <span>

namespace stagewright::kernels {

/// Expects of the reference what PyTorch computed, in calls of kernels that have a version 2; how many these
/// are.
int expectPlainGoldens(std::span<const GoldenCall> goldens, double tolerance);

} // namespace stagewright::kernels

#endif
