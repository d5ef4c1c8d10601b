#include "kernels/cuda/Fusion.h"

#include "kernels/cuda/Family.h"

namespace stagewright::cuda {
namespace {

bool isTanh(const kernels::KernelInstance &gelu) {
  const auto call = kernels::makeCall(gelu);
  return call && call->integers[0] == 1;
}

std::int64_t elementsOf(const catalogue::Shape &shape) {
  std::int64_t elements = 1;
  for (const std::int64_t size : shape) {
    elements *= size;
  }
  return elements;
}

/// Rows of the first, columns of the second and what both are summed over, by operand and dimension.
Product productOf(const kernels::KernelInstance &instance, const Call &call, std::array<int, 2> m,
                  std::array<int, 2> n, std::array<int, 2> k) {
  Product product;
  product.element = product.result = call.element;
  product.m = instance.shapes[static_cast<std::size_t>(m[0])][static_cast<std::size_t>(m[1])];
  product.n = instance.shapes[static_cast<std::size_t>(n[0])][static_cast<std::size_t>(n[1])];
  product.k = instance.shapes[static_cast<std::size_t>(k[0])][static_cast<std::size_t>(k[1])];
  return product;
}

class PreparedProduct final : public PreparedKernel {
public:
  PreparedProduct(const Product &product, Plan plan, KernelCache &cache)
      : product(product), plan(plan), cache(cache) {}

  Result<void> enqueue(void *const *operands, void *workspace, Stream stream) const override {
    const Product &p = product;
    const auto bytes = [](Element element, std::int64_t count) {
      return static_cast<std::size_t>(count) * (element == Element::F32 ? 4 : 2);
    };
    const bool sums = p.epilogue == Epilogue::RowSums;
    const Access accesses[] = {
        {operands[0], bytes(p.element, p.batch * p.m * p.k), false},
        {operands[1], bytes(p.element, p.batch * p.k * p.n), false},
        {operands[2], bytes(p.result, p.batch * p.m * p.n), true},
        {operands[3], operands[3] ? bytes(p.result, p.n) : 0, false},
        {operands[4], !operands[4] ? 0 : bytes(p.result, sums ? p.m : p.m * p.n),
         p.epilogue != Epilogue::GeluGrad},
        {workspace, catalogue::kCudaWorkspace, true},
    };
    cache.api().declare(accesses, stream);
    return cache.api().multiply(
        plan, {.a = operands[0], .b = operands[1], .d = operands[2], .bias = operands[3], .aux = operands[4]},
        workspace, stream);
  }

private:
  const Product product;
  const Plan plan;
  KernelCache &cache;
};

} // namespace

std::optional<Fusion> fusionOf(const kernels::KernelInstance &first, const kernels::KernelInstance &second) {
  const std::string_view names[] = {first.kernel->name, second.kernel->name};
  const auto call = kernels::makeCall(first);
  if (!call || first.kernel->version > 2 || second.kernel->version != 1) {
    return {};
  }
  Fusion fusion;
  if (names[0] == "linear" && names[1] == "gelu" && isTanh(second)) {
    fusion = {productOf(first, *call, {0, 0}, {1, 0}, {0, 1}),
              {0, 0},
              {0, 1},
              {1, 1},
              {0, 3},
              {0, 2},
              {{{0, 2}, {1, 0}}}};
    fusion.product.transposesB = true;
    fusion.product.hasBias = call->operands[3].present;
    fusion.product.epilogue = Epilogue::GeluAux;
  } else if (names[0] == "linear_input_grad" && names[1] == "gelu_grad" && isTanh(second)) {
    fusion = {productOf(first, *call, {0, 0}, {1, 1}, {0, 1}),
              {0, 0},
              {0, 1},
              {1, 2},
              {},
              {1, 1},
              {{{0, 2}, {1, 0}}}};
    fusion.product.epilogue = Epilogue::GeluGrad;
  } else if (names[0] == "linear_weight_grad" && names[1] == "bias_grad") {
    fusion = {
        productOf(first, *call, {0, 1}, {1, 1}, {0, 0}), {0, 0}, {0, 1}, {0, 2}, {}, {}, {{{0, 0}, {1, 0}}}};
    fusion.product.transposesA = fusion.product.accumulates = true;
    fusion.product.result = Element::F32;
    fusion.product.epilogue = Epilogue::RowSums;
  } else {
    return {};
  }
  const auto shapeOf = [&](const FusedOperand &operand) -> const catalogue::Shape & {
    return (operand.kernel == 0 ? first : second).shapes[static_cast<std::size_t>(operand.number)];
  };
  if (first.element != second.element ||
      elementsOf(shapeOf(fusion.shared[0])) != elementsOf(shapeOf(fusion.shared[1]))) {
    return {};
  }
  return fusion;
}

Result<std::unique_ptr<PreparedKernel>> prepare(const Product &product, KernelCache &cache) {
  auto plan = cache.plan(product);
  if (!plan) {
    return plan.takeError();
  }
  if (!plan->handle) {
    return std::unique_ptr<PreparedKernel>();
  }
  return std::unique_ptr<PreparedKernel>(std::make_unique<PreparedProduct>(product, *plan, cache));
}

} // namespace stagewright::cuda
