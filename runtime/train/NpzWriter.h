// One array of a NumPy archive (.npz), written row by row: what numpy.load and this program's own data reader
// take.
#ifndef STAGEWRIGHT_RUNTIME_TRAIN_NPZWRITER_H
#define STAGEWRIGHT_RUNTIME_TRAIN_NPZWRITER_H

#include "files/WholeFile.h"

#include <cstdint>
#include <string>
#include <vector>

namespace stagewright::runtime {

/// The archive appears in commit(), whole (WholeFile). It is not compressed and holds no time: equal numbers
/// make equal files.
class NpzWriter {
public:
  /// An array of f32 of this shape, all of which must be written before commit(). Errors: WholeFile's.
  static Result<NpzWriter> create(const std::string &path, const std::string &array,
                                  const std::vector<std::uint64_t> &shape);
  /// The next numbers, in the order of memory. Error: Environment.
  Result<void> write(const float *values, std::size_t count);
  Result<void> commit();

private:
  NpzWriter(WholeFile file, std::string member) : file(std::move(file)), member(std::move(member)) {}
  Result<void> writeMember(const void *bytes, std::size_t count);

  WholeFile file;
  std::string member; ///< name of the array's file in the archive
  std::uint64_t size = 0;
  std::uint32_t checksum = 0;
};

} // namespace stagewright::runtime

#endif
