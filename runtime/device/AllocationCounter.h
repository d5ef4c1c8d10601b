// Counts what the process asks of the C++ heap. Link the object library stagewright_allocation_counter into a
// program: it replaces every form of operator new and delete.
#ifndef STAGEWRIGHT_RUNTIME_DEVICE_ALLOCATIONCOUNTER_H
#define STAGEWRIGHT_RUNTIME_DEVICE_ALLOCATIONCOUNTER_H

#include <cstdint>

namespace stagewright::runtime {

/// Calls of operator new so far, by all threads of the process. malloc, called by C libraries, is not
/// counted.
std::uint64_t allocationCount();

} // namespace stagewright::runtime

#endif
