"""What a client may not do, as each client shows it: an authorization error, never a hang."""

import json

import confluent_kafka
import confluent_kafka.admin as admin
import pytest

import clients
import gate as gates
import parts

TOPIC_DENIED = confluent_kafka.KafkaError.TOPIC_AUTHORIZATION_FAILED
GROUP_DENIED = confluent_kafka.KafkaError.GROUP_AUTHORIZATION_FAILED


@pytest.fixture(scope="module")
def gate(make_gate, serial_parts, other_topic):
    return make_gate("denials", grants=[
        gates.grant("read-bob", "bob", ["serial-parts"], "bob"),
        gates.grant("config-carol", "carol", ["serial-parts"], "carol",
                    ["read", "manage", "describe_configs"])])


@pytest.fixture
def bob(gate, doors):
    return doors(gate, "bob")


@pytest.fixture
def bob_admin(bob):
    return admin.AdminClient(bob.librdkafka())


def error_of(future, timeout_s=15):
    with pytest.raises(confluent_kafka.KafkaException) as caught:
        future.result(timeout_s)
    return caught.value.args[0].code()


def consume_error(door, topic, group, protocol="classic"):
    consumer = confluent_kafka.Consumer(door.librdkafka(**{
        "group.id": group, "group.protocol": protocol, "auto.offset.reset": "earliest"}))
    try:
        consumer.subscribe([topic])
        message = None
        for _ in range(150):
            message = consumer.poll(0.1)
            if message is not None:
                break
        assert message is not None and message.error(), message
        return message.error().code()
    finally:
        consumer.close()


# --- another topic

@pytest.mark.parametrize("topic", ["other-parts", "no-such-topic"])
def test_kcat_other_topic(topic, bob):
    """One that exists and one that does not are told apart by nothing."""
    arguments, env = bob.kcat()
    ran = clients.run(["kcat", "-C", "-t", topic, "-e", "-c", "1", *arguments], env, timeout_s=30)
    assert "Topic authorization failed" in ran.err, ran.err
    assert ran.out == b""


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_confluent_other_topic(protocol, bob):
    assert consume_error(bob, "other-parts", clients.new_group(), protocol) == TOPIC_DENIED


@pytest.mark.parametrize("protocol,libs", [("classic", parts.KAFKA), ("consumer", parts.KAFKA),
                                           ("classic", parts.KAFKA39)])
def test_java_other_topic(protocol, libs, bob):
    file = bob.properties(**{"group.id": clients.new_group(), "group.protocol": protocol}
                          if protocol == "consumer" else {"group.id": clients.new_group()})
    ran = clients.run_held(parts.java("Reader", file, "other-parts", 1, 20000, libs=libs))
    assert ran.status == 1 and not ran.records()
    assert ran.lines("error")[0][0] == "TopicAuthorizationException", ran.text


def test_console_consumer_other_topic(bob):
    ran = clients.console_consumer(bob, "other-parts", 1, clients.new_group(), timeout_ms=20000)
    assert "TopicAuthorizationException" in ran.text, ran.text


def test_kafkajs_other_topic(bob):
    ran = clients.run(["node", parts.HERE / "node" / "client.js", "read", bob.kafkajs(),
                       "other-parts", 1, clients.new_group()], clients.node_env())
    assert ran.status == 1
    assert "TOPIC_AUTHORIZATION_FAILED" in ran.text, ran.text


# --- another group

def test_kcat_other_group(bob):
    arguments, env = bob.kcat()
    ran = clients.run(["kcat", "-G", "mallory-1", *arguments, "-c", "1", "serial-parts"], env,
                      timeout_s=30)
    assert "Group authorization failed" in ran.err, ran.err
    assert ran.out == b""


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_confluent_other_group(protocol, bob):
    assert consume_error(bob, "serial-parts", "mallory-1", protocol) == GROUP_DENIED


@pytest.mark.parametrize("protocol,libs", [("classic", parts.KAFKA), ("consumer", parts.KAFKA),
                                           ("classic", parts.KAFKA39)])
def test_java_other_group(protocol, libs, bob):
    more = {"group.protocol": protocol} if protocol == "consumer" else {}
    file = bob.properties(**{"group.id": "mallory-1"} | more)
    ran = clients.run_held(parts.java("Reader", file, "serial-parts", 1, 20000, libs=libs))
    assert ran.status == 1 and not ran.records()
    assert ran.lines("error")[0][0] == "GroupAuthorizationException", ran.text


def test_kafkajs_other_group(gate, bob):
    """kafkajs hides the reason: it asks every broker and reports that none knows a coordinator."""
    since = len(gate.audit())
    ran = clients.run(["node", parts.HERE / "node" / "client.js", "read", bob.kafkajs(),
                       "serial-parts", 1, "mallory-js"], clients.node_env())
    assert ran.status == 1
    assert "GROUP_AUTHORIZATION_FAILED" in ran.text or "GroupCoordinatorNotFound" in ran.text
    gate.wait_audit("mallory-js", since=since)


# --- looking around

def test_listing_shows_the_granted_topic_only(gate, bob, bob_admin):
    found = bob_admin.list_topics(timeout=15)
    assert list(found.topics) == ["serial-parts"]
    assert [(b.id, b.host, b.port) for b in found.brokers.values()] == [
        (0, gate.host, gate.advertised_port)]
    named = bob_admin.list_topics("other-parts", timeout=15).topics["other-parts"]
    assert named.error.code() == TOPIC_DENIED and not named.partitions
    arguments, env = bob.kcat()
    listed = json.loads(clients.run(["kcat", "-L", "-J", *arguments], env).out)
    assert [t["topic"] for t in listed["topics"]] == ["serial-parts"]
    assert len(listed["brokers"]) == 1
    ran = clients.run(["node", parts.HERE / "node" / "client.js", "topics", bob.kafkajs()],
                      clients.node_env())
    assert ran.lines("ok") == [["serial-parts"]], ran.text


def test_java_tools_list_the_granted_topic_only(bob):
    ran = clients.run(parts.java("org.apache.kafka.tools.TopicCommand", "--bootstrap-server",
                                 bob.bootstrap, "--command-config", bob.properties(), "--list"))
    assert ran.out.decode().split() == ["serial-parts"], ran.text


def test_the_cluster_is_one_made_up_broker(gate, bob_admin, cluster):
    described = bob_admin.describe_cluster(request_timeout=15).result(15)
    assert [(n.id, n.host, n.port, n.rack) for n in described.nodes] == [
        (0, gate.host, gate.advertised_port, None)]
    assert described.cluster_id and described.cluster_id not in json.dumps(cluster.secrets()[0])
    again = bob_admin.describe_cluster(request_timeout=15).result(15)
    assert again.cluster_id == described.cluster_id


def test_groups_of_others_are_not_listed(gate, bob, bob_admin, cluster, doors):
    mine, theirs = clients.new_group("bob"), clients.new_group("mallory")
    for door, group in ((bob, mine), (clients.Door(bob.directory, ",".join(cluster.bootstrap())),
                                      theirs)):
        consumer = confluent_kafka.Consumer(door.librdkafka(**{"group.id": group}))
        consumer.commit(offsets=[confluent_kafka.TopicPartition("serial-parts", 0, 1)],
                        asynchronous=False)
        consumer.close()
    listed = bob_admin.list_consumer_groups(request_timeout=15).result(15)
    names = [g.group_id for g in listed.valid]
    assert mine in names and not [n for n in names if not n.startswith("bob")], names
    assert not listed.errors
    assert error_of(bob_admin.describe_consumer_groups([theirs])[theirs]) == GROUP_DENIED
    asked = [confluent_kafka.ConsumerGroupTopicPartitions(theirs)]
    assert error_of(bob_admin.list_consumer_group_offsets(asked)[theirs]) == GROUP_DENIED
    assert error_of(bob_admin.delete_consumer_groups([theirs])[theirs]) == GROUP_DENIED
    assert error_of(bob_admin.delete_consumer_groups([mine])[mine]) == GROUP_DENIED
    described = bob_admin.describe_consumer_groups([mine])[mine].result(15)
    assert described.group_id == mine


def test_manage_deletes_own_groups_only(gate, doors, bob, cluster):
    carol = doors(gate, "carol")
    mine, theirs = clients.new_group("carol"), clients.new_group("bob")
    for door, group in ((carol, mine), (bob, theirs)):
        consumer = confluent_kafka.Consumer(door.librdkafka(**{"group.id": group}))
        consumer.commit(offsets=[confluent_kafka.TopicPartition("serial-parts", 0, 1)],
                        asynchronous=False)
        consumer.close()
    client = admin.AdminClient(carol.librdkafka())
    assert error_of(client.delete_consumer_groups([theirs])[theirs]) == GROUP_DENIED
    client.delete_consumer_groups([mine])[mine].result(15)
    groups = [g.group_id for g in cluster.admin.list_consumer_groups().result(15).valid]
    assert mine not in groups and theirs in groups


# --- administration

def test_configs_need_their_own_grant(gate, bob_admin, doors):
    resource = admin.ConfigResource(admin.ConfigResource.Type.TOPIC, "serial-parts")
    assert error_of(bob_admin.describe_configs([resource])[resource]) == TOPIC_DENIED
    carol = admin.AdminClient(doors(gate, "carol").librdkafka())
    found = carol.describe_configs([resource])[resource].result(15)
    assert found["retention.ms"].value
    other = admin.ConfigResource(admin.ConfigResource.Type.TOPIC, "other-parts")
    assert error_of(carol.describe_configs([other])[other]) == TOPIC_DENIED
    broker = admin.ConfigResource(admin.ConfigResource.Type.BROKER, "0")
    assert error_of(carol.describe_configs([broker])[broker]) == \
        confluent_kafka.KafkaError.CLUSTER_AUTHORIZATION_FAILED


def test_nothing_can_be_administered(bob_admin, cluster):
    """Not offered at all: the client itself says that the broker cannot do it."""
    refused = {confluent_kafka.KafkaError._UNSUPPORTED_FEATURE,
               confluent_kafka.KafkaError.UNSUPPORTED_VERSION,
               confluent_kafka.KafkaError.CLUSTER_AUTHORIZATION_FAILED, TOPIC_DENIED,
               confluent_kafka.KafkaError._TIMED_OUT}
    before = cluster.admin.list_topics(timeout=10).topics
    resource = admin.ConfigResource(admin.ConfigResource.Type.TOPIC, "serial-parts",
                                    incremental_configs=[admin.ConfigEntry(
                                        "retention.ms", "1",
                                        incremental_operation=admin.AlterConfigOpType.SET)])
    calls = [bob_admin.create_topics([admin.NewTopic("made", 1, 1)], request_timeout=5)["made"],
             bob_admin.delete_topics(["serial-parts"], request_timeout=5)["serial-parts"],
             bob_admin.create_partitions([admin.NewPartitions("serial-parts", 20)],
                                         request_timeout=5)["serial-parts"],
             bob_admin.incremental_alter_configs([resource], request_timeout=5)[resource]]
    codes = [error_of(call) for call in calls]
    assert set(codes) <= refused, codes
    after = cluster.admin.list_topics(timeout=10).topics
    assert set(after) == set(before)
    assert len(after["serial-parts"].partitions) == 12


def test_java_tools_are_refused(bob, cluster):
    tool = "org.apache.kafka.tools.TopicCommand"
    ran = clients.run(parts.java(tool, "--bootstrap-server", bob.bootstrap, "--command-config",
                                 bob.properties(), "--create", "--topic", "made-by-tool",
                                 "--partitions", "1"))
    assert ran.status != 0
    assert "UnsupportedVersionException" in ran.text or "AuthorizationException" in ran.text
    assert "made-by-tool" not in cluster.admin.list_topics(timeout=10).topics


def test_denials_are_in_the_audit(gate, bob):
    since = len(gate.audit())
    with gate.wire(gate.token("bob")) as connection:
        connection.ask("FindCoordinator", 4, {"KeyType": 0, "CoordinatorKeys": ["mallory-9"]})
        connection.ask("Metadata", 9, {"Topics": [{"Name": "other-parts"}]})
    gate.wait_audit("mallory-9", since=since)
    gate.wait_audit("other-parts", since=since)
