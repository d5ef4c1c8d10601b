#include "runtime/train/BatchEngine.h"

namespace stagewright::runtime {

/// The batch is a data set of one batch, whose values change.
static Result<Dataset> overBuffers(const Executable &executable,
                                   std::vector<std::vector<std::byte>> &buffers) {
  const auto samples = static_cast<std::uint64_t>(executable.file().recipe()->train_batch_size());
  std::vector<DataColumn> columns;
  for (const executable::ModelInput *input : *executable.file().inputs()) {
    DataColumn column;
    column.place = "the batch of input \"" + input->name()->str() + "\"";
    column.type = isInteger(*input) ? ElementType::I32 : ElementType::F32;
    column.samples = samples;
    column.elements = column.stride = sampleElements(*input);
    buffers.emplace_back(samples * column.elements * byteSize(column.type));
    column.values = buffers.back().data();
    columns.push_back(std::move(column));
  }
  return Dataset::fromColumns(executable, std::move(columns));
}

Result<std::unique_ptr<BatchEngine>> BatchEngine::open(std::shared_ptr<const Executable> executable,
                                                       const EngineOptions &options) {
  EngineOptions own = options;
  own.ranks = RankMode::Threads;
  own.trace.clear();
  auto batch = std::make_shared<Batch>();
  batch->callers = options.keeps;
  own.keeps = batch;
  std::shared_ptr<Training> training;
  std::shared_ptr<Evaluation> evaluation;
  auto session =
      Session::open(own, std::move(executable), std::nullopt, Session::Replicas::All,
                    [&](Session &session) -> Result<void> {
                      auto dataset = overBuffers(session.executable, batch->buffers);
                      if (!dataset) {
                        return dataset.takeError();
                      }
                      session.dataset.emplace(std::move(*dataset));
                      const executable::Recipe &recipe = *session.executable.file().recipe();
                      const SampleOrder::Shape shape{static_cast<std::uint32_t>(recipe.micro_batch_size()),
                                                     static_cast<std::uint32_t>(recipe.micro_batches()),
                                                     static_cast<std::uint32_t>(recipe.data_parallel())};
                      auto order = SampleOrder::shuffled(shape.batch(), shape, recipe.seed(), false);
                      if (!order) {
                        return order.takeError();
                      }
                      training = std::make_shared<Training>(session, *order);
                      evaluation = std::make_shared<Evaluation>(session);
                      return {};
                    });
  if (!session) {
    return session.takeError();
  }
  std::unique_ptr<BatchEngine> engine(new BatchEngine(std::move(*session)));
  engine->batch = batch;
  engine->training = std::move(training);
  engine->evaluation = std::move(evaluation);
  engine->training->onStep = [step = &batch->lastStep](const StepReport &report) { *step = report; };
  return engine;
}

BatchEngine::~BatchEngine() = default;

Result<StepReport> BatchEngine::trainBatch() {
  if (auto ok = checkHasLoss(executable()); !ok) {
    return ok.takeError();
  }
  const auto samples = static_cast<std::uint64_t>(executable().file().recipe()->train_batch_size());
  if (auto ok = session->dataset->refill(executable(), samples); !ok) {
    return ok.takeError();
  }
  training->stopped.reset();
  ++training->steps;
  if (auto ok = session->runRanks(training); !ok) {
    --training->steps;
    return ok.takeError();
  }
  if (training->stopped) {
    return *training->stopped;
  }
  StepReport report = batch->lastStep;
  report.line = report.notice = nullptr; // they stand in memory of the ranks
  return report;
}

Result<BatchEngine::BatchEvaluation> BatchEngine::evaluateBatch(std::uint64_t samples, bool continues) {
  const auto most = static_cast<std::uint64_t>(executable().file().recipe()->train_batch_size());
  if (samples == 0 || samples > most) {
    return userError("evaluateBatch", std::to_string(samples) + " samples do not make a batch",
                     "give from 1 to " + std::to_string(most) + ", the train_batch_size");
  }
  if (auto ok = session->dataset->refill(executable(), samples); !ok) {
    return ok.takeError();
  }
  if (auto ok = session->catchUp(); !ok) {
    return ok.takeError();
  }
  evaluation->continues = continues;
  if (auto ok = session->runRanks(evaluation); !ok) {
    return ok.takeError();
  }
  const std::span<const double> means = evaluation->meanLosses();
  return BatchEvaluation{evaluation->samples, means.front(), means.subspan(1),
                         evaluation->accuracy(evaluation->ignoredLabels)};
}

/// Ranks that have ended in the middle of a step have weights of two steps, and one may still write;
/// parameter servers may be ahead of replicas.
Result<void> BatchEngine::isComplete() {
  auto failure = session->failure();
  return failure ? Result<void>(*failure) : session->catchUp();
}

Result<void> BatchEngine::loadWeights(const std::string &path) {
  if (auto ok = isComplete(); !ok) {
    return ok;
  }
  return Session::guarded([&] { return runtime::loadWeights(session->localRanks(), path); });
}

Result<StateHashes> BatchEngine::finish(const std::string &saveTo) {
  std::optional<Result<StateHashes>> hashes;
  auto ended = Session::guarded([&]() -> Result<void> {
    hashes.emplace(finishState(session->localRanks(), training->progress(), saveTo,
                               [](Result<void> own) { return own; }));
    return {};
  });
  return ended ? std::move(*hashes) : Result<StateHashes>(ended.takeError());
}

Result<void> BatchEngine::saveWeights(const std::string &path) {
  if (auto ok = isComplete(); !ok) {
    return ok;
  }
  if (auto ok = checkWritable(path); !ok) {
    return ok;
  }
  if (auto ok = checkFinite(session->localRanks(), training->steps); !ok) {
    return ok;
  }
  auto saved = finish(path);
  return saved ? Result<void>() : saved.takeError();
}

Result<StateHashes> BatchEngine::hashes() {
  if (auto ok = isComplete(); !ok) {
    return ok.takeError();
  }
  return finish("");
}

} // namespace stagewright::runtime
