#include "frontends/config/BatchTriangle.h"

#include <limits>

namespace stagewright {

Result<BatchSizes> resolveBatch(const GivenBatch &given, int dataParallel, const std::string &place) {
  if (!given.train && !given.micro)
    return userError(place, "neither train_batch_size nor train_micro_batch_size_per_gpu is given",
                     "add one of the two");
  constexpr std::int64_t kMaximum = std::numeric_limits<int>::max();
  for (const std::optional<std::int64_t> &size : {given.train, given.micro, given.microBatches})
    if (size && (*size < 1 || *size > kMaximum))
      return userError(place, "the batch size " + std::to_string(*size) + " is not between 1 and 2147483647",
                       "give a positive integer");

  std::int64_t train = given.train.value_or(0), micro = given.micro.value_or(0);
  std::int64_t microBatches = given.microBatches.value_or(0);
  if (!given.microBatches)
    microBatches = given.train && given.micro ? train / micro / dataParallel : 1;
  if (!given.micro)
    micro = train / dataParallel / microBatches;
  // Both factors are below 2^31, so the first product fits; the second one is formed only if the first is
  // small.
  std::int64_t product = micro * microBatches;
  bool fits = product <= kMaximum && product * dataParallel <= kMaximum;
  product = fits ? product * dataParallel : 0;
  if (!given.train)
    train = product;

  auto number = [](std::int64_t value, bool isGiven) {
    return std::to_string(value) + (isGiven ? "" : " (inferred)");
  };
  std::string factors = "train_micro_batch_size_per_gpu " + number(micro, given.micro.has_value()) +
                        " x gradient_accumulation_steps " +
                        number(microBatches, given.microBatches.has_value()) + " x data-parallel ranks " +
                        std::to_string(dataParallel);
  if (!fits && !given.train)
    return userError(place, factors + " is more than 2147483647 samples", "choose a smaller batch");
  if (train != product || product == 0)
    return userError(place, "train_batch_size " + std::to_string(train) + " is not " + factors,
                     given.micro && given.microBatches
                         ? "give two of the three and leave out the third, which is then inferred"
                         : "choose a train_batch_size that the other numbers divide without a remainder");
  if (microBatches > kMaximumMicroBatches)
    return userError(place,
                     std::to_string(microBatches) + " micro-batches in one step, but the most are " +
                         std::to_string(kMaximumMicroBatches),
                     "use a larger train_micro_batch_size_per_gpu");
  return BatchSizes{static_cast<int>(train), static_cast<int>(micro), static_cast<int>(microBatches)};
}

} // namespace stagewright
