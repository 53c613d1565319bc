#!/bin/sh
# build.sh OUTPUT [CC]: builds the executor, static and small.
# musl where it is there: its static programs touch a tenth of the memory of glibc's.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
output=${1:?usage: build.sh OUTPUT [CC]}
compiler=${2:-}
if [ -z "$compiler" ]; then
    compiler=cc
    command -v musl-gcc >/dev/null 2>&1 && compiler=musl-gcc
fi
# musl-gcc does not look at the kernel's headers: they are added behind its own.
headers=""
case $compiler in
*musl*)
    headers=$(mktemp -d)
    trap 'rm -rf "$headers"' EXIT
    for name in linux asm-generic; do ln -s "/usr/include/$name" "$headers/$name"; done
    for directory in /usr/include/asm /usr/include/*-linux-gnu/asm; do
        if [ -d "$directory" ]; then ln -sfn "$directory" "$headers/asm"; fi
    done
    ;;
esac
# Each page counts in every container that waits for start: the whole program at once, and the code that waits apart.
# shellcheck disable=SC2086 # EXECUTOR_CFLAGS is a list
"$compiler" -std=gnu11 -Oz -flto -fno-pie -no-pie -Wall -Wextra -Werror -static -ffunction-sections -fdata-sections \
    ${headers:+-isystem "$headers"} ${EXECUTOR_CFLAGS:-} \
    -Wl,--gc-sections -Wl,--section-start=.waiting=0x2000000 -Wl,-z,norelro -Wl,--build-id=none -s \
    -o "$output" "$here"/*.c
