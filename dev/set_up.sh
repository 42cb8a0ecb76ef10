# Makes .venv with everything that development needs. $1 is the Python to make it with.
set -e
if [ -x .venv/bin/python ] && .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  :
elif [ -n "$1" ]; then
  echo "Setting up .venv with $1 (a minute or two, once) ..." >&2
  "$1" -m venv --clear .venv
else
  echo "No Python from 3.11 on was found that can make a virtual environment: install one (on Debian or Ubuntu: apt install python3 python3-venv), or name it: make run PYTHON=/path/to/python3" >&2
  exit 1
fi
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r dev/requirements.txt
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e layers/robotchat
touch .venv/.ready
