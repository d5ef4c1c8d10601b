// The command dialect: with which bytes. One to one with the .stage file.
#ifndef STAGEWRIGHT_COMMAND_OPS
#define STAGEWRIGHT_COMMAND_OPS

include "Int64Attr.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/BuiltinAttributes.td"
include "mlir/IR/OpBase.td"

def Command_Dialect : Dialect {
  let name = "command";
  let cppNamespace = "::stagewright::command";
  let summary = "With which bytes";
  let description = [{
    Per target one `command.executable` with one `command.rank` per rank: arenas, slot pools, programs of kernel calls,
    transfers and collectives, each with offsets and sizes in bytes. Arenas and pools are numbered by their order in the
    rank. Every op corresponds to one table of `runtime/executable/stage.fbs`.
  }];
  let useDefaultAttributePrinterParser = 1;
}

class Command_Op<string mnemonic, list<Trait> traits = []> : Op<Command_Dialect, mnemonic, traits>;

def Command_SliceAttr : AttrDef<Command_Dialect, "Slice"> {
  let mnemonic = "slice";
  let summary = "Bytes of an operand: arena, pool (-1: none), offset, and the tensor they hold";
  let parameters = (ins "int64_t":$arena, "int64_t":$pool, "int64_t":$offset, "::mlir::RankedTensorType":$type);
  let assemblyFormat = "`<` $arena `,` $pool `,` $offset `,` $type `>`";
}
def Command_SliceArrayAttr : TypedArrayAttrBase<Command_SliceAttr, "slices">;

def Command_ExecutableOp : Command_Op<"executable", [IsolatedFromAbove, SingleBlock, NoTerminator]> {
  let summary = "The executable for one target";
  let arguments = (ins StrAttr:$target);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$target attr-dict-with-keyword $body";
}

def Command_RankOp : Command_Op<"rank", [SingleBlock, NoTerminator, HasParent<"ExecutableOp">]> {
  let summary = "One rank's memory and programs";
  let arguments = (ins Int64Attr:$index);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$index attr-dict-with-keyword $body";
  let hasRegionVerifier = 1;
}

def Command_ArenaOp : Command_Op<"arena", [HasParent<"RankOp">]> {
  let summary = "A range of memory; `arena_class` and `tier` are numbers of the file's ArenaClass and MemoryTier";
  let arguments = (ins StrAttr:$name, Int64Attr:$arena_class, Int64Attr:$bytes, DefaultValuedAttr<I64Attr, "0">:$tier);
  let assemblyFormat = "$name `class` `(` $arena_class `)` `bytes` `(` $bytes `)` attr-dict";
}

def Command_PoolOp : Command_Op<"pool", [HasParent<"RankOp">]> {
  let summary = "Equal slots, one per micro-batch in flight";
  let description = [{`first` and `last` are numbers of schedule::TaskKind; `train` and `evaluate` give each micro-batch's slot.}];
  let arguments = (ins StrAttr:$name, Int64Attr:$arena, Int64Attr:$offset, Int64Attr:$slot_bytes, Int64Attr:$slots,
                       Int64Attr:$stage, Int64Attr:$first, Int64Attr:$last, UnitAttr:$sent, DenseI64ArrayAttr:$train,
                       DenseI64ArrayAttr:$evaluate);
  let assemblyFormat = [{ $name `arena` `(` $arena `)` `offset` `(` $offset `)` `slots` `(` $slots `x` $slot_bytes `)`
                          `stage` `(` $stage `)` `live` `(` $first `,` $last `)` (`sent` $sent^)?
                          `train` $train `evaluate` $evaluate attr-dict }];
}

def Command_ProgramOp : Command_Op<"program", [SingleBlock, NoTerminator, HasParent<"RankOp">]> {
  let summary = "The kernel calls of one function of a stage; `kind` is the number of the file's ProgramKind";
  let arguments = (ins Int64Attr:$kind, Int64Attr:$stage);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$kind `stage` `(` $stage `)` attr-dict-with-keyword $body";
}

def Command_LaunchOp : Command_Op<"launch", [HasParent<"ProgramOp">]> {
  let summary = "One kernel call; with `replica` that replica alone makes it";
  let arguments = (ins StrAttr:$kernel, Int64Attr:$version, Int64Attr:$block, Command_SliceArrayAttr:$slices,
                       DictionaryAttr:$settings, Int64Attr:$workspace_offset, Int64Attr:$workspace,
                       OptionalAttr<Int64Attr>:$replica);
  let assemblyFormat = [{ $kernel `version` `(` $version `)` `block` `(` $block `)` $slices $settings
                          `workspace` `(` $workspace_offset `,` $workspace `)` (`replica` `(` $replica^ `)`)? attr-dict }];
  let hasVerifier = 1;
}

def Command_TransferOp : Command_Op<"transfer", [HasParent<"RankOp">]> {
  let summary = "What a SEND or RECV task (number of schedule::TaskKind) moves";
  let description = [{
    Of a micro-batch: bytes of its slot of `pool`. Of a tied parameter: bytes of `arena`, and `pool` is -1; `partner` is
    the stage at the other end; with `replica` only the ranks of that replica move it.
  }];
  let arguments = (ins Int64Attr:$task, Int64Attr:$stage, Int64Attr:$peer, Int64Attr:$pool, Int64Attr:$offset, Int64Attr:$bytes,
                       OptionalAttr<I64Attr>:$arena, OptionalAttr<I64Attr>:$partner, OptionalAttr<Int64Attr>:$replica);
  let assemblyFormat = [{ $task `stage` `(` $stage `)` `peer` `(` $peer `)` `pool` `(` $pool `)` `offset` `(` $offset `)`
                          `bytes` `(` $bytes `)` (`arena` `(` $arena^ `)`)? (`partner` `(` $partner^ `)`)?
                          (`replica` `(` $replica^ `)`)? attr-dict }];
}

def Command_CollectiveOp : Command_Op<"collective", [HasParent<"RankOp">]> {
  let summary = "ALL_GATHER of a training step or an evaluation pass: triples of rank, offset, bytes";
  let arguments = (ins Int64Attr:$arena, DenseI64ArrayAttr:$segments, UnitAttr:$evaluation);
  let assemblyFormat = "`arena` `(` $arena `)` $segments (`evaluation` $evaluation^)? attr-dict";
  let hasVerifier = 1;
}

def Command_ReductionOp : Command_Op<"reduction", [HasParent<"RankOp">]> {
  let summary = "What REDUCE of a stage, or ALL_GATHER of a training step (stage -1), adds up over the replicas; its mean, or its sum";
  let description = [{All replicas get it; or `replica` alone, and the others zeros. `tensor`: over the tensor ranks instead.}];
  let arguments = (ins Int64Attr:$stage, Command_SliceAttr:$slice, UnitAttr:$mean, OptionalAttr<Int64Attr>:$replica,
                       UnitAttr:$tensor);
  let assemblyFormat = [{ `stage` `(` $stage `)` $slice (`mean` $mean^)? (`replica` `(` $replica^ `)`)? (`tensor` $tensor^)?
                          attr-dict }];
}

def Command_ReplicaGatherOp : Command_Op<"replica_gather", [HasParent<"RankOp">]> {
  let summary = "What a task (number of schedule::TaskKind: REDUCE, GATHER, ALL_GATHER) gives from `replica` to the others";
  let arguments = (ins Int64Attr:$task, Int64Attr:$stage, Command_SliceAttr:$slice, Int64Attr:$replica);
  let assemblyFormat = "$task `stage` `(` $stage `)` $slice `replica` `(` $replica `)` attr-dict";
}

def Command_ExchangeOp : Command_Op<"exchange", [HasParent<"RankOp">]> {
  let summary = "What the replicas exchange while a program runs; `kind` is the number of the file's ExchangeKind";
  let description = [{
    `pieces` are sextuples: replica, arena, offset, bytes; arena (-1: none) and offset of that replica's shard, of compressed
    gradients those of the residuals. `scratch` is an offset in the communication arena. Exchanges are numbered by their order
    in the rank; a `command.exchange_point` stands where one begins and where it is complete. One without an end is complete behind REDUCE.
  }];
  let arguments = (ins Int64Attr:$kind, Int64Attr:$stage, Int64Attr:$scratch, DenseI64ArrayAttr:$pieces);
  let assemblyFormat = "$kind `stage` `(` $stage `)` `scratch` `(` $scratch `)` $pieces attr-dict";
  let hasVerifier = 1;
}
def Command_ExchangePointOp : Command_Op<"exchange_point", [HasParent<"ProgramOp">]> {
  let summary = "An exchange between replicas begins, or is waited for";
  let arguments = (ins Int64Attr:$exchange, UnitAttr:$begins);
  let assemblyFormat = "$exchange (`begins` $begins^)? attr-dict";
}

def Command_InputOp : Command_Op<"input", [HasParent<"RankOp">]> {
  let summary = "A model input that the data source fills before F; input -1 is the count of valid rows, -2 what random numbers are drawn by";
  let arguments = (ins Int64Attr:$input, Int64Attr:$stage, Int64Attr:$pool, Int64Attr:$offset, DenseI64ArrayAttr:$shape);
  let assemblyFormat = [{ $input `stage` `(` $stage `)` `pool` `(` $pool `)` `offset` `(` $offset `)` $shape attr-dict }];
}

def Command_OutputOp : Command_Op<"output", [HasParent<"RankOp">]> {
  let summary = "Where the last layer's value lies when evaluation's F of the stage has run, until the rank's next task";
  let arguments = (ins StrAttr:$name, Int64Attr:$stage, Command_SliceAttr:$slice);
  let assemblyFormat = "$name `stage` `(` $stage `)` $slice attr-dict";
}

def Command_PlacementOp : Command_Op<"placement", [HasParent<"RankOp">]> {
  let summary = "Where a parameter (empty state) or its gradient or optimizer state lies";
  let description = [{With `replica`: where that replica has the elements from `first` on.}];
  let arguments = (ins StrAttr:$parameter, StrAttr:$state, Int64Attr:$stage, Command_SliceAttr:$slice,
                       DefaultValuedAttr<Int64Attr, "0">:$first, OptionalAttr<Int64Attr>:$replica);
  let assemblyFormat = [{ $parameter $state `stage` `(` $stage `)` $slice (`first` `(` $first^ `)`)?
                          (`replica` `(` $replica^ `)`)? attr-dict }];
}

def Command_BufferOp : Command_Op<"buffer", [HasParent<"RankOp">]> {
  let summary = "Where a buffer lies";
  let arguments = (ins StrAttr:$buffer, Int64Attr:$stage, Command_SliceAttr:$slice);
  let assemblyFormat = "$buffer `stage` `(` $stage `)` $slice attr-dict";
}

def Command_ScalarOp : Command_Op<"scalar", [HasParent<"RankOp">]> {
  let summary = "A named cell that the runtime reads or writes";
  let arguments = (ins StrAttr:$name, Command_SliceAttr:$slice);
  let assemblyFormat = "$name $slice attr-dict";
}

#endif
