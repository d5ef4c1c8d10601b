#include "FiniteDifferences.h"

#include <gtest/gtest.h>

namespace stagewright::kernels {

namespace {

const CoveredGradients kCovered({"embedding_grad"});

TEST(Gradient, Embedding) {
  const Shape ids{6}, table{4, 3}, rows{6, 3};
  const Vector id = {1, 3, 1, 0, 1, 3}, weight = randomVector(12), g = randomVector(18);
  expectGradient(call("embedding_grad", {ids, rows, table}, {id, g, {}})[2], weight, [&](const Vector &at) {
    return dot(g, call("embedding", {ids, table, rows}, {id, at, {}})[2]);
  });
}

} // namespace

} // namespace stagewright::kernels
