#!/bin/sh
# Fills corpus/ with the recordings; each begins with the byte that chooses the split, or the operation.
set -eu
cd "$(dirname "$0")"
mkdir -p corpus/ami_codec corpus/ami_session
for recording in ../corpus/ami/recorded/asterisk-*/*.ami; do
    name=$(basename "$(dirname "$recording")")-$(basename "$recording")
    { printf 'A'; head -c 8000 "$recording"; } >"corpus/ami_codec/$name"
    { printf '\000\377'; head -c 2000 "$recording"; } >"corpus/ami_session/$name"
done
