"""Certificates and signatures by the openssl command: no Python package for it is needed."""

import base64
import pathlib
import subprocess


def openssl(*arguments, stdin=None):
    done = subprocess.run(["openssl", *map(str, arguments)], input=stdin, capture_output=True,
                          check=False)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {arguments[0]}: {done.stderr.decode(errors='replace')}")
    return done.stdout


class Authority:
    """A certificate authority in a directory; issue() makes NAME.key, NAME.pem and NAME.both."""

    def __init__(self, directory, name="e2e test authority"):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.certificate = self.directory / "ca.pem"
        self._key = self.directory / "ca.key"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-keyout", self._key, "-out", self.certificate, "-days", 30,
                "-subj", f"/CN={name}", "-addext", "basicConstraints=critical,CA:TRUE",
                "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def issue(self, name, addresses=(), names=(), days=30):
        alternative = ",".join([f"IP:{a}" for a in addresses] + [f"DNS:{n}" for n in names])
        key, certificate = self.directory / f"{name}.key", self.directory / f"{name}.pem"
        request, extensions = self.directory / f"{name}.csr", self.directory / f"{name}.ext"
        openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        extensions.write_text("basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\n"
                              "extendedKeyUsage=serverAuth,clientAuth\n"
                              + (f"subjectAltName={alternative}\n" if alternative else ""))
        openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._key,
                "-CAcreateserial", "-out", certificate, "-days", days, "-extfile", extensions)
        both = self.directory / f"{name}.both"
        both.write_text(key.read_text() + certificate.read_text())
        return Pair(key, certificate, both)


class Pair:
    """A private key and its certificate; both is one file, as Kafka's PEM stores want it."""

    def __init__(self, key, certificate, both):
        self.key = key
        self.certificate = certificate
        self.both = both

    def thumbprint(self):
        """RFC 8705's x5t#S256 of the certificate."""
        der = openssl("x509", "-in", self.certificate, "-outform", "DER")
        return b64url(openssl("dgst", "-sha256", "-binary", stdin=der))


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
