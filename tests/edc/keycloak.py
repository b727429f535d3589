"""A real Keycloak: an authorization server with realms, clients and keys as a case wants them, driven
through its admin API. It runs with TLS and its database in memory, so that every run begins anew."""

import json
import os
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request

import parts
from processes import Process, free_port, wait_for

HOME = parts.CACHE / "keycloak"
ADMIN, PASSWORD = "admin", "administrator of the tests"
OPENS = ("java.util", "java.util.concurrent", "java.security", "java.lang")


class Refused(Exception):
    def __init__(self, status, body):
        super().__init__(f"{status}: {body}")
        self.status, self.body = status, body


class Keycloak:
    def __init__(self, directory, authority):
        self.directory = directory
        self.directory.mkdir(parents=True, exist_ok=True)
        self.authority = authority
        self.port, self.health_port = free_port(), free_port()
        self.url = f"https://localhost:{self.port}"
        self._context = ssl.create_default_context(cafile=str(authority.certificate))
        self._admin_token, self._admin_until = None, 0
        self.process = None

    def start(self):
        pair = self.authority.issue("keycloak", addresses=["127.0.0.1"], names=["localhost"])
        home = HOME.resolve()
        options = ["-Xms64m", "-XX:MaxMetaspaceSize=256m",
                   *(f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in OPENS),
                   f"-Dkc.home.dir={home}", f"-Djboss.server.config.dir={home}/conf",
                   "-Djava.util.logging.manager=org.jboss.logmanager.LogManager",
                   "-Dpicocli.disable.closures=true",
                   "-Djava.util.concurrent.ForkJoinPool.common.threadFactory="
                   "io.quarkus.bootstrap.forkjoin.QuarkusForkJoinWorkerThreadFactory"]
        command = ["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx400m", *options,
                   "-cp", home / "lib" / "quarkus-run.jar",
                   "io.quarkus.bootstrap.runner.QuarkusEntryPoint", "start", "--optimized",
                   "--http-host=127.0.0.1", f"--https-port={self.port}",
                   f"--https-certificate-file={pair.certificate}",
                   f"--https-certificate-key-file={pair.key}",
                   f"--truststore-paths={self.authority.certificate}",
                   f"--hostname={self.url}", "--cache=local",
                   "--log-level=info,org.keycloak.services:debug"]
        env = dict(os.environ) | {"KC_BOOTSTRAP_ADMIN_USERNAME": ADMIN,
                                  "KC_BOOTSTRAP_ADMIN_PASSWORD": PASSWORD}
        self.process = Process(command, self.directory / "keycloak.log", env)
        return self

    def wait_ready(self, timeout_s=180):
        def ready():
            if not self.process.running():
                raise AssertionError(f"Keycloak ended: {self.process.output()[-3000:]}")
            try:
                return self.get("/realms/master")
            except (Refused, OSError):
                return None
        wait_for(ready, timeout_s, "Keycloak answers", 0.2)
        return self

    def close(self):
        if self.process is not None:
            self.process.stop(timeout_s=30)

    # --- plumbing

    def _send(self, method, path, data=None, headers=()):
        request = urllib.request.Request(self.url + path, data, dict(headers), method=method)
        try:
            with urllib.request.urlopen(request, timeout=30, context=self._context) as answer:
                text = answer.read()
                location = answer.headers.get("Location")
        except urllib.error.HTTPError as error:
            raise Refused(error.code, error.read().decode(errors="replace")) from None
        return (json.loads(text) if text else None), location

    def get(self, path, headers=()):
        return self._send("GET", path, headers=headers)[0]

    def form(self, path, fields, headers=()):
        return self._send("POST", path, urllib.parse.urlencode(fields).encode(), headers)[0]

    def register(self, url, token):
        """RFC 7591 with an initial access token; the client as it was made."""
        return self._send("POST", url.removeprefix(self.url), json.dumps({
            "client_name": "warming up", "grant_types": ["client_credentials"]}).encode(), {
            "Content-Type": "application/json", "Authorization": f"Bearer {token}"})[0]

    def unregister(self, client):
        self._send("DELETE", client["registration_client_uri"].removeprefix(self.url), headers={
            "Authorization": f"Bearer {client['registration_access_token']}"})

    def admin(self, method, path, body=None):
        """A call of the admin API below /admin/realms; for a POST without an answer the id
        of what was made."""
        if time.monotonic() > self._admin_until:
            answer = self.form("/realms/master/protocol/openid-connect/token", {
                "grant_type": "password", "client_id": "admin-cli", "username": ADMIN,
                "password": PASSWORD})
            self._admin_token = answer["access_token"]
            self._admin_until = time.monotonic() + answer["expires_in"] - 10
        headers = {"Authorization": f"Bearer {self._admin_token}",
                   "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        answer, location = self._send(method, f"/admin/realms{path}", data, headers)
        return location.rsplit("/", 1)[-1] if location and answer is None else answer

    # --- what a case needs

    def realm(self, name, **settings):
        """A realm of its own, with short tokens unless said otherwise."""
        self.admin("POST", "", {"realm": name, "enabled": True, "sslRequired": "external",
                                "accessTokenLifespan": 300} | settings)
        return Realm(self, name)


class Realm:
    def __init__(self, keycloak, name):
        self.keycloak, self.name, self.rotated = keycloak, name, 0
        self.issuer = f"{keycloak.url}/realms/{name}"
        self._path = f"/realms/{name}/protocol/openid-connect"
        self.jwks_url = f"{keycloak.url}{self._path}/certs"
        self.token_url = f"{keycloak.url}{self._path}/token"
        self.revoke_url = f"{keycloak.url}{self._path}/revoke"
        self.introspect_url = f"{keycloak.url}{self._path}/token/introspect"
        self.registration_url = f"{keycloak.url}/realms/{name}/clients-registrations/openid-connect"

    def admin(self, method, path, body=None):
        return self.keycloak.admin(method, f"/{self.name}{path}", body)

    def client(self, identity, secret, audience=None, **settings):
        """A confidential client that may use client credentials; its internal id."""
        mappers = [] if audience is None else [{
            "name": "audience", "protocol": "openid-connect",
            "protocolMapper": "oidc-audience-mapper",
            "config": {"included.custom.audience": audience, "access.token.claim": "true",
                       "introspection.token.claim": "true"}}]
        return self.admin("POST", "/clients", {
            "clientId": identity, "secret": secret, "serviceAccountsEnabled": True,
            "publicClient": False, "standardFlowEnabled": False, "protocol": "openid-connect",
            "directAccessGrantsEnabled": False, "protocolMappers": mappers} | settings)

    def token(self, client, secret, **more):
        """A token by client credentials, the whole answer."""
        return self.keycloak.form(f"{self._path}/token", {
            "grant_type": "client_credentials", "client_id": client,
            "client_secret": secret} | more)

    def introspect(self, client, secret, token):
        return self.keycloak.form(f"{self._path}/token/introspect", {
            "client_id": client, "client_secret": secret, "token": token})

    def rotate(self, algorithm="RS256"):
        """A new signing key that is used from now on; the old one still verifies."""
        self.rotated += 1
        made = {"RS256": ("rsa-generated", {"keySize": ["2048"], "algorithm": ["RS256"]}),
                "ES256": ("ecdsa-generated", {"ecdsaEllipticCurveKey": ["P-256"]})}
        provider, config = made[algorithm]
        return self.admin("POST", "/components", {
            "name": f"rotated-{self.rotated}", "providerId": provider,
            "providerType": "org.keycloak.keys.KeyProvider",
            "config": config | {"priority": [str(1000 + self.rotated)], "enabled": ["true"],
                                "active": ["true"]}})

    def audience_for_all(self, audience):
        """Every client that is made from now on has this audience in its tokens."""
        scope = self.admin("POST", "/client-scopes", {
            "name": f"audience-{audience}", "protocol": "openid-connect",
            "attributes": {"include.in.token.scope": "false"},
            "protocolMappers": [{
                "name": "audience", "protocol": "openid-connect",
                "protocolMapper": "oidc-audience-mapper",
                "config": {"included.custom.audience": audience, "access.token.claim": "true",
                           "introspection.token.claim": "true"}}]})
        self.admin("PUT", f"/default-default-client-scopes/{scope}")

    def initial_access(self, count=100):
        """A token that allows so many registrations (RFC 7591)."""
        return self.admin("POST", "/clients-initial-access", {"count": count,
                                                              "expiration": 3600})["token"]

    def clients(self):
        """Client id -> client, but for those that every realm has."""
        own = {"account", "account-console", "admin-cli", "broker", "realm-management",
               "security-admin-console"}
        return {c["clientId"]: c for c in self.admin("GET", "/clients?max=1000")
                if c["clientId"] not in own}

    def secret(self, client):
        return self.admin("GET", f"/clients/{client['id']}/client-secret")["value"]

    def revoke(self, client, secret, token):
        """RFC 7009 at Keycloak itself."""
        self.keycloak.form(f"{self._path}/revoke", {
            "client_id": client, "client_secret": secret, "token": token})

    def warm_up(self):
        """Registers a client and lets it fetch a token, as sluice will: the first time takes Java
        seconds, and a connector does not wait for those."""
        made = self.keycloak.register(self.registration_url, self.initial_access(1))
        self.token(made["client_id"], made["client_secret"])
        self.keycloak.unregister(made)

    # --- people and their sessions

    def user(self, name, password):
        """A person; the id, which is the subject of their tokens."""
        return self.admin("POST", "/users", {
            "username": name, "enabled": True, "emailVerified": True, "firstName": name,
            "lastName": "of the tests", "email": f"{name}@example.org",
            "credentials": [{"type": "password", "value": password, "temporary": False}]})

    def login(self, client, secret, name, password):
        """A person's access token, which belongs to a session. It is refreshed once, as one of
        Keycloak's own adapters does it, which tells of the session that it has for the person:
        only such a client is later sent the logouts of Keycloak's own kind."""
        who = {"client_id": client, "client_secret": secret}
        answer = self.keycloak.form(f"{self._path}/token", who | {
            "grant_type": "password", "username": name, "password": password})
        return self.keycloak.form(f"{self._path}/token", who | {
            "grant_type": "refresh_token", "refresh_token": answer["refresh_token"],
            "client_session_state": "session-of-the-adapter",
            "client_session_host": "localhost"})["access_token"]
