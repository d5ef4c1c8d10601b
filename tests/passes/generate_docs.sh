#!/usr/bin/env bash
# Generates docs/dialects/*.md from the .td files.  generate_docs.sh FOLDER writes them there; without a folder, into the
# tree. The test `dialect_docs` compares: when it fails, run this without arguments.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
out=${1:-$root/docs/dialects}
mkdir -p "$out"
tblgen=(/usr/lib/llvm-22/bin/mlir-tblgen -I /usr/lib/llvm-22/include -I "$root/ir")
"${tblgen[@]}" -gen-dialect-doc -dialect=layer "$root/ir/layer/LayerOps.td" -o "$out/layer.md"
"${tblgen[@]}" -gen-dialect-doc -dialect=plan "$root/ir/plan/PlanOps.td" -o "$out/plan.md"
"${tblgen[@]}" -gen-dialect-doc -dialect=command "$root/ir/command/CommandOps.td" -o "$out/command.md"
"${tblgen[@]}" -gen-op-interface-docs "$root/ir/layer/LayerInterfaces.td" -o "$out/interfaces.md"
"${tblgen[@]}" -gen-pass-doc -I "$root/passes" "$root/passes/Passes.td" -o "$out/passes.md"
