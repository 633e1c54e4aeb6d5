"""The wheel carries the library: right for every Python 3, and for one platform."""
import subprocess
from pathlib import Path

from setuptools import setup

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # setuptools before 70
    from wheel.bdist_wheel import bdist_wheel

HERE = Path(__file__).resolve().parent


class PlatformWheel(bdist_wheel):
    def finalize_options(self):
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


if not (HERE / "hbeat/libhbeat.so").exists():
    subprocess.check_call(["make", "-C", str(HERE.parent.parent), "python"])
setup(cmdclass={"bdist_wheel": PlatformWheel})
