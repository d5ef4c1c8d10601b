#include "Internals.h"

#include "runtime/train/Dataset.h"

#include <numeric>

namespace stagewright {
inline namespace v0 {

DataSource::~DataSource() = default;

namespace {

/// What the program reads its samples from.
class DatasetSource final : public DataSource {
public:
  DatasetSource(std::shared_ptr<const runtime::Executable> plan, runtime::Dataset dataset)
      : plan(std::move(plan)), dataset(std::move(dataset)) {}

  std::uint64_t samples() const override { return dataset.samples(); }

  Result<void> fill(std::span<const std::uint64_t> samples, std::span<const Column> columns) override {
    const auto &inputs = *plan->file().inputs();
    bool fits = columns.size() == inputs.size();
    for (std::size_t i = 0; fits && i < columns.size(); ++i) {
      const executable::ModelInput &own = *inputs.Get(static_cast<unsigned>(i));
      fits = runtime::sampleElements(own) == columns[i].input->elements &&
             runtime::isInteger(own) == (columns[i].input->dtype == DType::I32);
    }
    if (!fits) {
      return userError("DataSource", "the source was made for a model with other inputs",
                       "make it with the executable of this engine");
    }
    rows.assign(samples.begin(), samples.end());
    for (std::size_t i = 0; i < columns.size(); ++i) {
      dataset.gather(static_cast<int>(i), rows, columns[i].values);
    }
    return {};
  }

private:
  std::shared_ptr<const runtime::Executable> plan;
  runtime::Dataset dataset;
  std::vector<std::uint32_t> rows;
};

runtime::ElementType typeOf(float) {
  return runtime::ElementType::F32;
}
runtime::ElementType typeOf(double) {
  return runtime::ElementType::F64;
}
runtime::ElementType typeOf(std::uint8_t) {
  return runtime::ElementType::U8;
}
runtime::ElementType typeOf(std::int32_t) {
  return runtime::ElementType::I32;
}
runtime::ElementType typeOf(std::int64_t) {
  return runtime::ElementType::I64;
}

Result<runtime::DataColumn> columnOf(const InputInfo &input, const std::vector<Array> &arrays) {
  runtime::DataColumn column;
  column.place = "the array of input \"" + input.name + "\"";
  const Array *found = nullptr;
  for (const Array &array : arrays) {
    if (array.input == input.name && found) {
      return userError(column.place, "there are two arrays of this input", "remove one of them");
    }
    found = array.input == input.name ? &array : found;
  }
  if (!found) {
    return userError(column.place, "there is no array of this input", "give one for each input of the model");
  }
  const std::size_t count = std::visit(
      [&](const auto &values) {
        column.type = typeOf(std::remove_cvref_t<decltype(values[0])>{});
        column.values = reinterpret_cast<const std::byte *>(values.data());
        return values.size();
      },
      found->values);
  if (count == 0 || count % input.elements != 0) {
    return userError(column.place,
                     "the array has " + std::to_string(count) + " values, a sample has " +
                         std::to_string(input.elements),
                     "give whole samples, one behind the other");
  }
  column.elements = column.stride = input.elements;
  column.samples = count / input.elements;
  return column;
}

} // namespace

Result<std::unique_ptr<DataSource>> arraySource(const StagedExecutable &executable,
                                                const std::vector<Array> &arrays) {
  return guarded<std::unique_ptr<DataSource>>([&]() -> Result<std::unique_ptr<DataSource>> {
    std::vector<runtime::DataColumn> columns;
    for (const InputInfo &input : executable.inputs()) {
      auto column = columnOf(input, arrays);
      if (!column) {
        return column.takeError();
      }
      columns.push_back(std::move(*column));
    }
    if (arrays.size() > columns.size()) { // each input has one, so some have no input
      return userError("arrays",
                       "there are " + std::to_string(arrays.size()) + ", the model has " +
                           std::to_string(columns.size()) + " inputs",
                       "name the inputs of the model");
    }
    const auto &plan = Internals::planOf(executable);
    auto dataset = runtime::Dataset::fromColumns(*plan, std::move(columns));
    if (!dataset) {
      return dataset.takeError();
    }
    return std::unique_ptr<DataSource>(std::make_unique<DatasetSource>(plan, std::move(*dataset)));
  });
}

Result<std::unique_ptr<DataSource>> fileSource(const StagedExecutable &executable, const std::string &path,
                                               Split split) {
  return guarded<std::unique_ptr<DataSource>>([&]() -> Result<std::unique_ptr<DataSource>> {
    std::vector<int> all(executable.inputs().size());
    std::iota(all.begin(), all.end(), 0);
    const auto &plan = Internals::planOf(executable);
    auto dataset = runtime::Dataset::load(
        *plan, path, split == Split::Train ? runtime::Split::Train : runtime::Split::Test, all);
    if (!dataset) {
      return dataset.takeError();
    }
    return std::unique_ptr<DataSource>(std::make_unique<DatasetSource>(plan, std::move(*dataset)));
  });
}

} // namespace v0
} // namespace stagewright
