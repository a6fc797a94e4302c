#!/usr/bin/env bash
# The archive that PGXN takes: everything that is committed, below prometheus_embed-VERSION/.
. "$(dirname "$0")/lib.sh"

version=$(sed -nE 's/^  "version": "(.*)",/\1/p' META.json)
mkdir -p build
git archive --format=zip --prefix="prometheus_embed-$version/" -o "build/prometheus_embed-$version.zip" HEAD
say "wrote build/prometheus_embed-$version.zip"
