// A schedule's timeline as an SVG picture: one row per rank, time to the right.
#ifndef STAGEWRIGHT_TOOLS_STAGEWRIGHT_TIMELINESVG_H
#define STAGEWRIGHT_TOOLS_STAGEWRIGHT_TIMELINESVG_H

#include "schedule/Schedule.h"

#include <string>

namespace stagewright::program {

/// `title` stands above the rows. Tasks carry their micro-batch, and name, start and end as a tooltip.
std::string timelineSvg(const schedule::Timeline &timeline, const std::string &title);

} // namespace stagewright::program

#endif
