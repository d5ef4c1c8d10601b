#include "FiniteDifferences.h"

#include <gtest/gtest.h>

namespace stagewright::kernels {

namespace {

const CoveredGradients kCovered({"attention_grad", "attention_dropout_grad"});

/// Gradients of q, k and v. `extra`: what comes after log_sum_exp, with its shapes.
void expectAttentionGradients(const char *forward, const char *backward, std::int64_t queries,
                              std::int64_t keys, const std::vector<Attribute> &attributes,
                              const std::vector<Shape> &extraShapes, const ReferenceOperands &extra) {
  const Shape q{2, queries, 4, 3}, k{2, keys, 2, 3}, sums{2, 4, queries};
  const Vector g = randomVector(24 * queries);
  const ReferenceOperands inputs = {randomVector(24 * queries), randomVector(12 * keys),
                                    randomVector(12 * keys)};
  const auto run = [&](ReferenceOperands at) {
    std::vector<Shape> shapes = {q, k, k, q, sums};
    at.insert(at.end(), {{}, {}});
    shapes.insert(shapes.end(), extraShapes.begin(), extraShapes.end());
    at.insert(at.end(), extra.begin(), extra.end());
    return call(forward, shapes, at, attributes);
  };
  const ReferenceOperands known = run(inputs);
  std::vector<Shape> shapes = {q, q, k, k, q, sums, q, k, k};
  ReferenceOperands operands = {g, inputs[0], inputs[1], inputs[2], known[3], known[4], {}, {}, {}};
  shapes.insert(shapes.end(), extraShapes.begin(), extraShapes.end());
  operands.insert(operands.end(), extra.begin(), extra.end());
  const ReferenceOperands gradients = call(backward, shapes, operands, attributes);
  for (std::size_t i = 0; i < 3; ++i)
    expectGradient(gradients[6 + i], inputs[i], [&](const Vector &at) {
      ReferenceOperands moved = inputs;
      moved[i] = at;
      return dot(g, run(moved)[3]);
    });
}

TEST(Gradient, Attention) {
  const Vector mask = {1, 1, 0, 1, 1, 0, 0, 1, 0, 1};
  expectAttentionGradients("attention", "attention_grad", 3, 5, {}, {{2, 5}}, {mask});
  expectAttentionGradients("attention", "attention_grad", 4, 4,
                           {{"causal", std::int64_t(1)}, {"scale", 0.75}}, {}, {});
}

TEST(Gradient, AttentionWithDropout) {
  expectAttentionGradients("attention_dropout", "attention_dropout_grad", 4, 4,
                           {{"causal", std::int64_t(1)}, {"p", 0.25}}, {{4}}, {{1, 2, 3, 4}});
  expectAttentionGradients(
      "attention_dropout", "attention_dropout_grad", 3, 5,
      {{"scale", 0.75}, {"p", 0.5}, {"block", std::int64_t(5)}, {"ordinal", std::int64_t(6)}}, {{4}, {2, 5}},
      {{1, 2, 3, 4}, {1, 1, 0, 1, 1, 0, 0, 1, 0, 1}});
}

} // namespace

} // namespace stagewright::kernels
