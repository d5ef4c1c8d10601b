// What `train` and `eval` have in common: the options of the engine, and ranks as processes.
#ifndef STAGEWRIGHT_TOOLS_STAGEWRIGHT_ENGINECOMMAND_H
#define STAGEWRIGHT_TOOLS_STAGEWRIGHT_ENGINECOMMAND_H

#include "runtime/train/Engine.h"

#include <CLI/CLI.hpp>

#include <functional>
#include <string>

namespace stagewright::program {

/// Options as given; prepareEngine turns them into the engine's.
struct EngineFlags {
  std::string ranks = "threads", isa = "auto";
  bool json = false;
  bool saves = false;  ///< weights are to be saved
  bool trains = false; ///< on all replicas; else on the first
};

/// Declares the shared options; `options` and `flags` must live as long as `command`.
void addEngineOptions(CLI::App &command, runtime::EngineOptions &options, EngineFlags &flags);

/// Runs `body` in every rank: here with threads; with processes in each process of an MPI job that this call
/// starts and waits for (in a process of such a job: here). In between, SIGINT and SIGTERM ask the engine to
/// stop.
Result<void> runRanks(runtime::EngineOptions &options, const EngineFlags &flags,
                      const std::function<Result<void>()> &body);

/// Whether progress may be drawn: stderr (in a rank process: the launcher's) is a terminal.
bool mayDrawProgress();

} // namespace stagewright::program

#endif
