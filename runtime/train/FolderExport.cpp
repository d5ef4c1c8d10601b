#include "runtime/train/FolderExport.h"

#include "files/WholeFile.h"
#include "files/WholeFolder.h"
#include "runtime/train/WeightFiles.h"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <iterator>

namespace stagewright::runtime {

namespace fs = std::filesystem;

static constexpr const char *kConfig = "config.json";
static constexpr const char *kTokenizerFiles[] = {
    "tokenizer.json", "tokenizer_config.json",   "tokenizer.model",   "vocab.json",   "vocab.txt",
    "merges.txt",     "special_tokens_map.json", "added_tokens.json", "spiece.model", "chat_template.jinja"};

/// The folder's config.json; the weights beside it are fp32, whatever they were.
static Result<std::string> configText(const Executable &executable) {
  bool isDeep = false; // dump() calls itself
  const auto watch = [&](int depth, nlohmann::ordered_json::parse_event_t, nlohmann::ordered_json &) {
    isDeep = isDeep || depth > 64;
    return !isDeep;
  };
  nlohmann::ordered_json config = nlohmann::ordered_json::parse(
      executable.file().folder()->config()->string_view(), watch, /*allow_exceptions=*/false);
  if (!config.is_object() || isDeep) {
    return userError(executable.name() + " at folder.config", "it is no JSON object, or nested too deeply",
                     "compile the model again");
  }
  for (const char *key : {"dtype", "torch_dtype"}) {
    if (config.contains(key)) {
      config[key] = "float32";
    }
  }
  return config.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

static Result<void> writeTensors(const Executable &executable, const ExportOptions &options,
                                 const std::string &path, ExportSummary &summary) {
  auto files = WeightFiles::open(executable, options.weights);
  if (!files) {
    return files.takeError();
  }
  std::vector<SafetensorsTensor> tensors; // eight-byte elements first
  for (const bool isWide : {true, false}) {
    for (const auto &[name, tensor] : storedTensors(executable.file())) {
      if ((std::string_view(tensor.dtype) == "I64") == isWide) {
        const auto elements = static_cast<std::uint64_t>(catalogue::elements(tensor.shape));
        tensors.push_back({name, tensor.dtype, tensor.shape, 0, elements * (isWide ? 8 : 4)});
      }
    }
  }
  auto writer = SafetensorsWriter::create(path, tensors);
  if (!writer) {
    return writer.takeError();
  }
  std::vector<std::byte> bytes;
  for (const SafetensorsTensor &tensor : tensors) {
    if (options.interrupt && options.interrupt->raised()) {
      return Error{ErrorKind::Interrupted, "", "interrupted; nothing was written", ""};
    }
    bytes.resize(tensor.bytes);
    if (auto ok = files->readStored(tensor.name, bytes.data()); !ok) {
      return ok;
    }
    if (auto ok = writer->write(bytes.data(), bytes.size()); !ok) {
      return ok;
    }
    ++summary.tensors;
    summary.bytes += tensor.bytes;
  }
  return writer->commit();
}

static Result<void> copyTokenizer(const ExportOptions &options, const WholeFolder &folder,
                                  ExportSummary &summary) {
  std::error_code ignored;
  for (const char *name : kTokenizerFiles) {
    const fs::path from = fs::path(options.tokenizer) / name;
    if (!fs::is_regular_file(from, ignored)) {
      continue;
    }
    std::ifstream stream(from, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(stream), {}};
    if (stream.bad() || !stream.is_open()) {
      return environmentError(from, "the file cannot be read", "check its permissions");
    }
    if (auto ok = writeWholeFile(folder.file(name), text); !ok) {
      return ok;
    }
    ++summary.tokenizerFiles;
  }
  return summary.tokenizerFiles > 0 ? Result<void>()
                                    : userError(options.tokenizer, "the folder holds no files of a tokenizer",
                                                "name the folder with tokenizer.json or the vocabulary");
}

Result<ExportSummary> exportFolder(const Executable &executable, const ExportOptions &options) {
  if (!executable.file().folder()) {
    return userError(executable.name(), "the model was not compiled from a Hugging Face folder",
                     "train --save-weights writes safetensors with PyTorch's names");
  }
  if (!executable.hasLoss()) {
    return userError(executable.name(),
                     "the model has no loss, so that its weights are those of its source folder",
                     "use that folder, or compile a model with a head");
  }
  auto config = configText(executable);
  if (!config) {
    return config.takeError();
  }
  auto folder = WholeFolder::create(options.output, options.replace ? kConfig : "");
  if (!folder) {
    return folder.takeError();
  }
  ExportSummary summary;
  auto written = writeTensors(executable, options, folder->file("model.safetensors"), summary);
  if (written) {
    written = writeWholeFile(folder->file(kConfig), *config);
  }
  if (written && !options.tokenizer.empty()) {
    written = copyTokenizer(options, *folder, summary);
  }
  if (written) {
    written = folder->commit();
  }
  return written ? Result<ExportSummary>(summary) : written.takeError();
}

} // namespace stagewright::runtime
