#include "PlainClassifier.h"

#include <algorithm>
#include <cmath>

namespace stagewright::testdata {

PlainClassifier::Activations PlainClassifier::forward(const Row &image) const {
  Activations result;
  const auto affine = [&](const Row &x, const Row &w, const Row &b) {
    Row y = b;
    for (std::size_t n = 0; n < y.size(); ++n) {
      for (std::size_t k = 0; k < x.size(); ++k) {
        y[n] += x[k] * w[n * x.size() + k];
      }
    }
    return y;
  };
  result.hidden = affine(image, weights.at("fc1.weight"), weights.at("fc1.bias"));
  for (double &value : result.hidden) {
    value = std::max(value, 0.0);
  }
  result.logits = affine(result.hidden, weights.at("fc2.weight"), weights.at("fc2.bias"));
  return result;
}

double PlainClassifier::loss(const Row &logits, int label) const {
  const double most = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const double value : logits) {
    sum += std::exp(value - most);
  }
  return most + std::log(sum) - logits[label];
}

PlainClassifier::Score PlainClassifier::evaluate(const std::vector<Row> &images,
                                                 const std::vector<int> &labels) const {
  Score score;
  for (std::size_t i = 0; i < images.size(); ++i) {
    const Row logits = forward(images[i]).logits;
    score.loss += loss(logits, labels[i]) / images.size();
    score.correct += std::max_element(logits.begin(), logits.end()) - logits.begin() == labels[i];
  }
  return score;
}

double PlainClassifier::train(const std::vector<Row> &images, const std::vector<int> &labels,
                              const Optimizer &optimizer) {
  std::map<std::string, Row> gradients;
  for (const auto &[name, values] : weights) {
    gradients[name].assign(values.size(), 0);
  }
  double mean = 0;
  for (std::size_t i = 0; i < images.size(); ++i) {
    const Activations a = forward(images[i]);
    mean += loss(a.logits, labels[i]) / images.size();
    double sum = 0;
    for (const double value : a.logits) {
      sum += std::exp(value);
    }
    Row back(hidden, 0);
    for (int n = 0; n < classes; ++n) {
      const double g = (std::exp(a.logits[n]) / sum - (n == labels[i])) / images.size();
      gradients["fc2.bias"][n] += g;
      for (int k = 0; k < hidden; ++k) {
        gradients["fc2.weight"][n * hidden + k] += g * a.hidden[k];
        back[k] += g * weights["fc2.weight"][n * hidden + k];
      }
    }
    for (int n = 0; n < hidden; ++n) {
      const double g = a.hidden[n] > 0 ? back[n] : 0;
      gradients["fc1.bias"][n] += g;
      for (int k = 0; k < pixels; ++k) {
        gradients["fc1.weight"][n * pixels + k] += g * images[i][k];
      }
    }
  }
  update(gradients, optimizer);
  return mean;
}

void PlainClassifier::update(std::map<std::string, Row> &gradients, const Optimizer &optimizer) {
  ++steps;
  double square = 0;
  for (const auto &[name, gradient] : gradients) {
    for (const double g : gradient) {
      square += g * g;
    }
  }
  lastNorm = std::sqrt(square);
  const double coefficient =
      optimizer.clipping > 0 ? std::min(1.0, optimizer.clipping / (lastNorm + 1e-6)) : 1;
  for (auto &[name, gradient] : gradients) {
    Row &w = weights[name], &m = first[name], &v = second[name];
    m.resize(w.size(), 0);
    v.resize(w.size(), 0);
    for (std::size_t i = 0; i < w.size(); ++i) {
      const double g = coefficient * gradient[i];
      if (optimizer.adam) {
        m[i] = 0.9 * m[i] + 0.1 * g;
        v[i] = 0.999 * v[i] + 0.001 * g * g;
        const double correction1 = 1 - std::pow(0.9, steps), correction2 = 1 - std::pow(0.999, steps);
        w[i] -= optimizer.learningRate * (m[i] / correction1) / (std::sqrt(v[i] / correction2) + 1e-8);
      } else {
        m[i] = optimizer.momentum * m[i] + g;
        w[i] -= optimizer.learningRate * m[i];
      }
    }
  }
}

} // namespace stagewright::testdata
