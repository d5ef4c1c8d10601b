#include "runtime/train/Training.h"

#include "runtime/train/LearningRate.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace stagewright::runtime {

Result<void> checkHasLoss(const Executable &executable) {
  if (executable.hasLoss()) {
    return {};
  }
  return userError(executable.name(), "the model has no loss, so that there is nothing to train for",
                   "add \"loss\" and a label to the model, or use `stagewright eval --outputs`");
}

namespace {

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
  TrainingInputs(const Dataset &dataset, SampleOrder order, const executable::Recipe &recipe, int replica)
      : dataset(dataset), order(std::move(order)), replica(replica), rows(recipe.micro_batch_size()),
        microBatches(recipe.micro_batches()), seed(recipe.seed()) {}

  void fill(int input, int microBatch, void *destination) override {
    if (input == kRowsInput) {
      std::memcpy(destination, &rows, sizeof rows);
    } else if (input == kRandomInput) {
      const std::uint32_t words[4] = {
          static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32),
          static_cast<std::uint32_t>(step), static_cast<std::uint32_t>(replica * microBatches + microBatch)};
      std::memcpy(destination, words, sizeof words);
    } else {
      dataset.gather(input, order.samples(step, replica, microBatch), destination);
    }
  }

  std::uint64_t step = 0; ///< from 0

private:
  const Dataset &dataset;
  SampleOrder order;
  const int replica;
  std::int32_t rows;
  const int microBatches;
  std::uint64_t seed;
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

/// Of 16-bit precision: a step whose gradients are not finite changes nothing.
bool skips(const executable::Recipe &recipe) {
  return recipe.precision() && recipe.precision()->str() != "fp32";
}

} // namespace

/// One rank's part of it.
class RankTraining {
public:
  RankTraining(Executor &executor, const Session &session, const SampleOrder &order, Training &shared)
      : executor(executor), shared(shared), mesh(session.mesh), file(session.executable.file()),
        recipe(*file.recipe()), inputs(*session.dataset, order, recipe, executor.replica()),
        rates(*LearningRate::create(recipe)), // which the loader has proved
        learningRate(static_cast<double *>(executor.scalar("learning_rate"))),
        stepCell(static_cast<std::int32_t *>(executor.scalar("step"))),
        biasCorrections(static_cast<double *>(executor.scalar("bias_corrections"))),
        firstBeta(static_cast<double *>(executor.scalar("beta1"))),
        lossScaleCell(static_cast<float *>(executor.scalar("loss_scale"))),
        rounding(static_cast<std::uint32_t *>(executor.scalar("rounding"))),
        loss(static_cast<const double *>(executor.scalar("loss"))), termNames(session.executable.lossTerms()),
        terms(loss + 1, termNames.size()),
        gradientNorm(static_cast<const double *>(executor.scalar("gradient_norm"))),
        skipsOverflow(skips(recipe)), lossScale(lossScaleOf(recipe)) {
    std::size_t longest = 160;
    for (const std::string &name : termNames) {
      longest += name.size() + 32;
    }
    line.resize(longest);
    for (unsigned i = 0; recipe.parameter_groups() && i < recipe.parameter_groups()->size(); ++i) {
      groupRates.push_back(static_cast<double *>(executor.scalar("learning_rate." + std::to_string(i))));
    }
  }

  Result<void> run() {
    const bool first = executor.rank() == 0;
    lastEnd = monotonicNanoseconds();
    lastPrint = done == 0 ? lastEnd : lastPrint;
    if (first && done == 0) {
      shared.begin = lastEnd;
    }
    while (done < shared.steps) {
      const std::uint64_t step = ++done;
      setScalars(step - skippedSteps);
      inputs.step = step - 1;
      setRounding();
      if (auto ok = executor.train(inputs, step); !ok) {
        return ok;
      }
      // The loss, the norm and so the scale are the same on every rank.
      const bool skipped = skipsOverflow && gradientNorm && !std::isfinite(*gradientNorm);
      const double scale = lossScale ? lossScale->value() : 1;
      skippedSteps += skipped;
      const Result<void> scaled = lossScale ? lossScale->update(skipped) : Result<void>();
      if (first) {
        shared.skippedSteps = skippedSteps;
        shared.lossScale = lossScale;
        report(step, skipped, scale);
      }
      if (!scaled || (!skipsOverflow && !std::isfinite(*loss))) {
        if (first) {
          shared.stopped = scaled ? notFinite(step) : scaled.error();
        }
        break;
      }
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
    const double beta1 = rates.firstBeta(step).value_or(recipe.beta1());
    if (firstBeta) {
      *firstBeta = beta1;
    }
    if (biasCorrections) {
      const bool corrects = recipe.bias_correction();
      biasCorrections[0] = corrects ? 1 - power(beta1, step) : 1;
      biasCorrections[1] = corrects ? 1 - power(recipe.beta2(), step) : 1;
    }
  }

  /// What the weights of this step are rounded by.
  void setRounding() {
    if (rounding) {
      inputs.fill(kRandomInput, 0, rounding); // seed low, seed high, step
      rounding[3] = static_cast<std::uint32_t>(executor.tensorRank() + 1);
      rounding[4] = 1;
    }
  }

  /// `scale`: of this step.
  void report(std::uint64_t step, bool skipped, double scale) {
    const std::int64_t now = monotonicNanoseconds();
    if (shared.keepsLosses) {
      shared.losses.push_back(*loss);
      shared.termLosses.insert(shared.termLosses.end(), terms.begin(), terms.end());
    }
    shared.end = now;
    if (step == 1) {
      shared.firstEnd = now;
    }
    if (shared.allocationCount) {
      const std::uint64_t count = shared.allocationCount();
      shared.finalAllocations = count;
      shared.warmAllocations = step <= 2 ? count : shared.warmAllocations;
    }
    if (shared.onStep) {
      StepReport report{.step = step,
                        .steps = shared.steps,
                        .loss = *loss,
                        .lossTerms = terms,
                        .gradientNorm = gradientNorm ? *gradientNorm : 0,
                        .skipped = skipped,
                        .lossScale = scale,
                        .learningRate = *learningRate,
                        .samplesPerSecond = recipe.train_batch_size() / seconds(now - lastEnd)};
      if (skipped) {
        report.notice = describeSkip(step, scale);
      }
      if (recipe.steps_per_print() > 0 && step % static_cast<unsigned>(recipe.steps_per_print()) == 0) {
        report.line = describeStep(step, seconds(now - lastPrint) / recipe.steps_per_print());
        lastPrint = now;
      }
      executor.callBack([&] { shared.onStep(report); });
    }
    lastEnd = now;
  }

  const char *describeStep(std::uint64_t step, double perStep) {
    std::size_t used = 0;
    const auto add = [&](const char *format, auto... values) {
      const int length = std::snprintf(line.data() + used, line.size() - used, format, values...);
      used = std::min(used + static_cast<std::size_t>(length), line.size() - 1);
    };
    add("steps: %llu loss: %.4f", static_cast<unsigned long long>(step), *loss);
    for (std::size_t i = 0; i < terms.size(); ++i) {
      add(" %s: %.4f", termNames[i].c_str(), terms[i]);
    }
    add(" iter time (s): %.3f samples/sec: %.3f lr: %g", perStep, recipe.train_batch_size() / perStep,
        *learningRate);
    return line.data();
  }

  const char *describeSkip(std::uint64_t step, double scale) {
    const int length = std::snprintf(notice, sizeof notice, "step %llu skipped: gradients are not finite",
                                     static_cast<unsigned long long>(step));
    if (lossScale) {
      std::snprintf(notice + length, sizeof notice - static_cast<std::size_t>(length),
                    lossScale->value() < scale ? "; loss scale %g, from now on %g"
                    : lossScale->isLowest()
                        ? "; loss scale %g, which gets no lower: --find-nan names the cause"
                        : "; loss scale stays %g, overflows until it is halved: %.0f",
                    scale, lossScale->value() < scale ? lossScale->value() : lossScale->hysteresisLeft());
    }
    return notice;
  }

  Error notFinite(std::uint64_t step) const {
    const auto &rankOfStage = *file.schedule()->rank_of_stage();
    const int last = rankOfStage.Get(rankOfStage.size() - 1);
    const std::string ranks = mesh.ranksText(last);
    return userError(
        "step " + std::to_string(step),
        std::string("the loss is ") + (std::isnan(*loss) ? "not a number" : "infinite") +
            " (computed on rank " + ranks + "); training has stopped and nothing was written",
        "lower the learning rate, set gradient_clipping, or check the data and the initial weights");
  }

  Executor &executor;
  Training &shared;
  const Mesh mesh;
  const executable::Executable &file;
  const executable::Recipe &recipe;
  TrainingInputs inputs;
  const LearningRate rates;
  double *learningRate;
  std::vector<double *> groupRates;
  std::int32_t *stepCell;
  double *biasCorrections, *firstBeta;
  float *lossScaleCell;    ///< null except in fp16
  std::uint32_t *rounding; ///< null where weights are rounded to the nearest
  const double *loss;
  const std::vector<std::string> termNames;
  const std::span<const double> terms;
  const double *gradientNorm;
  const bool skipsOverflow;
  std::optional<LossScale> lossScale;
  std::uint64_t done = 0, skippedSteps = 0;
  std::int64_t lastEnd = 0, lastPrint = 0;
  std::vector<char> line; ///< as long as it can get, so that nothing is allocated later
  char notice[192];
};

Training::Training(const Session &session, const SampleOrder &order)
    : skipsOverflow(skips(*session.executable.file().recipe())) {
  for (const auto &executor : session.localExecutors()) {
    ranks.push_back(executor ? std::make_unique<RankTraining>(*executor, session, order, *this) : nullptr);
  }
}

Training::~Training() = default;

Result<void> Training::run(Executor &executor) {
  return ranks[executor.rank()]->run();
}

std::vector<std::uint64_t> Training::progress() const {
  std::vector<std::uint64_t> progress{steps};
  if (skipsOverflow) {
    progress.push_back(skippedSteps);
  }
  if (lossScale) {
    for (const double value : {lossScale->value(), double(lossScale->hysteresisLeft())}) {
      progress.push_back(std::bit_cast<std::uint64_t>(value));
    }
  }
  return progress;
}

} // namespace stagewright::runtime
