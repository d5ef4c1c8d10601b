#include "TimelineSvg.h"

#include "Table.h"

#include <algorithm>

namespace stagewright::program {

// Pixels.
static constexpr double kLeft = 70, kTop = 40, kRow = 30, kBar = 24, kWidest = 4000, kUnit = 26;

static const char *colour(schedule::TaskKind kind) {
  switch (kind) {
  case schedule::TaskKind::Forward:
    return "#7fb2e5";
  case schedule::TaskKind::BackwardInput:
    return "#8fcf8f";
  case schedule::TaskKind::BackwardWeight:
    return "#f0c36d";
  default:
    return "#b39ddb";
  }
}

static std::string escaped(const std::string &text) {
  std::string out;
  for (char c : text) {
    out += c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '&' ? "&amp;" : std::string(1, c);
  }
  return out;
}

static std::string textElement(double x, double y, const std::string &attributes, const std::string &text) {
  return "<text x=\"" + decimal(x, 1) + "\" y=\"" + decimal(y, 1) + "\" " + attributes + ">" + escaped(text) +
         "</text>\n";
}

std::string timelineSvg(const schedule::Timeline &timeline, const std::string &title) {
  // The shortest task gets room for its number, unless the picture would become too wide.
  double shortest = timeline.makespan, span = std::max(timeline.makespan, 1e-300);
  for (const auto &rank : timeline.ranks) {
    for (const schedule::TimedTask &timed : rank) {
      double length = timed.end - timed.start;
      shortest = length > 0 ? std::min(shortest, length) : shortest;
    }
  }
  double scale = std::min(shortest > 0 ? kUnit / shortest : kUnit, kWidest / span);
  double width = kLeft + timeline.makespan * scale + 20,
         height = kTop + kRow * static_cast<double>(timeline.ranks.size()) + 20;
  std::string svg = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" + decimal(width, 0) +
                    "\" height=\"" + decimal(height, 0) +
                    "\" font-family=\"sans-serif\" font-size=\"12\">\n" +
                    "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n" +
                    textElement(10, 22, "font-size=\"14\"", title);
  for (std::size_t rank = 0; rank < timeline.ranks.size(); ++rank) {
    double y = kTop + kRow * static_cast<double>(rank);
    svg += textElement(10, y + 16, "", "rank " + std::to_string(rank));
    svg += "<rect x=\"" + decimal(kLeft, 1) + "\" y=\"" + decimal(y, 1) + "\" width=\"" +
           decimal(timeline.makespan * scale, 1) + "\" height=\"" + decimal(kBar, 1) +
           "\" fill=\"#eeeeee\"/>\n";
    for (const schedule::TimedTask &timed : timeline.ranks[rank]) {
      double x = kLeft + timed.start * scale, length = (timed.end - timed.start) * scale;
      svg += "<g><title>" + escaped(schedule::text(timed.task)) + ": " + decimal(timed.start, 6) + " to " +
             decimal(timed.end, 6) + "</title><rect x=\"" + decimal(x, 1) + "\" y=\"" + decimal(y, 1) +
             "\" width=\"" + decimal(length, 1) + "\" height=\"" + decimal(kBar, 1) + "\" fill=\"" +
             colour(timed.task.kind) + "\" stroke=\"white\"/>\n";
      if (length >= 14) {
        svg += textElement(x + length / 2, y + 16, "text-anchor=\"middle\"",
                           std::to_string(timed.task.microBatch));
      }
      svg += "</g>\n";
    }
  }
  return svg + "</svg>\n";
}

} // namespace stagewright::program
