"""The parts themselves, without sluice: a contract between two connectors, a token of Keycloak."""

import base64
import json


def test_an_agreement_comes_about(provider, bob_connector):
    provider.offer("parts-asset", {"type": "KafkaBroker", "topic": "t"})
    assert bob_connector.negotiate(provider, "parts-asset")


def test_the_older_provider_agrees_with_a_newer_consumer(old_provider, bob_connector):
    old_provider.offer("parts-asset", {"type": "KafkaBroker", "topic": "t"})
    assert bob_connector.negotiate(old_provider, "parts-asset")


def test_keycloak_issues_tokens(keycloak):
    realm = keycloak.realm("parts")
    realm.client("asset-client", "a secret", audience="sluice")
    answer = realm.token("asset-client", "a secret")
    body = answer["access_token"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    assert claims["iss"] == realm.issuer and "sluice" in claims["aud"], claims
    # Only who is in the audience learns anything.
    realm.client("sluice", "another secret")
    assert realm.introspect("sluice", "another secret", answer["access_token"])["active"]
    assert not realm.introspect("asset-client", "a secret", answer["access_token"])["active"]
