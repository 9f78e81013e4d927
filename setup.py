"""Where the packages lie: `teacher/`, `export/` and `recipes/` are installed inside `rali`."""

from setuptools import find_packages, setup

FOLDERS = {
    "rali": "rali",
    "rali.teacher": "teacher",
    "rali.export": "export",
    "rali.recipes": "recipes",
}

setup(
    package_dir=FOLDERS,
    packages=[
        name
        for package, folder in FOLDERS.items()
        for name in (package, *(f"{package}.{inner}" for inner in find_packages(folder)))
    ],
)
