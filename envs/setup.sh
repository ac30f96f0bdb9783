#!/bin/sh
# Makes .venv with the locked environment: sh envs/setup.sh [FOLDER]. Safe to run again; needs Python 3.11-3.14 with pip.
set -eu
cd "$(dirname "$0")/.."
folder=${1:-.venv}

fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null; }

if ! fits "$folder/bin/python"; then
    candidates=${PYTHON:-python3 python3.13 python3.12 python3.11 python3.14}
    for python in $candidates none; do
        if fits "$python"; then break; fi
    done
    if [ "$python" = none ]; then
        echo "setup: needs Python 3.11, 3.12, 3.13 or 3.14, and none of these is: $candidates; name one: make PYTHON=/path/to/python3.12" >&2
        exit 1
    fi
    echo "setup: making $folder with $("$python" --version)"
    rm -rf "$folder"
    "$python" -m venv "$folder" 2>/dev/null || { rm -rf "$folder" && "$python" -m virtualenv --quiet "$folder"; } || {
        echo "setup: $python can make no virtual environment; install its venv module (Debian: python3-venv) or virtualenv" >&2
        exit 1
    }
fi

bin=$(cd "$folder/bin" && pwd)
"$bin/python" -m pip install --quiet --disable-pip-version-check "uv>=0.8"

# uv does not read pip's settings, so a mirror that pip is told to use is handed on.
mirror=${UV_DEFAULT_INDEX:-${PIP_INDEX_URL:-$("$bin/python" -m pip config get global.index-url 2>/dev/null || true)}}
if [ -n "$mirror" ]; then export UV_DEFAULT_INDEX="$mirror"; fi
export UV_HTTP_TIMEOUT="${UV_HTTP_TIMEOUT:-300}" # torch's CUDA libraries are gigabytes

echo "setup: installing envs/requirements.lock (about 5 GB on Linux, most of it CUDA libraries)"
# Compiled once here: where PYTHONDONTWRITEBYTECODE is set (as in many containers), each of the workflow's processes would do it again,
# four seconds for torch alone.
"$bin/uv" pip install --python "$bin/python" --compile-bytecode --require-hashes -r envs/requirements.lock
"$bin/uv" pip install --quiet --python "$bin/python" --no-deps --no-build-isolation --editable .
touch "$folder/.ready"
echo "setup: done"
