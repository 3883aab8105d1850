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
mkdir -p corpus/centrex_frames corpus/centrex_text corpus/centrex_json corpus/centrex_session
for recording in ../corpus/centrex/*.txt ../corpus/centrex/*.jsonl; do
    name=$(basename "$recording")
    cp "$recording" "corpus/centrex_text/$name"
    { printf 'A\000\002\377\377'; cat "$recording"; } >"corpus/centrex_frames/$name"
    { printf 'A'; cat "$recording"; } >"corpus/centrex_json/$name"
    { printf '\000\377'; head -c 2000 "$recording"; } >"corpus/centrex_session/$name"
done
