"""The showcase, with the connectors of the tests: the API collection in examples/, and what real clients
meet at each step (showcase.py)."""

import plane as planes
import showcase


def test_the_showcase(make_plane, provider, bob_connector, alice_connector, cluster, workspace):
    plane = make_plane(provider, signaling={"operations": ["read", "write"]})
    topics = {"shopFloorTopic": planes.unique("shop-floor"),
              "notificationsTopic": planes.unique("notifications")}
    for topic in topics.values():
        cluster.create_topic(topic, 3)
    player = showcase.Player(workspace / "showcase.json", topics | {
        "providerManagement": provider.management, "providerProtocol": provider.protocol,
        "providerId": provider.participant, "bobManagement": bob_connector.management,
        "aliceManagement": alice_connector.management})
    told = []
    showcase.Story(plane, player, cluster, topics,
                   lambda step, what: told.append((step, what))).tell()
    assert [step for step, _ in told if step] == [
        "The provider publishes", "Bob follows the shop floor", "Alice reads notifications",
        "Bob answers notifications", "The shop floor is suspended", "The shop floor is resumed",
        "The end"]
