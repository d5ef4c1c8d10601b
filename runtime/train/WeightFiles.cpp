#include "runtime/train/WeightFiles.h"

#include "error/NearestName.h"
#include "runtime/executable/TensorSplit.h"
#include "runtime/train/HalfPrecision.h"
#include "runtime/train/StrictJson.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>

namespace stagewright::runtime {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kOneFile = "model.safetensors", kIndex = "model.safetensors.index.json",
                           kPickled = "pytorch_model.bin", kPickledIndex = "pytorch_model.bin.index.json";
constexpr std::uintmax_t kMaxIndexBytes = 64 << 20;

bool endsWithOneOf(const std::string &name, const executable::Folder *folder) {
  const auto *endings = folder ? folder->ignored() : nullptr;
  for (unsigned i = 0; endings && i < endings->size(); ++i) {
    if (name.ends_with(endings->Get(i)->string_view())) {
      return true;
    }
  }
  return false;
}

std::string listed(const std::vector<std::string> &names) {
  constexpr std::size_t most = 12;
  std::string text;
  for (std::size_t i = 0; i < names.size() && i < most; ++i) {
    text += (i ? ", " : "") + names[i];
  }
  return names.size() > most ? text + " and " + std::to_string(names.size() - most) + " more" : text;
}

/// What is wrong with the tensors, for one message.
struct Differences {
  std::vector<std::string> missing, unexpected, different, twice;

  std::string text() const {
    std::string what;
    const auto add = [&](const char *title, const std::vector<std::string> &names) {
      if (!names.empty()) {
        what += (what.empty() ? "" : "; ") + (title + listed(names));
      }
    };
    add("missing: ", missing);
    add("not in the model: ", unexpected);
    add("different: ", different);
    add("twice: ", twice);
    return what;
  }
};

/// The names that a tensor of the model may have in a file.
class Names {
public:
  Names(const executable::Executable &file, const std::map<std::string, StoredTensor> &expected)
      : expected(expected),
        prefix(file.folder() && file.folder()->prefix() ? file.folder()->prefix()->str() : "") {}

  /// Of a parameter or a buffer; empty: there is none.
  std::string canonical(const std::string &name) const {
    if (expected.contains(name) || prefix.empty()) {
      return expected.contains(name) ? name : "";
    }
    if (name.starts_with(prefix)) {
      const std::string rest = name.substr(prefix.size());
      return expected.contains(rest) ? rest : "";
    }
    return expected.contains(prefix + name) ? prefix + name : "";
  }

private:
  const std::map<std::string, StoredTensor> &expected;
  const std::string prefix; ///< of the base model
};

} // namespace

std::map<std::string, StoredTensor> storedTensors(const executable::Executable &file) {
  std::map<std::string, StoredTensor> tensors;
  for (const executable::Parameter *parameter : *file.parameters()) {
    tensors[parameter->name()->str()] = {wholeShape(*parameter)};
  }
  for (unsigned i = 0; file.buffers() && i < file.buffers()->size(); ++i) {
    const executable::Buffer &buffer = *file.buffers()->Get(i);
    tensors[buffer.name()->str()] = {{buffer.shape()->begin(), buffer.shape()->end()},
                                     buffer.dtype() == executable::DType::I64 ? "I64" : "F32"};
  }
  const auto *transposed = file.folder() ? file.folder()->transposed() : nullptr;
  for (unsigned i = 0; transposed && i < transposed->size(); ++i) {
    const executable::Parameter &parameter =
        *file.parameters()->Get(static_cast<unsigned>(transposed->Get(i)));
    StoredTensor &tensor = tensors[parameter.name()->str()];
    std::reverse(tensor.shape.begin(), tensor.shape.end());
    tensor.isTransposed = true;
  }
  return tensors;
}

void transpose(const float *from, std::int64_t rows, std::int64_t columns, float *to) {
  constexpr std::int64_t tile = 32; // both sides in cache
  for (std::int64_t i = 0; i < rows; i += tile) {
    for (std::int64_t j = 0; j < columns; j += tile) {
      for (std::int64_t r = i; r < std::min(rows, i + tile); ++r) {
        for (std::int64_t c = j; c < std::min(columns, j + tile); ++c) {
          to[c * rows + r] = from[r * columns + c];
        }
      }
    }
  }
}

Result<WeightFiles> WeightFiles::open(const Executable &executable, const std::string &path) {
  WeightFiles weights(path);
  std::error_code ignored;
  if (auto ok = fs::is_directory(path, ignored) ? weights.openFolder() : weights.add(path); !ok) {
    return ok.takeError();
  }
  if (auto ok = weights.match(executable); !ok) {
    return ok.takeError();
  }
  return weights;
}

Result<void> WeightFiles::add(const std::string &file) {
  auto reader = SafetensorsReader::open(file);
  if (!reader) {
    return reader.takeError();
  }
  files.push_back(std::make_unique<SafetensorsReader>(std::move(*reader)));
  return {};
}

Result<void> WeightFiles::openFolder() {
  const fs::path folder = path;
  std::error_code ignored;
  if (fs::exists(folder / kOneFile, ignored)) {
    return add(folder / kOneFile);
  }
  if (fs::exists(folder / kIndex, ignored)) {
    return openShards(folder / kIndex);
  }
  for (std::string_view pickled : {kPickled, kPickledIndex}) {
    if (fs::exists(folder / pickled, ignored)) {
      return userError(
          folder / pickled, "weights in PyTorch's pickle format are not read, as they may run code",
          "convert them: in Python, transformers' from_pretrained(FOLDER).save_pretrained(NEW_FOLDER) "
          "writes model.safetensors");
    }
  }
  return userError(path, "the folder holds neither model.safetensors nor model.safetensors.index.json",
                   "name a file in the safetensors format, or a folder as transformers writes it");
}

Result<void> WeightFiles::openShards(const std::string &index) {
  constexpr const char *advice = "give the folder as transformers' save_pretrained wrote it";
  std::error_code failure;
  const std::uintmax_t bytes = fs::file_size(index, failure);
  std::ifstream stream(index, std::ios::binary);
  if (failure || !stream || bytes > kMaxIndexBytes) {
    return userError(index, "the list of shards cannot be read, or is larger than 64 MiB", advice);
  }
  std::string text(bytes, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(bytes));
  auto parsed = parseStrictJson(text);
  if (!parsed) {
    return userError(index, "the list of shards " + parsed.error().what, advice);
  }
  const auto map = parsed->find("weight_map");
  if (map == parsed->end() || !map->is_object() || map->empty()) {
    return userError(index, "there is no \"weight_map\" of tensors and files", advice);
  }
  std::map<std::string, std::size_t> opened;
  for (const auto &[tensor, value] : map->items()) {
    const std::string name = value.is_string() ? value.get<std::string>() : "";
    if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos ||
        name.find('\0') != std::string::npos) {
      return userError(index, "the file of the tensor \"" + tensor + "\" is no name of a file in this folder",
                       advice);
    }
    const auto [shard, isNew] = opened.try_emplace(name, files.size());
    if (isNew) {
      if (auto ok = add(fs::path(path) / name); !ok) {
        return ok;
      }
    }
    if (!files[shard->second]->find(tensor)) {
      return userError(files[shard->second]->path(),
                       "there is no tensor \"" + tensor + "\", which " + index + " promises", advice);
    }
  }
  return {};
}

Result<void> WeightFiles::match(const Executable &executable) {
  const executable::Folder *folder = executable.file().folder();
  expected = storedTensors(executable.file());
  std::map<std::string, std::string> copies; // and the parameters that they repeat
  for (unsigned i = 0; folder && folder->copies() && i < folder->copies()->size(); ++i) {
    const executable::FolderCopy &copy = *folder->copies()->Get(i);
    copies[copy.name()->str()] =
        executable.file().parameters()->Get(static_cast<unsigned>(copy.parameter()))->name()->str();
  }
  const Names names(executable.file(), expected);
  std::vector<std::string_view> known;
  for (const auto &[name, wanted] : expected) {
    known.push_back(name);
  }
  Differences found;
  constexpr std::size_t most = 12; // compared with all names: a hostile file costs no time
  for (const auto &file : files) {
    const std::string where = files.size() > 1 ? " in " + fs::path(file->path()).filename().string() : "";
    for (const SafetensorsTensor &tensor : file->tensors()) {
      const auto copy = copies.find(tensor.name);
      const std::string name = copy != copies.end() ? copy->second : names.canonical(tensor.name);
      if (name.empty()) {
        if (!endsWithOneOf(tensor.name, folder)) {
          const bool isCompared = found.unexpected.size() < most;
          found.unexpected.push_back(
              tensor.name + where +
              (isCompared ? " (nearest: " + std::string(nearestName(tensor.name, known)) + ")" : ""));
        }
        continue;
      }
      const StoredTensor &wanted = expected.at(name);
      const bool isWide = tensor.dtype == wanted.dtype || (std::string(wanted.dtype) == "F32" &&
                                                           (tensor.dtype == "F16" || tensor.dtype == "BF16"));
      if (tensor.shape != wanted.shape) {
        found.different.push_back(tensor.name + where + " (" + shapeText(tensor.shape) + ", not " +
                                  shapeText(wanted.shape) + ")");
      } else if (!isWide) {
        found.different.push_back(tensor.name + where + " (" + tensor.dtype + ", not " + wanted.dtype + ")");
      } else if (copy == copies.end() && !entries.try_emplace(name, Entry{file.get(), &tensor}).second) {
        found.twice.push_back(tensor.name + where);
      }
      if (copy == copies.end()) {
        entries.try_emplace(name, Entry{file.get(), &tensor}); // which is there, if wrong
      }
    }
  }
  for (const auto &[name, wanted] : expected) {
    if (!entries.contains(name)) {
      found.missing.push_back(name);
    }
  }
  if (const std::string what = found.text(); !what.empty()) {
    return userError(path, "the weights are of another model (" + what + ")",
                     "give the weights of the model that " + executable.name() + " was compiled from");
  }
  return {};
}

Result<void> WeightFiles::readStored(const std::string &name, void *destination) const {
  const Entry &entry = entries.at(name);
  if (entry.tensor->dtype == expected.at(name).dtype) {
    return entry.file->read(*entry.tensor, destination);
  }
  std::vector<std::uint16_t> halves(entry.tensor->bytes / 2);
  if (auto ok = entry.file->read(*entry.tensor, halves.data()); !ok) {
    return ok;
  }
  auto *values = static_cast<float *>(destination);
  for (std::size_t i = 0; i < halves.size(); ++i) {
    values[i] = entry.tensor->dtype == "F16" ? fromF16(halves[i]) : fromBF16(halves[i]);
  }
  return {};
}

Result<void> WeightFiles::read(const std::string &name, void *destination) const {
  const StoredTensor &stored = expected.at(name);
  if (!stored.isTransposed) {
    return readStored(name, destination);
  }
  std::vector<float> values(static_cast<std::size_t>(stored.shape[0] * stored.shape[1]));
  if (auto ok = readStored(name, values.data()); !ok) {
    return ok;
  }
  transpose(values.data(), stored.shape[0], stored.shape[1], static_cast<float *>(destination));
  return {};
}

} // namespace stagewright::runtime
