#ifndef STAGEWRIGHT_FRONTENDS_JSON_NEARESTNAME_H
#define STAGEWRIGHT_FRONTENDS_JSON_NEARESTNAME_H

#include "error/NearestName.h"

namespace stagewright::json {

using stagewright::joined;
using stagewright::lowerCase;
using stagewright::nearestName;

} // namespace stagewright::json

#endif
