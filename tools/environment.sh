#!/usr/bin/env bash
# Makes the virtual environment $1 with Wherry (editable) and all that its development needs, in the versions of
# constraints.txt. Called by the Makefile when one of its inputs has changed.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$1
python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Wherry needs Python 3.11 or newer, this is $("$python" --version). Say: make PYTHON=/path/to/python3.11" >&2
    exit 1
}

# Debian's Python comes without the means to make an environment; as root we can bring them.
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv
    else
        echo "This Python cannot make an environment: install Debian's package python3-venv first." >&2
        exit 1
    fi
fi

if ! "$folder/bin/python" -m pip --version >/dev/null 2>&1; then
    rm -rf "$folder"
    "$python" -m venv "$folder"
fi
echo "Installing what Wherry needs into $folder ..."
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
    --constraint constraints.txt --editable '.[dev]'
