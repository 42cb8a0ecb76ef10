# Makes .venv-sam with the SAM CLI, whose dependencies disagree with those of the embedded AWS. It is
# made with Python 3.12 where there is one, because `sam build` looks for that on the PATH.
set -e
for python in python3.12 "$HOME"/.pyenv/versions/3.12*/bin/python3.12 "$1"; do
  if "$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "Setting up .venv-sam with $python (a minute or two, once) ..." >&2
    "$python" -m venv --clear .venv-sam
    .venv-sam/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r dev/requirements-sam.txt
    touch .venv-sam/.ready
    exit 0
  fi
done
echo "The SAM CLI needs Python from 3.11 on (and to build without containers, 3.12); none was found." >&2
exit 1
