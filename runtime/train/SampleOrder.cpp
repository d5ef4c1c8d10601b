#include "runtime/train/SampleOrder.h"

#include "runtime/train/Random.h"

#include <charconv>
#include <fstream>
#include <limits>
#include <numeric>

namespace stagewright::runtime {

static Result<void> enough(std::uint64_t samples, std::uint64_t batch, const std::string &place) {
  if (samples < batch) {
    return userError(
        place, std::to_string(samples) + " samples are fewer than one batch of " + std::to_string(batch),
        "use more data or a smaller train_batch_size");
  }
  if (samples > std::numeric_limits<std::uint32_t>::max()) {
    return userError(place, "more than 2^32 - 1 samples", "split the data set");
  }
  return {};
}

Result<SampleOrder> SampleOrder::shuffled(std::uint64_t samples, Shape shape, std::uint64_t seed,
                                          bool shuffle) {
  if (auto ok = enough(samples, shape.batch(), "--data"); !ok) {
    return ok.takeError();
  }
  std::vector<std::uint32_t> order(samples);
  std::iota(order.begin(), order.end(), 0u);
  return SampleOrder(shape, std::move(order), seed, shuffle);
}

Result<SampleOrder> SampleOrder::stored(const std::string &path, std::uint64_t samples, Shape shape) {
  std::ifstream file(path);
  if (!file) {
    return userError(path, "cannot open the stored order of samples",
                     "give a text file with one index per line");
  }
  std::vector<std::uint32_t> order;
  std::string line;
  for (std::size_t number = 1; std::getline(file, line); ++number) {
    if (!line.empty() && line.back() == '\r') {
      line.pop_back();
    }
    std::uint32_t index = 0;
    const auto [end, failure] = std::from_chars(line.data(), line.data() + line.size(), index);
    if (failure != std::errc() || end != line.data() + line.size() || index >= samples) {
      return userError(path + ":" + std::to_string(number),
                       "\"" + line.substr(0, 40) + "\" is not the index of one of the " +
                           std::to_string(samples) + " samples",
                       "write one index per line, counted from 0");
    }
    order.push_back(index);
  }
  if (file.bad()) {
    return environmentError(path, "the file cannot be read to its end", "check the disk");
  }
  if (auto ok = enough(order.size(), shape.batch(), path); !ok) {
    return ok.takeError();
  }
  return SampleOrder(shape, std::move(order), 0, false);
}

std::span<const std::uint32_t> SampleOrder::samples(std::uint64_t step, int dataRank, int microBatch) {
  const std::uint64_t wanted = step / stepsPerEpoch();
  if (shuffle && wanted != epoch) {
    epoch = wanted;
    const RandomStream stream(seed, "sample order");
    std::iota(order.begin(), order.end(), 0u);
    const std::uint64_t n = order.size();
    for (std::uint64_t i = n - 1; i >= 1; --i) {
      const std::uint32_t j = stream.integer((epoch << 32) + (n - 1 - i), static_cast<std::uint32_t>(i + 1));
      std::swap(order[i], order[j]);
    }
  }
  const std::uint64_t perRank = std::uint64_t{shape.microBatchSize} * shape.microBatches;
  const std::uint64_t begin = step % stepsPerEpoch() * shape.batch() +
                              static_cast<unsigned>(dataRank) * perRank +
                              static_cast<std::uint64_t>(microBatch) * shape.microBatchSize;
  return {order.data() + begin, shape.microBatchSize};
}

} // namespace stagewright::runtime
