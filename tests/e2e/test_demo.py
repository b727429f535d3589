"""`make demo` does what it says: the whole story, told once. Every step of demo/run.sh verifies
itself, so that its exit code is the verdict; this adds that nothing of it stays behind.

Standard library only. Uses the binaries in $SLUICE_BUILD if set, else goes through `make demo`."""

import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILT = os.environ.get("SLUICE_BUILD")
TIMEOUT_S = 300


def processes_with(text):
    """Ids of the processes whose command line holds text."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and text.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


class TestDemo(unittest.TestCase):
    def tell(self, folder, once="1"):
        environment = {**os.environ, "DEMO_ONCE": once, "TMPDIR": folder}
        command = ["make", "demo"]
        if BUILT:
            command = [ROOT / "demo" / "run.sh"]
            environment["B"] = BUILT
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            # Whoever runs the tests in the background has it ignored, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def assert_nothing_stays(self, folder):
        self.assertEqual(processes_with(folder), [])
        self.assertEqual(os.listdir(folder), [])

    def test_story(self):
        with tempfile.TemporaryDirectory(prefix="sluice-test-demo-") as folder:
            story = self.tell(folder)
            try:
                out, _ = story.communicate(timeout=TIMEOUT_S)
            except subprocess.TimeoutExpired:
                os.killpg(story.pid, signal.SIGTERM)
                out, _ = story.communicate(timeout=30)
                self.fail(f"not over after {TIMEOUT_S} s:\n{out}")
            self.assertEqual(story.returncode, 0, out)
            self.assertIn("Every step did what it says.", out)
            self.assertNotIn("FAILED", out)
            cut = [float(t) for t in re.findall(r"socket closed ([0-9.]+) ms after", out)]
            self.assertEqual(len(cut), 2, out)
            self.assertLess(max(cut), 1000, out)
            self.assert_nothing_stays(folder)

    def test_interrupted(self):
        """Ctrl-C in mid-story ends what was started, and only that."""
        with tempfile.TemporaryDirectory(prefix="sluice-test-demo-") as folder:
            story = self.tell(folder)
            for line in story.stdout:
                if line.startswith(" 2. "):
                    break
            os.killpg(story.pid, signal.SIGINT)
            out, _ = story.communicate(timeout=60)
            self.assertNotEqual(story.returncode, 0, out)
            self.assert_nothing_stays(folder)

    def test_killed(self):
        """Even when the script cannot clean up, no process stays."""
        with tempfile.TemporaryDirectory(prefix="sluice-test-demo-") as folder:
            story = self.tell(folder)
            for line in story.stdout:
                if line.startswith(" 3. "):
                    break
            os.killpg(story.pid, signal.SIGKILL)
            story.communicate(timeout=60)
            deadline = time.monotonic() + 15
            while processes_with(folder) and time.monotonic() < deadline:
                time.sleep(0.1)
            self.assertEqual(processes_with(folder), [])

    def test_stays_up_until_interrupted(self):
        """Without DEMO_ONCE it ends with Ctrl-C, and that is no failure."""
        with tempfile.TemporaryDirectory(prefix="sluice-test-demo-") as folder:
            story = self.tell(folder, once="0")
            told = []
            for line in story.stdout:
                told.append(line)
                if "audit.sh" in line:
                    break
            self.assertIsNone(story.poll(), "".join(told))
            time.sleep(0.5)
            os.killpg(story.pid, signal.SIGINT)
            out, _ = story.communicate(timeout=60)
            if BUILT:  # make itself reports an interrupt
                self.assertEqual(story.returncode, 0, "".join(told) + out)
            self.assert_nothing_stays(folder)


if __name__ == "__main__":
    unittest.main()
