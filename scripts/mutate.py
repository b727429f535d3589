#!/usr/bin/env python3
"""Takes each check of tests/mutations/checks.txt out of a copy of the tree, one at a time, builds the
tests that hold it, and expects one of them to fail.

usage: scripts/mutate.py [--check] [WORD]...
  WORD      only checks whose titles hold it
  --check   build nothing: only see that every check is still where the table says

Ends with "N passed, N failed"; a check that no test misses is a failure. The copy keeps its object
files, so a check takes some seconds; all of them about six minutes on two idle cores."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
TABLE = ROOT / "tests" / "mutations" / "checks.txt"
TEST_TIMEOUT_S = 120


def read_table():
    """[(title, file, tests, old, new)]"""
    checks, here = [], None
    for number, line in enumerate(TABLE.read_text().splitlines(), 1):
        if line.startswith("== "):
            here = {"title": line[3:], "old": [], "new": []}
            checks.append(here)
        elif line.startswith(("- ", "+ ")):
            here["old" if line[0] == "-" else "new"].append(line[2:])
        elif line and not line.startswith("#"):
            file, colon, tests = line.partition(": ")
            if here is None or not colon or "file" in here:
                sys.exit(f"{TABLE}:{number}: not understood: {line}")
            here["file"], here["tests"] = file, tests.split()
    return checks


def mutated(text, check):
    """The file without the check. The last line of both may be the beginning of one."""
    old, new = "\n".join(check["old"]), "\n".join(check["new"])
    if not new:
        old += "\n"
    if text.count(old) != 1:
        raise ValueError(f"stands {text.count(old)} times in {check['file']}")
    return text.replace(old, new)


def copy_tree(to):
    """What git knows of, as it stands in the work tree."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True,
                           text=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).exists():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)


def build(tree, tests, *more):
    targets = [f"build/asan/unit/{test}" for test in tests]
    done = subprocess.run(["make", "-s", f"-j{os.cpu_count()}", "VARIANT=asan",
                           *more, *targets], cwd=tree, capture_output=True,
                          text=True, check=False)
    return None if done.returncode == 0 else done.stdout + done.stderr


def fails(tree, test):
    try:
        return subprocess.run([tree / "build" / "asan" / "unit" / test], cwd=tree,
                              capture_output=True, timeout=TEST_TIMEOUT_S,
                              check=False).returncode != 0
    except subprocess.TimeoutExpired:
        return True


def missed(tree, check):
    """None when a test fails without the check, else why not."""
    file = tree / check["file"]
    text = file.read_text()
    file.write_text(mutated(text, check))
    try:
        problem = build(tree, check["tests"], "WARN=")  # what is left may be unused
        if problem:
            return f"does not build: {problem[-1500:]}"
        if not any(fails(tree, test) for test in check["tests"]):
            return "no test misses it"
        return None
    finally:
        file.write_text(text)


def main():
    words = [word for word in sys.argv[1:] if word != "--check"]
    checks = [c for c in read_table() if all(word in c["title"] for word in words)]
    problems = 0
    if "--check" in sys.argv:
        for check in checks:
            try:
                mutated((ROOT / check["file"]).read_text(), check)
            except ValueError as error:
                print(f"{check['title']}: {error}")
                problems += 1
    else:
        with tempfile.TemporaryDirectory(prefix="sluice-mutate-") as name:
            tree = pathlib.Path(name)
            copy_tree(tree)
            tests = sorted({test for c in checks for test in c["tests"]})
            problem = build(tree, tests)
            broken = [test for test in tests if not problem and fails(tree, test)]
            if problem or broken:
                sys.exit(f"as it stands: {problem or broken}")
            for check in checks:
                why = missed(tree, check)
                problems += why is not None
                print(f"{'ok  ' if why is None else 'FAIL'} {check['title']}"
                      f"{': ' + why if why else ''}", flush=True)
    print(f"{len(checks) - problems} passed, {problems} failed")
    sys.exit(problems > 0)


if __name__ == "__main__":
    main()
