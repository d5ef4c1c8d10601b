#include "compiler/CompilerModule.h"

#include "frontends/config/ConfigKeys.h"
#include "frontends/huggingface/HuggingFaceFolder.h"
#include "frontends/import/ImportLayerSpec.h"
#include "passes/Passes.h"
#include "passes/Pipeline.h"
#include "passes/Targets.h"
#include "passes/emit/EmitExecutable.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/SourceMgr.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;

namespace stagewright {
namespace {

std::string placeOf(Location location) {
  if (auto file = dyn_cast<FileLineColLoc>(location)) {
    return file.getFilename().str() + ":" + std::to_string(file.getLine()) + ":" +
           std::to_string(file.getColumn());
  }
  if (auto name = dyn_cast<NameLoc>(location)) {
    // A block's name with the place of the block, or a place that is no position in a file, as "--stages".
    std::string place = placeOf(name.getChildLoc());
    return place.empty() ? name.getName().str() : place;
  }
  if (auto fused = dyn_cast<FusedLoc>(location)) {
    return fused.getLocations().empty() ? "" : placeOf(fused.getLocations().front());
  }
  return {};
}

/// The first error of a compilation; its first note is the advice.
class FirstError {
public:
  explicit FirstError(MLIRContext &context)
      : handler(&context, [this](Diagnostic &diagnostic) {
          if (diagnostic.getSeverity() == DiagnosticSeverity::Error && error.what.empty()) {
            error = userError(placeOf(diagnostic.getLocation()), diagnostic.str());
            for (Diagnostic &note : diagnostic.getNotes()) {
              error.advice = error.advice.empty() ? note.str() : error.advice;
            }
          }
          return success();
        }) {}

  /// `resumed`: the module was read as text, which somebody may have changed. Else what has no advice is our
  /// own mistake: all that a user can get wrong is refused with advice.
  Error take(const char *otherwise, const std::string &resumed) {
    if (error.what.empty()) {
      return bugError("compiler", otherwise);
    }
    if (error.advice.empty() && resumed.empty()) {
      return bugError(error.place, error.what);
    }
    if (!resumed.empty()) {
      error.place = error.place.empty() ? resumed : error.place;
      error.advice = error.advice.empty() ? "give the text that compile --compile-to wrote" : error.advice;
    }
    return error;
  }

private:
  Error error;
  ScopedDiagnosticHandler handler;
};

Result<ModelSpec> readModel(const CompileRequest &request) {
  if (!request.modelText && llvm::sys::fs::is_directory(request.model)) {
    return readHuggingFaceFolder(request.model, {.sequenceLength = request.sequenceLength});
  }
  if (request.sequenceLength) {
    return userError("--sequence-length", "the length of samples stands in the model file",
                     "change the shape of its inputs; the option is for Hugging Face folders");
  }
  return request.modelText ? parseModelSpec(request.model, *request.modelText) : readModelSpec(request.model);
}

Result<OwningOpRef<ModuleOp>> startingModule(MLIRContext &context, const CompileRequest &request,
                                             std::vector<std::string> &withoutEffect) {
  if (!request.resumeFrom.empty()) {
    FirstError errors(context);
    OwningOpRef<ModuleOp> module = parseSourceFile<ModuleOp>(request.resumeFrom, &context);
    if (!module) {
      return errors.take("the IR could not be read", request.resumeFrom);
    }
    return std::move(module);
  }
  ConfigOverrides overrides{request.stages,       request.dataParallel, request.tensorParallel,
                            request.microBatches, request.schedule,     request.partition,
                            request.targets};
  Result<ModelSpec> model = readModel(request);
  if (!model) {
    return model.takeError();
  }
  Result<Config> config = request.configText ? parseConfig(request.config, *request.configText, overrides)
                                             : readConfig(request.config, overrides);
  if (!config) {
    return config.takeError();
  }
  withoutEffect = settingsWithoutEffect(*config);
  return importLayerSpec(context, *model, *config);
}

Result<std::vector<std::uint8_t>> compile(const CompileRequest &request,
                                          std::vector<std::string> &withoutEffect) {
  std::optional<Phase> stop = Phase::Lower;
  if (!request.compileTo.empty() && !(stop = phaseNamed(request.compileTo))) {
    std::string names;
    for (const std::string &name : phaseNames()) {
      names += (names.empty() ? "" : ", ") + name;
    }
    return userError("--compile-to " + request.compileTo, "there is no such phase", "use one of " + names);
  }
  MLIRContext context(MLIRContext::Threading::DISABLED);
  context.printOpOnDiagnostic(false);
  context.loadDialect<layer::LayerDialect, plan::PlanDialect, command::CommandDialect>();
  Result<OwningOpRef<ModuleOp>> module = startingModule(context, request, withoutEffect);
  if (!module) {
    return module.takeError();
  }
  int first = 0;
  if (!request.resumeFrom.empty()) {
    std::optional<Phase> done = phaseOf(**module);
    if (!done) {
      return userError(request.resumeFrom, "holds no model of Stagewright",
                       "give the file that compile --compile-to wrote");
    }
    // The last phase's verifier runs again, with the phase's passes left out, before the next phase begins.
    first = static_cast<int>(*done) + 1;
    if (first > static_cast<int>(*stop) + 1) {
      return userError(request.resumeFrom, "is already behind phase " + request.compileTo,
                       "choose a later phase");
    }
  }
  plan::SettingsOp settings = *(*module)->getOps<plan::SettingsOp>().begin();
  if (settings.getTargets().size() > 1 && !isForAllTargets(*stop)) {
    return userError("--compile-to " + request.compileTo,
                     "behind this phase the IR is of one target, and there are " +
                         std::to_string(settings.getTargets().size()),
                     "look at one target at a time, as --target host, or stop after search or lower");
  }
  FirstError errors(context);
  if (failed(runPhases(**module, static_cast<Phase>(first), *stop))) {
    return errors.take("a pass failed without a message", request.resumeFrom);
  }
  if (!request.compileTo.empty()) {
    std::string text;
    llvm::raw_string_ostream stream(text);
    // Locations say which block and pass an op comes from; later phases read them.
    (*module)->print(stream, OpPrintingFlags().enableDebugInfo());
    stream << "\n";
    return std::vector<std::uint8_t>(text.begin(), text.end());
  }
  return emitExecutable(**module);
}

} // namespace
} // namespace stagewright

extern "C" __attribute__((visibility("default"))) void
stagewright_compile(const stagewright::CompileRequest &request, stagewright::CompileOutcome &outcome) {
  try {
    auto bytes = stagewright::compile(request, outcome.settingsWithoutEffect);
    outcome.result = bytes ? stagewright::Result<void>() : bytes.takeError();
    if (bytes) {
      outcome.bytes = std::move(*bytes);
    }
  } catch (const std::exception &exception) {
    outcome.result = stagewright::bugError("compiler", exception.what());
  }
}
