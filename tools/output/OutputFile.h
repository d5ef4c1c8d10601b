// Files that are there whole or not at all.
#ifndef STAGEWRIGHT_TOOLS_OUTPUT_OUTPUTFILE_H
#define STAGEWRIGHT_TOOLS_OUTPUT_OUTPUTFILE_H

#include "error/Error.h"

#include <string>
#include <string_view>

namespace stagewright {

/// Writes `bytes` by way of a temporary file beside `path`, flushed to the disk, and a rename. SIGINT,
/// SIGTERM and SIGHUP to the calling thread wait until that is done, so that a single-threaded program leaves
/// no temporary file behind. Errors: User (a place that cannot be written), Environment (the disk); `path` is
/// then untouched.
Result<void> writeFile(const std::string &path, std::string_view bytes);

} // namespace stagewright

#endif
