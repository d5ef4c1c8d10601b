// Stagewright as a library: build a model, compile it, train it. docs/library.md shows a whole program.
#ifndef STAGEWRIGHT_STAGEWRIGHT_H
#define STAGEWRIGHT_STAGEWRIGHT_H

#include "stagewright/Data.h"       // IWYU pragma: export
#include "stagewright/Engine.h"     // IWYU pragma: export
#include "stagewright/Error.h"      // IWYU pragma: export
#include "stagewright/Executable.h" // IWYU pragma: export
#include "stagewright/Model.h"      // IWYU pragma: export

#endif
