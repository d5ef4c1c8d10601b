#include "FiniteDifferences.h"

#include <algorithm>
#include <gtest/gtest.h>

namespace stagewright::kernels {

namespace {

const CoveredGradients kCovered({"embedding_grad"});

TEST(Gradient, EmbeddingWithPadding) {
  const Shape ids{6}, table{4, 3}, rows{6, 3};
  const Vector id = {1, 3, 1, 0, 1, 3}, weight = randomVector(12), g = randomVector(18);
  const std::vector<Attribute> padding = {{"padding_idx", std::int64_t(1)}};
  expectGradient(call("embedding_grad", {ids, rows, table}, {id, g, {}}, padding)[2], weight,
                 [&](const Vector &at) {
                   Vector kept = at; // the row of the padding is a constant
                   std::copy_n(weight.begin() + 3, 3, kept.begin() + 3);
                   return dot(g, call("embedding", {ids, table, rows}, {id, kept, {}}, padding)[2]);
                 });
}

TEST(Gradient, Embedding) {
  const Shape ids{6}, table{4, 3}, rows{6, 3};
  const Vector id = {1, 3, 1, 0, 1, 3}, weight = randomVector(12), g = randomVector(18);
  expectGradient(call("embedding_grad", {ids, rows, table}, {id, g, {}})[2], weight, [&](const Vector &at) {
    return dot(g, call("embedding", {ids, table, rows}, {id, at, {}})[2]);
  });
}

/// Of the second of two ranks, which has rows 4 to 7; the padding is its first row, or one of the other rank.
TEST(Gradient, EmbeddingOfOneRank) {
  const Shape ids{6}, table{4, 3}, rows{6, 3};
  const Vector id = {5, 3, 4, 0, 5, 7}, weight = randomVector(12), g = randomVector(18);
  for (std::int64_t padding : {4, 1}) {
    const std::vector<Attribute> attributes = {{"padding_idx", padding}};
    expectGradient(
        call("embedding_grad", {ids, rows, table, {1}}, {id, g, {}, {1}}, attributes)[2], weight,
        [&](const Vector &at) {
          Vector kept = at;
          if (padding == 4) // a constant
            std::copy_n(weight.begin(), 3, kept.begin());
          return dot(g, call("embedding", {ids, table, rows, {1}}, {id, kept, {}, {1}}, attributes)[2]);
        });
  }
}

} // namespace

} // namespace stagewright::kernels
