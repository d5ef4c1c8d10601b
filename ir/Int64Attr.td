// A 64-bit signless integer attribute that C++ sees as int64_t.
#ifndef STAGEWRIGHT_INT64_ATTR
#define STAGEWRIGHT_INT64_ATTR
include "mlir/IR/BuiltinAttributes.td"
include "mlir/IR/OpBase.td"
def Int64Attr : TypedSignlessIntegerAttrBase<I64, "int64_t", "64-bit integer attribute">;
#endif
