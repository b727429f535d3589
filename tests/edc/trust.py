"""What Java needs to believe the tests' authority."""

import subprocess


class JavaTrust:
    """A trust store with one authority."""

    def __init__(self, directory, certificate):
        directory.mkdir(parents=True, exist_ok=True)
        self.file, self.password = directory / "trust.p12", "of the tests"
        done = subprocess.run(
            ["keytool", "-importcert", "-noprompt", "-alias", "authority", "-storetype", "PKCS12",
             "-file", str(certificate), "-keystore", str(self.file), "-storepass",
             self.password], capture_output=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(done.stdout.decode(errors="replace"))
