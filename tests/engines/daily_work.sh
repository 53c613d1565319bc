#!/bin/bash
# daily_work.sh podman|docker RUNTIME ARCHIVE REGISTRY [OPTION OF THE ENGINE ...]
#
# A day's work with an engine and a runtime: for podman the path of one, for docker one that the daemon knows.  ARCHIVE is
# a docker-archive of the image localhost/box:1, which holds busybox; REGISTRY (host:port) is on the loopback and takes
# pushes without TLS.  docker's `build` uses the daemon's default runtime.  What is printed is the same with both engines
# and every runtime.
set -euo pipefail
name=$1 runtime=$2 archive=$3 registry=$4
shift 4
if [ "$name" = podman ]; then
    options=(--runtime "$runtime" "$@") of_run=() of_build=(--runtime "$runtime") plain=(--tls-verify=false)
else
    options=("$@") of_run=(--runtime "$runtime") of_build=() plain=()
fi
engine() { command "$name" "${options[@]}" "$@"; }
run() { engine run "${of_run[@]}" "$@"; }
image=localhost/box:1
mine=$registry/$(basename "$runtime"):1
work=$(mktemp -d)
trap 'engine rm --force one two listener >"$work/removed" 2>&1 || true; rm -rf "$work"' EXIT

echo "# load an image and list it"
engine load --quiet --input "$archive"
engine images --format '{{.Repository}}:{{.Tag}}'

echo "# run it twice at once"
for each in one two; do
    run --detach --name "$each" "$image" \
        sh -c "echo I am $each; trap 'exit 3' TERM; while :; do sleep 0.1; done" >/dev/null
done
engine ps --format '{{.Names}} {{.Image}}' | sort

echo "# look inside"
for each in one two; do
    engine exec "$each" sh -c "echo $each > /data/name; cat /data/name"
    until engine logs "$each" | grep 'I am'; do sleep 0.1; done
done
engine exec two false || echo "false: $?"

echo "# attach to one that listens"
run --detach --interactive --name listener "$image" sh -c "read word; echo heard \$word" >/dev/null
echo hello | engine attach listener >/dev/null
engine wait listener
engine logs listener

echo "# build from a Dockerfile"
cat >"$work/Dockerfile" <<END
FROM $image
RUN echo built > /made && id -u >> /made
CMD ["cat", "/made"]
END
engine build --quiet "${of_build[@]}" --tag localhost/built:1 "$work" >/dev/null
run --rm localhost/built:1

echo "# commit, tag, push, remove, pull"
engine commit one localhost/committed:1 >/dev/null
engine tag localhost/committed:1 "$mine"
engine push --quiet "${plain[@]}" "$mine" >/dev/null
engine rmi --force localhost/committed:1 "$mine" >/dev/null
engine pull --quiet "${plain[@]}" "$mine" >/dev/null
run --rm "$mine" cat /data/name

echo "# save and load, export and import"
engine save --output "$work/saved.tar" "$mine"
engine rmi "$mine" >/dev/null
engine load --quiet --input "$work/saved.tar" >/dev/null
run --rm "$mine" cat /data/name
engine export --output "$work/exported.tar" two
engine import "$work/exported.tar" localhost/imported:1 >/dev/null
run --rm localhost/imported:1 /bin/cat /data/name

echo "# stop and remove"
engine stop one two | sort
engine inspect --format '{{.State.Status}} {{.State.ExitCode}}' one two
engine rm one two listener | wc -l
engine rmi "$mine" localhost/imported:1 localhost/built:1 >/dev/null
engine images --format '{{.Repository}}:{{.Tag}}'
