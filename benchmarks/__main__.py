"""``make bench``: what the service costs, measured on this machine as ratios within one run.

Each module measures one thing and gives a dict of figures; they are printed with their targets and
written to ``benchmarks/results.json``. Absolute times depend on the machine and on what else it
does; the ratios are what is comparable.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results.json"
ALL = (
    "cold_start",
    "cold_start_at_memory",
    "writes",
    "critical_path",
    "scale",
    "overhead",
    "pull",
    "throughput",
    "first_token",
    "litellm_proxy",
    "cost",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ALL)} (all)")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(ALL):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    met = True
    for name in asked.names or ALL:
        module = importlib.import_module(f"benchmarks.{name}")
        print(f"\n{name}: {(module.__doc__ or '').partition(chr(10))[0]}", flush=True)
        figures = module.measure()
        for label, value in figures.items():
            target = module.TARGETS.get(label)
            ok = target is None or target.met(value)
            met &= ok
            said = f"   target {target}  {'ok' if ok else 'MISSED'}" if target else ""
            print(f"  {label:<48} {value:>10}{said}", flush=True)
        results[name] = {
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": f"{platform.machine()}, Python {platform.python_version()}",
            "figures": figures,
        }
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
