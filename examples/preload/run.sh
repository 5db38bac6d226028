#!/bin/sh
# SPDX-License-Identifier: MIT
# Build a shim and a program that knows nothing of it, and run one under the other.
# libregmap.so itself is preloaded, too, and first: then the program's calls of signal() and sigaction()
# reach it before they reach libc.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=${1:-$here/../../build}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
export PKG_CONFIG_PATH="$build"

${CC:-cc} -O2 -Wall -Wextra -o "$out/victim" "$here/victim.c"
${CC:-cc} -O2 -Wall -Wextra -fPIC -shared -o "$out/shim.so" "$here/shim.c" \
	$(pkg-config --cflags --libs regmap)

echo 'alone:'
"$out/victim"
echo 'with the shim:'
LD_PRELOAD="$build/libregmap.so $out/shim.so" "$out/victim"
