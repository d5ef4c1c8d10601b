#include "runtime/train/Dataset.h"

#include "runtime/train/Random.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace stagewright::runtime {

namespace {

constexpr std::uint64_t kSyntheticBatches = 8;
constexpr std::uint64_t kMaxSyntheticBytes = std::uint64_t{1} << 42; // far below overflow

/// Calls body(a value of the element type).
template <typename Body>
auto withType(ElementType type, const Body &body) {
  switch (type) {
  case ElementType::U8:
    return body(std::uint8_t{});
  case ElementType::I8:
    return body(std::int8_t{});
  case ElementType::U16:
    return body(std::uint16_t{});
  case ElementType::I16:
    return body(std::int16_t{});
  case ElementType::U32:
    return body(std::uint32_t{});
  case ElementType::I32:
    return body(std::int32_t{});
  case ElementType::I64:
    return body(std::int64_t{});
  case ElementType::F32:
    return body(float{});
  default:
    return body(double{});
  }
}

bool isFloat(ElementType type) {
  return type == ElementType::F32 || type == ElementType::F64;
}

template <typename Source>
Source valueAt(const std::byte *values, std::size_t index) {
  Source value;
  std::memcpy(&value, values + index * sizeof value, sizeof value);
  return value;
}

/// `count` values as Target, one behind the other.
template <typename Source, typename Target>
void convert(const std::byte *values, std::size_t count, std::byte *out) {
  for (std::size_t i = 0; i < count; ++i) {
    const auto value = static_cast<Target>(valueAt<Source>(values, i));
    std::memcpy(out + i * sizeof value, &value, sizeof value);
  }
}

/// A value that may not be there, by its sample and its position in it.
struct Stray {
  std::int64_t integer;
  std::uint64_t sample, position;
};
/// The first value that is wrong(value).
template <typename Source, typename Wrong>
std::optional<Stray> findStray(const DataColumn &column, const Wrong &wrong) {
  for (std::uint64_t sample = 0; sample < column.samples; ++sample) {
    const std::byte *values = column.values + sample * column.stride * sizeof(Source);
    bool anyWrong = false; // no branch in the loop, so that it is as fast as memory
    for (std::uint64_t i = 0; i < column.elements; ++i) {
      anyWrong |= wrong(valueAt<Source>(values, i));
    }
    for (std::uint64_t i = 0; anyWrong && i < column.elements; ++i) {
      if (const Source value = valueAt<Source>(values, i); wrong(value)) {
        return Stray{std::is_integral_v<Source> ? static_cast<std::int64_t>(value) : 0, sample, i};
      }
    }
  }
  return std::nullopt;
}

std::string placeOf(const DataColumn &column, const Stray &stray) {
  if (column.firstByte) {
    const std::uint64_t index = stray.sample * column.stride + stray.position;
    return column.place + " at byte " + std::to_string(*column.firstByte + index * byteSize(column.type));
  }
  return column.place + " at sample " + std::to_string(stray.sample) +
         (column.elements == 1 ? "" : ", position " + std::to_string(stray.position));
}

/// Tokens, masks and class labels.
Result<void> checkIntegers(const DataColumn &column, const executable::ModelInput &input,
                           const IntegerRule &rule) {
  if (isFloat(column.type)) {
    return userError(column.place,
                     std::string(isLabel(input) ? "class labels"
                                 : rule.isMask  ? "masks"
                                                : "tokens") +
                         " are integers, the file holds " + name(column.type),
                     "convert the file");
  }
  const std::int64_t end =
      rule.limit > 0 ? rule.limit : std::int64_t{std::numeric_limits<std::int32_t>::max()} + 1;
  const std::int64_t ignored = rule.ignored.value_or(0);
  const std::optional<Stray> stray = withType(column.type, [&](auto type) {
    return findStray<decltype(type)>(column, [=](auto value) {
      const auto integer = static_cast<std::int64_t>(value);
      return (integer < 0 || integer >= end) && integer != ignored;
    });
  });
  if (!stray) {
    return {};
  }
  const std::string range = "[0, " + std::to_string(end) + ")", number = std::to_string(stray->integer);
  if (isLabel(input)) {
    return userError(
        placeOf(column, *stray),
        "label " + number + " is not a class of this model (" + range + ")" +
            (rule.ignored ? ", nor " + std::to_string(*rule.ignored) + ", which does not count" : ""),
        "use a data set with the classes that the model was made for");
  }
  if (rule.isMask) {
    return userError(placeOf(column, *stray),
                     "the mask is " + number + ", neither 1 (a token) nor 0 (padding)",
                     "write 1 for tokens that count and 0 for those that do not");
  }
  return userError(placeOf(column, *stray),
                   "token " + number + " is not in the vocabulary of this model (" + range + ")",
                   "use a data set with the vocabulary that the model was made for (num_embeddings)");
}

/// What is not finite as f32 would make every weight so.
Result<void> checkReals(const DataColumn &column) {
  const auto notFinite = [](auto value) { return !std::isfinite(static_cast<float>(value)); };
  const std::optional<Stray> stray = column.type == ElementType::F32 ? findStray<float>(column, notFinite)
                                                                     : findStray<double>(column, notFinite);
  if (!stray) {
    return {};
  }
  const std::size_t index = stray->sample * column.stride + stray->position;
  const double value = column.type == ElementType::F32 ? valueAt<float>(column.values, index)
                                                       : valueAt<double>(column.values, index);
  return userError(placeOf(column, *stray),
                   std::isnan(value)   ? "the value is not a number"
                   : std::isinf(value) ? "the value is infinite"
                                       : "the value is too large for 32 bits",
                   "clean the data: no loss and no gradient would be a number");
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
  auto columns = openData(executable, source, split, wanted);
  if (!columns) {
    return columns.takeError();
  }
  Dataset result;
  for (std::size_t i = 0; i < columns->size(); ++i) {
    DataColumn &source = (*columns)[i];
    const bool needed = std::find(wanted.begin(), wanted.end(), static_cast<int>(i)) != wanted.end();
    if (auto ok = result.add(executable, static_cast<int>(i), std::move(source), needed); !ok) {
      return ok.takeError();
    }
  }
  return result;
}

Result<Dataset> Dataset::fromColumns(const Executable &executable, std::vector<DataColumn> columns) {
  Dataset result;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    if (auto ok = result.add(executable, static_cast<int>(i), std::move(columns[i]), true); !ok) {
      return ok.takeError();
    }
  }
  return result;
}

Result<void> Dataset::refill(const Executable &executable, std::uint64_t samples) {
  for (std::size_t i = 0; i < columns.size(); ++i) {
    columns[i].source.samples = samples;
    if (columns[i].isInteger) {
      const executable::ModelInput &input = *executable.file().inputs()->Get(static_cast<unsigned>(i));
      if (auto ok = checkIntegers(columns[i].source, input, executable.integerRules()[i]); !ok) {
        return ok;
      }
    }
  }
  return {};
}

/// Whether values of the shape are in the order of the input's: the same sizes, but for ones, or one row.
static bool isOrderOf(const executable::ModelInput &input, const std::vector<std::int64_t> &shape) {
  std::vector<std::uint64_t> wanted, given;
  const auto isOne = [](std::uint64_t size) { return size == 1; };
  if (input.sample_shape()) {
    std::remove_copy_if(input.sample_shape()->begin(), input.sample_shape()->end(),
                        std::back_inserter(wanted), isOne);
  }
  std::remove_copy_if(shape.begin(), shape.end(), std::back_inserter(given), isOne);
  return given == wanted || given.size() <= 1;
}

Result<void> Dataset::add(const Executable &executable, int index, DataColumn source, bool needed) {
  const executable::ModelInput &input = *executable.file().inputs()->Get(index);
  if (source.elements != sampleElements(input)) {
    return userError(source.place,
                     "a sample has " + std::to_string(source.elements) + " values, the model's input \"" +
                         input.name()->str() + "\" has " + std::to_string(sampleElements(input)),
                     "use the data set that the model was made for");
  }
  if (source.shape && !isOrderOf(input, *source.shape)) {
    const auto &wanted = *input.sample_shape();
    return userError(
        source.place,
        "a sample has the shape " + shapeText(*source.shape) + ", the model's input \"" +
            input.name()->str() + "\" has " + shapeText({wanted.data(), wanted.size()}),
        "write numpy.transpose of it, so that the dimensions stand in the model's order (for images "
        "channels first), or a flat array [samples, values]");
  }
  if (!columns.empty() && source.samples != samples()) {
    return userError(source.place,
                     "the file has " + std::to_string(source.samples) + " samples, but " +
                         columns[0].source.place + " has " + std::to_string(samples()),
                     "use files that belong together");
  }
  Column column{std::move(source), isInteger(input), {}};
  if (needed && column.isInteger) {
    if (auto ok = checkIntegers(column.source, input, executable.integerRules()[index]); !ok) {
      return ok;
    }
  } else if (needed && column.source.type == ElementType::U8) {
    for (int v = 0; v < 256; ++v) {
      column.table[v] = static_cast<float>((v * input.scale() - input.mean()) / input.deviation());
    }
  } else if (needed && !isFloat(column.source.type)) {
    return userError(column.source.place,
                     std::string("the file holds ") + name(column.source.type) +
                         ", but numeric inputs are u8, f32 or f64",
                     "convert the file");
  } else if (needed) {
    if (auto ok = checkReals(column.source); !ok) {
      return ok;
    }
  }
  columns.push_back(std::move(column));
  return {};
}

Dataset Dataset::synthesize(const Executable &executable, Split split, const std::vector<int> &wanted) {
  const executable::Recipe &recipe = *executable.file().recipe();
  const auto &inputs = *executable.file().inputs();
  Dataset result;
  for (int i = 0; i < static_cast<int>(inputs.size()); ++i) {
    const executable::ModelInput &input = *inputs.Get(i);
    Column column{{}, isInteger(input), {}};
    column.source.place = "synthetic";
    column.source.type = isInteger(input) ? ElementType::I32 : ElementType::F32;
    column.source.samples = kSyntheticBatches * static_cast<std::uint64_t>(recipe.train_batch_size());
    column.source.elements = column.source.stride = sampleElements(input);
    if (std::find(wanted.begin(), wanted.end(), i) != wanted.end()) {
      const std::size_t count = column.source.elements * column.source.samples;
      auto values = std::make_shared<std::vector<std::byte>>(4 * count);
      const RandomStream stream(recipe.seed(), std::string("synthetic data, ") +
                                                   (split == Split::Train ? "train, " : "test, ") +
                                                   input.name()->str());
      if (isInteger(input)) {
        const std::int64_t limit = executable.integerRules()[i].limit;
        const auto classes = static_cast<std::uint32_t>(
            limit ? std::min<std::int64_t>(limit, std::numeric_limits<std::int32_t>::max()) : 10);
        for (std::size_t k = 0; k < count; ++k) {
          const auto label = static_cast<std::int32_t>(stream.integer(k, classes));
          std::memcpy(values->data() + 4 * k, &label, 4);
        }
      } else {
        stream.fillNormal({reinterpret_cast<float *>(values->data()), count}, 1.0);
      }
      column.source.values = values->data();
      column.source.owner = std::move(values);
    }
    result.columns.push_back(std::move(column));
  }
  return result;
}

std::size_t Dataset::sampleBytes(int input) const {
  return 4 * columns[input].source.elements;
}

std::uint64_t Dataset::countOf(int input, std::int64_t integer) const {
  const DataColumn &source = columns[input].source;
  std::uint64_t count = 0;
  for (std::uint64_t sample = 0; source.values && !isFloat(source.type) && sample < source.samples;
       ++sample) {
    const std::byte *values = source.values + sample * source.stride * byteSize(source.type);
    withType(source.type, [&](auto type) {
      for (std::uint64_t i = 0; i < source.elements; ++i) {
        count += static_cast<std::int64_t>(valueAt<decltype(type)>(values, i)) == integer;
      }
    });
  }
  return count;
}

void Dataset::gather(int input, std::span<const std::uint32_t> samples, void *destination) const {
  const Column &column = columns[input];
  const DataColumn &source = column.source;
  auto *out = static_cast<std::byte *>(destination);
  for (const std::uint32_t sample : samples) {
    const std::byte *in = source.values + sample * source.stride * byteSize(source.type);
    if (column.isInteger) {
      withType(source.type, [&](auto type) {
        if constexpr (std::is_integral_v<decltype(type)>) {
          convert<decltype(type), std::int32_t>(in, source.elements, out);
        }
      });
    } else if (source.type == ElementType::U8) {
      for (std::size_t k = 0; k < source.elements; ++k) {
        std::memcpy(out + 4 * k, &column.table[std::to_integer<unsigned>(in[k])], 4);
      }
    } else if (source.type == ElementType::F32) {
      std::memcpy(out, in, 4 * source.elements);
    } else {
      convert<double, float>(in, source.elements, out);
    }
    out += 4 * source.elements;
  }
}

} // namespace stagewright::runtime
