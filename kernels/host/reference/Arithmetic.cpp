// Family arithmetic.
#include "kernels/host/reference/Values.h"

namespace stagewright::kernels {

namespace {

constexpr ReferenceEntry kEntries[] = {
    {"add", [](const Values &v) { map(v, [](double a, double b) { return a + b; }); }},
    {"subtract", [](const Values &v) { map(v, [](double a, double b) { return a - b; }); }},
    {"multiply", [](const Values &v) { map(v, [](double a, double b) { return a * b; }); }},
    {"divide", [](const Values &v) { map(v, [](double a, double b) { return a / b; }); }},
    {"scale",
     [](const Values &v) {
       map(v, [&](double x, double) { return v.real("factor") * x + v.real("shift"); });
     }},
    {"accumulate", [](const Values &v) { map(v, [](double x, double acc) { return acc + x; }); }},
    {"add_and_clear",
     [](const Values &v) {
       for (std::size_t i = 0; i < v[0].size(); ++i) {
         v[1][i] += v[0][i];
         v[0][i] = 0;
       }
     }},
    {"clear", [](const Values &v) { std::fill(v[0].begin(), v[0].end(), 0.0); }},
    {"cast_to", [](const Values &v) { v[1] = v[0]; }},
    {"cast_from", [](const Values &v) { v[1] = v[0]; }},
};

} // namespace

ReferenceTable arithmeticReferences() {
  return kEntries;
}

} // namespace stagewright::kernels
