#include "runtime/train/Engine.h"

#include "runtime/train/LearningRate.h"
#include "runtime/train/LossScale.h"
#include "runtime/train/SampleOrder.h"
#include "runtime/train/Session.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace stagewright::runtime {

namespace {

/// Reserved for losses at most; a longer run grows its list.
constexpr std::uint64_t kReservedLosses = std::uint64_t{1} << 24;

double seconds(std::int64_t nanoseconds) {
  return static_cast<double>(nanoseconds) * 1e-9;
}

/// base^exponent by squaring: a function of its arguments alone, so that a resumed run computes the same.
double power(double base, std::uint64_t exponent) {
  double result = 1;
  for (; exponent > 0; exponent >>= 1, base *= base) {
    result = exponent & 1 ? result * base : result;
  }
  return result;
}

/// Inputs of one rank while it trains.
class TrainingInputs final : public InputSource {
public:
  TrainingInputs(const Dataset &dataset, SampleOrder order, const executable::Recipe &recipe)
      : dataset(dataset), order(std::move(order)), rows(recipe.micro_batch_size()), seed(recipe.seed()) {}

  void fill(int input, int microBatch, void *destination) override {
    if (input == kRowsInput) {
      std::memcpy(destination, &rows, sizeof rows);
    } else if (input == kRandomInput) {
      const std::uint32_t words[4] = {
          static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32),
          static_cast<std::uint32_t>(step), static_cast<std::uint32_t>(microBatch)};
      std::memcpy(destination, words, sizeof words);
    } else {
      dataset.gather(input, order.samples(step, 0, microBatch), destination);
    }
  }

  std::uint64_t step = 0; ///< from 0

private:
  const Dataset &dataset;
  SampleOrder order;
  std::int32_t rows;
  std::uint64_t seed;
};

/// Inputs of one rank while it evaluates: the samples in order; behind the last one rows of zeros, which do
/// not count.
class EvaluationInputs final : public InputSource {
public:
  EvaluationInputs(const Dataset &dataset, int microBatchSize, int microBatches)
      : dataset(dataset), microBatchSize(microBatchSize), microBatches(microBatches),
        rows(static_cast<std::size_t>(microBatchSize)) {}

  std::uint64_t firstSample(int microBatch) const {
    return (pass * static_cast<unsigned>(microBatches) + static_cast<unsigned>(microBatch)) *
           static_cast<unsigned>(microBatchSize);
  }
  std::int32_t validRows(int microBatch) const {
    const std::uint64_t first = firstSample(microBatch), all = dataset.samples();
    return first >= all ? 0 : static_cast<std::int32_t>(std::min<std::uint64_t>(microBatchSize, all - first));
  }

  void fill(int input, int microBatch, void *destination) override {
    const std::int32_t valid = validRows(microBatch);
    if (input == kRandomInput) {
      return; // evaluation draws no numbers
    }
    if (input == kRowsInput) {
      std::memcpy(destination, &valid, sizeof valid);
      return;
    }
    for (std::int32_t i = 0; i < valid; ++i) {
      rows[i] = static_cast<std::uint32_t>(firstSample(microBatch) + static_cast<unsigned>(i));
    }
    dataset.gather(input, {rows.data(), static_cast<std::size_t>(valid)}, destination);
    const std::size_t sample = dataset.sampleBytes(input);
    std::memset(static_cast<std::byte *>(destination) + valid * sample, 0, (microBatchSize - valid) * sample);
  }

  std::uint64_t pass = 0;

private:
  const Dataset &dataset;
  const int microBatchSize, microBatches;
  std::vector<std::uint32_t> rows;
};

/// What one training run shares between its ranks. Rank 0's thread writes the members below the line.
struct Training {
  TrainOptions options;
  std::uint64_t steps = 0;
  std::optional<SampleOrder> order;
  // ---
  std::vector<double> losses;
  bool skipsOverflow = false;
  std::uint64_t skippedSteps = 0;
  std::optional<LossScale> lossScale; ///< behind the last step
  std::int64_t begin = 0, firstEnd = 0, end = 0;
  std::uint64_t warmAllocations = 0, finalAllocations = 0;
  std::optional<Error> stopped; ///< an error on which all ranks agree: nothing is half-done
};

std::optional<LossScale> lossScaleOf(const executable::Recipe &recipe) {
  const executable::LossScale *file = recipe.loss_scale();
  if (!file) {
    return std::nullopt;
  }
  return LossScale({.initial = file->initial(),
                    .dynamic = file->dynamic(),
                    .window = static_cast<std::uint64_t>(file->window()),
                    .hysteresis = file->hysteresis(),
                    .consecutiveHysteresis = file->consecutive_hysteresis(),
                    .minimum = file->minimum(),
                    .endsAtMinimum = file->ends_at_minimum()});
}

/// One rank's training loop.
class TrainingLoop {
public:
  TrainingLoop(Executor &executor, const Session &session, Training &shared)
      : executor(executor), shared(shared), file(session.executable.file()), recipe(*file.recipe()),
        inputs(*session.dataset, *shared.order, recipe),
        rates(*LearningRate::create(recipe)), // which the loader has proved
        learningRate(static_cast<double *>(executor.scalar("learning_rate"))),
        stepCell(static_cast<std::int32_t *>(executor.scalar("step"))),
        biasCorrections(static_cast<double *>(executor.scalar("bias_corrections"))),
        lossScaleCell(static_cast<float *>(executor.scalar("loss_scale"))),
        loss(static_cast<const double *>(executor.scalar("loss"))),
        gradientNorm(static_cast<const double *>(executor.scalar("gradient_norm"))),
        skipsOverflow(recipe.precision() && recipe.precision()->str() != "fp32"),
        lossScale(lossScaleOf(recipe)) {
    for (unsigned i = 0; recipe.parameter_groups() && i < recipe.parameter_groups()->size(); ++i) {
      groupRates.push_back(static_cast<double *>(executor.scalar("learning_rate." + std::to_string(i))));
    }
  }

  Result<void> run() {
    const bool first = executor.rank() == 0;
    lastEnd = lastPrint = monotonicNanoseconds();
    if (first) {
      shared.begin = lastEnd;
    }
    for (std::uint64_t step = 1; step <= shared.steps; ++step) {
      setScalars(step - skippedSteps);
      inputs.step = step - 1;
      if (auto ok = executor.train(inputs, step); !ok) {
        return ok;
      }
      // The loss, the norm and so the scale are the same on every rank.
      const bool skipped = skipsOverflow && !std::isfinite(*gradientNorm);
      const double scale = lossScale ? lossScale->value() : 1;
      skippedSteps += skipped;
      const Result<void> scaled = lossScale ? lossScale->update(skipped) : Result<void>();
      if (first) {
        report(step, skipped, scale);
      }
      if (!scaled || (!skipsOverflow && !std::isfinite(*loss))) {
        if (first) {
          shared.stopped = scaled ? notFinite(step) : scaled.error();
        }
        break;
      }
    }
    if (first) {
      shared.skipsOverflow = skipsOverflow;
      shared.skippedSteps = skippedSteps;
      shared.lossScale = lossScale;
    }
    return {};
  }

private:
  /// `step` counts those that were not skipped: rates and corrections wait for them.
  void setScalars(std::uint64_t step) {
    if (lossScaleCell) {
      *lossScaleCell = static_cast<float>(lossScale->value());
    }
    *learningRate = rates.at(step);
    for (std::size_t group = 0; group < groupRates.size(); ++group) {
      *groupRates[group] =
          rates.at(step, recipe.parameter_groups()->Get(static_cast<unsigned>(group))->learning_rate());
    }
    *stepCell = static_cast<std::int32_t>(std::min<std::uint64_t>(step, INT32_MAX));
    if (biasCorrections) {
      const bool corrects = recipe.bias_correction();
      biasCorrections[0] = corrects ? 1 - power(recipe.beta1(), step) : 1;
      biasCorrections[1] = corrects ? 1 - power(recipe.beta2(), step) : 1;
    }
  }

  /// `scale`: of this step.
  void report(std::uint64_t step, bool skipped, double scale) {
    const std::int64_t now = monotonicNanoseconds();
    shared.losses.push_back(*loss);
    shared.end = now;
    if (step == 1) {
      shared.firstEnd = now;
    }
    if (shared.options.allocationCount) {
      const std::uint64_t count = shared.options.allocationCount();
      shared.finalAllocations = count;
      shared.warmAllocations = step <= 2 ? count : shared.warmAllocations;
    }
    if (shared.options.onStep) {
      StepReport report{.step = step,
                        .steps = shared.steps,
                        .loss = *loss,
                        .gradientNorm = gradientNorm ? *gradientNorm : 0,
                        .skipped = skipped,
                        .lossScale = scale,
                        .learningRate = *learningRate,
                        .samplesPerSecond = recipe.train_batch_size() / seconds(now - lastEnd)};
      if (skipped) {
        report.notice = describeSkip(step, scale);
      }
      if (recipe.steps_per_print() > 0 && step % static_cast<unsigned>(recipe.steps_per_print()) == 0) {
        const double perStep = seconds(now - lastPrint) / recipe.steps_per_print();
        std::snprintf(line, sizeof line,
                      "steps: %llu loss: %.4f iter time (s): %.3f samples/sec: %.3f lr: %g",
                      static_cast<unsigned long long>(step), *loss, perStep,
                      recipe.train_batch_size() / perStep, *learningRate);
        report.line = line;
        lastPrint = now;
      }
      executor.callBack([&] { shared.options.onStep(report); });
    }
    lastEnd = now;
  }

  const char *describeSkip(std::uint64_t step, double scale) {
    const int length = std::snprintf(notice, sizeof notice, "step %llu skipped: gradients are not finite",
                                     static_cast<unsigned long long>(step));
    if (lossScale) {
      std::snprintf(notice + length, sizeof notice - static_cast<std::size_t>(length),
                    lossScale->value() < scale ? "; loss scale %g, from now on %g"
                                               : "; loss scale stays %g, overflows until it is halved: %.0f",
                    scale, lossScale->value() < scale ? lossScale->value() : lossScale->hysteresisLeft());
    }
    return notice;
  }

  Error notFinite(std::uint64_t step) const {
    const int rank = file.schedule()->rank_of_stage()->Get(file.schedule()->rank_of_stage()->size() - 1);
    return userError(
        "step " + std::to_string(step),
        std::string("the loss is ") + (std::isnan(*loss) ? "not a number" : "infinite") +
            " (computed on rank " + std::to_string(rank) + "); training has stopped and nothing was written",
        "lower the learning rate, set gradient_clipping, or check the data and the initial weights");
  }

  Executor &executor;
  Training &shared;
  const executable::Executable &file;
  const executable::Recipe &recipe;
  TrainingInputs inputs;
  const LearningRate rates;
  double *learningRate;
  std::vector<double *> groupRates;
  std::int32_t *stepCell;
  double *biasCorrections;
  float *lossScaleCell; ///< null except in fp16
  const double *loss, *gradientNorm;
  const bool skipsOverflow;
  std::optional<LossScale> lossScale;
  std::uint64_t skippedSteps = 0;
  std::int64_t lastEnd = 0, lastPrint = 0;
  char line[160], notice[160];
};

/// The order of samples and the number of steps. Part of the preparation, so that mistakes are found before
/// training.
Result<void> plan(Session &session, Training &training) {
  const TrainOptions &options = training.options;
  const executable::Recipe &recipe = *session.executable.file().recipe();
  const SampleOrder::Shape shape{static_cast<std::uint32_t>(recipe.micro_batch_size()),
                                 static_cast<std::uint32_t>(recipe.micro_batches()),
                                 static_cast<std::uint32_t>(recipe.data_parallel())};
  const std::uint64_t samples = session.dataset->samples();
  auto order = options.sampleOrder.empty()
                   ? SampleOrder::shuffled(samples, shape, recipe.seed(), recipe.shuffle())
                   : SampleOrder::stored(options.sampleOrder, samples, shape);
  if (!order) {
    return order.takeError();
  }
  training.order.emplace(std::move(*order));
  training.steps =
      options.steps ? *options.steps : options.epochs.value_or(1) * training.order->stepsPerEpoch();
  training.losses.reserve(session.isFirst() ? std::min(training.steps, kReservedLosses) : 0);
  return options.saveWeights.empty() ? Result<void>() : checkWritable(options.saveWeights);
}

Result<void> checkCounts(const TrainOptions &options) {
  if (options.steps && options.epochs) {
    return userError("--epochs", "steps and epochs are both given", "give one of them");
  }
  if (options.steps.value_or(1) == 0 || options.epochs.value_or(1) == 0) {
    return userError(options.steps ? "--steps" : "--epochs", "there is nothing to train",
                     "give a number of at least 1");
  }
  return {};
}

/// Memory and allocation figures of all processes.
struct Totals {
  std::uint64_t allocated = 0, allocations = 0;
};
Result<Totals> totals(Session &session, std::uint64_t allocations) {
  auto allocated = session.sumOverProcesses(static_cast<double>(session.device.mappedBytes()));
  if (!allocated) {
    return allocated.takeError();
  }
  auto counted = session.sumOverProcesses(static_cast<double>(allocations));
  if (!counted) {
    return counted.takeError();
  }
  return Totals{static_cast<std::uint64_t>(*allocated), static_cast<std::uint64_t>(*counted)};
}

constexpr std::uint64_t kNothingTrained[] = {0};

/// The end of a run on all processes: figures, hashes, files.
struct Ending {
  Totals totals;
  StateHashes hashes;
};
Result<Ending> finish(Session &session, std::uint64_t allocations, std::span<const std::uint64_t> progress,
                      const std::string &saveTo) {
  auto sums = totals(session, allocations);
  if (!sums) {
    return sums.takeError();
  }
  if (auto ok = session.agree(session.trace ? session.trace->flush() : Result<void>()); !ok) {
    return ok.takeError();
  }
  if (auto ok = session.agree(checkFinite(session.localRanks(), progress[0])); !ok) {
    return ok.takeError();
  }
  std::optional<Result<StateHashes>> hashes;
  auto ended = Session::guarded([&]() -> Result<void> {
    hashes.emplace(finishState(session.localRanks(), progress, saveTo,
                               [&](Result<void> own) { return session.agreeToGoOn(std::move(own)); }));
    return {};
  });
  if (!ended) { // by an exception, while others may wait for this process
    session.fail(ended.error());
    return ended.takeError();
  }
  if (auto ok = session.agree(*hashes ? Result<void>() : Result<void>(hashes->error())); !ok) {
    return ok.takeError();
  }
  return Ending{*sums, std::move(**hashes)};
}

/// What a run is besides its weights and optimizer state; see TrainSummary. Rank 0's.
std::vector<std::uint64_t> progressOf(const Training &training) {
  std::vector<std::uint64_t> progress{training.steps};
  if (training.skipsOverflow) {
    progress.push_back(training.skippedSteps);
  }
  if (training.lossScale) {
    for (const double value : {training.lossScale->value(), double(training.lossScale->hysteresisLeft())}) {
      progress.push_back(std::bit_cast<std::uint64_t>(value));
    }
  }
  return progress;
}

} // namespace

Result<TrainSummary> train(const TrainOptions &options) {
  if (auto ok = checkCounts(options); !ok) {
    return ok.takeError();
  }
  const auto training = std::make_shared<Training>();
  training->options = options;
  auto opened = Session::open(options, Split::Train,
                              [&](Session &session) -> Result<void> { return plan(session, *training); });
  if (!opened) {
    return opened.takeError();
  }
  Session &session = **opened;
  if (auto ok = session.runRanks([training, &session](Executor &executor) {
        return TrainingLoop(executor, session, *training).run();
      });
      !ok) {
    return ok.takeError();
  }
  // Every process stops at the same step, for the same reason; the first one has noted it.
  if (auto ok = session.agree(training->stopped ? Result<void>(*training->stopped) : Result<void>()); !ok) {
    return ok.takeError();
  }
  const std::vector<std::uint64_t> progress = progressOf(*training);
  auto ending =
      finish(session, training->finalAllocations - training->warmAllocations, progress, options.saveWeights);
  if (!ending) {
    return ending.takeError();
  }
  TrainSummary summary;
  summary.rank = session.processRank();
  summary.steps = training->steps;
  summary.losses = std::move(training->losses);
  summary.loss = summary.losses.empty() ? 0 : summary.losses.back();
  const bool warm = training->steps > 1;
  summary.samplesPerSecond = static_cast<double>(session.executable.file().recipe()->train_batch_size()) *
                             static_cast<double>(training->steps - warm) /
                             seconds(training->end - (warm ? training->firstEnd : training->begin));
  summary.weightsSha256 = ending->hashes.weights;
  summary.stateSha256 = ending->hashes.state;
  summary.skippedSteps = training->skippedSteps;
  if (training->lossScale) {
    summary.lossScale = training->lossScale->value();
  }
  summary.plannedBytes = session.plannedBytes();
  summary.allocatedBytes = ending->totals.allocated;
  if (options.allocationCount) {
    summary.allocationsAfterWarmup = ending->totals.allocations;
  }
  return summary;
}

namespace {

/// What one evaluation shares between its ranks; rank 0's thread writes the sums.
struct Evaluation {
  EvaluateOptions options;
  double loss = 0; ///< sum over samples
  std::int64_t correct = 0;
  std::int64_t begin = 0, end = 0;
};

Result<void> evaluateRank(Executor &executor, const Session &session, Evaluation &shared) {
  const executable::Recipe &recipe = *session.executable.file().recipe();
  const auto m = recipe.micro_batches();
  const std::uint64_t samples = session.dataset->samples(),
                      batch = static_cast<unsigned>(recipe.train_batch_size());
  EvaluationInputs inputs(*session.dataset, recipe.micro_batch_size(), m);
  const auto *losses = static_cast<const float *>(executor.scalar("losses"));
  const auto *correct = static_cast<const std::int64_t *>(executor.scalar("correct"));
  const bool first = executor.rank() == 0;
  if (first) {
    shared.begin = monotonicNanoseconds();
  }
  executor.prepareWeights();
  for (inputs.pass = 0; inputs.pass * batch < samples; ++inputs.pass) {
    if (auto ok = executor.evaluate(inputs, inputs.pass + 1); !ok) {
      return ok;
    }
    for (int k = 0; first && k < m; ++k) {
      shared.loss += static_cast<double>(losses[k]) * inputs.validRows(k);
      shared.correct += correct ? correct[k] : 0;
    }
    if (first && shared.options.onSamples) {
      executor.callBack(
          [&] { shared.options.onSamples(std::min((inputs.pass + 1) * batch, samples), samples); });
    }
  }
  if (first) {
    shared.end = monotonicNanoseconds();
  }
  return {};
}

} // namespace

/// A token each for a language model, else one.
static double labelsPerSample(const executable::Executable &file) {
  double count = 1;
  for (const executable::ModelInput *input : *file.inputs()) {
    if (input->role()->str() == "label" && input->sample_shape()) {
      for (const std::int64_t size : *input->sample_shape()) {
        count *= static_cast<double>(size);
      }
    }
  }
  return count;
}

Result<EvaluationSummary> evaluate(const EvaluateOptions &options) {
  const auto evaluation = std::make_shared<Evaluation>();
  evaluation->options = options;
  auto opened = Session::open(options, options.trainingData ? Split::Train : Split::Test,
                              [](Session &) -> Result<void> { return {}; });
  if (!opened) {
    return opened.takeError();
  }
  Session &session = **opened;
  if (auto ok = session.runRanks([evaluation, &session](Executor &executor) {
        return evaluateRank(executor, session, *evaluation);
      });
      !ok) {
    return ok.takeError();
  }
  auto ending = finish(session, 0, kNothingTrained, "");
  if (!ending) {
    return ending.takeError();
  }
  EvaluationSummary summary;
  summary.rank = session.processRank();
  summary.samples = session.dataset->samples();
  summary.loss = evaluation->loss / static_cast<double>(summary.samples);
  if (session.executable.file().accuracy()) {
    summary.accuracy = static_cast<double>(evaluation->correct) /
                       (static_cast<double>(summary.samples) * labelsPerSample(session.executable.file()));
  }
  summary.weightsSha256 = ending->hashes.weights;
  summary.samplesPerSecond =
      static_cast<double>(summary.samples) / seconds(evaluation->end - evaluation->begin);
  summary.plannedBytes = session.plannedBytes();
  summary.allocatedBytes = ending->totals.allocated;
  return summary;
}

} // namespace stagewright::runtime
