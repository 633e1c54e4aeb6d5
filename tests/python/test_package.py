"""The package: where it finds the library, its types, its wheel, its examples."""
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from support import LONG_S, PACKAGE, ROOT, missing, program

import hbeat

WHERE = "import hbeat; print(hbeat._lib.path)"


class Loading(unittest.TestCase):
    def copy(self, *left_out):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        shutil.copytree(PACKAGE / "hbeat", Path(folder.name) / "hbeat", ignore=shutil.ignore_patterns("__pycache__", *left_out))
        return folder.name

    def test_the_packages_own_library_is_found_first(self):
        code, output = program(WHERE)
        self.assertEqual((code, output.strip()), (0, str(PACKAGE / "hbeat/libhbeat.so")))

    def test_hbeat_library_overrides_it(self):
        with tempfile.TemporaryDirectory() as folder:
            other = shutil.copy(str(PACKAGE / "hbeat/libhbeat.so"), folder + "/other.so")
            code, output = program(WHERE, environment={"HBEAT_LIBRARY": other})
        self.assertEqual((code, output.strip()), (0, other))

    def test_the_systems_comes_last(self):
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(str(PACKAGE / "hbeat/libhbeat.so"), folder + "/libhbeat.so.0.1")
            code, output = program(WHERE, environment={"PYTHONPATH": self.copy("*.so"), "LD_LIBRARY_PATH": folder})
        self.assertEqual((code, output.strip()), (0, "libhbeat.so.0.1"))

    def test_what_is_missing_or_wrong_is_said(self):
        alone = {"PYTHONPATH": self.copy("*.so")}
        for environment, words in [
            (alone, ["libhbeat.so.0.1", "HBEAT_LIBRARY", "make python"]),
            ({"HBEAT_LIBRARY": "/nowhere/libhbeat.so"}, ["/nowhere/libhbeat.so", "(HBEAT_LIBRARY)"]),
            ({"HBEAT_LIBRARY": "libc.so.6"}, ["libc.so.6", "not libhbeat"]),
        ]:
            code, output = program("""
                try:
                    import hbeat
                except ImportError as error:
                    print(error)
            """, environment=environment)
            self.assertEqual(code, 0, output)
            for word in words:
                self.assertIn(word, output)

    def test_another_version_is_refused(self):
        compiler = shutil.which("cc") or missing("cc is not installed")
        for number, words in [("2003", "0.2.3, this package wants 0.1"), ("1000", "is an older libhbeat 0.1.0: it has no")]:
            with tempfile.TemporaryDirectory() as folder:
                Path(folder, "v.c").write_text(f"unsigned hbeat_version_number(void) {{ return {number}; }}\n")
                subprocess.run([compiler, "-shared", "-fPIC", f"{folder}/v.c", "-o", f"{folder}/v.so"], check=True)
                code, output = program("import hbeat", environment={"HBEAT_LIBRARY": f"{folder}/v.so"})
            self.assertIn(words, output)

    def test_versions_are_one(self):
        wanted = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.M).group(1)
        self.assertEqual((hbeat.__version__, hbeat.version()), (wanted, wanted))

    def test_all_is_what_is_exported(self):
        modules = {"aio", "engine", "errors", "events", "kernel", "link", "listener", "policy", "stats", "words"}
        public = {name for name in vars(hbeat) if not name.startswith("_")} - modules
        self.assertEqual(public, set(hbeat.__all__))


class Types(unittest.TestCase):
    once = True  # What does not depend on the Python is tested on one.

    def mypy(self, *arguments):
        if importlib.util.find_spec("mypy"):
            command = [sys.executable, "-m", "mypy"]
        else:
            command = [shutil.which("mypy") or missing("mypy is not installed")]
        with tempfile.TemporaryDirectory() as cache:
            ran = subprocess.run([*command, "--strict", "--cache-dir", cache, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                 cwd=str(PACKAGE))
        return ran.returncode, ran.stdout.decode()

    def test_mypy_strict(self):
        code, output = self.mypy("hbeat")
        self.assertEqual(code, 0, output)

    def test_mistakes_of_callers_are_found(self):
        with tempfile.TemporaryDirectory() as folder:
            wrong = Path(folder, "wrong.py")
            wrong.write_text('import hbeat\nengine = hbeat.Engine()\nlink = engine.open(name=5)\nlink.feed("text")\nlink.received("now")\n'
                             'reveal_type(engine.wait(0)[0].cause)\n')
            code, output = self.mypy(str(wrong))
        self.assertNotEqual(code, 0)
        self.assertEqual(len(re.findall(r"wrong.py:[345]: error", output)), 3, output)
        self.assertIn("hbeat.words.Cause", output)


class Wheel(unittest.TestCase):
    once = True

    def test_the_wheel_carries_the_library_and_runs_in_a_fresh_environment(self):
        if importlib.util.find_spec("pip") is None or importlib.util.find_spec("ensurepip") is None:
            missing("pip and venv are not installed")
        here = {"setuptools", "wheel"} if importlib.util.find_spec("wheel") and importlib.util.find_spec("setuptools") else set()
        with tempfile.TemporaryDirectory() as folder:
            sources, out = Path(folder, "sources"), Path(folder, "out")
            shutil.copytree(PACKAGE, sources, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
            built = subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", *(["--no-build-isolation"] if here else []),
                                    "--wheel-dir", str(out), str(sources)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            text = built.stdout.decode()
            if built.returncode and "setuptools" in text and re.search("No matching distribution|ConnectionError|retries", text):
                missing("setuptools and wheel are not installed and cannot be fetched")
            self.assertEqual(built.returncode, 0, text)
            wheel, = out.glob("*.whl")
            self.assertRegex(wheel.name, r"^hbeat-[\d.]+-py3-none-(linux|manylinux).*\.whl$")
            fresh = Path(folder, "fresh")
            subprocess.run([sys.executable, "-m", "venv", str(fresh)], check=True)
            python = str(fresh / "bin/python")
            subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-index", "--disable-pip-version-check", str(wheel)], check=True)
            environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "HBEAT_LIBRARY")}
            ran = subprocess.run([python, "-c", f"{WHERE}; engine = hbeat.Engine(); engine.open(); engine.close()"],
                                 cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self.assertEqual((ran.returncode, Path(ran.stdout.decode().strip()).parent.parent.name), (0, "site-packages"), ran.stdout)


class Examples(unittest.TestCase):
    def test_watch_tells_why_the_server_is_gone(self):
        """A server that sends lines back, and falls silent, or closes, after the third."""
        for end, words in [("silent", ["DOWN", "cause=no_answer", "because of None"]), ("closed", ["DOWN", "cause=no_answer", "Error("])]:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                port = listener.getsockname()[1]
                child = subprocess.Popen([sys.executable, str(ROOT / "examples/python/watch.py"), "127.0.0.1", str(port)],
                                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                connection, _ = listener.accept()
                for _ in range(3):
                    connection.sendall(connection.recv(100))
                if end == "closed":
                    connection.close()
                try:
                    output = child.communicate(timeout=LONG_S)[0].decode()
                finally:
                    child.kill()
                    connection.close()
            for word in words:
                self.assertIn(word, output)

    def test_the_programs_are_short(self):
        for path in (ROOT / "examples/python").glob("*.py"):
            self.assertLess(len(path.read_text().splitlines()), 60, path.name)


if __name__ == "__main__":
    unittest.main()
