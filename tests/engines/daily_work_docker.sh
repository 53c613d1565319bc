#!/bin/bash
# daily_work_docker.sh RUNTIME ARCHIVE REGISTRY [DOCKER OPTION ...]
#
# A day's work with docker and the runtime named, which the daemon knows.  ARCHIVE is a docker-archive of the image
# localhost/box:1, which holds busybox; REGISTRY (host:port) is on the loopback, where docker needs no TLS.  `build` uses
# the daemon's default runtime.  What is printed is the same with every runtime.
set -euo pipefail
runtime=$1 archive=$2 registry=$3
shift 3
options=("$@")
docker() { command docker "${options[@]}" "$@"; }
run() { docker run --runtime "$runtime" "$@"; }
image=localhost/box:1
mine=$registry/mine:1
work=$(mktemp -d)
trap 'docker rm --force one two listener >"$work/removed" 2>&1; rm -rf "$work"' EXIT

echo "# load an image and list it"
docker load --quiet --input "$archive"
docker images --format '{{.Repository}}:{{.Tag}}'

echo "# run it twice at once"
for name in one two; do
    run --detach --name "$name" "$image" \
        sh -c "echo I am $name; trap 'exit 3' TERM; while :; do sleep 0.1; done" >/dev/null
done
docker ps --format '{{.Names}} {{.Image}}' | sort

echo "# look inside"
for name in one two; do
    docker exec "$name" sh -c "echo $name > /data/name; cat /data/name"
    until docker logs "$name" | grep 'I am'; do sleep 0.1; done
done
docker exec two false || echo "false: $?"

echo "# attach to one that listens"
run --detach --interactive --name listener "$image" sh -c "read word; echo heard \$word" >/dev/null
echo hello | docker attach listener >/dev/null
docker wait listener
docker logs listener

echo "# build from a Dockerfile"
cat >"$work/Dockerfile" <<END
FROM $image
RUN echo built > /made && id -u >> /made
CMD ["cat", "/made"]
END
docker build --quiet --tag localhost/built:1 "$work" >/dev/null
run --rm localhost/built:1

echo "# commit, tag, push, remove, pull"
docker commit one localhost/committed:1 >/dev/null
docker tag localhost/committed:1 "$mine"
docker push --quiet "$mine" >/dev/null
docker rmi localhost/committed:1 "$mine" >/dev/null
docker pull --quiet "$mine" >/dev/null
run --rm "$mine" cat /data/name

echo "# save and load, export and import"
docker save --output "$work/saved.tar" "$mine"
docker rmi "$mine" >/dev/null
docker load --quiet --input "$work/saved.tar" >/dev/null
run --rm "$mine" cat /data/name
docker export --output "$work/exported.tar" two
docker import "$work/exported.tar" localhost/imported:1 >/dev/null
run --rm localhost/imported:1 /bin/cat /data/name

echo "# stop and remove"
docker stop one two >/dev/null
docker inspect --format '{{.State.Status}} {{.State.ExitCode}}' one two
docker rm one two listener | wc -l
docker rmi "$mine" localhost/imported:1 localhost/built:1 >/dev/null
docker images --format '{{.Repository}}:{{.Tag}}'
