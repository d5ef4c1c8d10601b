#include "stagewright/Engine.h"

#include "Internals.h"

#include "runtime/train/BatchEngine.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace stagewright {
inline namespace v0 {

struct Engine::State {
  explicit State(const StagedExecutable &executable) : executable(executable) {}

  runtime::SampleOrder::Shape shape() const {
    return {static_cast<std::uint32_t>(executable.microBatchSize()),
            static_cast<std::uint32_t>(executable.microBatches()),
            static_cast<std::uint32_t>(Internals::planOf(executable)->mesh().replicas)};
  }
  Result<void> findOrder(std::uint64_t samples);
  Result<void> chooseTraining(const DataSource &source);
  Result<std::uint64_t> chooseEvaluation(const DataSource &source, std::uint64_t first);
  Result<void> fill(DataSource &source);
  Result<EvaluationReport> evaluate(DataSource &source, std::uint64_t first, bool continues);

  const StagedExecutable executable;
  const std::shared_ptr<runtime::InterruptFlag> interrupt = std::make_shared<runtime::InterruptFlag>();
  std::unique_ptr<runtime::BatchEngine> engine;
  std::optional<runtime::SampleOrder> order; ///< of `ordered` samples
  std::uint64_t ordered = 0;
  std::vector<std::uint64_t> chosen; ///< samples of the batch
  std::vector<Column> columns;
};

Engine::Engine(std::unique_ptr<State> state) : state(std::move(state)) {}
Engine::Engine(Engine &&) noexcept = default;
Engine &Engine::operator=(Engine &&) noexcept = default;
Engine::~Engine() = default;

Result<Engine> Engine::create(const StagedExecutable &executable, const EngineOptions &options) {
  if (options.ranks == Ranks::Processes) {
    return userError("EngineOptions::ranks", "this version of the library runs ranks as threads only",
                     "use Ranks::Threads, or the program: stagewright train --ranks processes");
  }
  return guarded<Engine>([&]() -> Result<Engine> {
    auto state = std::make_unique<State>(executable);
    runtime::EngineOptions own;
    own.threads = options.threads;
    own.init = options.initialWeights;
    own.watchdogSeconds = options.watchdogSeconds;
    own.interrupt = state->interrupt.get();
    own.keeps = state->interrupt;
    own.printWatchdog = [print = options.onStandstill](const std::string &line) {
      if (print) {
        print(line);
      }
    };
    auto opened = runtime::BatchEngine::open(Internals::planOf(executable), own);
    if (!opened) {
      Error error = opened.takeError();
      error.place = error.place == "--threads" ? "EngineOptions::threads" : error.place;
      return error;
    }
    state->engine = std::move(*opened);
    state->chosen.reserve(state->shape().batch());
    state->columns.resize(executable.inputs().size());
    return Engine(std::move(state));
  });
}

/// Of the samples of a source with an end: the program's.
Result<void> Engine::State::findOrder(std::uint64_t samples) {
  if (order && ordered == samples) {
    return {};
  }
  if (samples > std::numeric_limits<std::uint32_t>::max()) {
    return userError("DataSource::samples", "there are " + std::to_string(samples) + ", at least 2^32",
                     "give kEndless, or fewer");
  }
  const executable::Recipe &recipe = *engine->executable().file().recipe();
  auto made = runtime::SampleOrder::shuffled(samples, shape(), recipe.seed(), recipe.shuffle());
  if (!made) {
    Error error = made.takeError();
    error.place = "DataSource::samples";
    return error;
  }
  order.emplace(std::move(*made));
  ordered = samples;
  return {};
}

Result<void> Engine::State::chooseTraining(const DataSource &source) {
  const std::uint64_t step = engine->steps(), batch = shape().batch(), samples = source.samples();
  chosen.resize(batch);
  if (samples == DataSource::kEndless) {
    std::iota(chosen.begin(), chosen.end(), step * batch);
    return {};
  }
  if (auto ok = findOrder(samples); !ok) {
    return ok;
  }
  auto next = chosen.begin();
  for (int replica = 0; replica < static_cast<int>(shape().dataParallel); ++replica) {
    for (int microBatch = 0; microBatch < executable.microBatches(); ++microBatch) {
      const auto rows = order->samples(step, replica, microBatch);
      next = std::copy(rows.begin(), rows.end(), next);
    }
  }
  return {};
}

Result<std::uint64_t> Engine::State::chooseEvaluation(const DataSource &source, std::uint64_t first) {
  const std::uint64_t samples = source.samples();
  if (first >= samples) {
    return userError("evalBatch",
                     "there is no sample " + std::to_string(first) + ", the source has " +
                         std::to_string(samples),
                     "begin below the end of the source");
  }
  chosen.resize(std::min<std::uint64_t>(shape().batch(), samples - first));
  std::iota(chosen.begin(), chosen.end(), first);
  return chosen.size();
}

/// Asks the source for the chosen samples.
Result<void> Engine::State::fill(DataSource &source) {
  for (std::size_t i = 0; i < columns.size(); ++i) {
    columns[i] = {&executable.inputs()[i], chosen.size(), engine->column(static_cast<int>(i)).data()};
  }
  return source.fill(chosen, columns);
}

Result<StepReport> Engine::trainBatch(DataSource &source) {
  return guarded<StepReport>([&]() -> Result<StepReport> {
    if (auto ok = state->chooseTraining(source); !ok) {
      return ok.takeError();
    }
    if (auto ok = state->fill(source); !ok) {
      return ok.takeError();
    }
    auto made = state->engine->trainBatch();
    if (!made) {
      return made.takeError();
    }
    return StepReport{.step = made->step,
                      .loss = made->loss,
                      .lossTerms = made->lossTerms,
                      .gradientNorm = made->gradientNorm,
                      .skipped = made->skipped,
                      .learningRate = made->learningRate,
                      .lossScale = made->lossScale};
  });
}

Result<EvaluationReport> Engine::State::evaluate(DataSource &source, std::uint64_t first, bool continues) {
  auto rows = chooseEvaluation(source, first);
  if (!rows) {
    return rows.takeError();
  }
  if (auto ok = fill(source); !ok) {
    return ok.takeError();
  }
  auto made = engine->evaluateBatch(*rows, continues);
  if (!made) {
    return made.takeError();
  }
  return EvaluationReport{
      made->samples, made->loss, {made->lossTerms.begin(), made->lossTerms.end()}, made->accuracy};
}

Result<EvaluationReport> Engine::evalBatch(DataSource &source, std::uint64_t firstSample) {
  return guarded<EvaluationReport>([&] { return state->evaluate(source, firstSample, false); });
}

Result<EvaluationReport> Engine::evaluate(DataSource &source) {
  return guarded<EvaluationReport>([&]() -> Result<EvaluationReport> {
    const std::uint64_t samples = source.samples(), batch = state->shape().batch();
    if (samples == DataSource::kEndless) {
      return userError("evaluate", "the source has no end", "use evalBatch, or give samples()");
    }
    auto report = state->evaluate(source, 0, false);
    for (std::uint64_t first = batch; report && first < samples; first += batch) {
      report = state->evaluate(source, first, true);
    }
    return report;
  });
}

Result<void> Engine::saveWeights(const std::string &path) {
  return runtime::Session::guarded([&] { return state->engine->saveWeights(path); });
}

Result<void> Engine::loadWeights(const std::string &path) {
  return runtime::Session::guarded([&] { return state->engine->loadWeights(path); });
}

Result<std::string> Engine::weightsSha256() {
  return guarded<std::string>([&]() -> Result<std::string> {
    auto hashes = state->engine->hashes();
    return hashes ? Result<std::string>(std::move(hashes->weights)) : hashes.takeError();
  });
}

std::uint64_t Engine::steps() const {
  return state->engine->steps();
}
std::uint64_t Engine::skippedSteps() const {
  return state->engine->skippedSteps();
}
const StagedExecutable &Engine::executable() const {
  return state->executable;
}
void Engine::interrupt() noexcept {
  state->interrupt->raise();
}

} // namespace v0
} // namespace stagewright
