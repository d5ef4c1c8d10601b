// The classifier of tests/stagefile in plain fp64 loops: no stages, no micro-batches, no kernels. The
// independent truth for losses and weights.
#ifndef STAGEWRIGHT_TESTS_TRAIN_PLAINCLASSIFIER_H
#define STAGEWRIGHT_TESTS_TRAIN_PLAINCLASSIFIER_H

#include <map>
#include <string>
#include <vector>

namespace stagewright::testdata {

class PlainClassifier {
public:
  struct Optimizer {
    bool adam = false;
    double learningRate = 0, momentum = 0, clipping = 0; ///< clipping 0: off
  };
  using Row = std::vector<double>;

  PlainClassifier(int pixels, int hidden, int classes, std::map<std::string, Row> weights)
      : pixels(pixels), hidden(hidden), classes(classes), weights(std::move(weights)) {}

  /// Mean loss of the batch before the update.
  double train(const std::vector<Row> &images, const std::vector<int> &labels, const Optimizer &optimizer);
  struct Score {
    double loss = 0; ///< mean
    int correct = 0;
  };
  Score evaluate(const std::vector<Row> &images, const std::vector<int> &labels) const;

  double lastNorm = 0; ///< of the gradients, before clipping
  const std::map<std::string, Row> &parameters() const { return weights; }

private:
  struct Activations {
    Row hidden, logits;
  };
  Activations forward(const Row &image) const;
  double loss(const Row &logits, int label) const;
  void update(std::map<std::string, Row> &gradients, const Optimizer &optimizer);

  int pixels, hidden, classes;
  std::map<std::string, Row> weights, first, second;
  int steps = 0;
};

} // namespace stagewright::testdata

#endif
