#include "runtime/train/Engine.h"

#include "runtime/train/Evaluation.h"
#include "runtime/train/Session.h"
#include "runtime/train/Training.h"

#include <algorithm>

namespace stagewright::runtime {

namespace {

/// Reserved for losses at most; a longer run grows its list.
constexpr std::uint64_t kReservedLosses = std::uint64_t{1} << 24;

double seconds(std::int64_t nanoseconds) {
  return static_cast<double>(nanoseconds) * 1e-9;
}

/// The order of samples and the number of steps. Part of the preparation, so that mistakes are found before
/// training.
Result<void> plan(Session &session, const TrainOptions &options, std::shared_ptr<Training> &training) {
  if (auto ok = checkHasLoss(session.executable); !ok) {
    return ok;
  }
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
  training = std::make_shared<Training>(session, *order);
  training->steps = options.steps ? *options.steps : options.epochs.value_or(1) * order->stepsPerEpoch();
  training->keepsLosses = true;
  const std::uint64_t terms = session.executable.lossTerms().size();
  const std::uint64_t kept = session.isFirst() ? std::min(training->steps, kReservedLosses / (1 + terms)) : 0;
  training->losses.reserve(kept);
  training->termLosses.reserve(kept * terms);
  training->onStep = options.onStep;
  training->allocationCount = options.allocationCount;
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
  std::uint64_t allocated = 0, offloaded = 0, allocations = 0;
  std::optional<DeviceUse> device;
};
Result<Totals> totals(Session &session, std::uint64_t allocations) {
  Totals all{session.allocatedBytes(), session.host.mappedBytes(), allocations, session.deviceUse()};
  std::vector<std::uint64_t *> figures = {&all.allocated, &all.offloaded, &all.allocations};
  if (all.device) {
    figures.insert(figures.end(), {&all.device->bytes, &all.device->graphs});
  }
  for (std::uint64_t *figure : figures) {
    auto sum = session.sumOverProcesses(static_cast<double>(*figure));
    if (!sum) {
      return sum.takeError();
    }
    *figure = static_cast<std::uint64_t>(*sum);
  }
  if (!all.device) {
    return all;
  }
  for (auto &[kernel, calls] : all.device->dnn.kernels) {
    for (std::int64_t *count : {&calls.byDnn, &calls.byOwn}) {
      auto sum = session.sumOverProcesses(static_cast<double>(*count));
      if (!sum) {
        return sum.takeError();
      }
      *count = static_cast<std::int64_t>(*sum);
    }
  }
  return all;
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

} // namespace

Result<TrainSummary> train(const TrainOptions &options) {
  if (auto ok = checkCounts(options); !ok) {
    return ok.takeError();
  }
  std::shared_ptr<Training> training;
  auto opened = Session::open(options, Split::Train, Session::Replicas::All,
                              [&](Session &session) { return plan(session, options, training); });
  if (!opened) {
    return opened.takeError();
  }
  Session &session = **opened;
  if (options.onNotice && session.isFirst() && options.init.empty() && session.executable.file().folder()) {
    options.onNotice(
        "training begins with new weights; --init DIR begins with those of a Hugging Face folder");
  }
  if (auto ok = session.runRanks(training); !ok) {
    return ok.takeError();
  }
  if (auto ok = session.catchUp(); !ok) {
    return ok.takeError();
  }
  // Every process stops at the same step, for the same reason; the first one has noted it.
  if (auto ok = session.agree(training->stopped ? Result<void>(*training->stopped) : Result<void>()); !ok) {
    return ok.takeError();
  }
  const std::vector<std::uint64_t> progress = training->progress();
  auto ending =
      finish(session, training->finalAllocations - training->warmAllocations, progress, options.saveWeights);
  if (!ending) {
    return ending.takeError();
  }
  TrainSummary summary;
  summary.rank = session.processRank();
  summary.steps = training->steps;
  summary.losses = std::move(training->losses);
  const std::vector<std::string> terms = session.executable.lossTerms();
  for (std::size_t term = 0; term < terms.size(); ++term) {
    summary.lossTerms.emplace_back(terms[term], std::vector<double>());
    for (std::size_t i = term; i < training->termLosses.size(); i += terms.size()) {
      summary.lossTerms.back().second.push_back(training->termLosses[i]);
    }
  }
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
  summary.offloadedBytes = ending->totals.offloaded;
  summary.device = ending->totals.device;
  if (options.allocationCount) {
    summary.allocationsAfterWarmup = ending->totals.allocations;
  }
  return summary;
}

Result<EvaluationSummary> evaluate(const EvaluateOptions &options) {
  std::shared_ptr<Evaluation> evaluation;
  auto opened = Session::open(options, options.trainingData ? Split::Train : Split::Test,
                              Session::Replicas::First, [&](Session &session) -> Result<void> {
                                evaluation = std::make_shared<Evaluation>(session);
                                return options.outputs.empty() ? Result<void>()
                                                               : evaluation->openOutputs(options.outputs);
                              });
  if (!opened) {
    return opened.takeError();
  }
  Session &session = **opened;
  evaluation->onSamples = options.onSamples;
  if (auto ok = session.runRanks(evaluation); !ok) {
    return ok.takeError();
  }
  auto ending = finish(session, 0, kNothingTrained, "");
  if (!ending) {
    return ending.takeError();
  }
  auto ignored = session.sumOverProcesses(evaluation->ignoredLabels);
  if (!ignored) {
    return ignored.takeError();
  }
  if (auto ok = session.agree(evaluation->commitOutputs()); !ok) {
    return ok.takeError();
  }
  EvaluationSummary summary;
  summary.rank = session.processRank();
  summary.samples = session.dataset->samples();
  if (session.executable.hasLoss()) {
    const std::span<const double> means = evaluation->meanLosses();
    summary.loss = means.front();
    const std::vector<std::string> terms = session.executable.lossTerms();
    for (std::size_t i = 0; i < terms.size(); ++i) {
      summary.lossTerms.emplace_back(terms[i], means[i + 1]);
    }
  }
  summary.accuracy = evaluation->accuracy(*ignored);
  summary.weightsSha256 = ending->hashes.weights;
  summary.samplesPerSecond =
      static_cast<double>(summary.samples) / seconds(evaluation->end - evaluation->begin);
  summary.plannedBytes = session.plannedBytes();
  summary.allocatedBytes = ending->totals.allocated;
  return summary;
}

} // namespace stagewright::runtime
