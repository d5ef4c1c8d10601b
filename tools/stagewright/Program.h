// The verbs of the program. Each lives in one file: its options, and what it does with them.
#ifndef STAGEWRIGHT_TOOLS_STAGEWRIGHT_PROGRAM_H
#define STAGEWRIGHT_TOOLS_STAGEWRIGHT_PROGRAM_H

#include "error/Error.h"

#include <CLI/CLI.hpp>

#include <functional>
#include <string>
#include <vector>

namespace stagewright::program {

struct Verb {
  CLI::App *command;
  std::function<Result<void>()> run;
};

Verb addCompile(CLI::App &program);
Verb addExport(CLI::App &program);
Verb addInspect(CLI::App &program);
Verb addTrain(CLI::App &program);
Verb addEvaluate(CLI::App &program);
Verb addSimulate(CLI::App &program);

/// Absolute path of the running program, links resolved.
std::string programPath();

/// Where the modules lie that are opened on demand: installed, or in a build folder.
std::vector<std::string> moduleFolders();

/// Check of an option that counts something.
inline const CLI::Range kFromOne(1, 1'000'000'000);

/// --target of a verb that looks at one target of a file, or at all of them.
void addTarget(CLI::App &command, std::string &target);

/// Declares an option that belongs to a later version: not listed, and refused with `advice` when given.
void addLater(CLI::App &command, const std::string &option, bool takesValue, const std::string &advice);

/// The same for a verb.
void addLaterVerb(CLI::App &program, const std::string &name, const std::string &advice);

} // namespace stagewright::program

#endif
