#!/usr/bin/env bash
# Builds the image of Deploy/Dockerfile with buildah, which needs no daemon. `make image`.
#
#   Deploy/image/build.sh [IMAGE]    builds it, as tailrace:0.1.0 unless another name is given
#   Deploy/image/build.sh --bases    only prepares the base images
#
# Base images that can't be pulled get stand-ins: Debian by debootstrap, from apt's mirror on this host, and for
# Swift the toolchain on the PATH, mounted during the build. An image on stand-ins is for tests only. This host's
# settings of git and the package manager for package locations (`url.<base>.insteadOf`, mirrors) apply to the build.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

image=${1:-tailrace:0.1.0}
work=.build/image
dockerfile=Deploy/Dockerfile
toolchain=/opt/swift-toolchain # its path in the stand-in
mkdir -p "$work"

say() { echo "image: $*" >&2; }

# chroot needs no rights beyond those of the building user; the host network reaches whatever mirror this host uses.
buildah_() { buildah --storage-driver overlay "$@"; }
isolation=(--isolation chroot --network host)

# The first of apt's sources for a Debian release. apt-get expands the $(...) in the format.
# shellcheck disable=SC2016
mirror() {
  apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(LABEL)' 'Created-By: Packages' |
    awk -v release="$1" '$2 == release && $3 == "Debian" { print $1; exit }'
}

# All of apt's sources for a release, its updates included.
# shellcheck disable=SC2016
sources() {
  apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(CODENAME) $(LABEL)' 'Created-By: Packages' |
    awk -v release="$1" '$4 ~ /^Debian/ && index($3, release) == 1 { print "deb " $1 " " $2 " main" }' | sort -u
}

# debian:RELEASE-slim
stand_in_debian() {
  local release=${1#debian:} root container
  release=${release%-slim}
  root=$(mktemp --directory)
  debootstrap --variant=minbase "$release" "$root" "$(mirror "$release")" > "$work/debootstrap.log"
  sources "$release" > "$root/etc/apt/sources.list"
  rm -rf "$root"/usr/share/{doc,man,locale,info}/* "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
  container=$(buildah_ from scratch)
  buildah_ add --quiet "$container" "$root" / > /dev/null
  buildah_ commit --quiet --rm "$container" "localhost/$1" > /dev/null
  rm -rf --one-file-system "$root"
}

# swift:VERSION-RELEASE, without the toolchain itself.
stand_in_swift() {
  local version=${1#swift:} release container
  release=${version#*-} version=${version%%-*}
  swift --version 2>&1 | grep -qF "Swift version $version " ||
    { say "$1 can't be pulled, and the swift on the PATH is not $version"; return 1; }
  base "debian:$release-slim"
  container=$(buildah_ from "localhost/debian:$release-slim")
  buildah_ run "${isolation[@]}" "$container" -- sh -c "
    set -e
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends \
      binutils ca-certificates git libc6-dev libcurl4 libedit2 libgcc-12-dev libncurses6 libsqlite3-0 \
      libstdc++-12-dev libxml2 tzdata zlib1g-dev
    rm -rf /var/lib/apt/lists/*
    mkdir -p $toolchain
    ln -s $toolchain/libexec/swift /usr/libexec/swift
    for tool in swift swift-build swift-package swiftc clang; do ln -s $toolchain/bin/\$tool /usr/bin/\$tool; done
  " > "$work/packages.log"
  buildah_ commit --quiet --rm "$container" "localhost/$1" > /dev/null
}

# Prepares a base image.
base() {
  if buildah_ inspect --type image "localhost/$1" > /dev/null 2>&1; then
    say "$1 is a stand-in"
  elif timeout 300 buildah --storage-driver overlay pull --quiet --policy missing "docker.io/library/$1" \
    > "$work/pull.log" 2>&1; then
    say "$1 is from Docker Hub"
  else
    say "$1 can't be pulled: making a stand-in"
    "stand_in_${1%%:*}" "$1"
  fi
}

# Mounts for the build: git's and the package manager's settings for package locations.
mounts=()
carry_over() {
  local key value path
  : > "$work/gitconfig"
  while read -r key value; do
    [[ -n $key ]] || continue
    git config --file "$work/gitconfig" --add "$key" "$value"
    # A local folder instead of a host.
    path=${key#url.} path=${path%.*} path=${path#file://}
    if [[ $path == /* && -d $path ]]; then mounts+=(--volume "$path:$path:ro"); fi
  done < <(git config --get-regexp '^url\.' || true)
  git config --file "$work/gitconfig" --add safe.directory '*'
  mounts+=(--volume "$PWD/$work/gitconfig:/etc/gitconfig:ro")
  if [[ -f ~/.swiftpm/configuration/mirrors.json ]]; then
    mounts+=(--volume "$HOME/.swiftpm/configuration:/root/.swiftpm/configuration:ro")
  fi
}

for tool in buildah debootstrap git swift; do
  command -v "$tool" > /dev/null || { say "no $tool on the PATH: make image-tools"; exit 1; }
done
mapfile -t bases < <(sed -n 's/^FROM \([^ ]*\).*/\1/p' "$dockerfile")
for name in "${bases[@]}"; do
  base "$name"
  if [[ $name == swift:* ]] && buildah_ inspect --type image "localhost/$name" > /dev/null 2>&1; then
    mounts+=(--volume "$(dirname "$(dirname "$(readlink -f "$(command -v swiftc)")")"):$toolchain:ro")
  fi
done
if [[ $image == --bases ]]; then exit; fi
carry_over
# The same folder may replace several hosts.
mapfile -t mounts < <(printf '%s\n' "${mounts[@]}" | grep -v '^--volume$' | sort -u | sed 's/^/--volume=/')

say "building $image"
SECONDS=0
build() { buildah_ build --layers "${isolation[@]}" --file "$dockerfile" --ignorefile "$dockerfile.dockerignore" "$@" .; }
# Mounts leave their mount points behind. So the stage that needs them is built first and taken from the cache by
# a second build without mounts: nothing of this host ends up in the image.
build "${mounts[@]}" --target build
build --tag "$image"
say "$image built in $SECONDS s"
