// Family optimizer.
#include "kernels/host/reference/Values.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

namespace stagewright::kernels {

namespace {

void gradientNormPartials(const Values &v) {
  std::ranges::fill(v[1], 0.0);
  for (std::size_t i = 0; i < v[0].size(); ++i)
    v[1][i / std::size_t(catalogue::kGranule)] += v[0][i] * v[0][i];
}

void clipCoefficient(const Values &v) {
  const double scale = v.has(3) ? v.scalar(3) : 1, maxNorm = v.real("max_norm");
  v[2][0] = std::sqrt(std::reduce(v[0].begin(), v[0].end())) / scale;
  v[1][0] = (maxNorm == 0 ? 1 : std::min(1.0, maxNorm / (v[2][0] + 1e-6))) / scale;
}

/// torch.optim.SGD, algorithm of its documentation page.
void sgd(const Values &v) {
  const double momentum = v.real("momentum");
  for (std::size_t i = 0; i < v[0].size(); ++i) {
    double g = v[1][i] * v.scalar(3) + v.real("weight_decay") * v[0][i];
    if (momentum != 0) {
      double &buffer = v[5][i];
      buffer = v.scalar(4) > 1 ? momentum * buffer + (1 - v.real("dampening")) * g : g;
      g = v.flag("nesterov") ? g + momentum * buffer : buffer;
    }
    v[0][i] -= v.scalar(2) * g;
    v[1][i] = 0;
  }
}

/// torch.optim.Adam and torch.optim.AdamW, algorithms of their documentation pages.
void adam(const Values &v) {
  const double beta1 = v.has(7) ? v.scalar(7) : v.real("beta1"), beta2 = v.real("beta2"),
               decay = v.real("weight_decay");
  for (std::size_t i = 0; i < v[0].size(); ++i) {
    double &p = v[0][i], &m = v[5][i], &s = v[6][i], g = v[1][i] * v.scalar(3);
    if (v.flag("decoupled"))
      p -= v.scalar(2) * decay * p;
    else
      g += decay * p;
    m = beta1 * m + (1 - beta1) * g;
    s = beta2 * s + (1 - beta2) * g * g;
    p -= v.scalar(2) * (m / v[4][0]) / (std::sqrt(s / v[4][1]) + v.real("epsilon"));
    v[1][i] = 0;
  }
}

/// Lion: Chen et al., "Symbolic discovery of optimization algorithms" (2023), algorithm 2.
void lion(const Values &v) {
  const double beta1 = v.has(5) ? v.scalar(5) : v.real("beta1"), beta2 = v.real("beta2");
  for (std::size_t i = 0; i < v[0].size(); ++i) {
    double &p = v[0][i], &m = v[4][i], g = v[1][i] * v.scalar(3);
    const double direction = beta1 * m + (1 - beta1) * g;
    p -= v.scalar(2) * (double((direction > 0) - (direction < 0)) + v.real("weight_decay") * p);
    m = beta2 * m + (1 - beta2) * g;
    v[1][i] = 0;
  }
}

/// torch.optim.Adagrad, algorithm of its documentation page.
void adagrad(const Values &v) {
  const double rate = v.scalar(2) / (1 + (v.scalar(4) - 1) * v.real("lr_decay"));
  for (std::size_t i = 0; i < v[0].size(); ++i) {
    const double g = v[1][i] * v.scalar(3) + v.real("weight_decay") * v[0][i];
    v[5][i] += g * g;
    v[0][i] -= rate * g / (std::sqrt(v[5][i]) + v.real("epsilon"));
    v[1][i] = 0;
  }
}

/// LAMB (You et al. 2019) as DeepSpeed's FusedLamb computes it.
void lamb(const Values &v) {
  const double beta1 = v.has(7) ? v.scalar(7) : v.real("beta1"), beta2 = v.real("beta2");
  std::vector<double> direction(v[0].size());
  double ofParam = 0, ofDirection = 0;
  for (std::size_t i = 0; i < v[0].size(); ++i) {
    const double g = v[1][i] * v.scalar(3);
    v[5][i] = beta1 * v[5][i] + (1 - beta1) * g;
    v[6][i] = beta2 * v[6][i] + (1 - beta2) * g * g;
    direction[i] = v[5][i] / (std::sqrt(v[6][i]) + v.real("epsilon")) + v.real("weight_decay") * v[0][i];
    ofParam += v[0][i] * v[0][i];
    ofDirection += direction[i] * direction[i];
    v[1][i] = 0;
  }
  const double ratio = ofParam != 0 && ofDirection != 0 ? std::clamp(std::sqrt(ofParam / ofDirection),
                                                                     v.real("min_coeff"), v.real("max_coeff"))
                                                        : 1.0;
  for (std::size_t i = 0; i < v[0].size(); ++i)
    v[0][i] -= v.scalar(2) * std::sqrt(v[4][1]) / v[4][0] * ratio * direction[i];
}

constexpr ReferenceEntry kEntries[] = {
    {"gradient_norm_partials", gradientNormPartials},
    {"clip_coefficient", clipCoefficient},
    {"sgd", sgd},
    {"adam", adam},
    {"lion", lion},
    {"adagrad", adagrad},
    {"lamb", lamb},
};

} // namespace

ReferenceTable optimizerReferences() {
  return kEntries;
}

} // namespace stagewright::kernels
