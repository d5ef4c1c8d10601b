#include "Internals.h"

#include "compiler/OpenCompiler.h"
#include "files/WholeFile.h"
#include "runtime/executable/TensorSplit.h"
#include "runtime/train/DataSource.h"

#include <charconv>
#include <dlfcn.h>
#include <filesystem>

namespace stagewright {
inline namespace v0 {

StagedExecutable::StagedExecutable(std::shared_ptr<const runtime::Executable> made) : plan(std::move(made)) {
  for (const executable::ModelInput *input : *plan->file().inputs()) {
    InputInfo info;
    info.name = input->name()->str();
    info.isLabel = runtime::isLabel(*input);
    info.dtype = runtime::isInteger(*input) ? DType::I32 : DType::F32;
    if (input->sample_shape()) {
      info.shape.assign(input->sample_shape()->begin(), input->sample_shape()->end());
    }
    info.elements = runtime::sampleElements(*input);
    inputList.push_back(std::move(info));
  }
}

Result<StagedExecutable> StagedExecutable::load(const std::string &path) {
  return guarded<StagedExecutable>([&]() -> Result<StagedExecutable> {
    auto loaded = runtime::Executable::load(path);
    if (!loaded) {
      return loaded.takeError();
    }
    return Internals::wrap(std::make_shared<const runtime::Executable>(std::move(*loaded)));
  });
}

Result<void> StagedExecutable::save(const std::string &path) const {
  return runtime::Session::guarded([&] {
    return writeWholeFile(path, {reinterpret_cast<const char *>(bytes().data()), bytes().size()});
  });
}

std::span<const std::uint8_t> StagedExecutable::bytes() const {
  return plan->contents();
}

std::string StagedExecutable::modelName() const {
  return plan->file().model()->str();
}
std::vector<std::string> StagedExecutable::lossTerms() const {
  return plan->lossTerms();
}
int StagedExecutable::stages() const {
  return plan->trainSchedule().stages;
}
int StagedExecutable::ranks() const {
  return plan->mesh().size();
}
int StagedExecutable::trainBatchSize() const {
  return plan->file().recipe()->train_batch_size();
}
int StagedExecutable::microBatchSize() const {
  return plan->file().recipe()->micro_batch_size();
}
int StagedExecutable::microBatches() const {
  return plan->file().recipe()->micro_batches();
}

std::uint64_t StagedExecutable::plannedBytes() const {
  std::uint64_t total = 0;
  for (int rank = 0; rank < plan->rankCount(); ++rank) {
    total += plan->plannedBytes(rank);
  }
  return total * static_cast<unsigned>(plan->mesh().perPipelineRank());
}

std::vector<ParameterInfo> StagedExecutable::parameters() const {
  std::vector<ParameterInfo> list;
  for (const executable::Parameter *parameter : *plan->file().parameters()) {
    list.push_back({parameter->name()->str(), runtime::wholeShape(*parameter), parameter->stage()});
  }
  return list;
}

namespace {

/// The folder that this library was loaded from.
std::string ownFolder() {
  static const char anchor = 0;
  Dl_info info{};
  if (!dladdr(&anchor, &info) || !info.dli_fname) {
    return ".";
  }
  return std::filesystem::absolute(info.dli_fname).parent_path();
}

/// "NAME:LINE:COLUMN" of a model that is no file becomes what stands in the line.
void nameEntry(Error &error, const std::string &name, const ModelText &model) {
  if (error.place.size() <= name.size() + 1 || !error.place.starts_with(name + ":")) {
    return;
  }
  std::size_t line = 0;
  const char *begin = error.place.data() + name.size() + 1;
  std::from_chars(begin, error.place.data() + error.place.size(), line);
  const bool known = line >= 1 && line <= model.lines.size() && !model.lines[line - 1].empty();
  error.place = known ? model.lines[line - 1] : name;
}

Result<StagedExecutable> compileRequest(CompileRequest request, const Config &config,
                                        const CompileOptions &options) {
  request.config = config.text ? "config" : config.path;
  request.configText = config.text;
  request.stages = options.stages;
  request.dataParallel = options.dataParallel;
  request.tensorParallel = options.tensorParallel;
  request.microBatches = options.microBatches;
  request.schedule = options.schedule;
  request.partition = options.partition;
  request.sequenceLength = options.sequenceLength;
  const std::string folder = ownFolder();
  auto compiler = openCompiler({folder + "/stagewright", folder});
  if (!compiler) {
    return compiler.takeError();
  }
  CompileOutcome outcome;
  (*compiler)(request, outcome);
  if (!outcome.result) {
    return outcome.result.takeError();
  }
  auto plan = runtime::Executable::fromBytes(std::move(outcome.bytes), request.model, runtime::kAnyTarget);
  if (!plan) {
    return bugError(request.model, "the compiled plan is refused by the loader: " + plan.error().text());
  }
  if (auto ok = plan->choose("host"); !ok) {
    return ok.takeError();
  }
  return Internals::wrap(std::make_shared<const runtime::Executable>(std::move(*plan)),
                         std::move(outcome.settingsWithoutEffect));
}

} // namespace

Result<StagedExecutable> compile(const Model &model, const Config &config, const CompileOptions &options) {
  return guarded<StagedExecutable>([&]() -> Result<StagedExecutable> {
    auto text = modelText(model);
    if (!text) {
      return text.takeError();
    }
    CompileRequest request;
    request.model = "model";
    request.modelText = text->text;
    auto compiled = compileRequest(std::move(request), config, options);
    if (!compiled) {
      Error error = compiled.takeError();
      nameEntry(error, "model", *text);
      return error;
    }
    return compiled;
  });
}

Result<StagedExecutable> compile(const ModelFile &model, const Config &config,
                                 const CompileOptions &options) {
  return guarded<StagedExecutable>([&]() -> Result<StagedExecutable> {
    CompileRequest request;
    request.model = model.path;
    return compileRequest(std::move(request), config, options);
  });
}

} // namespace v0
} // namespace stagewright
