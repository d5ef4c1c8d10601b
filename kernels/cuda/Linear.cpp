// Family linear: matrix products, by cuBLASLt, and the gradient of a bias.
#include "kernels/cuda/Rows.h"

namespace stagewright::cuda {
namespace {

/// op(A) of [m,k] and op(B) of [k,n], in the call's element type.
Product productOf(const Enqueue &call, std::int64_t m, std::int64_t n, std::int64_t k) {
  Product product;
  product.element = product.result = call.call.element;
  product.m = m;
  product.n = n;
  product.k = k;
  return product;
}

// y = x weight^T + bias
Result<void> linear(const Enqueue &call) {
  Product product = productOf(call, call.call.size(0, 0), call.call.size(1, 0), call.call.size(0, 1));
  product.transposesB = true;
  product.hasBias = call.has(3);
  return call.multiply(product, call.operand(0), call.operand(1), call.operand(2),
                       product.hasBias ? call.operand(3) : nullptr);
}

// dx = g weight
Result<void> linearInputGrad(const Enqueue &call) {
  const Product product = productOf(call, call.call.size(0, 0), call.call.size(1, 1), call.call.size(0, 1));
  return call.multiply(product, call.operand(0), call.operand(1), call.operand(2));
}

// acc += g^T x
Result<void> linearWeightGrad(const Enqueue &call) {
  Product product = productOf(call, call.call.size(0, 1), call.call.size(1, 1), call.call.size(0, 0));
  product.transposesA = true;
  product.accumulates = true;
  product.result = Element::F32;
  return call.multiply(product, call.operand(0), call.operand(1), call.operand(2));
}

/// y = op(a) op(b), one for each of the first dimension.
Result<void> matmul(const Enqueue &call, bool transposesA, bool transposesB) {
  Product product =
      productOf(call, call.call.size(2, 1), call.call.size(2, 2), call.call.size(0, transposesA ? 1 : 2));
  product.batch = call.call.size(0, 0);
  product.transposesA = transposesA;
  product.transposesB = transposesB;
  return call.multiply(product, call.operand(0), call.operand(1), call.operand(2));
}

const CudaKernel kKernels[] = {
    {"linear", 2, linear},
    {"linear_input_grad", 2, linearInputGrad},
    {"linear_weight_grad", 1, linearWeightGrad},
    {"bias_grad", 1,
     [](const Enqueue &call) { return addColumns(call, nullptr, nullptr, nullptr, call.operand<float>(1)); }},
    {"matmul", 1, [](const Enqueue &call) { return matmul(call, false, false); }},
    {"matmul_nt", 1, [](const Enqueue &call) { return matmul(call, false, true); }},
    {"matmul_tn", 1, [](const Enqueue &call) { return matmul(call, true, false); }},
};

} // namespace

Family linearFamily() {
  return kKernels;
}

} // namespace stagewright::cuda
