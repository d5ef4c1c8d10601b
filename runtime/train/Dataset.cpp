#include "runtime/train/Dataset.h"

#include "runtime/train/Idx.h"
#include "runtime/train/Random.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <limits>

namespace stagewright::runtime {

namespace {

constexpr const char *kFolderAdvice =
    "give the folder of the data set with --data; Debian's package dataset-fashion-mnist puts one into "
    "/usr/share/datasets/fashion-mnist";

constexpr std::uint64_t kSyntheticBatches = 8;
constexpr std::uint64_t kMaxSyntheticBytes = std::uint64_t{1} << 42; // far below overflow

std::size_t sampleElements(const executable::ModelInput &input) {
  catalogue::Shape shape;
  if (input.sample_shape()) {
    shape.assign(input.sample_shape()->begin(), input.sample_shape()->end());
  }
  return static_cast<std::size_t>(catalogue::elements(shape));
}

bool isLabel(const executable::ModelInput &input) {
  return input.role()->str() == "label";
}
/// Tokens or class labels.
bool isInteger(const executable::ModelInput &input) {
  return input.dtype() == executable::DType::I32;
}

/// The one file of the folder whose name is PREFIX-idx<d>-<type>[.gz]; the plain one where both are there.
Result<std::string> findFile(const std::string &folder, const std::vector<std::string> &prefixes) {
  namespace fs = std::filesystem;
  std::error_code failure;
  std::vector<std::string> names;
  for (fs::directory_iterator it(folder, failure), end; !failure && it != end; it.increment(failure)) {
    names.push_back(it->path().filename().string());
  }
  if (failure) {
    return userError(folder, "cannot read the data folder: " + failure.message(), kFolderAdvice);
  }
  std::sort(names.begin(), names.end());
  for (const std::string &prefix : prefixes) {
    std::vector<std::string> found;
    std::copy_if(names.begin(), names.end(), std::back_inserter(found), [&](const std::string &name) {
      const bool unpacked = name.size() > 3 && name.substr(name.size() - 3) == ".gz" &&
                            std::binary_search(names.begin(), names.end(), name.substr(0, name.size() - 3));
      return name.rfind(prefix + "-idx", 0) == 0 && !unpacked;
    });
    if (found.size() > 1) {
      return userError(folder, found[0] + " and " + found[1] + " are both there, and only one can be read",
                       "move one of them away");
    }
    if (found.size() == 1) {
      return (fs::path(folder) / found[0]).string();
    }
  }
  return userError(folder, "there is no file " + prefixes[0] + "-idx...", kFolderAdvice);
}

template <typename Source>
Source valueAt(const std::vector<std::byte> &values, std::size_t index) {
  Source value;
  std::memcpy(&value, values.data() + index * sizeof(Source), sizeof value);
  return value;
}

template <typename Source, typename Target>
std::vector<std::byte> convert(const std::vector<std::byte> &values) {
  const std::size_t count = values.size() / sizeof(Source);
  std::vector<std::byte> result(count * sizeof(Target));
  for (std::size_t i = 0; i < count; ++i) {
    const auto value = static_cast<Target>(valueAt<Source>(values, i));
    std::memcpy(result.data() + i * sizeof value, &value, sizeof value);
  }
  return result;
}

/// Tokens or class labels as i32, each in [0, limit) when there is a limit.
Result<std::vector<std::byte>> convertIntegers(IdxFile file, const executable::ModelInput &input,
                                               std::int64_t limit, const std::string &path) {
  std::vector<std::byte> labels;
  switch (file.header.type) {
  case IdxType::U8:
    labels = convert<std::uint8_t, std::int32_t>(file.values);
    break;
  case IdxType::I8:
    labels = convert<std::int8_t, std::int32_t>(file.values);
    break;
  case IdxType::I16:
    labels = convert<std::int16_t, std::int32_t>(file.values);
    break;
  case IdxType::I32:
    labels = std::move(file.values);
    break;
  default:
    return userError(path,
                     std::string(isLabel(input) ? "class labels" : "tokens") +
                         " are integers, the file holds " + name(file.header.type),
                     "convert the file");
  }
  const std::size_t perSample = labels.size() / 4 / file.header.sizes[0];
  for (std::size_t i = 0; i < labels.size() / 4; ++i) {
    const auto value = valueAt<std::int32_t>(labels, i);
    if (value < 0 || (limit > 0 && value >= limit)) {
      const std::string range = limit > 0 ? "[0, " + std::to_string(limit) + ")" : "0 and above";
      const std::string place = path + " at sample " + std::to_string(i / perSample),
                        number = std::to_string(value),
                        position = ", position " + std::to_string(i % perSample);
      if (isLabel(input)) {
        return userError(place + (perSample == 1 ? "" : position),
                         "label " + number + " is not a class of this model (" + range + ")",
                         "use a data set with the classes that the model was made for");
      }
      return userError(place + position,
                       "token " + number + " is not in the vocabulary of this model (" + range + ")",
                       "use a data set with the vocabulary that the model was made for (num_embeddings)");
    }
  }
  return labels;
}

} // namespace

Result<Dataset> Dataset::load(const Executable &executable, const std::string &source, Split split,
                              const std::vector<int> &wanted) {
  if (source == "synthetic") {
    const executable::Recipe &recipe = *executable.file().recipe();
    const std::uint64_t samples = kSyntheticBatches * static_cast<std::uint64_t>(recipe.train_batch_size());
    for (const int i : wanted) {
      if (sampleElements(*executable.file().inputs()->Get(i)) > kMaxSyntheticBytes / (4 * samples)) {
        return userError("--data",
                         "synthetic data for this model and batch would have more than " +
                             std::to_string(kMaxSyntheticBytes) + " bytes",
                         "use a smaller train_batch_size, or real data");
      }
    }
    return synthesize(executable, split, wanted);
  }
  return loadFolder(executable, source, split, wanted);
}

Result<Dataset> Dataset::loadFolder(const Executable &executable, const std::string &folder, Split split,
                                    const std::vector<int> &wanted) {
  const auto &inputs = *executable.file().inputs();
  const std::string splitName = split == Split::Train ? "train-" : "t10k-";
  Dataset result;
  result.columns.resize(inputs.size());
  std::string firstPath;
  for (int i = 0; i < static_cast<int>(inputs.size()); ++i) {
    const executable::ModelInput &input = *inputs.Get(i);
    const auto sameRole =
        std::count_if(inputs.begin(), inputs.end(),
                      [&](const executable::ModelInput *other) { return isLabel(*other) == isLabel(input); });
    std::vector<std::string> prefixes{splitName + input.name()->str()};
    if (sameRole == 1) {
      prefixes.insert(prefixes.begin(), splitName + (isLabel(input) ? "labels" : "images"));
    }
    auto path = findFile(folder, prefixes);
    if (!path) {
      return path.takeError();
    }
    const bool needed = std::find(wanted.begin(), wanted.end(), i) != wanted.end();
    IdxFile file;
    if (needed) {
      auto read = readIdx(*path);
      if (!read) {
        return read.takeError();
      }
      file = std::move(*read);
    } else {
      auto header = readIdxHeader(*path);
      if (!header) {
        return header.takeError();
      }
      file.header = std::move(*header);
    }
    Column &column = result.columns[i];
    column.elements = sampleElements(input);
    const std::uint64_t samples = file.header.sizes[0], perSample = file.header.elements() / samples;
    if (perSample != column.elements) {
      return userError(*path,
                       "a sample has " + std::to_string(perSample) + " values, the model's input \"" +
                           input.name()->str() + "\" has " + std::to_string(column.elements),
                       "use the data set that the model was made for");
    }
    if (i == 0) {
      result.sampleCount = samples;
      firstPath = *path;
    } else if (samples != result.sampleCount) {
      return userError(*path,
                       "the file has " + std::to_string(samples) + " samples, but " + firstPath + " has " +
                           std::to_string(result.sampleCount),
                       "use files that belong together");
    }
    if (!needed) {
      continue;
    }
    if (isInteger(input)) {
      auto labels = convertIntegers(std::move(file), input, executable.classLimits()[i], *path);
      if (!labels) {
        return labels.takeError();
      }
      column.values = std::move(*labels);
    } else if (file.header.type == IdxType::U8) {
      column.bytesAreU8 = true;
      for (int v = 0; v < 256; ++v) {
        column.table[v] = static_cast<float>((v * input.scale() - input.mean()) / input.deviation());
      }
      column.values = std::move(file.values);
    } else if (file.header.type == IdxType::F32) {
      column.values = std::move(file.values);
    } else if (file.header.type == IdxType::F64) {
      column.values = convert<double, float>(file.values);
    } else {
      return userError(*path,
                       std::string("the file holds ") + name(file.header.type) +
                           ", but numeric inputs are u8, f32 or f64",
                       "convert the file");
    }
  }
  return result;
}

Dataset Dataset::synthesize(const Executable &executable, Split split, const std::vector<int> &wanted) {
  const executable::Recipe &recipe = *executable.file().recipe();
  const auto &inputs = *executable.file().inputs();
  Dataset result;
  result.sampleCount = kSyntheticBatches * static_cast<std::uint64_t>(recipe.train_batch_size());
  result.columns.resize(inputs.size());
  for (const int i : wanted) {
    const executable::ModelInput &input = *inputs.Get(i);
    Column &column = result.columns[i];
    column.elements = sampleElements(input);
    const std::size_t count = column.elements * result.sampleCount;
    column.values.resize(4 * count);
    const RandomStream stream(recipe.seed(), std::string("synthetic data, ") +
                                                 (split == Split::Train ? "train, " : "test, ") +
                                                 input.name()->str());
    if (isInteger(input)) {
      const std::int64_t limit = executable.classLimits()[i];
      const auto classes = static_cast<std::uint32_t>(
          limit ? std::min<std::int64_t>(limit, std::numeric_limits<std::int32_t>::max()) : 10);
      for (std::size_t k = 0; k < count; ++k) {
        const auto label = static_cast<std::int32_t>(stream.integer(k, classes));
        std::memcpy(column.values.data() + 4 * k, &label, 4);
      }
    } else {
      stream.fillNormal({reinterpret_cast<float *>(column.values.data()), count}, 1.0);
    }
  }
  return result;
}

std::size_t Dataset::sampleBytes(int input) const {
  return 4 * columns[input].elements;
}

void Dataset::gather(int input, std::span<const std::uint32_t> samples, void *destination) const {
  const Column &column = columns[input];
  auto *out = static_cast<float *>(destination);
  for (const std::uint32_t sample : samples) {
    if (column.bytesAreU8) {
      const std::byte *in = column.values.data() + sample * column.elements;
      for (std::size_t k = 0; k < column.elements; ++k) {
        out[k] = column.table[std::to_integer<unsigned>(in[k])];
      }
    } else {
      const std::size_t bytes = 4 * column.elements;
      std::memcpy(out, column.values.data() + sample * bytes, bytes);
    }
    out += column.elements;
  }
}

} // namespace stagewright::runtime
