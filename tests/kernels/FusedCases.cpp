#include "FusedCases.h"

#include "cases/CaseBuilding.h"

#include <cmath>
#include <sstream>

namespace stagewright::cuda {

using catalogue::DType;
using catalogue::Shape;
using kernels::Buffer;
using kernels::KernelCase;

namespace {

const std::vector<catalogue::Attribute> kTanh = {{"approximate", std::string("tanh")}};

/// Calls for one size [m,n] of the product, whose sums have k terms.
std::vector<FusedCase> casesOfSize(const std::string &name, std::int64_t m, std::int64_t n, std::int64_t k) {
  using kernels::makeCase;
  const Shape z = {m, n};
  if (name == "linear + gelu") {
    std::vector<FusedCase> out;
    for (const bool hasBias : {false, true}) {
      std::vector<Shape> shapes = {{m, k}, {n, k}, z};
      if (hasBias) {
        shapes.push_back({n});
      }
      for (const Epilogue epilogue : {Epilogue::GeluAux, Epilogue::Gelu}) {
        out.push_back(
            {makeCase("linear", shapes, {}, 2), makeCase("gelu", {{1, m, n}, {1, m, n}}, kTanh), epilogue});
      }
    }
    return out;
  }
  if (name == "linear_input_grad + gelu_grad") {
    return {{makeCase("linear_input_grad", {{m, k}, {k, n}, z}, {}, 2),
             makeCase("gelu_grad", {z, z, z}, kTanh), Epilogue::GeluGrad}};
  }
  FusedCase sums = {makeCase("linear_weight_grad", {{k, m}, {k, n}, {m, n}}),
                    makeCase("bias_grad", {{k, m}, {m}}), Epilogue::RowSums};
  kernels::fill(sums.second.operands[1], [] { return 0; }); // the epilogue writes them
  return {sums};
}

double toleranceOf(DType element) {
  return element == DType::BF16 ? 3e-2 : element == DType::F16 ? 4e-3 : 1e-5;
}

Result<std::vector<Buffer>> runTwice(const PreparedKernel &product, const std::vector<Buffer> &operands,
                                     const std::string &text, DeviceRuns &runs, Parity &parity) {
  auto first = runs.run(product, operands, catalogue::kCudaWorkspace, text);
  auto second = first ? runs.run(product, operands, catalogue::kCudaWorkspace, text) : first.error();
  if (!second) {
    return second.takeError();
  }
  for (std::size_t i = 0; i < operands.size(); ++i) {
    if (!(*first)[i].sameBits((*second)[i])) {
      parity.fault = text + " has other bits in another run";
    }
  }
  return first;
}

void expectNear(const Buffer &found, const Buffer &expected, double tolerance, const std::string &what,
                Parity &parity) {
  for (std::int64_t i = 0; i < expected.elements; ++i) {
    const double got = found.at(i), want = expected.at(i), error = std::abs(got - want);
    const double allowed = tolerance * (1 + std::abs(want));
    if (allowed > 0 && std::isfinite(error)) {
      parity.largestError = std::max(parity.largestError, error / allowed);
    }
    if (!(error <= allowed) && parity.fault.empty()) {
      std::ostringstream text;
      text << what << "[" << i << "] is " << got << ", not " << want;
      parity.fault = text.str();
    }
  }
}

} // namespace

std::vector<std::string> fusedNames() {
  return {"linear + gelu", "linear_input_grad + gelu_grad", "linear_weight_grad + bias_grad"};
}

std::vector<FusedCase> fusedCases(const std::string &name) {
  std::vector<FusedCase> all;
  for (const auto &[m, n, k] : {std::tuple{1, 1, 1}, {5, 7, 3}, {16, 24, 8}, {33, 40, 17}, {64, 136, 80}}) {
    for (const DType element : {DType::F32, DType::F16, DType::BF16}) {
      for (FusedCase &one : casesOfSize(name, m, n, k)) {
        one.first = withElement(one.first, element);
        one.second = withElement(one.second, element);
        one.tolerance = one.ofAux = toleranceOf(one.epilogue == Epilogue::RowSums ? DType::F32 : element);
        all.push_back(std::move(one));
      }
    }
  }
  return all;
}

Result<std::optional<Parity>> runFused(const FusedCase &one, KernelCache &cache, DeviceRuns &runs) {
  auto fusion = fusionOf(one.first.instance, one.second.instance);
  if (!fusion) {
    return bugError(one.text(), "is no pair that one product takes the place of");
  }
  fusion->product.epilogue = one.epilogue;
  auto product = prepare(fusion->product, cache);
  if (!product) {
    return product.takeError();
  }
  if (!*product) {
    return std::optional<Parity>();
  }
  auto first = runs.run(one.first);
  KernelCase next = one.second;
  const auto &[written, read] = fusion->shared;
  if (first) {
    next.operands[std::size_t(read.number)] = (*first)[std::size_t(written.number)];
  }
  auto second = first ? runs.run(next) : first.error();
  if (!second) {
    return second.takeError();
  }
  const Buffer absent(DType::F32, 0);
  const auto at = [&](const FusedOperand &operand, const std::vector<Buffer> &ofFirst,
                      const std::vector<Buffer> &ofSecond) {
    const auto &all = operand.kernel == 0 ? ofFirst : ofSecond;
    return operand.kernel < 0 || std::size_t(operand.number) >= all.size() ? absent
                                                                           : all[std::size_t(operand.number)];
  };
  const bool isSums = one.epilogue == Epilogue::RowSums;
  const FusedOperand aux = isSums ? FusedOperand{1, 1} // what bias_grad has added to zeros
                           : one.epilogue == Epilogue::Gelu ? FusedOperand{}
                                                            : fusion->aux;
  std::vector<Buffer> operands;
  for (const FusedOperand &operand : {fusion->a, fusion->b, fusion->d, fusion->bias, aux}) {
    operands.push_back(at(operand, one.first.operands, next.operands));
  }
  Parity parity;
  auto results = runTwice(**product, operands, one.text(), runs, parity);
  if (!results) {
    return results.takeError();
  }
  expectNear((*results)[2], at(fusion->d, *first, *second), one.tolerance, one.text(), parity);
  expectNear((*results)[4], at(aux, *first, *second), one.ofAux, one.text() + ", aux", parity);
  return std::optional<Parity>(std::move(parity));
}

} // namespace stagewright::cuda
