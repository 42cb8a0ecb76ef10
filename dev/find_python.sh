# Prints the first Python from 3.11 on that works and can make virtual environments; else nothing.
# (A command of that name may exist and fail: pyenv's shims do.)
for python in python3.12 python3.13 python3.11 python3.14 python3 python; do
  if "$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "$python"
    exit 0
  fi
done
