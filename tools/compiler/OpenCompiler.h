// Opens the compiler module.
#ifndef STAGEWRIGHT_TOOLS_COMPILER_OPENCOMPILER_H
#define STAGEWRIGHT_TOOLS_COMPILER_OPENCOMPILER_H

#include "compiler/CompilerModule.h"

namespace stagewright {

/// Loads the module, once for the process, from the first of `folders` that holds it. Error: Environment,
/// none of them does, or it cannot be loaded.
Result<CompileFunction> openCompiler(const std::vector<std::string> &folders);

} // namespace stagewright

#endif
