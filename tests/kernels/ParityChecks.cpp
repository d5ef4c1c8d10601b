#include "ParityChecks.h"

#include "FusedCases.h"

#include "kernels/cuda/OrderedSum.h"

#include <cmath>

namespace stagewright::cuda {

using catalogue::DType;
using kernels::Buffer;
using kernels::KernelCase;

namespace {

constexpr const char *kOrderedSum = "ordered_sum";

/// By cuDNN sums are rounded to the call's type before a bias or an accumulator is added, and probabilities
/// of attention before they meet the values (docs/cuda.md).
double roundingOfDnn(const KernelCase &one) {
  switch (one.instance.element) {
  case DType::BF16:
    return 0x1p-8;
  case DType::F16:
    return 0x1p-11;
  default:
    return 0x1p-23;
  }
}

bool sameBits(const std::vector<Buffer> &a, const std::vector<Buffer> &b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!a[i].sameBits(b[i])) {
      return false;
    }
  }
  return true;
}

/// Errors: of the device. What is wrong with the call is noted.
Result<void> runKernel(const KernelCase &one, KernelCache &cache, DeviceRuns &runs, Outcome &outcome) {
  const std::string name(one.instance.kernel->name);
  const auto callsByDnn = [&] {
    const auto use = cache.dnnUse().find(name);
    return use == cache.dnnUse().end() ? 0 : use->second.byDnn;
  };
  const std::int64_t before = callsByDnn();
  auto first = runs.run(one), second = first ? runs.run(one) : first.error();
  if (!second) {
    return second.takeError();
  }
  const bool isByDnn = callsByDnn() > before;
  outcome.byDnn += isByDnn;
  const Parity parity = compareWithReference(one, *first, isByDnn ? roundingOfDnn(one) : 0);
  outcome.largestError = std::max(outcome.largestError, parity.largestError);
  bool isSame = sameBits(*first, *second);
  for (const catalogue::InPlacePair &pair : one.instance.kernel->inPlace) {
    auto inPlace = runs.run(one, pair);
    if (!inPlace) {
      return inPlace.takeError();
    }
    const auto output = std::size_t(pair.output);
    isSame = isSame && (*inPlace)[output].sameBits((*first)[output]);
  }
  outcome.sameBits = outcome.sameBits && isSame;
  outcome.note(!parity.fault.empty() ? parity.fault
               : isSame              ? ""
                                     : one.text() + " has other bits in another run");
  outcome.passed += parity.fault.empty() && isSame;
  return {};
}

Result<void> runFused(const FusedCase &one, KernelCache &cache, DeviceRuns &runs, Outcome &outcome) {
  auto parity = runFused(one, cache, runs);
  if (!parity) {
    return parity.takeError();
  }
  if (!*parity) {
    --outcome.cases;
    ++outcome.refused;
    return {};
  }
  const Parity &found = **parity;
  outcome.largestError = std::max(outcome.largestError, found.largestError);
  outcome.note(found.fault);
  outcome.passed += found.fault.empty();
  return {};
}

/// y = (term 0 + term 1 + ...) / divisor, or y += that; term `position` is apart from the others.
struct SumCase {
  DType dtype = DType::F32;
  std::int64_t elements = 0;
  int terms = 0, position = 0, divisor = 1;
  bool accumulates = false;

  std::int64_t stride() const { return (elements + 7) / 8 * 8; }
  std::string text() const {
    return std::string(kOrderedSum) + " of " + std::to_string(terms) + " terms of " +
           std::to_string(elements) + " " + std::string(catalogue::name(dtype)) + ", own at " +
           std::to_string(position) + (accumulates ? ", added" : "") +
           (divisor > 1 ? ", divided by " + std::to_string(divisor) : "");
  }
};

std::vector<SumCase> sumCases() {
  std::vector<SumCase> all;
  for (const DType dtype : {DType::F32, DType::F16, DType::BF16, DType::F64}) {
    for (const std::int64_t elements : {1, 1001, 70001}) {
      for (const auto &[terms, position] : {std::pair{2, 0}, {2, 1}, {3, 1}, {5, 4}}) {
        all.push_back({dtype, elements, terms, position, 1, false});
        all.push_back({dtype, elements, terms, position, terms == 3 ? 3 : 1, true});
      }
    }
  }
  return all;
}

class OrderedSum final : public PreparedKernel {
public:
  OrderedSum(const SumCase &one, KernelCache &cache) : one(one), cache(cache) {}
  /// own, others, y
  Result<void> enqueue(void *const *operands, void *, Stream stream) const override {
    const OrderedSumArguments arguments{operands[0],  operands[1],     operands[2],
                                        one.elements, one.stride(),    one.terms,
                                        one.position, one.accumulates, one.divisor};
    return launchOrderedSum(cache.api(), cache, stream, one.dtype, arguments);
  }

private:
  const SumCase one;
  KernelCache &cache;
};

/// (t0 + t1) + t2 rounds otherwise than any other order of these.
double termOf(const SumCase &one, std::int64_t i, int k) {
  const double magnitude = std::ldexp(1 + double((i * 7 + k * 13) % 97) / 128, int(i + k * 11) % 12);
  return (i + k) % 2 ? magnitude : -magnitude / one.terms;
}

template <typename Wide>
double plainSum(const SumCase &one, const std::vector<Buffer> &operands, std::int64_t i) {
  const auto term = [&](int k) {
    return k == one.position
               ? Wide(operands[0].at(i))
               : Wide(operands[1].at(std::int64_t(k < one.position ? k : k - 1) * one.stride() + i));
  };
  Wide sum = term(0);
  for (int k = 1; k < one.terms; ++k) {
    sum = sum + term(k);
  }
  if (one.divisor > 1) {
    sum = sum / Wide(one.divisor);
  }
  return one.accumulates ? Wide(operands[2].at(i)) + sum : sum;
}

Result<void> runSum(const SumCase &one, KernelCache &cache, DeviceRuns &runs, Outcome &outcome) {
  std::vector<Buffer> operands = {
      {one.dtype, one.elements}, {one.dtype, one.stride() * (one.terms - 1)}, {one.dtype, one.elements}};
  for (std::int64_t i = 0; i < one.elements; ++i) {
    operands[2].set(i, 0.5);
    for (int k = 0, place = 0; k < one.terms; ++k) {
      k == one.position ? operands[0].set(i, termOf(one, i, k))
                        : operands[1].set(place++ * one.stride() + i, termOf(one, i, k));
    }
  }
  Buffer expected(one.dtype, one.elements);
  for (std::int64_t i = 0; i < one.elements; ++i) {
    expected.set(i, one.dtype == DType::F64 ? plainSum<double>(one, operands, i)
                                            : plainSum<float>(one, operands, i));
  }
  const OrderedSum sum(one, cache);
  auto apart = runs.run(sum, operands, 0, one.text());
  if (!apart) {
    return apart.takeError();
  }
  bool isSame = (*apart)[2].sameBits(expected);
  if (!one.accumulates) {
    auto inPlace = runs.run(sum, operands, 0, one.text(), catalogue::InPlacePair{0, 2});
    if (!inPlace) {
      return inPlace.takeError();
    }
    isSame = isSame && (*inPlace)[2].sameBits(expected);
  }
  outcome.sameBits = outcome.sameBits && isSame;
  outcome.note(isSame ? "" : one.text() + " has other bits than a plain loop");
  outcome.passed += isSame;
  return {};
}

/// `run`: of one case.
template <typename Case, typename Run>
bool runAll(const std::vector<Case> &cases, Outcome &outcome, Run run) {
  outcome.cases = cases.size();
  for (const Case &one : cases) {
    if (auto ok = run(one); !ok) {
      outcome.note(one.text() + ": " + ok.error().text());
      if (ok.error().kind == ErrorKind::Environment) {
        return false;
      }
    }
  }
  return true;
}

} // namespace

std::vector<Subject> subjects() {
  std::vector<Subject> all;
  for (const catalogue::Kernel *kernel : cudaKernels()) {
    all.push_back({std::string(kernel->name), kernel->version, kernel});
  }
  for (std::string &name : fusedNames()) {
    all.push_back({std::move(name)});
  }
  all.push_back({kOrderedSum});
  return all;
}

std::size_t caseCount(const Subject &subject) {
  return subject.kernel                ? kernels::casesOf(subject.name, subject.version).size()
         : subject.name == kOrderedSum ? sumCases().size()
                                       : fusedCases(subject.name).size();
}

bool check(const Subject &subject, KernelCache &cache, Outcome &outcome) {
  DeviceRuns runs(cache);
  if (subject.kernel) {
    return runAll(kernels::casesOf(subject.name, subject.version), outcome,
                  [&](const KernelCase &one) { return runKernel(one, cache, runs, outcome); });
  }
  if (subject.name == kOrderedSum) {
    return runAll(sumCases(), outcome, [&](const SumCase &one) { return runSum(one, cache, runs, outcome); });
  }
  const bool goesOn = runAll(fusedCases(subject.name), outcome,
                             [&](const FusedCase &one) { return runFused(one, cache, runs, outcome); });
  if (outcome.cases == 0) {
    outcome.note("cuBLASLt has no algorithm with this epilogue for any case");
  }
  return goesOn;
}

} // namespace stagewright::cuda
