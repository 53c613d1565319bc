#!/bin/bash
# daily_work_podman.sh RUNTIME ARCHIVE REGISTRY [PODMAN OPTION ...]
#
# A day's work with podman and the runtime at the path RUNTIME.  ARCHIVE is a docker-archive of the image localhost/box:1,
# which holds busybox; REGISTRY (host:port) takes pushes without TLS.  What is printed is the same with every runtime.
set -euo pipefail
runtime=$1 archive=$2 registry=$3
shift 3
podman() { command podman --runtime "$runtime" "${options[@]}" "$@"; }
options=("$@")
image=localhost/box:1
mine=$registry/$(basename "$runtime"):1
work=$(mktemp -d)
trap 'podman rm --ignore --force --time 0 one two listener >/dev/null; rm -rf "$work"' EXIT

echo "# load an image and list it"
podman load --quiet --input "$archive"
podman images --format '{{.Repository}}:{{.Tag}}'

echo "# run it twice at once"
for name in one two; do
    podman run --detach --name "$name" "$image" \
        sh -c "echo I am $name; trap 'exit 3' TERM; while :; do sleep 0.1; done" >/dev/null
done
podman ps --sort names --format '{{.Names}} {{.Image}}'

echo "# look inside"
for name in one two; do
    podman exec "$name" sh -c "echo $name > /data/name; cat /data/name"
    until podman logs "$name" | grep 'I am'; do sleep 0.1; done
done
podman exec two false || echo "false: $?"

echo "# attach to one that listens"
podman run --detach --interactive --name listener "$image" sh -c "read word; echo heard \$word" >/dev/null
echo hello | podman attach listener | grep heard
podman wait listener

echo "# build from a Dockerfile"
cat >"$work/Dockerfile" <<END
FROM $image
RUN echo built > /made && id -u >> /made
CMD ["cat", "/made"]
END
podman build --quiet --runtime "$runtime" --tag localhost/built:1 "$work" >/dev/null
podman run --rm localhost/built:1

echo "# commit, tag, push, remove, pull"
podman commit --quiet one localhost/committed:1 >/dev/null
podman tag localhost/committed:1 "$mine"
podman push --quiet --tls-verify=false "$mine"
podman rmi --force localhost/committed:1 "$mine" >/dev/null
podman pull --quiet --tls-verify=false "$mine" >/dev/null
podman run --rm "$mine" cat /data/name

echo "# save and load, export and import"
podman save --quiet --output "$work/saved.tar" "$mine"
podman rmi "$mine" >/dev/null
podman load --quiet --input "$work/saved.tar" >/dev/null
podman run --rm "$mine" cat /data/name
podman export --output "$work/exported.tar" two
podman import --quiet "$work/exported.tar" localhost/imported:1 >/dev/null
podman run --rm localhost/imported:1 /bin/cat /data/name

echo "# stop and remove"
podman stop one two | sort
podman inspect --format '{{.Name}} {{.State.Status}} {{.State.ExitCode}}' one two
podman rm one two listener | wc -l
podman rmi "$mine" localhost/imported:1 localhost/built:1 >/dev/null
podman images --format '{{.Repository}}:{{.Tag}}'
