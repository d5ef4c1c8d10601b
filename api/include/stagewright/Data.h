// Where samples come from: a source of your own, arrays in memory, or files.
#ifndef STAGEWRIGHT_DATA_H
#define STAGEWRIGHT_DATA_H

#include "stagewright/Error.h"
#include "stagewright/Executable.h"
#include "stagewright/Export.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

namespace stagewright {
inline namespace v0 {

/// Where the values of one input go: `rows` samples one behind the other, each `input->elements` values in
/// the row-major order of input->shape.
struct Column {
  const InputInfo *input = nullptr;
  std::size_t rows = 0;
  void *values = nullptr;

  /// Empty when the input is of another dtype.
  std::span<float> f32() const { return of<float>(DType::F32); }
  std::span<std::int32_t> i32() const { return of<std::int32_t>(DType::I32); }

private:
  template <typename T>
  std::span<T> of(DType dtype) const {
    return {static_cast<T *>(values), input->dtype == dtype ? rows * input->elements : 0};
  }
};

class STAGEWRIGHT_API DataSource {
public:
  virtual ~DataSource();

  /// No end: samples are asked for as 0, 1, 2, ...
  static constexpr std::uint64_t kEndless = ~std::uint64_t{0};
  /// How many there are, the same at every call; below 2^32, or kEndless.
  virtual std::uint64_t samples() const = 0;

  /// Writes row i of every column for sample samples[i]; columns stand in the order of
  /// StagedExecutable::inputs(). Called by the thread that calls the engine, once for a batch and before any
  /// rank works on it: an error (or an exception) ends that call, and the engine is as it was.
  virtual Result<void> fill(std::span<const std::uint64_t> samples, std::span<const Column> columns) = 0;
};

/// Values of one input, of all samples one behind the other. They stay where they are while the source lives.
/// u8 features are converted as InputSpec says; labels and tokens may be of any integer type here.
struct Array {
  std::string input;
  std::variant<std::span<const float>, std::span<const double>, std::span<const std::uint8_t>,
               std::span<const std::int32_t>, std::span<const std::int64_t>>
      values;
};

/// A source over arrays, one for each input. Errors: User, an input without an array, an array of no input,
/// sizes that do not agree, a dtype that the input does not take, a label or token out of range.
STAGEWRIGHT_API Result<std::unique_ptr<DataSource>> arraySource(const StagedExecutable &executable,
                                                                const std::vector<Array> &arrays);

enum class Split { Train, Test };
/// A folder or file of one of the formats of docs/model.md, or "synthetic". Errors: User, naming the file.
STAGEWRIGHT_API Result<std::unique_ptr<DataSource>>
fileSource(const StagedExecutable &executable, const std::string &path, Split split = Split::Train);

} // namespace v0
} // namespace stagewright

#endif
