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
mkdir -p corpus/openvox_push corpus/openvox_report corpus/openvox_session
for recording in ../corpus/openvox/*.json; do
    name=$(basename "$recording")
    cp "$recording" "corpus/openvox_report/$name"
    { printf '\006\000\377'; head -c 254 "$recording"; } >"corpus/openvox_session/$name"
done
for recording in ../corpus/openvox/*.http; do
    { printf 'A'; cat "$recording"; } >"corpus/openvox_push/$(basename "$recording")"
done
