// The samples that a run trains or evaluates on, in memory: one column per model input.
#ifndef STAGEWRIGHT_RUNTIME_TRAIN_DATASET_H
#define STAGEWRIGHT_RUNTIME_TRAIN_DATASET_H

#include "runtime/train/DataSource.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace stagewright::runtime {

class Dataset {
public:
  /// Reads the inputs `wanted` (indices into the file's inputs) of `executable`; of the others only the
  /// headers, so that every rank sees a data set that does not fit.
  ///
  /// `source` is "synthetic" (f32 features: normal values; tokens and classes: uniform; a function of the
  /// recipe's seed; 8 steps long), or a folder or file of one of the formats of DataSource.h. Sizes must
  /// agree in the number of values per sample. Feature values: u8 (converted as stage.fbs says, in fp64 and
  /// rounded once) or f32, f64 (taken as they are; finite as f32). Tokens, masks and class labels: any
  /// integer type, as the model's rules say. Errors: User, naming file and byte or sample.
  static Result<Dataset> load(const Executable &executable, const std::string &source, Split split,
                              const std::vector<int> &wanted);

  /// Of columns that are in memory already, indexed like the file's inputs. They may change afterwards.
  /// Errors as above.
  static Result<Dataset> fromColumns(const Executable &executable, std::vector<DataColumn> columns);

  /// New values stand where the columns are, `samples` of them: looks at tokens and class labels again.
  /// Allocates nothing when they are right. Errors as above; then nothing may be gathered.
  Result<void> refill(const Executable &executable, std::uint64_t samples);

  std::uint64_t samples() const { return columns[0].source.samples; }

  /// Copies the samples, converted, one behind the other. `input` must be one of the wanted ones.
  void gather(int input, std::span<const std::uint32_t> samples, void *destination) const;
  /// How often the integer input, one of the wanted ones, is this number; 0 of what was not read.
  std::uint64_t countOf(int input, std::int64_t integer) const;
  /// Bytes of one sample as the model sees it.
  std::size_t sampleBytes(int input) const;

private:
  struct Column {
    DataColumn source;
    bool isInteger = false;         ///< i32 in the model, else f32
    std::array<float, 256> table{}; ///< what the bytes of a feature become
  };
  Result<void> add(const Executable &executable, int index, DataColumn source, bool needed);
  static Dataset synthesize(const Executable &, Split, const std::vector<int> &);

  std::vector<Column> columns; ///< indexed like the file's inputs
};

} // namespace stagewright::runtime

#endif
