# Pins every dependency, with the hashes of its files, for all platforms. What is pinned already stays
# as it is while it fits: name what is to be renewed (sh dev/locks.sh --upgrade-package httpx), or all
# (--upgrade). uv is needed: pip install uv.
set -e
cd "$(dirname "$0")"
compile() {
  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --no-header --no-annotate --no-emit-index-url --no-emit-find-links "$@"
}
# First what the tests run with; the layer keeps to it.
compile --extra aws "$@" --output-file requirements.txt \
  requirements.in ../layers/robotchat/pyproject.toml
sed '/--hash/d; s/ \\$//' requirements.txt >../.pins.tmp
trap 'rm -f ../.pins.tmp' EXIT
compile --extra aws --constraint ../.pins.tmp --output-file ../layers/robotchat/constraints.txt \
  ../layers/robotchat/pyproject.toml
compile "$@" --output-file requirements-sam.txt requirements-sam.in
compile "$@" --output-file requirements-policies.txt requirements-policies.in
