#!/bin/sh
# Makes .venv with the locked environment: sh envs/setup.sh [FOLDER]. Safe to run again; needs Python 3.11-3.14 with pip.
set -eu
unset CDPATH PYTHONPATH PYTHONHOME # the environment holds what the lock file says; a module system's packages are for another Python
unset PIP_TARGET PIP_PREFIX UV_TARGET UV_PREFIX UV_SYSTEM_PYTHON && export PIP_USER=0 # and lies in its folder
cd "$(dirname "$0")/.."
folder=${1:-.venv}
here=$(pwd -P)

fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null; }

if ! mkdir -p "$folder" 2>/dev/null || [ ! -w "$folder" ]; then
    if fits "$folder/bin/python" && "$folder/bin/python" -c 'import snakemake, torch' 2>/dev/null; then
        echo "setup: $folder in $here cannot be written, so it is taken as it is" >&2
        exit 0
    fi
    echo "setup: $folder in $here cannot be written; work in a clone: git clone '$here' ~/sibp && cd ~/sibp && make" >&2
    exit 1
fi

# The programs in a virtual environment and the package installed in it name their folder, so one that was copied or moved along with its
# checkout would go on running the other checkout's code.
place=$(cat "$folder/.ready" 2>/dev/null || true)
if [ -n "$place" ] && [ "$place" != "$here" ]; then
    echo "setup: $folder belongs to $place, making it anew"
    rm -rf "$folder"
fi

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
if [ -z "${XDG_CACHE_HOME:-${HOME:-}}" ] || ! mkdir -p "${XDG_CACHE_HOME:-$HOME/.cache}" 2>/dev/null || [ ! -w "${XDG_CACHE_HOME:-$HOME/.cache}" ]; then
    export XDG_CACHE_HOME="$here/$folder/cache" # no home, or none that can be written
fi
"$bin/python" -m pip install --quiet --disable-pip-version-check "uv>=0.8"

# uv does not read pip's settings, so those that say where packages come from are handed on; uv's own go before them.
settings=$("$bin/python" -m pip config list 2>/dev/null || true) # pip's environment variables (:env:) and files, as NAME='VALUE'
hand_on() { # hand_on UV_VARIABLE PIP_SETTING [SEPARATOR]: a list of pip's is separated by blanks
    eval "value=\${$1:-}"
    for section in :env: install global; do
        if [ -z "$value" ]; then
            value=$(printf '%s\n' "$settings" | sed -n "s/^$section\.$2=['\"]\(.*\)['\"]\$/\1/p" | sed 's/\\n/ /g; s/^ *//; s/ *$//')
            value=$(printf '%s' "$value" | sed "s/  */${3:- }/g")
        fi
    done
    if [ -n "$value" ]; then export "$1=$value"; fi
}
hand_on UV_DEFAULT_INDEX index-url
hand_on UV_INDEX extra-index-url
hand_on UV_FIND_LINKS find-links ,
hand_on UV_NO_INDEX no-index
hand_on UV_INSECURE_HOST trusted-host
hand_on SSL_CERT_FILE cert
hand_on SSL_CLIENT_CERT client-cert
hand_on ALL_PROXY proxy
export UV_INDEX_STRATEGY="${UV_INDEX_STRATEGY:-unsafe-best-match}" # all indexes count, as for pip; the lock file's hashes say which file is right
export UV_HTTP_TIMEOUT="${UV_HTTP_TIMEOUT:-300}" # torch's CUDA libraries are gigabytes

echo "setup: installing envs/requirements.lock (about 5 GB on Linux, most of it CUDA libraries)"
# Compiled once here: where PYTHONDONTWRITEBYTECODE is set (as in many containers), each of the workflow's processes would do it again,
# four seconds for torch alone.
"$bin/uv" pip install --python "$bin/python" --compile-bytecode --require-hashes -r envs/requirements.lock
"$bin/uv" pip install --quiet --python "$bin/python" --no-deps --no-build-isolation --editable . --editable workflow/logger
printf '%s\n' "$here" >"$folder/.ready"
echo "setup: done"
