#!/bin/sh
# Install mien[serve] into the virtual environment $1: the locked packages by their hashes, then the package itself.
set -eu
python3 -m venv "$1"
"$1/bin/pip" install --no-cache-dir --only-binary :all: --require-hashes --requirement docker/requirements.lock
"$1/bin/pip" install --no-cache-dir hatchling
"$1/bin/pip" install --no-cache-dir --no-deps --no-build-isolation .
"$1/bin/pip" uninstall --yes --quiet hatchling pathspec pluggy trove-classifiers
"$1/bin/pip" check
"$1/bin/mien" --version
