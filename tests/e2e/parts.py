"""Where the real parts lie that scripts/fetch-parts.sh installed, and how Java programs start."""

import os
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CACHE = pathlib.Path(os.environ.get("SLUICE_CACHE", pathlib.Path.home() / ".cache" / "sluice"))
KAFKA = CACHE / "kafka" / "libs"
KAFKA39 = CACHE / "kafka-clients39" / "libs"
CLASSES = CACHE / "java"
NODE_MODULES = CACHE / "node" / "node_modules"

# The sanitized build unless told otherwise: leaks and undefined behaviour fail the run.
VARIANT = os.environ.get("SLUICE_VARIANT", "asan")
BUILD = pathlib.Path(os.environ.get("SLUICE_BUILD", ROOT / "build" / VARIANT))
SLUICE = pathlib.Path(os.environ.get("SLUICE", BUILD / "sluice"))
DEMO_IDP = pathlib.Path(os.environ.get("SLUICE_DEMO_IDP", BUILD / "demo-idp"))
KCAT_TOKEN = pathlib.Path(os.environ.get("SLUICE_KCAT_TOKEN", BUILD / "kcat-token.so"))

JVM = ["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]


def java(main, *arguments, libs=KAFKA, heap_mib=128, options=(), classes=True):
    """The command line of a Java program; no shell, so that the process is the one to end."""
    path = f"{CLASSES}:{libs}/*" if classes else f"{libs}/*"
    return [*JVM, f"-Xmx{heap_mib}m", f"-Dlog4j2.configurationFile={HERE}/kafka/log4j2.xml",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", *options, "-cp", path, main,
            *map(str, arguments)]
