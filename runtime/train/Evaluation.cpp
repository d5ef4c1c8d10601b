#include "runtime/train/Evaluation.h"

#include <algorithm>
#include <cstring>

namespace stagewright::runtime {

namespace {

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

} // namespace

/// One rank's part of it.
class RankEvaluation {
public:
  RankEvaluation(Executor &executor, const Session &session, Evaluation &shared)
      : executor(executor), recipe(*session.executable.file().recipe()), dataset(*session.dataset),
        inputs(dataset, recipe.micro_batch_size(), recipe.micro_batches()),
        losses(static_cast<const float *>(executor.scalar("losses"))),
        correct(static_cast<const std::int64_t *>(executor.scalar("correct"))), shared(shared) {
    const int label = accuracyLabel(session.executable.file());
    for (const executable::InputBinding *binding : *executor.plan().inputs()) {
      if (label >= 0 && binding->input() == label && session.executable.integerRules()[label].ignored) {
        ignored = {label, *session.executable.integerRules()[label].ignored};
      }
    }
  }

  Result<void> run() {
    const std::uint64_t samples = dataset.samples(),
                        batch = std::uint64_t{static_cast<unsigned>(recipe.micro_batch_size())} *
                                static_cast<unsigned>(recipe.micro_batches());
    const bool first = executor.rank() == 0;
    if (first && !shared.continues) {
      std::fill(shared.losses.begin(), shared.losses.end(), 0.0);
      shared.correct = 0;
      shared.samples = 0;
    }
    if (first) {
      shared.begin = monotonicNanoseconds();
    }
    const auto *handedOut = executor.plan().outputs();
    // All tensor ranks have the same.
    const bool hands = handedOut && handedOut->size() > 0 && executor.tensorRank() == 0;
    OutputSink *sink = shared.outputs && hands ? &*shared.outputs : nullptr;
    if (sink) {
      shared.outputs->validRows = [this](int microBatch) { return inputs.validRows(microBatch); };
    }
    if (auto *rounding = static_cast<std::int32_t *>(executor.scalar("rounding"))) {
      rounding[4] = 0; // to the nearest
    }
    if (auto ok = executor.prepareWeights(); !ok) {
      return ok;
    }
    for (inputs.pass = 0; inputs.pass * batch < samples; ++inputs.pass) {
      if (auto ok = executor.evaluate(inputs, inputs.pass + 1, sink); !ok) {
        return ok;
      }
      for (int k = 0; first && k < recipe.micro_batches(); ++k) {
        const std::size_t width = shared.losses.size();
        for (std::size_t i = 0; i < width; ++i) {
          shared.losses[i] +=
              static_cast<double>(losses[static_cast<std::size_t>(k) * width + i]) * inputs.validRows(k);
        }
        shared.correct += correct ? correct[k] : 0;
      }
      if (first && shared.onSamples) {
        executor.callBack([&] { shared.onSamples(std::min((inputs.pass + 1) * batch, samples), samples); });
      }
    }
    if (ignored && executor.replica() == 0) {
      shared.ignoredLabels = (shared.continues ? shared.ignoredLabels : 0) +
                             static_cast<double>(dataset.countOf(ignored->input, ignored->label));
    }
    if (first) {
      shared.samples += samples;
      shared.end = monotonicNanoseconds();
    }
    return {};
  }

private:
  Executor &executor;
  const executable::Recipe &recipe;
  const Dataset &dataset;
  EvaluationInputs inputs;
  const float *losses;
  const std::int64_t *correct; ///< null: not counted
  struct Ignored {
    int input;
    std::int64_t label;
  };
  std::optional<Ignored> ignored; ///< of the rank that reads the labels
  Evaluation &shared;
};

Evaluation::Evaluation(const Session &session)
    : losses(1 + session.executable.lossTerms().size()), means(losses.size()), session(session) {
  for (const auto &executor : session.localExecutors()) {
    // With ZeRO 3 the others as well, for the weights that they have.
    const bool divided = session.executable.file().recipe()->zero() == 3;
    const bool evaluates = executor && (executor->replica() == 0 || divided);
    ranks.push_back(evaluates ? std::make_unique<RankEvaluation>(*executor, session, *this) : nullptr);
  }
}

Evaluation::~Evaluation() = default;

Result<void> Evaluation::run(Executor &executor) {
  RankEvaluation *rank = ranks[executor.rank()].get();
  return rank ? rank->run() : Result<void>();
}

std::span<const double> Evaluation::meanLosses() {
  for (std::size_t i = 0; i < losses.size(); ++i) {
    means[i] = losses[i] / static_cast<double>(samples);
  }
  return means;
}

std::optional<double> Evaluation::accuracy(double ignoredLabels) const {
  const int label = accuracyLabel(session.executable.file());
  if (label < 0) {
    return std::nullopt;
  }
  // Of a language model: tokens.
  const std::size_t each = sampleElements(*session.executable.file().inputs()->Get(label));
  const double labels = static_cast<double>(samples * each) - ignoredLabels;
  return labels > 0 ? static_cast<double>(correct) / labels : 0;
}

Result<void> Evaluation::openOutputs(const std::string &path) {
  auto rank = outputRank(session.executable);
  if (!rank) {
    return rank.takeError();
  }
  if (ranks[static_cast<std::size_t>(session.mesh.rank(*rank, 0))]) {
    auto created = EvaluationOutputs::create(path, session.executable, session.dataset->samples());
    if (!created) {
      return created.takeError();
    }
    outputs.emplace(std::move(*created));
  }
  return {};
}

Result<void> Evaluation::commitOutputs() {
  return outputs ? outputs->commit() : Result<void>();
}

} // namespace stagewright::runtime
