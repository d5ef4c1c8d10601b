// Which samples a micro-batch holds: a function of (seed, step, data rank, micro-batch), the same under every
// plan.
#ifndef STAGEWRIGHT_RUNTIME_TRAIN_SAMPLEORDER_H
#define STAGEWRIGHT_RUNTIME_TRAIN_SAMPLEORDER_H

#include "error/Error.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace stagewright::runtime {

// clang-format off
/// The order of one epoch, cut into steps; the last incomplete batch of an epoch is dropped.
///
///   epoch e       order[i] = i for i in [0, n); then, when shuffling, for i = n-1 down to 1 swap order[i] with
///                 order[j], j = integer(e 2^32 + n-1-i, i+1) of the random stream "sample order" (Fisher-Yates)
///   step s        e = s / (n / batch); positions [(s % (n / batch)) batch, + batch)
///   data rank d   its batch / data_parallel positions of them, and of those the micro-batches one behind the other
// clang-format on
class SampleOrder {
public:
  struct Shape {
    std::uint32_t microBatchSize = 1, microBatches = 1, dataParallel = 1;
    std::uint64_t batch() const { return std::uint64_t{microBatchSize} * microBatches * dataParallel; }
  };

  /// Of `samples` samples. Error: User, fewer samples than a batch.
  static Result<SampleOrder> shuffled(std::uint64_t samples, Shape shape, std::uint64_t seed, bool shuffle);

  /// The order stored in a text file, one sample index per line, instead of the shuffle: the same in each
  /// epoch. Errors: User, with file:line.
  static Result<SampleOrder> stored(const std::string &path, std::uint64_t samples, Shape shape);

  std::uint64_t stepsPerEpoch() const { return order.size() / shape.batch(); }

  /// Samples of one micro-batch; `step` counts from 0. Allocates nothing.
  std::span<const std::uint32_t> samples(std::uint64_t step, int dataRank, int microBatch);

private:
  SampleOrder(Shape shape, std::vector<std::uint32_t> order, std::uint64_t seed, bool shuffle)
      : shape(shape), order(std::move(order)), seed(seed), shuffle(shuffle) {}

  Shape shape;
  std::vector<std::uint32_t> order; ///< of `epoch`
  std::uint64_t seed;
  bool shuffle;
  std::uint64_t epoch = ~std::uint64_t{0};
};

} // namespace stagewright::runtime

#endif
