#include "FiniteDifferences.h"

#include <gtest/gtest.h>

namespace stagewright::kernels {

namespace {

const Shape kShape{3, 5};

/// What the gradient rules of the dialect make of g for both operands (ir/layer/ArithmeticOps.cpp).
void expectBinary(const char *kernel, const std::function<Vector(const Vector &g, const Vector &b)> &ofA,
                  const std::function<Vector(const Vector &g, const Vector &a, const Vector &b)> &ofB) {
  const Vector a = randomVector(15), b = randomVector(15, 0.5, 2), g = randomVector(15);
  const auto loss = [&](const Vector &a, const Vector &b) {
    return dot(g, call(kernel, {kShape, kShape, kShape}, {a, b, {}})[2]);
  };
  expectGradient(ofA(g, b), a, [&](const Vector &at) { return loss(at, b); });
  expectGradient(ofB(g, a, b), b, [&](const Vector &at) { return loss(a, at); });
}

Vector binary(const char *kernel, const Vector &a, const Vector &b) {
  return call(kernel, {kShape, kShape, kShape}, {a, b, {}})[2];
}

Vector negated(const Vector &x) {
  return call("scale", {kShape, kShape}, {x, {}}, {{"factor", -1.0}})[1];
}

TEST(Gradient, Arithmetic) {
  expectBinary(
      "add", [](auto &g, auto &) { return g; }, [](auto &g, auto &, auto &) { return g; });
  expectBinary(
      "subtract", [](auto &g, auto &) { return g; }, [](auto &g, auto &, auto &) { return negated(g); });
  expectBinary(
      "multiply", [](auto &g, auto &b) { return binary("multiply", g, b); },
      [](auto &g, auto &a, auto &) { return binary("multiply", g, a); });
  expectBinary(
      "divide", [](auto &g, auto &b) { return binary("divide", g, b); },
      [](auto &g, auto &a, auto &b) {
        return negated(binary("multiply", binary("divide", g, b), binary("divide", a, b)));
      });
}

TEST(Gradient, Scale) {
  const Vector x = randomVector(15), g = randomVector(15);
  const std::vector<Attribute> line = {{"factor", 0.75}, {"shift", -0.5}};
  expectGradient(call("scale", {kShape, kShape}, {g, {}}, {{"factor", 0.75}})[1], x, [&](const Vector &at) {
    return dot(g, call("scale", {kShape, kShape}, {at, {}}, line)[1]);
  });
}

TEST(Gradient, Matmul) {
  const Shape a{2, 3, 4}, b{2, 4, 5}, y{2, 3, 5}, aT{2, 4, 3}, bT{2, 5, 4};
  const Vector x = randomVector(24), w = randomVector(40), g = randomVector(30);
  const auto product = [](const char *kernel, const Shape &a, const Shape &b, const Shape &y,
                          const Vector &left, const Vector &right) {
    return call(kernel, {a, b, y}, {left, right, {}})[2];
  };
  const auto expectBoth = [&](const char *kernel, const Shape &left, const Shape &right, const Vector &ofLeft,
                              const Vector &ofRight) {
    expectGradient(ofLeft, x,
                   [&](const Vector &at) { return dot(g, product(kernel, left, right, y, at, w)); });
    expectGradient(ofRight, w,
                   [&](const Vector &at) { return dot(g, product(kernel, left, right, y, x, at)); });
  };
  expectBoth("matmul", a, b, product("matmul_nt", y, b, a, g, w), product("matmul_tn", a, y, b, x, g));
  expectBoth("matmul_nt", a, bT, product("matmul", y, bT, a, g, w), product("matmul_tn", y, a, bT, g, x));
  expectBoth("matmul_tn", aT, b, product("matmul_nt", b, y, aT, w, g), product("matmul", aT, y, b, x, g));
}

} // namespace

} // namespace stagewright::kernels
