#include "kernels/cuda/emulation/EmulatedDnn.h"

#include "kernels/cuda/emulation/Elements.h"

#include <cmath>

namespace stagewright::cuda::emulation {
namespace {

std::size_t at(std::int64_t i) {
  return static_cast<std::size_t>(i);
}

/// body(element of x, element of the weight, element of y) for every product.
template <typename Body>
void eachProduct(const Convolution &c, const Body &body) {
  const std::int64_t inputs = c.inputs / c.groups, outputs = c.outputs / c.groups;
  for (std::int64_t y = 0; y < c.samples * c.outputs * c.positions[0] * c.positions[1]; ++y) {
    const std::int64_t column = y % c.positions[1], row = y / c.positions[1] % c.positions[0],
                       output = y / c.positions[1] / c.positions[0] % c.outputs,
                       sample = y / c.positions[1] / c.positions[0] / c.outputs;
    for (std::int64_t k = 0; k < inputs * c.filter[0] * c.filter[1]; ++k) {
      const std::int64_t input = output / outputs * inputs + k / (c.filter[0] * c.filter[1]);
      const std::int64_t down =
          row * c.stride[0] - c.padding[0] + k / c.filter[1] % c.filter[0] * c.dilation[0];
      const std::int64_t across = column * c.stride[1] - c.padding[1] + k % c.filter[1] * c.dilation[1];
      if (down >= 0 && down < c.image[0] && across >= 0 && across < c.image[1]) {
        body(at(((sample * c.inputs + input) * c.image[0] + down) * c.image[1] + across),
             at(output * inputs * c.filter[0] * c.filter[1] + k), at(y));
      }
    }
  }
}

void storeAll(Element element, void *data, const std::vector<float> &values) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    store(element, data, static_cast<std::int64_t>(i), values[i]);
  }
}

} // namespace

void computeConvolution(const Convolution &c, std::span<void *const> operands) {
  const std::int64_t xs = c.samples * c.inputs * c.image[0] * c.image[1],
                     weights = c.outputs * (c.inputs / c.groups) * c.filter[0] * c.filter[1],
                     plane = c.positions[0] * c.positions[1], ys = c.samples * c.outputs * plane;
  using Kind = Convolution::Kind;
  const auto first = floats(c.element, operands[0], c.kind == Kind::Forward ? xs : ys),
             second = floats(c.element, operands[1], c.kind == Kind::WeightGradient ? xs : weights);
  std::vector<float> result(at(c.kind == Kind::Forward ? ys : c.kind == Kind::InputGradient ? xs : weights));
  eachProduct(c, [&](std::size_t x, std::size_t weight, std::size_t y) {
    switch (c.kind) {
    case Kind::Forward:
      result[y] = std::fma(first[x], second[weight], result[y]);
      break;
    case Kind::InputGradient:
      result[x] = std::fma(first[y], second[weight], result[x]);
      break;
    case Kind::WeightGradient:
      result[weight] = std::fma(first[y], second[x], result[weight]);
      break;
    }
  });
  if (c.hasBias) {
    const auto bias = floats(c.element, operands[3], c.outputs);
    for (std::int64_t y = 0; y < ys; ++y) {
      result[at(y)] += bias[at(y / plane % c.outputs)];
    }
  }
  storeAll(c.result, operands[2], result);
}

namespace {

/// One query of one head: its probabilities, from scores over the keys that it sees.
struct Head {
  const Attention &a;
  const std::vector<float> &q, &k;
  std::int64_t batch, query, head;

  std::int64_t keyHead() const { return head * a.keyHeads / a.heads; }
  std::int64_t seen() const { return a.isCausal ? std::min(a.keys, query + 1) : a.keys; }
  std::int64_t ofQuery() const { return ((batch * a.queries + query) * a.heads + head) * a.headSize; }
  std::int64_t ofKey(std::int64_t key) const {
    return ((batch * a.keys + key) * a.keyHeads + keyHead()) * a.headSize;
  }
  std::int64_t statistic() const { return (batch * a.heads + head) * a.queries + query; }

  double score(std::int64_t key) const {
    double sum = 0;
    for (std::int64_t i = 0; i < a.headSize; ++i) {
      sum += double{q[at(ofQuery() + i)]} * k[at(ofKey(key) + i)];
    }
    return sum * a.scale;
  }
  double logSum() const {
    double largest = -HUGE_VAL, sum = 0;
    for (std::int64_t key = 0; key < seen(); ++key) {
      largest = std::max(largest, score(key));
    }
    for (std::int64_t key = 0; key < seen(); ++key) {
      sum += std::exp(score(key) - largest);
    }
    return largest + std::log(sum);
  }
};

template <typename Body>
void eachHead(const Attention &a, const std::vector<float> &q, const std::vector<float> &k,
              const Body &body) {
  for (std::int64_t i = 0; i < a.batch * a.queries * a.heads; ++i) {
    body(Head{a, q, k, i / a.heads / a.queries, i / a.heads % a.queries, i % a.heads});
  }
}

} // namespace

static void attend(const Attention &a, std::span<void *const> operands) {
  const std::int64_t qs = a.batch * a.queries * a.heads * a.headSize,
                     ks = a.batch * a.keys * a.keyHeads * a.headSize;
  const auto q = floats(a.element, operands[0], qs), k = floats(a.element, operands[1], ks),
             v = floats(a.element, operands[2], ks);
  std::vector<float> y(at(qs));
  eachHead(a, q, k, [&](const Head &head) {
    const double logSum = head.logSum();
    static_cast<float *>(operands[4])[head.statistic()] = static_cast<float>(logSum);
    std::vector<double> sums(at(a.headSize));
    for (std::int64_t key = 0; key < head.seen(); ++key) {
      const double p = std::exp(head.score(key) - logSum);
      for (std::int64_t i = 0; i < a.headSize; ++i) {
        sums[at(i)] += p * v[at(head.ofKey(key) + i)];
      }
    }
    for (std::int64_t i = 0; i < a.headSize; ++i) {
      y[at(head.ofQuery() + i)] = static_cast<float>(sums[at(i)]);
    }
  });
  storeAll(a.element, operands[3], y);
}

/// With p = exp(score - statistics): dv = p^T g, ds = p (g v^T - rows(g y)), dq = scale ds k, dk = scale ds^T
/// q.
static void attendGradient(const Attention &a, std::span<void *const> operands) {
  const std::int64_t qs = a.batch * a.queries * a.heads * a.headSize,
                     ks = a.batch * a.keys * a.keyHeads * a.headSize;
  const auto g = floats(a.element, operands[0], qs), q = floats(a.element, operands[1], qs),
             k = floats(a.element, operands[2], ks), v = floats(a.element, operands[3], ks),
             y = floats(a.element, operands[4], qs);
  std::vector<double> dq(at(qs)), dk(at(ks)), dv(at(ks));
  eachHead(a, q, k, [&](const Head &head) {
    const double logSum = static_cast<const float *>(operands[5])[head.statistic()];
    const std::size_t of = at(head.ofQuery());
    double whole = 0;
    for (std::size_t i = 0; i < at(a.headSize); ++i) {
      whole += double{g[of + i]} * y[of + i];
    }
    for (std::int64_t key = 0; key < head.seen(); ++key) {
      const std::size_t with = at(head.ofKey(key));
      const double p = std::exp(head.score(key) - logSum);
      double sum = 0;
      for (std::size_t i = 0; i < at(a.headSize); ++i) {
        sum += double{g[of + i]} * v[with + i];
      }
      for (std::size_t i = 0; i < at(a.headSize); ++i) {
        dv[with + i] += p * g[of + i];
        dq[of + i] += a.scale * p * (sum - whole) * k[with + i];
        dk[with + i] += a.scale * p * (sum - whole) * q[of + i];
      }
    }
  });
  storeAll(a.element, operands[6], std::vector<float>(dq.begin(), dq.end()));
  storeAll(a.element, operands[7], std::vector<float>(dk.begin(), dk.end()));
  storeAll(a.element, operands[8], std::vector<float>(dv.begin(), dv.end()));
}

void computeAttention(const Attention &a, std::span<void *const> operands) {
  a.isGradient ? attendGradient(a, operands) : attend(a, operands);
}

} // namespace stagewright::cuda::emulation
