// The families of one instruction set; CMakeLists.txt names them.
#include "kernels/host/Family.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

#define STAGEWRIGHT_FAMILY(name) extern const Family name;
STAGEWRIGHT_FAMILIES
#undef STAGEWRIGHT_FAMILY

#define STAGEWRIGHT_FAMILY(name) &name,
extern const Family *const families[] = {STAGEWRIGHT_FAMILIES nullptr};
#undef STAGEWRIGHT_FAMILY

} // namespace stagewright::kernels::STAGEWRIGHT_ISA
