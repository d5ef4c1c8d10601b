// Family attention: with the whole matrix of scores.
#include "kernels/host/reference/Dropout.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace stagewright::kernels {

namespace {

/// One call. `first`: the number of operand q; k and v are the next. `after`: the number of the operand after
/// those that all calls have.
struct Heads {
  const Values &v;
  std::size_t first, after;
  bool dropout;

  std::int64_t batch() const { return v.size(first, 0); }
  std::int64_t queries() const { return v.size(first, 1); }
  std::int64_t heads() const { return v.size(first, 2); }
  std::int64_t width() const { return v.size(first, 3); }
  std::int64_t keys() const { return v.size(first + 1, 1); }
  std::int64_t keyHeads() const { return v.size(first + 1, 2); }
  double scale() const { return v.real("scale") == 0 ? 1 / std::sqrt(double(width())) : v.real("scale"); }
  std::size_t mask() const { return dropout ? after + 1 : after; }

  std::size_t query(std::int64_t b, std::int64_t s, std::int64_t h) const {
    return std::size_t(((b * queries() + s) * heads() + h) * width());
  }
  std::size_t key(std::int64_t b, std::int64_t l, std::int64_t h) const {
    return std::size_t(((b * keys() + l) * keyHeads() + h / (heads() / keyHeads())) * width());
  }
  std::int64_t scoreRow(std::int64_t b, std::int64_t h, std::int64_t s) const {
    return (b * heads() + h) * queries() + s;
  }
  bool sees(std::int64_t b, std::int64_t s, std::int64_t l) const {
    return !(v.flag("causal") && l > s) && !(v.has(mask()) && v[mask()][std::size_t(b * keys() + l)] == 0);
  }
  /// 1, or what dropout multiplies a probability with.
  double factor(std::int64_t b, std::int64_t h, std::int64_t s, std::int64_t l) const {
    return dropout ? dropoutFactor(v, after, scoreRow(b, h, s) * ((keys() + 63) / 64 * 64) + l) : 1;
  }
  double dot(std::size_t a, std::size_t from, std::size_t b, std::size_t at) const {
    double sum = 0;
    for (std::size_t i = 0; i < std::size_t(width()); ++i)
      sum += v[a][from + i] * v[b][at + i];
    return sum;
  }
  void add(double factor, std::size_t a, std::size_t from, std::size_t to, std::size_t at) const {
    for (std::size_t i = 0; i < std::size_t(width()); ++i)
      v[to][at + i] += factor * v[a][from + i];
  }
  template <typename Body>
  void eachRow(const Body &body) const {
    for (std::int64_t b = 0; b < batch(); ++b)
      for (std::int64_t h = 0; h < heads(); ++h)
        for (std::int64_t s = 0; s < queries(); ++s)
          body(b, h, s);
  }
};

void forward(const Heads &call) {
  const Values &v = call.v;
  std::ranges::fill(v[3], 0.0);
  call.eachRow([&](std::int64_t b, std::int64_t h, std::int64_t s) {
    const std::size_t row = call.query(b, s, h);
    std::vector<double> scores;
    for (std::int64_t l = 0; l < call.keys(); ++l)
      scores.push_back(call.sees(b, s, l) ? call.scale() * call.dot(0, row, 1, call.key(b, l, h))
                                          : -std::numeric_limits<double>::infinity());
    const double most = *std::ranges::max_element(scores);
    double sum = 0;
    for (double score : scores)
      sum += std::isinf(score) ? 0 : std::exp(score - most);
    v[4][std::size_t(call.scoreRow(b, h, s))] = (most + std::log(sum)) / call.scale();
    for (std::int64_t l = 0; l < call.keys(); ++l)
      if (call.sees(b, s, l))
        call.add(call.factor(b, h, s, l) * std::exp(scores[std::size_t(l)] - most) / sum, 2,
                 call.key(b, l, h), 3, row);
  });
}

void backward(const Heads &call) {
  const Values &v = call.v;
  for (std::size_t out : {6, 7, 8})
    std::ranges::fill(v[out], 0.0);
  call.eachRow([&](std::int64_t b, std::int64_t h, std::int64_t s) {
    const std::size_t row = call.query(b, s, h);
    const double product = call.dot(0, row, 4, row);
    for (std::int64_t l = 0; l < call.keys(); ++l) {
      if (!call.sees(b, s, l))
        continue;
      const std::size_t key = call.key(b, l, h);
      const double factor = call.factor(b, h, s, l),
                   probability = std::exp(
                       call.scale() * (call.dot(1, row, 2, key) - v[5][std::size_t(call.scoreRow(b, h, s))]));
      const double slope = call.scale() * probability * (factor * call.dot(0, row, 3, key) - product);
      call.add(slope, 2, key, 6, row);
      call.add(slope, 1, row, 7, key);
      call.add(factor * probability, 0, row, 8, key);
    }
  });
}

constexpr ReferenceEntry kEntries[] = {
    {"attention",
     [](const Values &v) {
       forward({v, 0, 5, false});
     }},
    {"attention_grad",
     [](const Values &v) {
       backward({v, 1, 9, false});
     }},
    {"attention_dropout",
     [](const Values &v) {
       forward({v, 0, 5, true});
     }},
    {"attention_dropout_grad",
     [](const Values &v) {
       backward({v, 1, 9, true});
     }},
};

} // namespace

ReferenceTable attentionReferences() {
  return kEntries;
}

} // namespace stagewright::kernels
