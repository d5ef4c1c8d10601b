#include "kernels/host/reference/Reference.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

namespace stagewright::kernels {

namespace {

/// Sizes, attributes and elements of one call, by operand number.
struct Values {
  const KernelInstance &instance;
  ReferenceOperands &operands;

  std::int64_t size(std::size_t operand, std::size_t dimension) const {
    return instance.shapes[operand][dimension];
  }
  bool has(std::size_t operand) const { return operand < instance.shapes.size(); }
  std::vector<double> &operator[](std::size_t operand) const { return operands[operand]; }
  double scalar(std::size_t operand) const { return operands[operand][0]; }
  double real(const char *name) const {
    return catalogue::floatAttribute(*instance.kernel, instance.attributes, name);
  }
  bool flag(const char *name) const {
    return catalogue::integerAttribute(*instance.kernel, instance.attributes, name) != 0;
  }
  bool isTanh() const {
    return catalogue::stringAttribute(*instance.kernel, instance.attributes, "approximate") == "tanh";
  }
};

/// to[rows, columns] = (or +=) sum over depth of left(row, step) * right(step, column).
template <typename Left, typename Right>
void multiply(std::vector<double> &to, std::int64_t rows, std::int64_t depth, std::int64_t columns,
              const Left &left, const Right &right, bool add) {
  for (std::int64_t row = 0; row < rows; ++row)
    for (std::int64_t column = 0; column < columns; ++column) {
      double sum = 0;
      for (std::int64_t step = 0; step < depth; ++step)
        sum += left(row, step) * right(step, column);
      double &out = to[std::size_t(row * columns + column)];
      out = add ? out + sum : sum;
    }
}

/// to[step, column] of a packed matrix = at(step, column); padding is zero.
template <typename At>
void pack(std::vector<double> &to, std::int64_t depth, std::int64_t columns, const At &at) {
  std::ranges::fill(to, 0.0);
  for (std::int64_t step = 0; step < depth; ++step)
    for (std::int64_t column = 0; column < columns; ++column)
      to[std::size_t(packedIndex(depth, columns, step, column))] = at(step, column);
}

void packLinearForward(const Values &v) {
  const std::int64_t outputs = v.size(0, 0), inputs = v.size(0, 1);
  pack(v[1], inputs, outputs,
       [&](auto step, auto column) { return v[0][std::size_t(column * inputs + step)]; });
}

void packLinearInputGrad(const Values &v) {
  const std::int64_t outputs = v.size(0, 0), inputs = v.size(0, 1);
  pack(v[1], outputs, inputs,
       [&](auto step, auto column) { return v[0][std::size_t(step * inputs + column)]; });
}

/// linear and linear_input_grad.
void packedProduct(const Values &v) {
  const std::int64_t rows = v.size(0, 0), depth = v.size(0, 1), columns = v.size(2, 1);
  multiply(
      v[2], rows, depth, columns, [&](auto row, auto step) { return v[0][std::size_t(row * depth + step)]; },
      [&](auto step, auto column) { return v[1][std::size_t(packedIndex(depth, columns, step, column))]; },
      false);
  for (std::int64_t i = 0; v.has(3) && i < rows * columns; ++i)
    v[2][std::size_t(i)] += v[3][std::size_t(i % columns)];
}

void linearWeightGrad(const Values &v) {
  const std::int64_t tokens = v.size(0, 0), outputs = v.size(0, 1), inputs = v.size(1, 1);
  multiply(
      v[2], outputs, tokens, inputs,
      [&](auto row, auto step) { return v[0][std::size_t(step * outputs + row)]; },
      [&](auto step, auto column) { return v[1][std::size_t(step * inputs + column)]; }, true);
}

void biasGrad(const Values &v) {
  for (std::size_t i = 0; i < v[0].size(); ++i)
    v[1][i % v[1].size()] += v[0][i];
}

/// v[last][i] = f(v[0][i], v[1][i]); with two operands the second argument is what was in the output.
template <typename Function>
void map(const Values &v, const Function &f) {
  std::vector<double> &out = v[v.operands.size() - 1];
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] = f(v[0][i], v[1][i]);
}

double gelu(double x, bool isTanh) {
  if (!isTanh)
    return 0.5 * x * std::erfc(-x / std::numbers::sqrt2);
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}

double geluSlope(double x, bool isTanh) {
  if (!isTanh)
    return 0.5 * std::erfc(-x / std::numbers::sqrt2) +
           x * std::exp(-0.5 * x * x) / std::sqrt(2 * std::numbers::pi);
  const double factor = std::sqrt(2 / std::numbers::pi), t = std::tanh(factor * (x + 0.044715 * x * x * x));
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * factor * (1 + 3 * 0.044715 * x * x);
}

/// log(sum of exp) of row `row` of the first operand.
double logSumExp(const Values &v, std::int64_t row) {
  const std::int64_t columns = v.size(0, 1);
  const auto begin = v[0].begin() + row * columns, end = begin + columns;
  const double most = *std::max_element(begin, end);
  double sum = 0;
  for (auto x = begin; x != end; ++x)
    sum += std::exp(*x - most);
  return most + std::log(sum);
}

std::size_t labelIndex(const Values &v, std::int64_t row) {
  return std::size_t(row * v.size(0, 1) + std::int64_t(v[1][std::size_t(row)]));
}

void softmaxCrossEntropy(const Values &v) {
  const std::int64_t valid = std::int64_t(v.scalar(2));
  double sum = 0;
  for (std::int64_t row = 0; row < v.size(0, 0); ++row) {
    v[4][std::size_t(row)] = logSumExp(v, row);
    if (row < valid)
      sum += v[4][std::size_t(row)] - v[0][labelIndex(v, row)];
  }
  v[3][0] = valid ? sum / double(valid) : 0;
}

void softmaxCrossEntropyGrad(const Values &v) {
  const std::int64_t columns = v.size(0, 1);
  for (std::size_t i = 0; i < v[0].size(); ++i)
    v[3][i] = std::exp(v[0][i] - v[2][i / std::size_t(columns)]) * v.real("scale");
  for (std::int64_t row = 0; row < v.size(0, 0); ++row)
    v[3][labelIndex(v, row)] -= v.real("scale");
}

void mseLoss(const Values &v) {
  const std::size_t valid = std::size_t(v.scalar(2)) * (v[0].size() / std::size_t(v.size(0, 0)));
  double sum = 0;
  for (std::size_t i = 0; i < valid; ++i)
    sum += (v[0][i] - v[1][i]) * (v[0][i] - v[1][i]);
  v[3][0] = valid ? sum / double(valid) : 0;
}

void countCorrect(const Values &v) {
  v[3][0] = 0;
  for (std::int64_t row = 0; row < std::int64_t(v.scalar(2)); ++row) {
    const auto begin = v[0].begin() + row * v.size(0, 1), top = std::max_element(begin, begin + v.size(0, 1));
    v[3][0] += top - begin == std::int64_t(v[1][std::size_t(row)]);
  }
}

void meanLoss(const Values &v) {
  v[1][0] = std::reduce(v[0].begin(), v[0].end()) / double(v[0].size());
}

void gradientNormPartials(const Values &v) {
  std::ranges::fill(v[1], 0.0);
  for (std::size_t i = 0; i < v[0].size(); ++i)
    v[1][i / std::size_t(catalogue::kGranule)] += v[0][i] * v[0][i];
}

void clipCoefficient(const Values &v) {
  v[2][0] = std::sqrt(std::reduce(v[0].begin(), v[0].end()));
  v[1][0] = std::min(1.0, v.real("max_norm") / (v[2][0] + 1e-6));
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
  const double beta1 = v.real("beta1"), beta2 = v.real("beta2"), decay = v.real("weight_decay");
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

struct Entry {
  std::string_view name;
  void (*run)(const Values &v);
};

constexpr Entry kEntries[] = {
    {"pack_linear_forward", packLinearForward},
    {"pack_linear_input_grad", packLinearInputGrad},
    {"linear", packedProduct},
    {"linear_input_grad", packedProduct},
    {"linear_weight_grad", linearWeightGrad},
    {"bias_grad", biasGrad},
    {"relu", [](const Values &v) { map(v, [](double x, double) { return std::max(x, 0.0); }); }},
    {"relu_grad", [](const Values &v) { map(v, [](double g, double y) { return y > 0 ? g : 0; }); }},
    {"tanh", [](const Values &v) { map(v, [](double x, double) { return std::tanh(x); }); }},
    {"tanh_grad", [](const Values &v) { map(v, [](double g, double y) { return g * (1 - y * y); }); }},
    {"gelu", [](const Values &v) { map(v, [&](double x, double) { return gelu(x, v.isTanh()); }); }},
    {"gelu_grad",
     [](const Values &v) { map(v, [&](double g, double x) { return g * geluSlope(x, v.isTanh()); }); }},
    {"copy", [](const Values &v) { v[1] = v[0]; }},
    {"softmax_cross_entropy", softmaxCrossEntropy},
    {"softmax_cross_entropy_grad", softmaxCrossEntropyGrad},
    {"mse_loss", mseLoss},
    {"mse_loss_grad",
     [](const Values &v) {
       map(v, [&](double x, double target) { return (x - target) * v.real("scale"); });
     }},
    {"count_correct", countCorrect},
    {"mean_loss", meanLoss},
    {"gradient_norm_partials", gradientNormPartials},
    {"clip_coefficient", clipCoefficient},
    {"sgd", sgd},
    {"adam", adam},
};

} // namespace

bool runReference(const KernelInstance &instance, ReferenceOperands &operands) {
  const auto entry = std::ranges::find(kEntries, instance.kernel->name, &Entry::name);
  if (entry == std::end(kEntries))
    return false;
  entry->run({instance, operands});
  return true;
}

std::int64_t packedChunk(std::int64_t depth) {
  const std::int64_t chunks = (depth + 255) / 256;
  return ((depth + chunks - 1) / chunks + 7) / 8 * 8;
}

std::int64_t packedIndex(std::int64_t depth, std::int64_t columns, std::int64_t step, std::int64_t column) {
  const std::int64_t chunk = packedChunk(depth), begin = step / chunk * chunk;
  const std::int64_t length = std::min(chunk, depth - begin), panels = (columns + 31) / 32;
  return begin * panels * 32 + column / 32 * length * 32 + (step - begin) * 32 + column % 32;
}

} // namespace stagewright::kernels
