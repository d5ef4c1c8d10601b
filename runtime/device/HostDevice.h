// The host as a device.
#ifndef STAGEWRIGHT_RUNTIME_DEVICE_HOSTDEVICE_H
#define STAGEWRIGHT_RUNTIME_DEVICE_HOSTDEVICE_H

#include "error/Error.h"
#include "runtime/device/Arena.h"

#include <cstddef>
#include <string>

namespace stagewright::runtime {

/// Bytes of a memory page.
std::size_t pageBytes();

/// Makes arenas and counts their bytes. May be used by several threads; outlives its arenas.
class HostDevice {
public:
  HostDevice() = default;
  HostDevice(const HostDevice &) = delete;
  HostDevice &operator=(const HostDevice &) = delete;

  /// An arena of `bytes` zeros. Every page is touched here, so that a step has no page faults. Exactly one
  /// read-write mapping (MAP_FIXED, of the page-rounded size) is made, none when `bytes` is 0. Errors:
  /// Environment, when the machine or a limit of the process does not allow that many bytes.
  Result<Arena> allocate(std::string name, std::size_t bytes);

  /// Bytes of the living arenas, as asked for.
  std::size_t plannedBytes() const { return totals.planned; }
  /// Bytes of the living arenas, in whole pages.
  std::size_t mappedBytes() const { return totals.mapped; }

private:
  ArenaTotals totals;
};

} // namespace stagewright::runtime

#endif
